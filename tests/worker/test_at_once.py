"""Runs that are walked in the transaction of the router that starts or wakes them: the same rows as a claim would write, and which runs
are left to one (DESIGN 5.1, 5.2)."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.db.models import F

from accounts.models import Workspace
from automations.models import Automation, Delivery, Evaluation, Routed, Run, SecondLook, StepLog
from automations.services.pause import pause_automation
from automations.worker import at_once, claim, poison, route
from automations.worker.advance import Size, advance_batch
from automations.worker.route import route_batch
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, live, settle
from tests.worker.routing import route_all

pytestmark = pytest.mark.django_db(transaction=True)

MAIL = "{type: action, action: send_email, to: '{{customer.email}}', subject: 'Hi {{trigger.n}}', body: 'Dear {{customer.name}}'}"
TAG = "{type: action, action: add_tag, tag: vip}"
FLOWS = {
    "ends": "steps: [{type: stop}]",
    "mails and rests": f"settings: {{transactional: true}}\nsteps: [{MAIL}, {{id: d, type: delay, duration: 3d}}, {MAIL}]",
    "judges": "steps: [{id: c, type: condition, if: trigger.n == 1, then: [{id: d, type: delay, duration: 3d}], else: [{type: stop}]}]",
    "waits": "steps: [{id: w, type: wait_until, event: ping, timeout: 5d}, {id: d, type: delay, duration: 3d}]",
    "waits for ever": "steps: [{id: w, type: wait_until, event: ping}, {id: v, type: wait_until, event: pong}]",
    "cannot be judged": "steps: [{id: c, type: condition, if: customer.plan > 3, then: [{type: stop}], else: [{type: stop}]}]",
    "one at a time": "settings: {reentry: one_at_a_time}\nsteps: [{type: stop}]",
    "by its segment": "filter: customer.segment == 'smb'\nsteps: [{id: d, type: delay, duration: 3d}]",
    "in steps": "settings: {pacing: tick}\nsteps: [{id: d, type: delay, duration: 3d}, {type: stop}]",
}
#: What differs from one run to the next, whoever walks them.
_OWN = ("id", "event_id", "customer_id", "subject_id", "subjects", "automation_id", "version_id", "wait_key", "state")
_TIMES = ("started_at", "entered_at", "ended_at", "due_at", "wait_since", "recorded_at")


def state_of(run: Run) -> dict[str, Any]:
    """Its row, and what it left beside it, without what every run has of its own."""
    row = {field.attname: getattr(run, field.attname) for field in Run._meta.concrete_fields}
    times = {name: row[name] and round((row[name] - run.started_at).total_seconds(), -1) for name in _TIMES[:4]}
    log = StepLog.objects.filter(run_id=run.pk).order_by("seq", "attempt")
    mails = Delivery.objects.filter(run_id=run.pk).order_by("visit", "effect")
    return {
        **{name: value for name, value in row.items() if name not in (*_OWN, *_TIMES)},
        "times": times,
        "since": (run.wait_since is None, run.wait_key and run.wait_key.split(":")[0]),
        "state": sorted(run.state or {}),
        "log": [
            (row.seq, row.step, row.status, row.port, _without_own(row.output), row.warnings, row.flags) for row in log
        ],
        "mails": [(mail.visit, mail.subject, mail.state, mail.waits, mail.retries) for mail in mails],
        "looks": SecondLook.objects.filter(run_id=run.pk).count(),
        "entries": entries_of(run),
    }


def _without_own(output: dict[str, Any] | None) -> dict[str, Any] | None:
    return output and {name: value for name, value in output.items() if name not in ("event", "to")}


def entries_of(run: Run) -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from automations_entry where run_id = %s", [run.pk])
        return int(cursor.fetchone()[0])


def by_a_claim(customer: Any, name: str = "sign") -> None:
    happen(customer, name, {"n": 1})
    route_all()
    claim.due_workspaces.forget()
    while advance_batch():
        pass


def by_the_router(customer: Any, name: str = "sign") -> None:
    happen(customer, name, {"n": 1})
    route_all(walking=True)


@pytest.mark.parametrize("flow", FLOWS)
def test_the_router_leaves_what_a_claim_would_have_left(workspace: Workspace, flow: str) -> None:
    automation = live(workspace, FLOWS[flow])
    people = [make_customer(workspace, name="Ana", segment="smb", plan="pro") for _ in range(2)]
    for way, customer in zip((by_a_claim, by_the_router), people, strict=True):
        way(customer)
    claimed, walked = (Run.objects.get(automation=automation, customer=customer) for customer in people)
    assert state_of(walked) == state_of(claimed)
    assert not Run.objects.filter(due_at__lte=F("started_at")).exists()


@pytest.mark.parametrize("flow", ["waits", "waits for ever"])
def test_and_so_when_it_wakes_one(workspace: Workspace, flow: str) -> None:
    automation = live(workspace, FLOWS[flow])
    people = [make_customer(workspace) for _ in range(2)]
    for customer in people:
        happen(customer, "sign")
    settle()
    for way, customer in zip((by_a_claim, by_the_router), people, strict=True):
        way(customer, "ping")
    claimed, walked = (Run.objects.get(automation=automation, customer=customer) for customer in people)
    assert claimed.step != "w"
    assert state_of(walked) == state_of(claimed)


def test_its_work_is_one_row_version(workspace: Workspace) -> None:
    """Which is what it is for: the row is written as it is after the turn."""
    live(workspace, FLOWS["mails and rests"])
    by_the_router(make_customer(workspace))
    with connection.cursor() as cursor:
        cursor.execute("select count(distinct xmin::text) from (select xmin from automations_run union all "
                       "select xmin from automations_step_log union all select xmin from automations_delivery) x")  # fmt: skip
        assert cursor.fetchone() == (1,)


class TestLeftToAClaim:
    def waiting_for_a_claim(self, automation: Automation) -> list[Run]:
        return list(Run.objects.filter(automation=automation, parked_on=None, due_at__isnull=False, seq=0))

    def test_runs_whose_steps_change_records(self, workspace: Workspace) -> None:
        """Their customers are locked, and that not by one who holds shards (DESIGN 5.2, lock order)."""
        tagging, stopping = live(workspace, f"steps: [{TAG}]"), live(workspace, FLOWS["ends"])
        by_the_router(make_customer(workspace))
        assert len(self.waiting_for_a_claim(tagging)) == 1
        assert not self.waiting_for_a_claim(stopping)

    def test_more_than_a_short_transaction_takes(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        automation = live(workspace, FLOWS["ends"])
        monkeypatch.setattr(Size, "now", 2)
        for _ in range(3):
            happen(make_customer(workspace))
        route_all(walking=True)
        assert len(self.waiting_for_a_claim(automation)) == 3

    def test_a_flood_where_others_would_wait(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Claims take the workspaces in turn; the routers' queue has one order for all (DESIGN 5.2, fairness)."""
        automation = live(workspace, FLOWS["ends"])
        monkeypatch.setattr(route, "MOST_EVENTS", 4)
        people = [make_customer(workspace) for _ in range(2)]
        route_all()
        for customer in people:
            happen(customer)
        route_all(walking=True)
        assert not self.waiting_for_a_claim(automation)  # it is alone
        make_workspace()
        for customer in people:
            happen(customer)
        assert route_batch() == 2
        assert len(self.waiting_for_a_claim(automation)) == 2
        happen(people[0])
        route_all(walking=True)
        assert len(self.waiting_for_a_claim(automation)) == 2  # the third was no flood

    def test_a_batch_in_which_anything_fails(self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whose fault it was is found out by the claims; the events are routed all the same."""
        automation = live(workspace, FLOWS["ends"])
        people = [make_customer(workspace) for _ in range(3)]
        for customer in people:
            happen(customer)
        walk = at_once.walks_of

        def fail(runs: Any, now: Any) -> Any:
            if any(run.customer_id == people[1].pk for run in runs):
                raise ValueError("of a step")
            return walk(runs, now)

        monkeypatch.setattr(at_once, "walks_of", fail)
        assert route_batch() == Routed.objects.count()
        assert len(self.waiting_for_a_claim(automation)) == 3
        assert not StepLog.objects.exists()
        assert not Evaluation.objects.exists()
        settle()
        assert set(Run.objects.values_list("status", flat=True)) == {"COMPLETED"}

    def test_a_run_that_a_worker_died_with(self, workspace: Workspace) -> None:
        live(workspace, FLOWS["waits"])
        customer = make_customer(workspace)
        happen(customer)
        settle()
        Run.objects.update(lost=1)
        by_the_router(customer, "ping")
        run = Run.objects.get()
        assert (run.step, run.status, run.lost, run.answer) == ("w", "RUNNING", 1, {"event": run.answer["event"]})

    def test_a_run_that_is_to_be_held_keeps_the_event(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Frozen as it waits it would forget that the event has come; so it is woken first (PAU-03)."""
        automation = live(workspace, FLOWS["waits"])
        customer = make_customer(workspace)
        happen(customer)
        settle()
        monkeypatch.setattr("automations.services.pause.follow_all", lambda automation_id: None)
        pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
        by_the_router(customer, "ping")
        run = Run.objects.get()
        assert (run.step, run.answer is not None) == ("w", True)
        advance_batch()
        assert Run.objects.get().parked_on == "hold"
        assert not StepLog.objects.filter(step="w").exists()


class TestWaitsThatBeginInABatch:
    """They are for events after the one that the run acts on (C-37), and for all of those."""

    def test_the_same_batch_may_bring_the_event_before_and_after(self, workspace: Workspace) -> None:
        automation = live(workspace, FLOWS["waits"])
        before, after = make_customer(workspace), make_customer(workspace)
        for customer, name in ((before, "ping"), (before, "sign"), (after, "sign"), (after, "ping")):
            happen(customer, name)
        route_all(walking=True)
        settle()
        assert Run.objects.get(automation=automation, customer=before).step == "w"
        assert Run.objects.get(automation=automation, customer=after).step == "d"

    def test_not_for_the_one_that_began_the_run(self, workspace: Workspace) -> None:
        live(workspace, "steps: [{id: w, type: wait_until, event: sign}]")
        by_the_router(make_customer(workspace))
        look_again()
        assert Run.objects.get().status == "WAITING_FOR_EVENT"

    @pytest.mark.parametrize("order", [("ping", "pong"), ("pong", "ping")])
    def test_the_next_of_two_is_not_lost(self, workspace: Workspace, order: tuple[str, str]) -> None:
        """One batch brings both; the run waits for the second when the first has woken it."""
        live(workspace, FLOWS["waits for ever"])
        customer = make_customer(workspace)
        happen(customer)
        settle()
        for name in order:
            happen(customer, name)
        route_all(walking=True)
        settle()
        assert (Run.objects.get().status == "COMPLETED") == (order == ("ping", "pong"))
        happen(customer, "pong")
        settle()
        assert Run.objects.get().status == "COMPLETED"

    def test_what_ends_the_run_in_its_batch_keeps_it_from_walking(self, workspace: Workspace) -> None:
        live(workspace, f"exits: [{{event: leave}}]\n{FLOWS['mails and rests']}")
        customer = make_customer(workspace)
        for name in ("sign", "leave"):
            happen(customer, name, {"n": 1})
        route_all(walking=True)
        assert Run.objects.get().status == "CANCELLED"
        assert not Delivery.objects.exists()


def test_memory_that_runs_out_ends_the_worker(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:  # RELIABILITY 9
    live(workspace, FLOWS["ends"])
    happen(make_customer(workspace))
    ended: list[bool] = []

    def full(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(at_once, "walks_of", full)
    monkeypatch.setattr(poison, "out_of_memory", lambda: ended.append(True))
    route_batch()
    assert ended == [True]
