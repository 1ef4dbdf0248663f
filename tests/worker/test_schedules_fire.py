"""Firing schedules (TRG-02, TRG-15 to 18, RELIABILITY 11)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now, set_clock
from accounts.models import Installation
from automations.models import Automation, Event
from automations.services.pause import pause_automation, resume_automation
from automations.worker.schedules import fire_schedules
from tests.billing.helpers import make_invoice
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import settle
from tests.worker.racing import together
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace(settings):
    settings.ONWARD_ALLOW_CLOCK = True
    found = make_workspace(time_zone="Europe/Berlin")
    yield found
    Installation.objects.update(clock_offset=timedelta())


def at(moment: datetime) -> None:
    """Set the clock; the past is allowed while nothing runs."""
    set_clock(moment.isoformat())


def next_of(automation) -> datetime:
    return Automation.objects.get(pk=automation.pk).next_fire_at


def test_an_interval_fires_at_each_mark(workspace):  # TRG-02, TRG-15
    automation = on(workspace, "type: schedule, interval: 24h", steps="steps: [{type: stop}]")
    first = next_of(automation)
    assert timedelta(hours=23, minutes=59) < first - evaluation_now() <= timedelta(hours=24)
    settle()
    assert runs(automation) == []
    for count in (1, 2):
        set_clock("+24h")
        settle()
        assert len(runs(automation)) == count
    event = Event.objects.filter(name="schedule").earliest("pk")
    assert (event.source, event.origin, event.only_automation, event.occurred_at) == (
        "schedule",
        "schedule",
        automation.pk,
        first,
    )
    assert [(run.status, run.customer_id, run.subject_kind) for run in runs(automation)] == [
        ("COMPLETED", None, "none")
    ] * 2


def test_a_schedule_that_was_missed_fires_once_and_next_in_the_future(workspace):  # TRG-18
    automation = on(workspace, "type: schedule, interval: 24h", steps="steps: [{type: stop}]")
    set_clock("+3d5h")
    settle()
    assert len(runs(automation)) == 1
    assert timedelta() < next_of(automation) - evaluation_now() <= timedelta(hours=19)


def test_a_cron_fires_at_the_local_time_across_a_clock_change(workspace):  # TRG-16
    at(datetime(2027, 10, 24, 12, tzinfo=UTC))
    automation = on(workspace, "type: schedule, cron: '0 9 * * 1'", steps="steps: [{type: stop}]")
    assert next_of(automation) == datetime(2027, 10, 25, 7, tzinfo=UTC)
    for moment in (datetime(2027, 10, 25, 7, tzinfo=UTC), datetime(2027, 11, 1, 8, tzinfo=UTC)):
        at(moment)
        settle()
    keys = list(Event.objects.filter(name="schedule").order_by("pk").values_list("key", flat=True))
    assert keys == [f"auto_{automation.pk}@2027-10-25T09:00", f"auto_{automation.pk}@2027-11-01T09:00"]
    assert len(runs(automation)) == 2


def test_the_first_day_of_the_month_fires_once(workspace):  # TRG-17
    at(datetime(2028, 1, 30, 12, tzinfo=UTC))
    automation = on(workspace, "type: schedule, calendar: first day of month", steps="steps: [{type: stop}]")
    for day in (31, 32, 33):
        at(datetime(2028, 1, 1, 12, tzinfo=UTC) + timedelta(days=day - 1))
        settle()
    [run] = runs(automation)
    assert Event.objects.get(pk=run.event_id).occurred_at == datetime(2028, 2, 1, 8, tzinfo=UTC)


def test_for_each_starts_one_run_per_record_that_fits(workspace):  # DESIGN 5.1, Schedules
    rich, poor = make_customer(workspace, country="DE"), make_customer(workspace, country="US")
    large, _small, _foreign = (
        make_invoice(rich, "900.00"),
        make_invoice(rich, "9.00"),
        make_invoice(poor, "900.00"),
    )
    where = 'invoice.total > 100 AND customer.country == "DE"'
    automation = on(workspace, f"type: schedule, interval: 24h, forEach: {{query: invoices, where: '{where}'}}")
    set_clock("+24h")
    settle()
    [run] = runs(automation)
    assert run.subjects == {"customer": rich.pk, "invoice": large.pk}
    assert Event.objects.get(pk=run.event_id).key.endswith(f"#inv_{large.pk}")


def test_one_record_has_a_re_entry_key_of_its_own(workspace):
    customers = [make_customer(workspace) for _ in range(3)]
    automation = on(
        workspace, "type: schedule, interval: 24h, forEach: {query: customers}", "settings: {reentry: one_at_a_time}"
    )
    for _ in range(2):
        set_clock("+24h")
        fire_schedules()
        route_all()
    assert sorted(run.customer_id for run in runs(automation)) == [customer.pk for customer in customers]


def test_what_fell_into_a_pause_is_not_made_up_for(workspace):  # PAU-09
    automation = on(workspace, "type: schedule, interval: 24h", steps="steps: [{type: stop}]")
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
    set_clock("+36h")
    settle()
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk)
    settle()
    assert runs(automation) == []
    assert timedelta(hours=11) < next_of(automation) - evaluation_now() <= timedelta(hours=12)
    set_clock("+12h")
    settle()
    assert len(runs(automation)) == 1


def test_two_moments_of_one_local_time_are_two_fires(workspace):
    at(datetime(2027, 5, 3, 6, 30, tzinfo=UTC))
    automation = on(workspace, "type: schedule, cron: '0 * * * *'", steps="steps: [{type: stop}]")
    at(datetime(2027, 5, 3, 7, 0, 1, tzinfo=UTC))  # 09:00 in Berlin
    settle()
    workspace.time_zone = "Europe/London"
    workspace.save()
    at(datetime(2027, 5, 3, 8, 0, 1, tzinfo=UTC))  # 09:00 in London
    settle()
    keys = [event.key for event in Event.objects.filter(name="schedule").order_by("pk")]
    assert keys == [
        f"auto_{automation.pk}@2027-05-03T09:00",
        f"auto_{automation.pk}@2027-05-03T09:00(2027-05-03T08:00:00.000Z)",
    ]
    assert len(runs(automation)) == 2


def test_a_schedule_that_cannot_be_fired_keeps_no_other_from_its_time(workspace, monkeypatch, caplog):
    bad = on(workspace, "type: schedule, interval: 1h, forEach: {query: customers}")
    good = on(workspace, "type: schedule, interval: 1h", steps="steps: [{type: stop}]")
    make_customer(workspace)

    def broken(*_: object) -> None:
        raise TypeError("a defect")

    monkeypatch.setattr("automations.worker.schedules.matching", broken)
    set_clock("+1h")
    assert fire_schedules() == 2
    assert fire_schedules() == 0
    assert "could not be fired" in caplog.text
    route_all()
    assert (len(runs(bad)), len(runs(good))) == (0, 1)
    assert next_of(bad) > evaluation_now()


def test_a_condition_that_cannot_be_worked_out_passes_over_its_record_alone(workspace, caplog):
    short, long = (
        make_customer(workspace, metadata={"note": "x"}),
        make_customer(workspace, metadata={"note": "x" * 500}),
    )
    pieces = ", ".join(["customer.metadata.note"] * 40)
    where = f"[{pieces}] | join | replace('x', '{60 * 'x'}') contains 'x'"
    automation = on(workspace, f'type: schedule, interval: 24h, forEach: {{query: customers, where: "{where}"}}')
    set_clock("+24h")
    fire_schedules()
    route_all()
    assert [run.customer_id for run in runs(automation)] == [short.pk]
    assert f"'customer': {long.pk}" in caplog.text


def test_three_schedulers_fire_each_schedule_once(workspace):  # RELIABILITY 11
    automations = [on(workspace, "type: schedule, interval: 24h", steps="steps: [{type: stop}]") for _ in range(8)]
    set_clock("+24h")
    fired = together(fire_schedules, fire_schedules, fire_schedules)
    assert sum(fired) == 8
    settle()
    assert [len(runs(automation)) for automation in automations] == [1] * 8


def test_firing_takes_no_more_queries_for_many_records(workspace):  # "nothing per event or run"
    for _ in range(40):
        make_customer(workspace)
    where = 'customer.country != "US"'
    on(workspace, f"type: schedule, interval: 24h, forEach: {{query: customers, where: '{where}'}}")
    counts = []
    for extra in (0, 30):
        for _ in range(extra):
            make_customer(workspace)
        set_clock("+24h")
        with CaptureQueriesContext(connection) as queries:
            assert fire_schedules() == 1
        counts.append(len(queries))
    assert counts[1] <= counts[0] + 1  # the bell is rung once in 50 ms
