"""`send_email` from the step to the mail (ACT-01, STP-10, STP-11, EML-01 to 05, C-23, C-45, VAR-21, VAR-22, SUP-09)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from accounts.actor import system_actor
from accounts.models import Workspace
from accounts.services.consent import record_consent
from automations.actions.send_email import EmailConfig, send_email
from automations.engine.kinds import Need
from automations.models import EmailTemplate, MailText, Sender
from automations.services.mail import ensure_workspace_mail
from automations.worker.deliver import deliver_batch
from automations.worker.delivery_claim import claim
from tests.actions.walking import Walked
from tests.factories import make_workspace
from tests.worker.deliveries import logged
from tests.worker.smtp_peer import MailServer

pytestmark = pytest.mark.django_db(transaction=True)
INLINE = {"subject": "Hi {{customer.name}}", "body": "<p>Dear {{customer.name}}, {{trigger.reason}}</p>"}


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    with MailServer() as server:
        settings.ONWARD_SMTP_URL, settings.ONWARD_STARTTLS = server.url, "auto"
        yield server


@pytest.fixture
def workspace() -> Workspace:
    found = make_workspace(name="Northwind")
    ensure_workspace_mail(found)
    return found


def template(workspace: Workspace, **fields: Any) -> EmailTemplate:
    values = {"slug": "hello", "name": "Hello", "subject": "For {{customer.name}}", "body": "<p>{{trigger.reason}}</p>"}
    return EmailTemplate.objects.create(workspace=workspace, **values | fields)


def test_a_mail_is_queued_with_its_subject_and_the_run_goes_on(workspace: Workspace) -> None:  # EML-01, EML-03, VAR-21
    world = Walked("send_email", INLINE, workspace=workspace, trigger={"reason": "card"})
    run = world.walk()
    (delivery,) = world.queued()
    assert (delivery.state, delivery.kind, delivery.step, delivery.customer_mail) == ("QUEUED", "email", "act", True)
    assert (delivery.to, delivery.subject) == (world.customer.email, "Hi Ana Ruiz")
    assert run.status == "COMPLETED"
    (row,) = logged(run)
    assert row.output == {"to": world.customer.email, "subject": "Hi Ana Ruiz"}
    assert row.input["sender"] == Sender.objects.get(workspace=workspace).address


def test_the_body_is_what_it_was_when_queued(workspace: Workspace, mail: MailServer) -> None:  # DESIGN 5.3
    world = Walked("send_email", INLINE, workspace=workspace, trigger={"reason": "card"})
    world.walk()
    world.customer.name = "Somebody Else"
    world.customer.save()
    assert deliver_batch() == 1
    html = mail.peer.messages[0].get_body(("html",)).get_content()
    assert "Dear Ana Ruiz, card" in html


def test_only_what_the_text_mentions_is_kept(workspace: Workspace) -> None:
    world = Walked("send_email", INLINE, workspace=workspace, trigger={"reason": "card", "secret": "x"})
    world.walk()
    assert world.queued()[0].envelope["body"]["values"] == {
        "customer": {"name": "Ana Ruiz"},
        "trigger": {"reason": "card"},
    }


def test_a_named_template_is_used_and_kept_as_it_was(workspace: Workspace, mail: MailServer) -> None:  # ACT-01
    named = template(workspace)
    world = Walked("send_email", {"template": "hello"}, workspace=workspace, trigger={"reason": "first text"})
    world.walk()
    EmailTemplate.objects.filter(pk=named.pk).update(body="<p>another text</p>", subject="changed")
    deliver_batch()
    (message,) = mail.peer.messages
    assert message["Subject"] == "For Ana Ruiz"
    assert "first text" in message.get_body(("html",)).get_content()
    assert MailText.objects.filter(workspace=workspace, body="<p>{{trigger.reason}}</p>").count() == 1


def test_the_step_may_give_its_own_subject(workspace: Workspace) -> None:
    template(workspace)
    world = Walked("send_email", {"template": "hello", "subject": "Mine"}, workspace=workspace)
    world.walk()
    assert world.queued()[0].subject == "Mine"


@pytest.mark.parametrize(
    ("to", "found"),
    [
        ("{{trigger.accountOwner}}", ["mara@northwind.example"]),
        ("a@example.com, b@example.com;a@example.com", ["a@example.com", "b@example.com"]),
        (["{{customer.email}}", "ops@northwind.example"], ["self", "ops@northwind.example"]),
        ("{{trigger.nobody}}", [""]),
    ],
)
def test_each_recipient_is_a_delivery_of_its_own(workspace: Workspace, to: Any, found: list[str]) -> None:  # VAR-22
    trigger = {"accountOwner": "mara@northwind.example"}
    world = Walked("send_email", INLINE | {"to": to}, workspace=workspace, trigger=trigger)
    world.walk()
    expected = [world.customer.email if name == "self" else name for name in found]
    assert [delivery.to for delivery in world.queued()] == expected
    assert len({delivery.key for delivery in world.queued()}) == len(expected)


def test_with_its_error_output_joined_the_run_waits_and_hears(workspace: Workspace, mail: MailServer) -> None:  # C-45
    world = Walked("send_email", INLINE, workspace=workspace, fallback=True)
    run = world.walk()
    assert (run.status, run.parked_on) == ("RUNNING", "delivery")
    deliver_batch()
    run = world.walk()
    assert (run.status, run.end_reason) == ("COMPLETED", "completed")
    (row,) = logged(run)
    assert row.output == {
        "delivery": f"dlv_{world.queued()[0].pk}", "to": world.customer.email, "subject": "Hi Ana Ruiz"
    }  # fmt: skip


def test_a_mail_that_cannot_be_sent_takes_the_fallback(
    workspace: Workspace, mail: MailServer
) -> None:  # ERR-05, ERR-10
    world = Walked("send_email", INLINE | {"to": "nonsense"}, workspace=workspace, fallback=True)
    world.walk()
    deliver_batch()
    run = world.walk()
    assert (run.status, logged(run)[-1].step) == ("COMPLETED", "stopped")
    assert (world.queued()[0].state, world.queued()[0].attempts) == ("FAILED", 1)


def test_an_unsubscribed_customer_is_not_even_queued_for(workspace: Workspace) -> None:  # SUP-02, SUP-09
    world = Walked("send_email", INLINE, workspace=workspace)
    record_consent(actor=system_actor(workspace.pk), address=world.customer.email, state="unsubscribed")
    world.started.refresh_from_db()
    type(world.started).objects.filter(pk=world.started.pk).update(
        status="RUNNING", due_at=world.started.started_at, step="act", ended_at=None, end_reason=None
    )
    run = world.walk()
    (delivery,) = world.queued()
    assert (delivery.state, delivery.due_at, delivery.error["code"]) == ("SUPPRESSED", None, "unsubscribed")
    assert run.status == "COMPLETED"
    assert [(row.status, row.output["result"]) for row in logged(run)] == [("skipped", "suppressed")]


def test_suppression_is_a_result_and_not_the_fallback(workspace: Workspace) -> None:  # C-45
    world = Walked("send_email", INLINE | {"to": "gone@example.com"}, workspace=workspace, fallback=True)
    record_consent(actor=system_actor(workspace.pk), address="gone@example.com", state="unsubscribed")
    run = world.walk()
    assert (run.status, run.end_reason) == ("COMPLETED", "completed")


def test_team_mail_goes_to_unsubscribed_addresses_too(workspace: Workspace) -> None:  # C-23
    record_consent(actor=system_actor(workspace.pk), address="ops@northwind.example", state="unsubscribed")
    world = Walked("send_email", INLINE | {"to": "ops@northwind.example", "kind": "team"}, workspace=workspace)
    world.walk()
    (delivery,) = world.queued()
    assert (delivery.state, delivery.customer_mail) == ("QUEUED", False)


def test_a_plan_without_mail_skips_it(workspace: Workspace) -> None:  # LIM-07
    workspace.plan = "FREE"
    workspace.save()
    world = Walked("send_email", INLINE, workspace=workspace)
    run = world.walk()
    assert (world.queued()[0].state, world.queued()[0].error["code"]) == ("SKIPPED", "plan")
    assert run.status == "COMPLETED"


def test_without_a_verified_sender_the_step_fails(workspace: Workspace) -> None:  # EML-05, STP-11
    Sender.objects.filter(workspace=workspace).update(verified_at=None, default=False)
    run = Walked("send_email", INLINE, workspace=workspace).walk()
    assert (run.status, run.error["code"]) == ("FAILED", "no_sender")


def test_only_a_verified_sender_can_be_chosen(workspace: Workspace) -> None:  # EML-05
    Sender.objects.create(workspace=workspace, address="new@northwind.example")
    run = Walked("send_email", INLINE | {"sender": "new@northwind.example"}, workspace=workspace).walk()
    assert run.error["code"] == "no_sender"


def test_an_unknown_template_fails_the_step(workspace: Workspace) -> None:
    assert Walked("send_email", {"template": "nope"}, workspace=workspace).walk().error["code"] == "unknown_template"


def test_a_line_break_in_a_subject_is_refused(workspace: Workspace) -> None:  # RELIABILITY 56
    config = INLINE | {"subject": "Hi {{trigger.name}}"}
    world = Walked("send_email", config, workspace=workspace, trigger={"name": "Ana\r\nBcc: everybody@example.com"})
    run = world.walk()
    assert run.status == "FAILED"
    assert world.queued() == []


def test_numbers_and_lists_keep_their_kind(workspace: Workspace, mail: MailServer) -> None:
    body = "{% for line in trigger.lines %}[{{ loop.index }} {{ line.name|upper }}]{% endfor %} {{ trigger.total | round(1) }}"
    world = Walked(
        "send_email",
        INLINE | {"body": body},
        workspace=workspace,
        trigger={"lines": [{"name": "a"}, {"name": "b"}], "total": "12.34"},
    )
    world.walk()
    deliver_batch()
    assert "[1 A][2 B] 12.3" in mail.peer.messages[0].get_body(("html",)).get_content()


def test_a_missing_value_is_a_warning_in_the_log(workspace: Workspace) -> None:  # VAR-26
    run = Walked("send_email", INLINE, workspace=workspace).walk()
    (row,) = logged(run)
    assert any("trigger.reason" in warning["message"] for warning in row.warnings)


@pytest.mark.parametrize(
    ("config", "missing"),
    [({}, {"subject", "body"}), ({"subject": "x"}, {"body"}), ({"body": "x"}, {"subject"}), ({"template": "t"}, set())],
)
def test_a_mail_needs_a_template_or_a_subject_and_a_body(config: dict[str, Any], missing: set[str]) -> None:  # STP-11
    if not missing:
        assert EmailConfig.model_validate(config).template == "t"
        return
    with pytest.raises(ValidationError) as caught:
        EmailConfig.model_validate(config)
    assert {error["loc"][0] for error in caught.value.errors()} == missing
    assert {error["type"] for error in caught.value.errors()} == {"missing"}


def test_what_it_needs_is_named() -> None:
    assert send_email.needs(EmailConfig(template="t")) == (Need("email_template", "t"), Need("sender", None))
    assert send_email.sample().subject


def test_claimed_mails_bring_their_texts_in_one_query(workspace: Workspace) -> None:
    template(workspace)
    for _ in range(3):
        Walked("send_email", {"template": "hello"}, workspace=workspace).walk()
    jobs = claim(10).jobs
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as queries:
        completed = send_email.complete([(job.workspace_id, job.envelope) for job in jobs])
    assert len(queries) == 1
    assert {envelope.body["source"] for envelope in completed} == {"<p>{{trigger.reason}}</p>"}
