"""The second look (DESIGN 5.2): what it wakes, what it leaves, what it takes."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from accounts.services.lifecycle import merge_customers
from automations.engine.registry import registry
from automations.models import Event, Run, SecondLook
from automations.services.cancel import end_runs
from automations.services.pause import resume_automation
from automations.worker import second_look
from automations.worker.advance import advance_batch
from automations.worker.plans import plans_for
from automations.worker.second_look import look_again
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, log_of, settle
from tests.worker.missing import held, park, ping, resumed, waiting
from tests.worker.racing import Racer
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)


def test_nothing_to_look_at(workspace):
    assert look_again() == 0


def test_a_run_that_nobody_missed_waits_on_and_its_row_is_gone(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park()
    assert SecondLook.objects.count() == 1
    assert look_again() == 1
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("WAITING_FOR_EVENT", 0)


@pytest.mark.parametrize(
    ("name", "payload", "status"),
    [
        ("ping", {"seats": 9}, "RUNNING"),
        ("ping", {"seats": 2}, "WAITING_FOR_EVENT"),
        ("pong", {"seats": 9}, "WAITING_FOR_EVENT"),
    ],
)
def test_only_what_the_wait_asks_for_wakes(workspace, customer, name, payload, status):
    automation = waiting(workspace, "{id: w, type: wait_until, event: ping, filter: event.seats > 5}")
    happen(customer)
    route_all()
    park(ping(customer, payload, name))
    look_again()
    assert runs(automation)[0].status == status


def test_the_first_of_several_missed_events_wakes(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer), ping(customer), ping(customer))
    look_again()
    [run] = runs(automation)
    assert run.answer == {"event": Event.objects.filter(name="ping").earliest("pk").pk}


def test_another_customers_event_wakes_nobody(workspace, customer):
    automation = waiting(workspace)
    other = make_customer(workspace)
    happen(customer)
    route_all()
    park(ping(other))
    look_again()
    assert runs(automation)[0].status == "WAITING_FOR_EVENT"


def test_a_run_that_was_cancelled_meanwhile_stays_so(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    end_runs([runs(automation)[0].pk], reason="cancelled")
    look_again()
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("CANCELLED", 0)


def test_a_run_that_somebody_holds_is_looked_at_later(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).get(automation=automation)
        assert Racer(look_again).result() == 0
    assert SecondLook.objects.count() == 1
    assert look_again() == 1
    assert runs(automation)[0].status == "RUNNING"


def test_a_row_left_by_a_dead_worker_is_taken_by_any_other(workspace, customer):  # DESIGN 5.2
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))  # the worker dies here
    settle()
    assert runs(automation)[0].status == "COMPLETED"


def test_two_lookers_wake_a_run_once(workspace, customer):
    automation = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    racers = [Racer(look_again) for _ in range(3)]
    assert sum(racer.result() for racer in racers) >= 1
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("RUNNING", 0)


def test_many_runs_take_as_many_queries_as_one(workspace):
    waiting(workspace)
    counts = []
    for size in (1, 12):
        people = [make_customer(workspace) for _ in range(size)]
        for who in people:
            happen(who)
        route_all()
        park(lambda people=people: [ping(who)() for who in people])
        with CaptureQueriesContext(connection) as queries:
            assert look_again() == size
        counts.append(len(queries))
        settle()
    assert counts[1] <= counts[0] + 1  # the bell is rung once in 50 ms


# -- one look that raises --------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken_root(monkeypatch):
    """A root whose records of one customer cannot be read: a defect, as any root may have one. Answers who may not be read."""
    refused: set[int] = set()
    root = registry.roots["customer"]
    load = root.load

    def raising(ids):
        if refused & set(ids):
            raise ArithmeticError("a defect of the root")
        return load(ids)

    monkeypatch.setattr(root, "load", raising, raising=False)
    return refused


def missed_by(workspace, count=5):
    """Runs of so many customers, all parked on a wait that reads its customer, and each missed by its event."""
    step = "{id: w, type: wait_until, event: ping, filter: 'event.seats > 5 AND customer.country != \"XX\"'}"
    automation = waiting(workspace, step)
    people = [make_customer(workspace) for _ in range(count)]
    for who in people:
        happen(who)
    route_all()
    park(lambda: [ping(who, {"seats": 9})() for who in people])
    return automation, people


def test_a_wait_that_cannot_be_judged_fails_its_own_run_and_no_other(workspace, broken_root):  # ERR-11, DESIGN 5.2
    automation, people = missed_by(workspace)
    broken_root.add(people[2].pk)
    assert look_again() == 5
    broken_root.clear()
    assert SecondLook.objects.count() == 0
    settle()
    ends = {run.customer_id: (run.status, run.end_reason) for run in runs(automation)}
    assert ends.pop(people[2].pk) == ("FAILED", "failed")
    assert set(ends.values()) == {("COMPLETED", "stopped")}


def test_the_failed_wait_says_so_in_the_log_of_its_run(workspace, broken_root):  # EXE: nothing fails unseen
    automation, [who] = missed_by(workspace, 1)
    broken_root.add(who.pk)
    look_again()
    broken_root.clear()
    settle()
    [run] = runs(automation)
    assert (run.error["code"], run.error["step"]) == ("internal", "w")
    assert "could not be judged. ArithmeticError: a defect of the root" in run.error["message"]
    row = log_of(run)[-1]
    assert (row.step, row.seq, row.status) == ("w", 1, "failed")


def test_a_server_in_trouble_fails_nobody(workspace, broken_root, monkeypatch):  # RELIABILITY 7
    automation, _people = missed_by(workspace, 3)

    def full(*_):
        raise OperationalError("could not extend file: No space left on device")

    with monkeypatch.context() as trouble:
        trouble.setattr("automations.worker.second_look.wake.write_wakes", full)
        trouble.setattr("automations.worker.retrying.time.sleep", lambda seconds: None)
        with pytest.raises(OperationalError):
            look_again()
    assert SecondLook.objects.count() == 3
    settle()
    assert {run.status for run in runs(automation)} == {"COMPLETED"}


def test_a_run_that_went_on_meanwhile_is_not_failed_for_its_former_wait(workspace, broken_root, monkeypatch):
    automation, [who] = missed_by(workspace, 1)
    broken_root.add(who.pk)
    real = second_look._fail

    def later(look, message):
        Racer(lambda: SecondLook.objects.update(created_at=Now())).result()  # parked anew, on its next wait
        return real(look, message)

    monkeypatch.setattr(second_look, "_fail", later)
    assert look_again() == 0
    assert (runs(automation)[0].status, SecondLook.objects.count()) == ("WAITING_FOR_EVENT", 1)


def test_a_run_whose_version_cannot_be_compiled_here_keeps_its_row_and_holds_up_nobody(
    workspace, customer, monkeypatch
):
    kept = waiting(workspace)
    happen(customer)
    route_all()
    park(ping(customer))
    automation, _ = missed_by(workspace, 2)
    monkeypatch.setattr(second_look, "MOST", 1)
    with monkeypatch.context() as upgrade:
        upgrade.setattr("automations.worker.runs.plans_for", lambda ids: plans_for(set(ids) - {kept.active_version_id}))
        assert (look_again(), look_again(), look_again()) == (1, 1, 0)
        assert {look.run_id for look in SecondLook.objects.all()} == {run.pk for run in runs(kept)}
    assert [look_again() for _ in range(4)] == [1, 1, 1, 0]
    assert {run.status for run in (*runs(kept), *runs(automation))} == {"RUNNING"}


def test_a_late_look_does_not_wake_the_next_wait_by_an_event_of_the_one_before(workspace, customer):  # W1, DESIGN 5.2
    steps = "{id: w, type: wait_until, event: ping}, {id: again, type: wait_until, event: ping}"
    automation = on(workspace, "type: event, event: sign", steps=f"steps: [{steps}]")
    happen(customer)
    route_all()
    park()
    before, go_on = threading.Event(), threading.Event()

    def stops_before_the_shards(execute, sql, *rest):
        if "pg_advisory_xact_lock" in sql:
            before.set()
            assert go_on.wait(20)
        return execute(sql, *rest)

    def late_look():
        with connection.execute_wrapper(stops_before_the_shards):
            return look_again()

    looker = Racer(late_look)
    assert before.wait(20)
    ping(customer)()
    assert look_again() == 1  # wakes the run in time; it goes on to its next wait
    assert advance_batch() == 1
    go_on.set()
    assert looker.result() == 1
    [run] = runs(automation)
    assert (run.status, run.step) == ("WAITING_FOR_EVENT", "again")


def test_an_event_that_got_its_number_before_the_run_and_was_recorded_after_it_wakes(workspace, customer):  # W1
    """Its request gets its number and hangs before the commit; the run's own event, the next one, is recorded and routed meanwhile."""
    automation = waiting(workspace)
    numbered, hangs = threading.Event(), threading.Event()

    def request():
        with transaction.atomic():
            happen(customer, "ping")
            numbered.set()
            assert hangs.wait(60)
        route_all()

    late = Racer(request)
    assert numbered.wait(60)
    started = happen(customer)
    route_all()
    with transaction.atomic():
        assert advance_batch() or advance_batch()
        hangs.set()
        late.result()
    assert Event.objects.get(name="ping").pk < started
    look_again()
    settle()
    assert Run.objects.get(automation=automation).status == "COMPLETED"


class TestManyEvents:
    """What a customer did during a long hold may be more than is looked at in one go (W1, PAU-04)."""

    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch):
        monkeypatch.setattr(second_look, "EVENTS", 3)

    @pytest.mark.parametrize("place", [0, 2, 3, 5, 6, 7])
    def test_the_one_waited_for_wakes_wherever_it_stands(self, workspace, customer, place):
        automation = held(workspace, customer)
        for number in range(8):
            happen(customer, "ping", {"seats": 9 if number == place else 1})
        settle()
        assert resumed(workspace, automation).status == "COMPLETED"
        assert SecondLook.objects.count() == 0

    @pytest.mark.parametrize("count", [0, 2, 3, 6, 7])
    def test_where_none_was_waited_for_the_run_waits_on_and_the_row_goes(self, workspace, customer, count):
        automation = held(workspace, customer)
        for _ in range(count):
            happen(customer, "ping", {"seats": 1})
        settle()
        assert resumed(workspace, automation).status == "WAITING_FOR_EVENT"
        assert SecondLook.objects.count() == 0

    def test_events_of_a_merged_record_are_all_looked_at_as_well(self, workspace, customer):
        visitor = make_customer(workspace)
        automation = held(workspace, customer)
        for who in (visitor, customer):
            for _ in range(4):
                happen(who, "ping", {"seats": 1})
        happen(visitor, "ping", {"seats": 9})
        settle()
        merge_customers(actor=actor_of(workspace), source_id=visitor.pk, into_id=customer.pk)
        assert resumed(workspace, automation).status == "COMPLETED"

    def test_one_pass_looks_at_no_more_than_the_bound(self, workspace, customer):
        automation = held(workspace, customer)
        for _ in range(7):
            happen(customer, "ping", {"seats": 1})
        settle()
        resume_automation(actor=actor_of(workspace), automation_id=automation.pk, held="continue")
        assert [look_again() for _ in range(4)] == [1, 1, 1, 0]
