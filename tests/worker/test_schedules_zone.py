"""Schedules of a workspace whose time zone is changed, from the change to the runs (TRG-16 to 18, PAU-09; DESIGN 5.4, 5.5)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F

from accounts.clock import set_clock
from accounts.models import Installation, Workspace
from accounts.services.workspaces import update_workspace
from automations.models import Automation, Event
from automations.services.pause import pause_automation, resume_automation
from automations.services.rezoning import move_fire_times
from automations.worker import schedules
from automations.worker.schedules import fire_schedules
from tests.factories import actor_of, make_workspace
from tests.worker.living import settle
from tests.worker.racing import Racer, until_a_row_is_waited_for
from tests.worker.routing import on, runs

pytestmark = pytest.mark.django_db(transaction=True)
STOP = "steps: [{type: stop}]"
DAILY = "type: schedule, cron: '0 9 * * *'"


@pytest.fixture
def workspace(settings: Any) -> Iterator[Workspace]:
    settings.ONWARD_ALLOW_CLOCK = True
    yield make_workspace(time_zone="Europe/Berlin")
    Installation.objects.update(clock_offset=timedelta())


def at(*parts: int) -> None:
    set_clock(utc(*parts).isoformat())


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]  # year to minute, as written


def next_of(automation: Automation) -> datetime | None:
    return Automation.objects.get(pk=automation.pk).next_fire_at


def rezone(workspace: Workspace, zone: str) -> None:
    update_workspace(actor=actor_of(workspace), changes={"time_zone": zone})


def fired(automation: Automation) -> list[str]:
    """Local days and times for which it fired."""
    rows = Event.objects.filter(only_automation=automation.pk).order_by("pk")
    return [row.key.split("@")[1] for row in rows]


def test_the_next_time_moves_with_the_zone(workspace: Workspace) -> None:  # TRG-16
    at(2027, 5, 3, 8)
    automation = on(workspace, DAILY, steps=STOP)
    own = on(workspace, DAILY + ", timeZone: Asia/Tokyo", steps=STOP)
    other = on(make_workspace(time_zone="Europe/Berlin"), DAILY, steps=STOP)
    rezone(workspace, "America/New_York")
    assert next_of(automation) == utc(2027, 5, 4, 13)
    assert (next_of(own), next_of(other)) == (utc(2027, 5, 4, 0), utc(2027, 5, 4, 7))
    at(2027, 5, 4, 12, 59)
    settle()
    assert runs(automation) == []
    at(2027, 5, 4, 13)
    settle()
    assert (len(runs(automation)), fired(automation)) == (1, ["2027-05-04T09:00"])


def test_west_after_this_mornings_no_second_one_the_same_day(workspace: Workspace) -> None:
    at(2027, 5, 3, 6)
    automation = on(workspace, DAILY, steps=STOP)
    at(2027, 5, 3, 8)
    settle()
    rezone(workspace, "America/New_York")  # where it is 04:00
    for hour in (14, 22):
        at(2027, 5, 3, hour)
        settle()
    at(2027, 5, 4, 13)
    settle()
    assert fired(automation) == ["2027-05-03T09:00", "2027-05-04T09:00"]


def test_east_before_this_mornings_it_fires_at_once_and_once(workspace: Workspace) -> None:  # TRG-18
    at(2027, 5, 3, 6)
    rezone(workspace, "America/New_York")
    automation = on(workspace, DAILY, steps=STOP)
    at(2027, 5, 3, 12)  # 08:00 there, 14:00 in Berlin
    settle()
    assert runs(automation) == []
    rezone(workspace, "Europe/Berlin")
    settle()
    assert fired(automation) == ["2027-05-03T09:00"]
    assert next_of(automation) == utc(2027, 5, 4, 7)


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "UTC"])
def test_a_time_that_was_missed_before_the_change_fires_exactly_once(workspace: Workspace, zone: str) -> None:
    # TRG-18
    at(2027, 5, 3, 6)
    automation = on(workspace, DAILY, steps=STOP)
    at(2027, 5, 3, 8)  # 10:00 in Berlin, and nobody worked
    rezone(workspace, zone)
    for hour in range(8, 24, 2):
        at(2027, 5, 3, hour)
        settle()
        assert fired(automation)[:1] in ([], ["2027-05-03T09:00"])
    days = fired(automation)
    assert len(days) == len(set(days))
    assert days.count("2027-05-03T09:00") == len(runs(automation)) - ("2027-05-04T09:00" in days) == 1


def test_the_change_and_the_end_of_summer_time_on_one_day(workspace: Workspace) -> None:  # P6
    at(2027, 10, 30, 12)
    automation = on(workspace, "type: schedule, cron: '30 2 * * *'", steps=STOP)
    rezone(workspace, "Europe/London")  # 01:30 comes twice there, 02:30 once
    assert next_of(automation) == utc(2027, 10, 31, 2, 30)
    rezone(workspace, "Europe/Berlin")
    assert next_of(automation) == utc(2027, 10, 31, 0, 30)
    for hour in (0, 1, 2, 3):
        at(2027, 10, 31, hour, 31)
        settle()
    assert fired(automation) == ["2027-10-31T02:30"]


def test_what_fired_before_a_pause_does_not_fire_again_after_it(workspace: Workspace) -> None:  # PAU-09
    at(2027, 5, 3, 6)
    automation = on(workspace, DAILY, steps=STOP)
    at(2027, 5, 3, 8)
    settle()
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
    rezone(workspace, "America/New_York")
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk)
    assert next_of(automation) == utc(2027, 5, 4, 13)


def test_the_change_is_undone_with_what_follows_from_it(workspace: Workspace) -> None:
    at(2027, 5, 3, 8)
    automation = on(workspace, DAILY, steps=STOP)
    with transaction.atomic():
        rezone(workspace, "Asia/Tokyo")
        assert next_of(automation) == utc(2027, 5, 4, 0)
        transaction.set_rollback(True)
    workspace.refresh_from_db()
    assert (workspace.time_zone, next_of(automation)) == ("Europe/Berlin", utc(2027, 5, 4, 7))


def test_the_same_zone_again_changes_nothing(workspace: Workspace) -> None:
    at(2027, 5, 3, 8)
    automation = on(workspace, DAILY, steps=STOP)
    Automation.objects.filter(pk=automation.pk).update(next_fire_at=utc(2027, 5, 9, 9))
    update_workspace(actor=actor_of(workspace), changes={"time_zone": "Europe/Berlin", "name": "Anew"})
    assert next_of(automation) == utc(2027, 5, 9, 9)


def test_a_schedule_that_cannot_be_moved_keeps_its_time_and_no_other_from_moving(
    workspace: Workspace, caplog: Any
) -> None:
    at(2027, 5, 3, 8)
    odd, good = on(workspace, DAILY, steps=STOP), on(workspace, DAILY, steps=STOP)
    with transaction.atomic(), connection.cursor() as cursor:  # by hand, past the guard of activated versions
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            "UPDATE automations_version SET definition = jsonb_set(definition, '{trigger}', "
            """'{"type": "schedule", "interval": "never", "at": "09:00"}') WHERE id = %s""",
            [odd.active_version_id],
        )
    rezone(workspace, "Asia/Tokyo")
    assert f"auto_{odd.pk} keeps its time" in caplog.text
    assert (next_of(odd), next_of(good)) == (utc(2027, 5, 4, 7), utc(2027, 5, 4, 0))


def test_a_schedule_that_fires_at_this_moment_is_waited_for_and_moves_then(workspace: Workspace) -> None:
    """The one who fires has read the former zone; what it writes is moved after it, not before."""
    at(2027, 5, 3, 6)
    automation = on(workspace, DAILY, steps=STOP)
    at(2027, 5, 3, 8)
    with transaction.atomic():
        assert fire_schedules() == 1  # holds the row, next time by the zone of Berlin
        racer = Racer(lambda: rezone(workspace, "America/New_York"))
        until_a_row_is_waited_for(racer)
    racer.result()
    assert next_of(automation) == utc(2027, 5, 4, 13)


def test_the_zone_is_read_when_the_schedule_is_locked(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that commits between the look for what is due and the lock must not leave a time of the former zone."""
    at(2027, 5, 3, 6)
    automation = on(workspace, DAILY, steps=STOP)
    on(workspace, DAILY + ", timeZone: Europe/Berlin", steps=STOP)
    at(2027, 5, 3, 8)
    real = schedules.plans_for

    def meanwhile(ids: Any) -> Any:
        Racer(lambda: Workspace.objects.filter(pk=workspace.pk).update(time_zone="Asia/Tokyo")).result()
        return real(ids)

    monkeypatch.setattr(schedules, "plans_for", meanwhile)
    assert fire_schedules() == 2
    assert next_of(automation) == utc(2027, 5, 4, 0)


def test_many_schedules_take_as_many_queries_as_one(workspace: Workspace, django_assert_num_queries: Any) -> None:
    at(2027, 5, 3, 8)
    on(workspace, DAILY, steps=STOP)
    for count in (1, 4):
        for _ in range(count - 1):
            on(workspace, DAILY, steps=STOP)
        Automation.objects.update(next_fire_at=F("next_fire_at") + timedelta(hours=1))
        with transaction.atomic(), django_assert_num_queries(5):
            assert move_fire_times(workspace.pk, "Asia/Tokyo") == count
