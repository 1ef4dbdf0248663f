"""Senders, templates, the mail of a new workspace, and what a consent does to queued mail (EML-05, TPL-11, SUP-04, SUP-07)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from accounts.actor import system_actor
from accounts.errors import Refusal
from accounts.models import Audit, Task, Workspace
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from automations.engine.expressions import compile_template
from automations.engine.kinds import Need
from automations.models import Delivery, DeliveryAttempt, DeliveryBody, EmailTemplate, Sender, Version
from automations.services import deliveries, mail, templates
from automations.services.mail import suppress_queued
from automations.services.mail_texts import DEFAULTS
from automations.worker.deliver import deliver_batch
from automations.worker.resources import keep_texts, load_resources, load_texts, text_hash
from tests.factories import actor_of, make_customer, make_member, make_user, make_workspace, owner_of
from tests.worker.deliveries import World, logged

pytestmark = pytest.mark.django_db


def refused(code: str, call: Any, **arguments: Any) -> Refusal:
    """The refusal of a service."""
    with pytest.raises(Refusal) as caught:
        call(**arguments)
    assert caught.value.code == code
    return caught.value


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def shop() -> Workspace:
    return make_workspace()


def test_a_new_workspace_has_its_owners_address_and_the_named_texts(shop: Workspace) -> None:  # TPL-11, DESIGN 6
    sender = Sender.objects.get(workspace=shop)
    assert (sender.address, sender.default, sender.verified_at is not None) == (owner_of(shop).email, True, True)
    slugs = set(EmailTemplate.objects.filter(workspace=shop).values_list("slug", flat=True))
    named = {"payment_failed_first", "payment_failed_gentle", "payment_failed_urgent", "payment_failed_final"}
    assert named <= slugs
    names = set(EmailTemplate.objects.filter(workspace=shop).values_list("name", flat=True))
    assert {"Payment Failed - Gentle Reminder", "Payment Failed - Urgent"} <= names


def test_giving_it_twice_changes_nothing(shop: Workspace) -> None:
    EmailTemplate.objects.filter(workspace=shop, slug="welcome").update(subject="Ours now")
    mail.ensure_workspace_mail(shop)
    mail.ensure_workspace_mail(shop.pk)
    assert EmailTemplate.objects.get(workspace=shop, slug="welcome").subject == "Ours now"
    assert EmailTemplate.objects.filter(workspace=shop).count() == len(DEFAULTS)
    assert Sender.objects.filter(workspace=shop).count() == 1


@pytest.mark.parametrize("text", DEFAULTS, ids=lambda text: text.slug)
def test_the_shipped_texts_can_be_compiled(text: Any) -> None:
    assert compile_template(text.subject, templates.template_names(), "header").source
    assert compile_template(text.body, templates.template_names(), "html").paths


def test_a_members_address_is_trusted_any_other_is_not(shop: Workspace) -> None:  # EML-05
    actor = actor_of(shop)
    member = make_member(shop)
    assert mail.create_sender(actor=actor, address=member.email.upper()).verified_at is not None
    stranger = mail.create_sender(actor=actor, address="news@elsewhere.example", name="News")
    assert stranger.verified_at is None
    assert [row.pk for row in mail.senders(actor, verified=False)] == [stranger.pk]
    assert stranger.pk not in [row.pk for row in mail.senders(actor, verified=True)]


def test_an_unverified_sender_cannot_be_picked(shop: Workspace) -> None:  # EML-05
    actor = actor_of(shop)
    sender = mail.create_sender(actor=actor, address="news@elsewhere.example")
    refused("wrong_state", mail.update_sender, actor=actor, sender_id=sender.pk, changes={"default": True})
    refused("role_missing", mail.verify_sender, actor=actor_of(shop, "editor"), sender_id=sender.pk)
    mail.verify_sender(actor=actor, sender_id=sender.pk)
    assert mail.update_sender(actor=actor, sender_id=sender.pk, changes={"default": True, "name": "News"}).default
    assert Sender.objects.filter(workspace=shop, default=True).count() == 1
    assert Audit.objects.filter(workspace=shop, action="sender.verify").count() == 1


def test_the_default_sender_stays_until_another_takes_its_place(shop: Workspace) -> None:
    actor, sender = actor_of(shop), Sender.objects.get(workspace=shop)
    refused("wrong_state", mail.delete_sender, actor=actor, sender_id=sender.pk)
    refused("wrong_state", mail.update_sender, actor=actor, sender_id=sender.pk, changes={"default": False})
    other = mail.create_sender(actor=actor, address=make_member(shop).email)
    mail.update_sender(actor=actor, sender_id=other.pk, changes={"default": True})
    mail.delete_sender(actor=actor, sender_id=sender.pk)
    assert [row.pk for row in mail.senders(actor)] == [other.pk]


@pytest.mark.parametrize("address", ["", "nonsense", "a@b\r\nBcc: c@d", "Ana <a@b.de>"])
def test_a_sender_is_an_address(shop: Workspace, address: str) -> None:
    assert "address" in refused("invalid", mail.create_sender, actor=actor_of(shop), address=address).details["fields"]


def test_a_name_with_a_line_break_is_refused(shop: Workspace) -> None:
    refused("invalid", mail.create_sender, actor=actor_of(shop), address="a@b.example", name="x\r\nBcc: y@z.example")


def test_an_address_is_a_sender_once(shop: Workspace) -> None:
    actor = actor_of(shop)
    mail.create_sender(actor=actor, address="a@b.example")
    refused("conflict", mail.create_sender, actor=actor, address="a@B.example")


def test_nobody_reaches_into_another_workspace(shop: Workspace) -> None:
    foreign = make_workspace()
    theirs = Sender.objects.get(workspace=foreign)
    text = EmailTemplate.objects.filter(workspace=foreign).earliest("id")
    refused("not_found", mail.update_sender, actor=actor_of(shop), sender_id=theirs.pk, changes={"name": "x"})
    refused("not_found", templates.update_template, actor=actor_of(shop), template_id=text.pk, changes={"name": "x"})
    refused("not_found", templates.delete_template, actor=actor_of(shop), template_id=text.pk)
    delivery = World(workspace=foreign).mail()
    refused("not_found", deliveries.find_delivery, actor=actor_of(shop), delivery_id=delivery.pk)


def test_a_template_is_checked_by_the_language(shop: Workspace) -> None:  # VAR-27
    fields = refused(
        "invalid", templates.create_template, actor=actor_of(shop), slug="Bad Slug", subject="{{ oops", body="{{ x.y() }}",
        kind="other",
    ).details["fields"]  # fmt: skip
    assert set(fields) == {"slug", "subject", "body", "kind"}
    assert not EmailTemplate.objects.filter(workspace=shop, slug="Bad Slug").exists()


def test_a_subject_of_two_lines_is_refused(shop: Workspace) -> None:  # RELIABILITY 56
    arguments = {"slug": "two", "subject": "one\r\nBcc: x@y.example", "body": "<p>x</p>"}
    refused("invalid", templates.create_template, actor=actor_of(shop), **arguments)


def test_a_template_is_made_changed_and_deleted(shop: Workspace) -> None:
    actor = actor_of(shop, "editor")
    made = templates.create_template(actor=actor, slug="hello", subject="Hi {{customer.name}}", body="<p>x</p>")
    refused("conflict", templates.create_template, actor=actor, slug="hello", subject="a", body="b")
    changed = templates.update_template(actor=actor, template_id=made.pk, changes={"subject": "Hello", "kind": "team"})
    assert (changed.subject, changed.body, changed.kind) == ("Hello", "<p>x</p>", "team")
    refused("invalid", templates.update_template, actor=actor, template_id=made.pk, changes={"body": " "})
    refused(
        "role_missing", templates.update_template, actor=actor_of(shop, "operator"), template_id=made.pk, changes={}
    )
    templates.delete_template(actor=actor, template_id=made.pk)
    assert not EmailTemplate.objects.filter(pk=made.pk).exists()


def test_a_template_in_use_stays(world: World) -> None:
    actor = actor_of(world.workspace)
    text = EmailTemplate.objects.get(workspace=world.workspace, slug="welcome")
    definition = {"version": 1, "name": "x", "trigger": {"type": "manual"},
                  "nodes": [{"id": "m", "type": "send_email", "config": {"template": "welcome"}}], "edges": []}  # fmt: skip
    Version.objects.create(
        workspace=world.workspace,
        automation=world.automation,
        number=2,
        state="draft",
        definition=definition,
        sha256="0",
    )
    refusal = refused("conflict", templates.delete_template, actor=actor, template_id=text.pk)
    assert refusal.details["automations"] == [f"auto_{world.automation.pk}"]


def test_an_unsubscribe_suppresses_what_waits(world: World) -> None:  # SUP-07, SUP-04
    payer = "payer@example.com"  # not the customer's own address, so no run ends by it
    own, waiting, team, other = (
        world.mail(to="Payer@Example.com"), world.mail(to=payer, waits=True), world.mail(to=payer, customer_mail=False),
        world.mail(),
    )  # fmt: skip
    record_consent(actor=system_actor(world.workspace.pk), address=payer.upper(), state="unsubscribed")
    states = {item.pk: item.state for item in Delivery.objects.filter(workspace=world.workspace)}
    assert states == {own.pk: "SUPPRESSED", waiting.pk: "QUEUED", team.pk: "QUEUED", other.pk: "QUEUED"}
    own.refresh_from_db()
    assert (own.due_at, own.error["code"]) == (None, "unsubscribed")


def test_an_address_without_a_customer_is_suppressed_too(world: World) -> None:
    delivery = world.mail(to="payer@example.com")
    record_consent(actor=system_actor(world.workspace.pk), address="payer@example.com", state="unsubscribed")
    delivery.refresh_from_db()
    assert delivery.state == "SUPPRESSED"


def test_what_others_send_to_a_customer_who_left_is_stopped_by_its_claim(world: World) -> None:  # SUP-07, SUP-09
    other = make_customer(world.workspace)
    run = world.run(customer=other, subjects={"customer": other.pk}, subject_id=other.pk)
    own, theirs = world.mail(), world.mail(run, to=world.customer.email)
    assert suppress_queued(world.workspace.pk, world.customer.email.upper(), world.customer.pk) == 1
    record_consent(actor=system_actor(world.workspace.pk), address=world.customer.email, state="unsubscribed")
    assert {item.pk: item.state for item in Delivery.objects.all()} == {own.pk: "SUPPRESSED", theirs.pk: "QUEUED"}
    deliver_batch(threads=1)
    theirs.refresh_from_db()
    assert (theirs.state, theirs.error["code"]) == ("SUPPRESSED", "unsubscribed")


def test_a_customer_who_leaves_is_not_looked_for_in_a_long_queue(
    world: World,
) -> None:  # PERFORMANCE: many leave after a mailing
    own = world.mail()
    for _ in range(30):
        other = make_customer(world.workspace)
        world.mail(world.run(customer=other, subjects={"customer": other.pk}, subject_id=other.pk), to=other.email)
    with connection.cursor() as cursor:
        # Of a small table the planner reads all; of a large one it takes what it is left with here.
        cursor.execute("set local enable_seqscan = off")
        cursor.execute("analyze automations_delivery, automations_run")
        names = {"workspace": world.workspace.pk, "address": world.customer.email, "customer": world.customer.pk}
        cursor.execute("explain (analyze, format json) " + mail._SUPPRESS.format(mail._OF_CUSTOMER), names)
        [plan] = cursor.fetchone()[0]
    scans = list(reads(plan["Plan"]))
    assert sum(scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0) for scan in scans) <= 4, scans
    own.refresh_from_db()
    assert own.state == "SUPPRESSED"


def reads(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The scans of the table of deliveries in a plan that look for rows; what updates them finds them by their id."""
    if plan.get("Relation Name") == "automations_delivery" and plan.get("Node Type", "").endswith("Scan"):
        yield plan
    for inner in plan.get("Plans", ()):
        yield from reads(inner)


def test_leaving_one_topic_or_coming_back_suppresses_nothing(world: World) -> None:  # SUP-10
    delivery, actor = world.mail(), system_actor(world.workspace.pk)
    record_consent(actor=actor, address=world.customer.email, state="unsubscribed", topic="news")
    record_consent(actor=actor, address=world.customer.email, state="subscribed")
    delivery.refresh_from_db()
    assert delivery.state == "QUEUED"


def test_resources_are_read_in_bulk_and_within_the_workspace(
    shop: Workspace, django_assert_max_num_queries: Any
) -> None:
    foreign = make_workspace()
    EmailTemplate.objects.create(workspace=foreign, slug="theirs", name="x", subject="x", body="x")
    sender = Sender.objects.get(workspace=shop)
    needs = [Need("email_template", slug) for slug in ("welcome", "payment_failed_first", "theirs", "nope")]
    needs += [
        Need("sender", None),
        Need("sender", sender.address.upper()),
        Need("sender", f"snd_{sender.pk}"),
        Need("odd", "x"),
    ]
    load_resources(shop.pk, needs)  # keeps the texts
    with django_assert_max_num_queries(3):
        found = load_resources(shop.pk, needs)
    assert found["email_template", "welcome"]["text"] == text_hash(found["email_template", "welcome"]["body"])
    assert found["email_template", "theirs"] is None
    assert found["email_template", "nope"] is None
    assert found["odd", "x"] is None
    assert {found["sender", key]["address"] for key in (None, sender.address.upper(), f"snd_{sender.pk}")} == {
        sender.address
    }


def test_a_kept_text_is_kept_once(shop: Workspace) -> None:
    keep_texts(shop.pk, ["a", "b", "a"])
    keep_texts(shop.pk, ["b"])
    wanted = [(shop.pk, text_hash(text)) for text in ("a", "b", "c")]
    assert load_texts(wanted) == {(shop.pk, text_hash("a")): "a", (shop.pk, text_hash("b")): "b"}


def test_consent_and_plan_are_resources(shop: Workspace) -> None:  # SUP-09, LIM-07
    record_consent(actor=system_actor(shop.pk), address="gone@example.com", state="unsubscribed")
    needs = [Need("consent", "Gone@example.com"), Need("consent", "here@example.com"), Need("mail_plan", None)]
    found = load_resources(shop.pk, needs)
    assert found["consent", "Gone@example.com"]
    assert found["consent", "here@example.com"] is None
    assert found["mail_plan", None]["monthly"] == 20_000


def test_a_person_decides_what_nobody_could_tell(world: World) -> None:  # DESIGN 5.3, REVIEW
    run = world.run()
    delivery = world.mail(run, waits=True, state="REVIEW", due_at=None)
    actor = actor_of(world.workspace)
    refused("role_missing", deliveries.resolve_review, actor=actor_of(world.workspace, "viewer"), delivery_id=delivery.pk,
            happened=True)  # fmt: skip
    deliveries.resolve_review(
        actor=actor, delivery_id=delivery.pk, happened=False, note="The server's log has no such mail."
    )
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, run.parked_on) == ("FAILED", None)
    assert run.answer["outcome"]["message"] == "The server's log has no such mail."
    refused("wrong_state", deliveries.resolve_review, actor=actor, delivery_id=delivery.pk, happened=True)


def test_a_decision_for_a_run_that_went_on_is_noted_late(world: World) -> None:
    run = world.run(parked_on="timer", due_at=world.automation.created_at, seq=4)
    delivery = world.mail(run, waits=True, state="REVIEW", due_at=None, visit=2)
    deliveries.resolve_review(actor=actor_of(world.workspace), delivery_id=delivery.pk, happened=True)
    run.refresh_from_db()
    assert (run.parked_on, run.seq) == ("timer", 4)
    assert [(row.seq, row.flags) for row in logged(run)] == [(2, 2)]


def test_the_body_can_be_read_before_it_is_sent(world: World) -> None:  # EML-01
    assert deliveries.shown_body(world.mail()) == "<p>Hello Ana</p>"
    assert deliveries.shown_body(world.webhook("https://x.example")) is None
    assert deliveries.shown_body(world.mail(body={"source": None, "text": "0" * 64})) is None


def test_nothing_of_an_erased_person_stays_in_a_delivery(world: World) -> None:  # SUP-06
    delivery = world.mail()
    erase_customer(actor=system_actor(world.workspace.pk), customer_id=world.customer.pk)
    deliver_batch(threads=1)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.to, delivery.subject, delivery.envelope) == ("CANCELLED", "", "", {})
    assert not DeliveryBody.objects.filter(delivery_id=delivery.pk).exists()
    assert not Task.objects.filter(workspace=world.workspace).exists()


def test_errors_of_an_erased_person_keep_only_their_code(world: World) -> None:  # SUP-06
    said = {"code": "recipient_refused", "message": "refused ana@x.example", "details": {"body": "ana@x.example"}}
    run = world.run(
        parked_on=None, status="FAILED", end_reason="failed", ended_at=world.automation.created_at, error=said,
        started_at=world.automation.created_at,
    )  # fmt: skip
    delivery = world.mail(run, state="FAILED", due_at=None, error=said)
    DeliveryAttempt.objects.create(
        workspace=world.workspace, delivery=delivery, number=1, fence=1, outcome="failed", error=said,
        at=delivery.created_at, started_at=delivery.created_at,
    )  # fmt: skip
    erase_customer(actor=system_actor(world.workspace.pk), customer_id=world.customer.pk)
    run.refresh_from_db()
    delivery.refresh_from_db()
    left = {"code": "recipient_refused", "message": "", "details": {}}
    assert [run.error, delivery.error, DeliveryAttempt.objects.get(delivery=delivery).error] == [left] * 3


def test_a_workspace_without_owner_has_texts_and_no_sender() -> None:
    from accounts.services.workspaces import create_workspace

    made = create_workspace(name="Nobody", owner=None)
    assert not Sender.objects.filter(workspace=made).exists()
    assert EmailTemplate.objects.filter(workspace=made).exists()
    assert make_user().pk
