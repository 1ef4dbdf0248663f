"""Walking runs in the transaction of the router that starts or wakes them (DESIGN 5.1, 5.2): such a run is written once, as it is after
its turn, and need not be written as due, claimed and written again (PERFORMANCE W1, W3, W4).

It is the same walk as a claim makes. What a claim looks for is shown here by locks: the router holds the automations that may start
runs, so that no mark can come to cover a new one (`services/pause.py`). Left to a claim are

- a run whose steps change records: a claim locks their customers, and holds no shards;
- one that a mark covers, or that a worker died with;
- one that an event of a merged record starts: a router of the record that lives may have events for it, and cannot see it yet;
- all of a batch in which anything fails, for then nobody knows yet whose fault it is.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from automations.engine.run_state import RunState
from automations.services import run_rows
from automations.worker import bell, store
from automations.worker.advance import Size, context_of, walk_all, walks_of
from automations.worker.batch import LiveRun, Occurrence
from automations.worker.marks import covered
from automations.worker.since import settle_since


def may_walk(runs: Sequence[LiveRun], occurrences: Sequence[Occurrence]) -> list[LiveRun]:
    """Those of these new and woken runs that are walked at once: as many as a short transaction takes, or none."""
    moved = {item.facts.id for item in occurrences if item.moved}
    found = [run for run in runs if run.end_reason is None and run.event_id not in moved]
    found = [run for run in found if not run.lost and not run.plan.changes_records]
    marked = covered([run for run in found if run.woken_by is not None])
    found = [run for run in found if run.id not in marked]
    return found if len(found) <= Size.now else []


def walk(runs: Sequence[LiveRun], occurrences: Sequence[Occurrence], now: datetime) -> None:
    """Walk and write these runs in the caller's transaction, when their events have got their numbers: a wait that begins here counts
    from them (`since`). Whatever is wrong is raised."""
    if not runs:
        return
    started = time.monotonic()
    walks = walks_of([_state(run, now) for run in runs], now)
    walk_all(walks, context_of(walks, now, _triggers(runs, occurrences)))
    settle_since(walks)
    pairs = [(run, walk.run) for run, walk in zip(runs, walks, strict=True)]
    with connection.cursor() as cursor:
        run_rows.write_walked(cursor, [pair for pair in pairs if pair[0].woken_by is None])
        store.update_runs(cursor, [state for run, state in pairs if run.woken_by is not None])
        store.write_beside(cursor, walks)
    Size.learn(len(runs), time.monotonic() - started)
    if any(walk.effects or walk.run.parked_on is None for walk in walks):
        bell.ring()


def _triggers(runs: Sequence[LiveRun], occurrences: Sequence[Occurrence]) -> dict[int, Mapping[str, Any]]:
    """What the events say that start some of these runs: their first step need not read it again."""
    starting = {run.event_id for run in runs if run.woken_by is None}
    return {item.facts.id: item.facts.trigger for item in occurrences if item.facts.id in starting}


def _state(run: LiveRun, now: datetime) -> RunState:
    """As a claim would read it. From where on its waits count is told by its event alone, which has its number."""
    return RunState(
        id=run.id,
        workspace_id=run.workspace_id,
        automation_id=run.automation_id,
        version_id=run.version_id,
        event_id=run.event_id,
        customer_id=run.customer_id,
        subjects=run.subjects,
        started_at=run.started_at,
        step=run.step,
        due_at=now,
        seq=run.seq,
        attempt=run.attempt,
        entered_at=run.entered_at,
        state=json.loads(run.stored) if run.stored else {},
        answer=None if run.woken_by is None else {"event": run.woken_by},
        begun_by=run.event_id if run.woken_by is None else run.woken_by,
        steps_executed=run.steps_executed,
        claimed_seq=run.seq,
    )
