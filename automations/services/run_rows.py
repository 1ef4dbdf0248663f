"""Writing the rows of new runs: many by COPY, few and those that may be there by one statement."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection

from automations.engine import states
from automations.engine.run_state import RunState
from automations.engine.subjects import narrowest
from automations.services.bulk import FEW, copy_new
from automations.services.jsontext import dumps
from automations.worker.batch import LiveRun
from automations.worker.copying import NULL, arrays, field, json_field, json_or_null, moment

RUN_SUBJECTS = frozenset({"invoice", "subscription", "customer"})
_IDS = "select nextval('automations_run_id_seq') from generate_series(1, %s)"
_RUNS = """
insert into automations_run (id, workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects,
    mode, status, due_at, step, seq, attempt, started_at, end_reason, ended_at, goal_reached_at, steps_executed, lost)
select id, workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects, 'live', status,
    due_at, step, 0, 0, started_at, end_reason, ended_at, goal_reached_at, 0, 0
from unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[],
    %s::jsonb[], %s::text[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::text[], %s::timestamptz[], %s::timestamptz[])
    v (id, workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects, status, due_at, step,
    started_at, end_reason, ended_at, goal_reached_at)
on conflict (workspace_id, automation_id, event_id, subject_kind, subject_id, mode) do nothing
returning id
"""
_COPY = """
copy automations_run (id, workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects, status,
    due_at, step, started_at, end_reason, ended_at, goal_reached_at, mode, seq, attempt, steps_executed, lost) from stdin
"""
_COPY_WALKED = """
copy automations_run (id, workspace_id, automation_id, version_id, event_id, customer_id, subject_kind, subject_id, subjects, started_at,
    goal_reached_at, status, parked_on, due_at, step, seq, attempt, entered_at, state, wait_name, wait_key, wait_since, end_reason, error,
    ended_at, steps_executed, mode, lost) from stdin
"""


def new_ids(cursor: Any, count: int) -> list[int]:
    """Ids for so many runs, ascending."""
    cursor.execute(_IDS, [count])
    return [row[0] for row in cursor.fetchall()]


def write(cursor: Any, runs: Sequence[LiveRun], now: datetime) -> list[int]:
    """Write those that are not there yet, in the caller's transaction, and answer their ids: an event that started its run before
    starts none again (E3)."""
    rows = [_row(run, now) for run in runs]
    if len(rows) > FEW and copy_new(cursor, "run_once_per_event", (_COPY, "".join([_line(row) for row in rows]))):
        return [run.id for run in runs]
    cursor.execute(_RUNS, arrays(rows))
    return [row[0] for row in cursor.fetchall()]


def write_walked(cursor: Any, runs: Sequence[tuple[LiveRun, RunState]]) -> None:
    """Write runs that have been walked before they had a row. Raises `IntegrityError` when one is there: the caller's transaction is
    lost, and with it what they did."""
    if not runs:
        return
    with connection.wrap_database_errors, cursor.copy(_COPY_WALKED) as copy:
        copy.write("".join([_walked_line(run, state) for run, state in runs]))


def _walked_line(run: LiveRun, state: RunState) -> str:
    kind, id = narrowest(run.subjects, RUN_SUBJECTS)
    return (
        f"{run.id}\t{run.workspace_id}\t{run.automation_id}\t{run.version_id}\t{run.event_id}\t"
        f"{NULL if run.customer_id is None else run.customer_id}\t{kind}\t{id}\t{json_field(dumps(run.subjects))}\t"
        f"{moment(run.started_at)}\t{_time(run.goal_reached_at)}\t{state.status}\t{field(state.parked_on)}\t{_time(state.due_at)}\t"
        f"{field(state.step)}\t{state.seq}\t{state.attempt}\t{_time(state.entered_at)}\t{json_or_null(state.state)}\t"
        f"{field(state.wait_name)}\t{field(state.wait_key)}\t{NULL if state.wait_since is None else state.wait_since}\t"
        f"{field(state.end_reason)}\t{json_or_null(state.error)}\t{_time(state.ended_at)}\t{state.steps_executed}\tlive\t0\n"
    )


def _row(run: LiveRun, now: datetime) -> tuple[Any, ...]:
    ended = run.end_reason is not None
    kind, id = narrowest(run.subjects, RUN_SUBJECTS)
    return (
        run.id,
        run.workspace_id,
        run.automation_id,
        run.version_id,
        run.event_id,
        run.customer_id,
        kind,
        id,
        dumps(run.subjects),
        states.CANCELLED if ended else states.RUNNING,
        None if ended else now,
        run.step,
        run.started_at,
        run.end_reason,
        now if ended else None,
        run.goal_reached_at,
    )


def _line(row: tuple[Any, ...]) -> str:
    """A row for COPY."""
    (
        id, workspace, automation, version, event, customer, kind, subject, subjects, status, due, step, started, reason, ended, goal,
    ) = row  # fmt: skip
    return (
        f"{id}\t{workspace}\t{automation}\t{version}\t{event}\t{NULL if customer is None else customer}\t{kind}\t{subject}\t"
        f"{json_field(subjects)}\t{status}\t{_time(due)}\t{field(step)}\t{moment(started)}\t{field(reason)}\t{_time(ended)}\t"
        f"{_time(goal)}\tlive\t0\t0\t0\t0\n"
    )


def _time(at: datetime | None) -> str:
    return NULL if at is None else moment(at)
