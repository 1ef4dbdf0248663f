"""A pass made by command releases the runs that rest until the next point of the grid, and looks at no other timer (CRN-03, C-07)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.clock import evaluation_now, set_clock
from accounts.models import Installation, Workspace
from automations.models import Automation, Run
from automations.worker import loop
from automations.worker.loop import release_ticks
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.racing import Racer
from tests.worker.routing import on

pytestmark = pytest.mark.django_db(transaction=True)
TAGS = "steps: [{type: action, action: add_tag, tag: one}, {type: action, action: add_tag, tag: two}, {type: stop}]"


@pytest.fixture
def resting(settings: Any) -> Iterator[Automation]:
    """Three runs that rest between two steps, and one that a delay keeps."""
    settings.ONWARD_ALLOW_CLOCK = True
    workspace = make_workspace()
    automation = on(workspace, "type: event, event: sign", "settings: {pacing: tick}", TAGS)
    on(workspace, "type: event, event: wait", steps="steps: [{type: delay, duration: 2m}]")
    for name in ("sign", "sign", "sign", "wait"):
        happen(make_customer(workspace), name)
    settle()
    yield automation
    Installation.objects.update(clock_offset=timedelta())


def due(automation: Automation) -> int:
    return Run.objects.filter(automation=automation, due_at__lte=evaluation_now()).count()


def test_what_rests_is_released_and_a_timer_is_not(resting: Automation) -> None:
    assert due(resting) == 0
    assert release_ticks() == 3
    assert due(resting) == 3
    [timer] = Run.objects.filter(parked_on="timer")
    assert timer.due_at is not None
    assert timer.due_at > evaluation_now()
    assert release_ticks() == 0


@pytest.mark.parametrize("minutes", [1, 7, 60])
def test_however_long_the_interval(resting: Automation, settings: Any, minutes: int) -> None:  # CRN-01
    """The interval is read when a run is put to rest and when it is released."""
    settings.ONWARD_PASS_MINUTES = minutes
    set_clock("+6m")
    settle()
    assert release_ticks() == Run.objects.filter(automation=resting, ended_at__isnull=True).count() == 3


def test_a_run_that_somebody_holds_is_not_waited_for(resting: Automation) -> None:
    with transaction.atomic():
        Run.objects.select_for_update(no_key=True).filter(automation=resting).earliest("pk")
        assert Racer(release_ticks).result() == 2


_LATER = """
INSERT INTO automations_run (SELECT (jsonb_populate_record(r, jsonb_build_object('id', 900000 + n, 'event_id', 900000 + n,
    'due_at', onward_now() + n * interval '1 hour'))).* FROM automations_run r, generate_series(1, 10000) n WHERE r.parked_on = 'timer')
"""


@pytest.mark.parametrize("empty_when_analysed", [False, True])
def test_it_reads_a_stretch_of_one_index_and_not_the_timers_of_years(
    resting: Automation, empty_when_analysed: bool
) -> None:
    """Ten thousand timers of later days stand in the same index; none of them is touched."""
    with connection.cursor() as cursor:
        cursor.execute(_LATER)
        if empty_when_analysed:
            _analyse_as_empty(cursor)
        else:
            cursor.execute("ANALYZE automations_run")
        with transaction.atomic():
            loop.switch(cursor, loop._SWITCHES, "off")
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON, COSTS OFF) {loop._RELEASE}", [5])
            [plan] = cursor.fetchone()[0]
    nodes = list(walked(plan["Plan"]))
    [inner] = [node for node in nodes if node.get("Index Name") == "run_due"]
    assert all(part in inner["Index Cond"] for part in ("workspace_id", "due_at >", "due_at <="))
    assert round(inner["Actual Rows"] * inner["Actual Loops"]) <= 3
    [found] = [node for node in nodes if node.get("Parent Relationship") == "InitPlan"]
    assert found["Actual Loops"] == 1  # and not once for each run, as the planner may do with `IN`
    assert inner["Rows Removed by Filter"] <= 1
    assert {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"} <= {"accounts_workspace"}


def _analyse_as_empty(cursor: Any) -> None:
    """The statistics of a moment in which there were no runs, which the planner multiplies by whatever has been added since."""
    with transaction.atomic():
        cursor.execute("CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM automations_run")
        cursor.execute("DELETE FROM automations_run")
        cursor.execute("ANALYZE automations_run")
        cursor.execute("INSERT INTO automations_run SELECT * FROM kept")
    Workspace.objects.bulk_create([Workspace(name="another", slug=f"another-{n}") for n in range(300)])
    cursor.execute("ANALYZE accounts_workspace")


def walked(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from walked(child)
