"""Many timers of one workspace fall due at one moment: each fires once, and a neighbour waits for one batch at most (RELIABILITY 15).

`python -m tests.isolation.storm --timers 1000000` is the long form, with the web beside it. 100,000 against one stand in `test_advance`.
"""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.clock import set_clock
from automations.models import Automation, Run, StepLog
from automations.worker import advance, claim
from tests.factories import make_customer, make_workspace
from tests.isolation.storm import _p95
from tests.worker.living import happen, live, settle, the_run
from tests.worker.test_advance import copy_run

pytestmark = pytest.mark.django_db(transaction=True)
REST = "steps:\n- {id: rest, type: delay, duration: 1d}\n"
CROWD, BATCH = 1_200, 500


@pytest.fixture
def crowd() -> Automation:
    """Runs that rest, many times as many as a batch takes."""
    automation = live(make_workspace(), REST)
    happen(make_customer(automation.workspace))
    settle()
    copy_run(the_run(automation), CROWD - 1)
    return automation


@pytest.fixture
def quiet() -> Automation:
    """One run in another workspace, begun later than all of the crowd's."""
    automation = live(make_workspace(), REST)
    happen(make_customer(automation.workspace))
    settle()
    return automation


def fall_due() -> None:
    set_clock("+25h")
    claim.due_workspaces.forget()


def test_each_fires_once_and_the_neighbour_is_in_the_first_batch(crowd: Automation, quiet: Automation) -> None:
    fall_due()
    advance.advance_batch(BATCH)
    assert the_run(quiet).status == "COMPLETED"
    while advance.advance_batch(BATCH):
        pass
    assert Run.objects.filter(automation=crowd, status="COMPLETED").count() == CROWD
    runs = set(Run.objects.filter(automation=crowd).values_list("pk", flat=True))
    rows = list(StepLog.objects.filter(run_id__in=runs, step="rest").values_list("run_id", flat=True))
    assert sorted(rows) == sorted(runs)


def test_oldest_first_without_turns_would_make_it_wait(
    crowd: Automation, quiet: Automation, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE automations_run SET due_at = due_at + interval '1 minute' WHERE id = %s", [the_run(quiet).pk]
        )
    everybody = f"""
        SELECT {claim._COLUMNS} FROM automations_run WHERE workspace_id = ANY(%s) AND due_at <= onward_now() AND lost = 0
        AND version_id <> ALL(%s) ORDER BY due_at LIMIT 2 * %s FOR UPDATE SKIP LOCKED
    """
    monkeypatch.setattr(claim, "_CLAIM", everybody)
    fall_due()
    advance.advance_batch(BATCH)
    assert the_run(quiet).status == "RUNNING"


def test_the_percentile_is_one() -> None:
    assert _p95([0.01] * 100) == 0.01
    assert _p95([0.01] * 90 + [1.0] * 10) == 1.0
