"""An erased person leaves no address behind, wherever a mail to them was at that moment (SUP-06, DESIGN 5.3 and 5.5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from accounts.actor import system_actor
from accounts.clock import real_now
from accounts.models import Customer, Workspace
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from automations.engine.outcomes import Done, Failed, Outcome, Unknown
from automations.models import Delivery, DeliveryAttempt, DeliveryBody, Run, StepLog
from automations.services import deliveries, erasing, housekeeping
from automations.worker import deliver, delivery_claim
from automations.worker.settle import settle_acts
from automations.worker.store import delivery_key
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.deliveries import World
from tests.worker.living import happen, settle
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db
NAME = "ana.petrova"
ADDRESS = f"{NAME}@example.com"
OUTCOMES: dict[str, Outcome] = {
    "done": Done({"to": ADDRESS, "subject": "Hello"}),
    "failed": Failed("recipient_refused", f"550 no such user {ADDRESS}", details={"to": ADDRESS}),
    "unknown": Unknown(f"the line to {ADDRESS} broke"),
}


def places(text: str) -> list[str]:
    """Tables in which some row says this, in any column; bytes as text as well."""
    tables = [name for name in connection.introspection.table_names() if name.startswith(("automations_", "accounts_"))]
    found = []
    with connection.cursor() as cursor:
        for table in sorted(tables):
            hexed = text.encode().hex()
            cursor.execute(
                f"select 1 from {table} t where t::text ilike %s or t::text like %s", [f"%{text}%", f"%{hexed}%"]
            )
            found += [table] if cursor.fetchone() else []
    return found


def erase(customer: Customer) -> None:
    erase_customer(actor=system_actor(customer.workspace_id), customer_id=customer.pk)


@pytest.fixture
def world() -> World:
    made = World()
    Customer.objects.filter(pk=made.customer.pk).update(email=ADDRESS)
    made.customer.refresh_from_db()
    return made


class TestUnderWay:
    """A worker has taken the mail when its person is erased."""

    @pytest.mark.parametrize("waits", [True, False])
    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_nothing_is_left_when_its_outcome_is_known(self, world: World, outcome: str, waits: bool) -> None:
        made = world.mail(waits=waits)
        jobs = deliver.take(1, None).jobs
        assert [job.id for job in jobs] == [made.pk]
        erase(world.customer)
        assert "automations_delivery" in places(NAME), "the same bytes go with the same key until then"
        jobs[0].outcome = OUTCOMES[outcome]
        settle_acts(jobs)
        for _ in range(3):  # a mail that may be tried again is due once more, and is stopped then
            Delivery.objects.filter(pk=made.pk, due_at__isnull=False).update(due_at=made.created_at)
            deliver.deliver_batch(threads=1)
        made.refresh_from_db()
        assert made.state in ("SENT", "FAILED", "REVIEW")
        assert places(NAME) == []
        assert DeliveryAttempt.objects.filter(delivery=made, outcome__in=["ok", "failed", "unknown"]).exists()

    def test_the_log_of_what_came_too_late_says_nothing_either(self, world: World) -> None:
        made = world.mail(waits=True)
        jobs = deliver.take(1, None).jobs
        erase(world.customer)
        jobs[0].outcome = OUTCOMES["done"]
        settle_acts(jobs)
        late = StepLog.objects.get(run_id=made.run_id)
        assert (late.flags, late.status, late.output) == (2, "succeeded", None)

    def test_a_merged_record_that_is_erased_with_the_survivor(self, world: World) -> None:
        made = world.mail()
        jobs = deliver.take(1, None).jobs
        into = make_customer(world.workspace)
        merge_customers(actor=system_actor(world.workspace.pk), source_id=world.customer.pk, into_id=into.pk)
        erase(into)
        jobs[0].outcome = OUTCOMES["done"]
        settle_acts(jobs)
        made.refresh_from_db()
        assert (made.state, places(NAME)) == ("SENT", [])

    def test_one_that_nobody_can_tell_about_is_decided_without_its_address(self, world: World) -> None:
        made = world.mail(waits=True)
        jobs = deliver.take(1, None).jobs
        erase(world.customer)
        Delivery.objects.filter(pk=made.pk).update(lease_until=real_now() - timedelta(days=1), due_at=made.created_at)
        deliver.deliver_batch(threads=1)  # the worker is lost
        made.refresh_from_db()
        assert (made.state, places(NAME)) == ("REVIEW", [])
        deliveries.resolve_review(actor=actor_of(world.workspace), delivery_id=made.pk, happened=True)
        made.refresh_from_db()
        assert (made.state, places(NAME)) == ("SENT", [])
        assert jobs

    def test_other_people_keep_theirs(self, world: World) -> None:
        other = make_customer(world.workspace, email="boris@example.com")
        run = world.run(customer=other, subjects={"customer": other.pk}, subject_id=other.pk)
        mine, theirs = world.mail(), world.mail(run, to=other.email)
        jobs = deliver.take(5, None).jobs
        erase(world.customer)
        for job in jobs:
            job.outcome = Done({"to": job.envelope.to})
        settle_acts(jobs)
        assert Delivery.objects.get(pk=mine.pk).to == ""
        assert Delivery.objects.get(pk=theirs.pk).to == "boris@example.com"
        assert DeliveryBody.objects.filter(delivery_id=theirs.pk).exists()


class TestRunsOfNobody:
    """A loop over a query mails people by a run that is about none of them."""

    FLOW = """
steps:
  - {id: all, type: loop, over: {query: customers}, as: who, steps: [
      {id: mail, type: action, action: send_email, to: "{{who.email}}", subject: "Hi {{who.name}}", body: "<p>Hi</p>"}]}
"""

    @pytest.fixture
    def workspace(self) -> Workspace:
        return make_workspace()

    def mailed(self, workspace: Workspace) -> tuple[Customer, Customer]:
        ana = make_customer(workspace, email=ADDRESS, name="Ana")
        boris = make_customer(workspace, email="boris@example.com", name="Boris")
        automation = on(workspace, "type: event, event: tick", steps=self.FLOW)
        happen(make_customer(workspace, email="third@example.com"), "tick")
        route_all()
        settle()
        assert [run.status for run in runs(automation)] == ["COMPLETED"]
        Delivery.objects.update(state="SENT", due_at=None)
        return ana, boris

    def test_housekeeping_empties_what_it_wrote_of_the_erased(self, workspace: Workspace) -> None:
        ana, boris = self.mailed(workspace)
        assert Delivery.objects.filter(customer_id=ana.pk).exclude(run__customer=ana).count() == 1
        erase(ana)
        assert places(NAME) == ["automations_delivery", "automations_step_log"], "no index finds them by the person"
        assert housekeeping.forget_erased(real_now()) == 1
        assert places(NAME) == []
        assert Delivery.objects.get(customer_id=boris.pk).to == boris.email
        assert "automations_step_log" in places("boris@example.com")

    def test_a_mail_that_was_not_begun_is_not_sent_and_emptied_by_its_claim(self, workspace: Workspace) -> None:
        ana, _boris = self.mailed(workspace)
        Delivery.objects.filter(customer_id=ana.pk).update(state="QUEUED", due_at=Run.objects.earliest("pk").started_at)
        erase(ana)
        delivery_claim._workspaces.forget()
        deliver.deliver_batch(threads=1)
        made = Delivery.objects.get(customer_id=ana.pk)
        assert (made.state, made.to, made.envelope) == ("CANCELLED", "", {})
        assert places(NAME) == []

    def test_it_is_done_in_chunks_and_again_changes_nothing(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ana, _boris = self.mailed(workspace)
        row = Delivery.objects.get(customer_id=ana.pk)
        for visit in (101, 102, 103):
            row.pk, row.visit, row.key = None, visit, delivery_key(row.run_id, visit, 0)
            row.save(force_insert=True)
        erase(ana)
        monkeypatch.setattr(housekeeping, "CHUNK", 2)
        assert housekeeping.forget_erased(real_now()) == 4
        assert places(NAME) == []
        before = self.versions(ana)
        assert housekeeping.forget_erased(real_now()) == 4
        assert self.versions(ana) == before, "rows that are empty are not written again"

    def versions(self, customer: Customer) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select id, xmin::text, ctid::text from automations_delivery where customer_id = %s order by id",
                [customer.pk],
            )
            return cursor.fetchall()

    def test_the_table_is_not_read_when_nobody_was_erased_lately(
        self, workspace: Workspace, django_assert_num_queries: Any
    ) -> None:
        ana, _boris = self.mailed(workspace)
        now = real_now()
        with django_assert_num_queries(1):
            assert housekeeping.forget_erased(now) == 0
        erase(ana)
        with django_assert_num_queries(1):
            assert housekeeping.forget_erased(now + housekeeping.ERASED_AGE + timedelta(hours=1)) == 0

    def test_the_daily_work_does_it(self, workspace: Workspace) -> None:
        ana, _boris = self.mailed(workspace)
        erase(ana)
        housekeeping.run()
        assert places(NAME) == []


def test_nothing_is_asked_for_no_deliveries(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        erasing.empty_deliveries([])
