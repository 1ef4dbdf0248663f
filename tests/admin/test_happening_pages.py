"""Pages of what happened: versions, events, deliveries and the texts of mails (CONTRACTS 10)."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.clock import real_now
from accounts.models import Workspace
from automations import models as automations
from automations.services.templates import create_template
from tests.admin.pages import (
    address,
    block,
    content,
    facts,
    links,
    notice,
    page_of,
    read,
    rows,
    title,
    tone,
    words,
)
from tests.automations import TAGGING, WAITING, made, published, queue
from tests.factories import actor_of, make_customer
from tests.worker.deliveries import World
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


class TestVersion:
    def test_it_is_its_text_and_cannot_be_changed(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        html = read(operator, page_of(automation.active_version))
        assert title(html) == f"{automation.name}, version 1 Active"
        assert "action: add_tag" in block(html, "Definition")
        assert notice(html).startswith("This version was published: it cannot be changed any more")
        assert "<textarea" not in html

    def test_a_draft_says_where_it_is_edited(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        html = read(operator, page_of(automations.Version.objects.get(automation=automation)))
        assert title(html).endswith("Draft")
        assert links(html)["the page of the automation"] == page_of(automation)

    def test_one_that_was_replaced_says_so(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        first = automation.active_version
        automations.Version.objects.filter(pk=first.pk).update(state="inactive")
        assert title(read(operator, page_of(first))).endswith("Replaced")


class TestEvent:
    def test_what_was_said_and_what_it_started(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        customer = make_customer(workspace)
        event = happen(customer, payload={"seats": 9}, key="order-7")
        settle()
        html = read(operator, address(automations.Event, event, "change"))
        run = automations.Run.objects.get(automation=automation)
        assert title(html) == "sign Routed"
        assert (facts(html)["Key"], facts(html)["About"]) == ("order-7", f"cus_{customer.pk}")
        assert rows(block(html, "Runs that it started")) == [
            [f"exec_{run.pk}", "Waiting", automation.name, str(customer)]
        ]
        assert "seats 9" in words(block(html, "Payload, as it was sent"))
        assert f'"id": "cus_{customer.pk}"' in words(block(html, "Snapshot, the objects as they were"))

    def test_why_an_automation_did_not_start(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, "filter: trigger.seats > 5\n" + TAGGING)
        event = happen(make_customer(workspace), payload={"seats": 1})
        settle()
        html = read(operator, address(automations.Event, event, "change"))
        [row] = rows(block(html, "Why not, or why"))
        assert row[0].startswith(automation.name)
        assert row[1:3] == ["Skipped", "filter"]
        assert links(html)[automation.name] == page_of(automation)
        assert "seats" in words(block(html, "Values that the filters read"))
        assert "None." in words(block(html, "Runs that it started"))

    def test_default_settings_and_faults_have_lines_of_their_own(self, operator: Client, workspace: Workspace) -> None:
        event = automations.Event.objects.get(pk=happen(make_customer(workspace)))
        automations.Evaluation.objects.create(
            event_id=event.pk, recorded_at=event.recorded_at, workspace_id=workspace.pk, values={},
            decisions=[{"default": "applied"}, {"error": "ValueError: x"}, {"automation": "auto_999999", "outcome": "started",
                       "execution": "exec_9", "version": 2}],
        )  # fmt: skip
        found = rows(block(read(operator, page_of(event)), "Why not, or why"))
        assert found[0][:2] == ["Default billing settings", "applied"]
        assert found[1][1:] == ["Failed", "–", "ValueError: x"]
        assert found[2][1] == "exec_9"

    def test_one_that_nobody_has_looked_at_says_so(self, operator: Client, workspace: Workspace) -> None:
        event = happen(make_customer(workspace))
        assert title(read(operator, address(automations.Event, event, "change"))) == "sign Not routed yet"

    def test_content_that_is_no_longer_kept_is_no_fault(self, operator: Client, workspace: Workspace) -> None:
        event = happen(make_customer(workspace))
        automations.EventContent.objects.all().delete()
        assert "It is no longer kept." in words(read(operator, address(automations.Event, event, "change")))


class TestDelivery:
    def test_what_it_is_and_how_it_went(self, operator: Client) -> None:
        run = World().run()
        delivery = queue(run, "FAILED")
        error = {"code": "smtp_timeout", "message": "No answer within 10 s."}
        delivery.to, delivery.error, delivery.attempts = "ana@example.com", error, 1
        delivery.envelope = {"input": {"template": "first"}}
        delivery.save()
        automations.DeliveryAttempt.objects.create(
            workspace_id=run.workspace_id, delivery=delivery, number=1, fence=1, outcome="failed", error=error,
            at=real_now(), started_at=real_now(),
        )  # fmt: skip
        html = read(operator, page_of(delivery))
        assert title(html) == "Send email to ana@example.com Failed"
        assert (notice(html), tone(html)) == ("No answer within 10 s.", "bad")
        assert rows(block(html, "Tries"))[0][2:] == ["failed", "No answer within 10 s. smtp_timeout"]
        assert "template first" in words(block(html, "What is asked of the other side"))
        assert links(html)[f"exec_{run.pk}"] == page_of(run)

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("UNKNOWN", "Nobody can tell yet"), ("REVIEW", "A person has to look"), ("REFUSED", "It was not made"),
            ("SUPPRESSED", "may not be mailed"), ("SKIPPED", "not needed any more"), ("CANCELLED", "cancelled before"),
        ],
    )  # fmt: skip
    def test_a_state_says_what_it_means_for_money_and_mail(self, operator: Client, state: str, said: str) -> None:
        assert said in notice(read(operator, page_of(queue(World().run(), state))))

    def test_one_that_was_made_needs_no_words(self, operator: Client) -> None:
        delivery = queue(World().run(), "SENT")
        delivery.outcome = {"kind": "done", "output": {"result": "paid", "payment": "pay_9"}}
        delivery.money = True
        delivery.save()
        html = read(operator, page_of(delivery))
        assert notice(html) == ""
        assert "result paid payment pay_9" in words(block(html, "Outcome"))
        assert facts(html)["Money"] == "Yes"

    def test_in_the_list_it_says_when_it_is_due(self, operator: Client) -> None:
        queue(World().run())
        assert re.search(r"due \d+ \w+, \d\d:\d\d", words(content(read(operator, address(automations.Delivery)))))


class TestMail:
    def test_a_template_is_its_text_and_never_markup(self, operator: Client, workspace: Workspace) -> None:
        template = create_template(
            actor=actor_of(workspace), slug="first", name="First", subject="Hello", body="<p>Hi {{ customer.name }}</p>"
        )
        html = read(operator, page_of(template))
        assert title(html) == "First"
        assert "&lt;p&gt;Hi {{ customer.name }}&lt;/p&gt;" in block(html, "Text")

    def test_a_sender_says_whether_mail_may_come_from_it(self, operator: Client, workspace: Workspace) -> None:
        sender = automations.Sender.objects.create(workspace=workspace, address="new@example.com")
        assert "Not verified" in words(read(operator, address(automations.Sender)))
        assert title(read(operator, page_of(sender))) == "new@example.com"
