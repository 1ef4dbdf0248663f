"""What validation knows of a workspace, what enrolment would start, and which objects a request means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.errors import Refusal
from accounts.models import Funnel, Workspace
from automations.models import Automation, EmailTemplate, Run, Sender, Version
from automations.services.enrolment import would_enrol
from automations.services.find import find_automation, find_version, need_draft, need_state
from automations.services.known import known_for
from automations.services.publish import activate
from automations.services.subjects import resolve_subjects
from tests.automations import TAGGING, WAITING, made, published
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

CREATED = "{type: event, event: customer.created}"


class TestKnown:
    def test_everything_that_a_definition_can_name(self, workspace: Workspace) -> None:
        Sender.objects.create(workspace=workspace, address="second@example.com", verified_at=datetime.now(UTC))
        Sender.objects.create(workspace=workspace, address="unverified@example.com")
        EmailTemplate.objects.create(workspace=workspace, slug="mine", name="Mine", subject="s", body="b")
        make_customer(workspace, tags=["vip"])
        made(workspace, more="key: dunning")
        happen(make_customer(workspace), "demo_booked", {"seats": 3})
        known = known_for(workspace.pk)
        funnel = Funnel.objects.get(workspace=workspace).slug
        assert known.templates is not None
        assert known.senders is not None
        assert {"mine", "payment_failed_first"} <= set(known.templates)
        assert known.tags == {"vip"}
        assert known.automations == {"dunning"}
        assert {f"{funnel}/TRIAL", "TRIAL"} <= set(known.stages or ())
        assert "second@example.com" in known.senders
        assert "unverified@example.com" not in known.senders
        assert (known.has_sender, known.plan, known.stage_depth, known.global_depth) == (True, "PRO", 5, None)
        assert set(known.events["demo_booked"]) == {"seats"}

    def test_nothing_of_another_workspace(self, workspace: Workspace, other: Workspace) -> None:
        EmailTemplate.objects.create(workspace=other, slug="theirs", name="Theirs", subject="s", body="b")
        make_customer(other, tags=["theirs"])
        made(other, more="key: theirs")
        happen(make_customer(other), "their_event")
        known = known_for(workspace.pk)
        assert "theirs" not in (known.templates or ())
        assert (known.tags, known.automations) == (set(), set())
        assert "their_event" not in known.events

    def test_a_workspace_without_a_default_sender(self, workspace: Workspace) -> None:
        Sender.objects.filter(workspace=workspace).delete()
        assert known_for(workspace.pk).has_sender is False

    def test_the_same_few_queries_however_much_there_is(self, workspace: Workspace) -> None:
        counts = []
        for number in (1, 20):
            for _ in range(number):
                made(workspace)
                make_customer(workspace, tags=[f"t{number}"])
            with CaptureQueriesContext(connection) as queries:
                known_for(workspace.pk)
            counts.append(len(queries))
        assert counts[0] == counts[1] <= 8


class TestEnrolment:
    """`wouldEnrol` says what `enrolExisting` then does."""

    @pytest.mark.parametrize(
        ("head", "expected"),
        [
            ("", 3),
            ("filter: customer.segment == 'vip'\n", 2),
            ("filter: [customer.segment == 'vip', customer.country == 'DE']\n", 1),
            ("filter: customer.segment == 'nobody'\n", 0),
            ("settings: {reentry: once}\n", 3),
        ],
    )
    def test_the_number_is_what_happens(self, workspace: Workspace, head: str, expected: int) -> None:
        make_customer(workspace, segment="vip", country="DE")
        make_customer(workspace, segment="vip")
        make_customer(workspace)
        settle()
        automation = made(workspace, head + TAGGING, trigger=CREATED)
        assert would_enrol(automation, Version.objects.get(automation=automation)) == expected
        activate(actor=actor_of(workspace), automation_id=automation.pk, enrol_existing=True)
        settle()
        assert Run.objects.filter(automation=automation).count() == expected

    def test_it_writes_nothing(self, workspace: Workspace) -> None:
        from automations.models import Event

        make_customer(workspace)
        automation = made(workspace, trigger=CREATED)
        before = Event.objects.count()
        would_enrol(automation, Version.objects.get(automation=automation))
        assert (Event.objects.count(), Run.objects.count()) == (before, 0)

    def test_invoices_are_walked_for_a_trigger_about_them(self, workspace: Workspace) -> None:
        buyer = make_customer(workspace)
        for total in ("50.00", "500.00"):
            make_invoice(buyer, total=total)
        body = "filter: invoice.total > 100\nsteps: [{type: action, action: create_task, message: Look}]"
        automation = made(workspace, body, trigger="{type: event, event: invoice.issued}")
        assert would_enrol(automation, Version.objects.get(automation=automation)) == 1

    @pytest.mark.parametrize("trigger", ["{type: manual}", "{type: schedule, interval: 1d}"])
    def test_nobody_can_be_enrolled_without_an_event(self, workspace: Workspace, trigger: str) -> None:
        automation = made(workspace, "steps: [{type: action, action: create_task, message: x}]", trigger=trigger)
        assert would_enrol(automation, Version.objects.get(automation=automation)) is None

    def test_another_workspaces_customers_do_not_count(self, workspace: Workspace, other: Workspace) -> None:
        make_customer(other)
        automation = made(workspace, trigger=CREATED)
        assert would_enrol(automation, Version.objects.get(automation=automation)) == 0


class TestSubjects:
    def test_an_invoice_brings_its_subscription_and_customer(self, workspace: Workspace) -> None:
        buyer = make_customer(workspace)
        subscription = make_subscription(buyer)
        invoice = make_invoice(buyer, subscription=subscription)
        expected = {"invoice": invoice.pk, "subscription": subscription.pk, "customer": buyer.pk}
        assert resolve_subjects(workspace.pk, {"invoice": invoice.pk}) == expected
        assert resolve_subjects(workspace.pk, {"invoice": invoice.pk, "customer": buyer.pk}) == expected
        assert resolve_subjects(workspace.pk, {}) == {}

    def test_objects_of_two_customers_are_a_conflict(self, workspace: Workspace) -> None:
        invoice, stranger = make_invoice(make_customer(workspace)), make_customer(workspace)
        with pytest.raises(Refusal) as refused:
            resolve_subjects(workspace.pk, {"invoice": invoice.pk, "customer": stranger.pk})
        assert refused.value.code == "customer_conflict"

    @pytest.mark.parametrize("name", ["invoice", "subscription", "customer"])
    def test_unknown_and_foreign_objects_look_alike(self, workspace: Workspace, other: Workspace, name: str) -> None:
        buyer = make_customer(other)
        subscription = make_subscription(buyer)
        foreign = {"customer": buyer.pk, "subscription": subscription.pk, "invoice": make_invoice(buyer).pk}[name]
        messages = []
        for number in (foreign, 999_999_999):
            with pytest.raises(Refusal) as refused:
                resolve_subjects(workspace.pk, {name: number})
            assert refused.value.code == "unknown_reference"
            messages.append(refused.value.message.replace(str(number), "N"))
        assert messages[0] == messages[1]

    def test_a_customer_by_address_or_own_id(self, workspace: Workspace) -> None:
        customer = make_customer(workspace, external_id="A-17")
        for ref in ({"email": customer.email.upper()}, {"externalId": "A-17"}):
            assert resolve_subjects(workspace.pk, {"customer": ref}) == {"customer": customer.pk}
        with pytest.raises(Refusal) as refused:
            resolve_subjects(workspace.pk, {"customer": {"externalId": "B"}})
        assert "externalId “B”" in refused.value.message


class TestFinding:
    def test_what_is_not_there_says_so(self, workspace: Workspace, other: Workspace) -> None:
        automation = published(workspace, WAITING)
        for attempt in (
            lambda: find_automation(actor_of(other), automation.pk),
            lambda: find_version(automation, 9),
            lambda: need_draft(automation),
        ):
            with pytest.raises(Refusal) as refused:
                attempt()
            assert refused.value.code == "not_found"
        assert find_version(automation, 1).number == 1

    def test_a_wrong_state_names_the_right_ones(self, workspace: Workspace) -> None:
        from automations.models import AutomationState

        automation = Automation.objects.get(pk=made(workspace).pk)
        need_state(automation, AutomationState.DRAFT)
        with pytest.raises(Refusal) as refused:
            need_state(automation, AutomationState.ACTIVE, AutomationState.PAUSED)
        assert refused.value.details == {"state": "DRAFT", "needs": ["ACTIVE", "PAUSED"]}
