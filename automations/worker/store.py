"""Writing what a batch of walks came to: logs and deliveries by COPY, run rows by one UPDATE (DESIGN 5.2)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from django.db import connection

from accounts.models import Installation
from automations.engine import states
from automations.engine.run_state import Effect, Record, RunState
from automations.engine.walk import Walk
from automations.services.cancel import cancel_queued
from automations.services.events import IDS_UNDER_WAY
from automations.services.jsontext import plain_text as dumps
from automations.services.jsontext import plain_text_or_none as dumps_or_none
from automations.worker.answers import encode, error_of
from automations.worker.copying import NULL, arrays, field, json_field, json_or_null, moment
from automations.worker.envelopes import envelope_json
from automations.worker.planner import without
from automations.worker.policy import settled_state
from automations.worker.since import settle_since

_LOG_COLUMNS = (
    "run_id, seq, attempt, workspace_id, step, type, status, port, started_at, ended_at, input, output, error, warnings, "
    "iteration, flags"
)
_DELIVERY_COLUMNS = (
    'workspace_id, run_id, visit, effect, key, automation_id, step, action, kind, state, customer_id, "to", subject, envelope, '
    "customer_mail, money, waits, retries, retry_delay, backoff, exact_waits, due_at, created_at, outcome, error"
)
# Without the switches the planner reads the whole run table for the join (PERFORMANCE, "What the design adds").
_SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
_UPDATE = """
UPDATE automations_run r SET status = u.status, parked_on = u.parked_on, due_at = u.due_at, step = u.step, seq = u.seq,
    attempt = u.attempt, entered_at = u.entered_at, state = u.state::jsonb, answer = NULL, wait_name = u.wait_name,
    wait_key = u.wait_key, wait_since = u.wait_since, end_reason = u.end_reason, error = u.error::jsonb, ended_at = u.ended_at,
    steps_executed = u.steps_executed, lost = 0
FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::int[], %s::int[],
    %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::timestamptz[], %s::int[])
    AS u(id, claimed, status, parked_on, due_at, step, seq, attempt, entered_at, state, wait_name, wait_key, wait_since, end_reason,
         error, ended_at, steps_executed)
WHERE r.id = u.id AND r.seq = u.claimed
"""


class LostRun(RuntimeError):
    """A run row was not where its walk had found it; the batch is rolled back."""


def write(walks: Sequence[Walk]) -> None:
    """Write everything of these walks; the caller's transaction commits it or nothing."""
    settle_since(walks)
    with connection.cursor() as cursor:
        update_runs(cursor, [walk.run for walk in walks])
        write_beside(cursor, walks)


def write_beside(cursor: Any, walks: Sequence[Walk]) -> None:
    """The same without the rows of the runs, which are written already."""
    if walks:
        _copy_log(cursor, walks)
        effects = [effect for walk in walks for effect in walk.effects]
        if effects:
            _copy_deliveries(cursor, effects, walks[0].now)
        runs = [walk.run for walk in walks]
        _add_tallies(cursor, walks)
        _second_looks(cursor, runs)
        _keep_items(cursor, runs)
        _after_ends(cursor, walks)


def _copy_log(cursor: Any, walks: Sequence[Walk]) -> None:
    lines = [_log_line(row, walk.run.workspace_id) for walk in walks for row in walk.rows]
    with cursor.copy(f"COPY automations_step_log ({_LOG_COLUMNS}) FROM STDIN") as copy:
        copy.write("".join(lines))


def _log_line(row: Record, workspace: int) -> str:
    """One row for COPY; there are more of these than of all others together."""
    ended = moment(row.ended_at)
    started = ended if row.started_at is row.ended_at else moment(row.started_at)
    return (
        f"{row.run_id}\t{row.seq}\t{row.attempt}\t{workspace}\t{_names(row.step, row.type, row.status, row.port)}\t"
        f"{started}\t{ended}\t{json_or_null(row.input)}\t{json_or_null(row.output)}\t"
        f"{json_or_null(row.error)}\t{json_or_null(row.warnings)}\t"
        f"{row.iteration or NULL}\t{row.flags}\n"
    )


@lru_cache(maxsize=4096)
def _names(*words: str | None) -> str:
    """Names of steps, kinds, states and ports as COPY takes them: the same few over and over."""
    return "\t".join([field(word) for word in words])


def _copy_deliveries(cursor: Any, effects: Iterable[Effect], now: datetime) -> None:
    at = moment(now)
    lines = [_delivery_line(effect, at) for effect in effects]  # before the COPY: no statement may run within it
    with cursor.copy(f"COPY automations_delivery ({_DELIVERY_COLUMNS}) FROM STDIN") as copy:
        copy.write("".join(lines))


def delivery_key(run_id: int, visit: int, number: int) -> str:
    """`<instance>.exec_456.4.0`: a function of installation, run, visit and effect only, never of the attempt (INVARIANTS O2)."""
    return f"{instance()}.exec_{run_id}.{visit}.{number}"


_instance = ""


def instance() -> str:
    """The installation's random instance text, which never changes; read once per process."""
    global _instance
    if not _instance:
        _instance = Installation.objects.values_list("instance", flat=True).get()
    return _instance


def _retries(effect: Effect) -> int:
    """How often it is tried again. A fallback whose outcome the run awaits is repeated only by a setting of its own (ERR-08); a
    mail that nobody waits for is the mail job's to repeat (EML-14)."""
    node, envelope = effect.node, effect.envelope
    if node.policy:
        return node.policy.retries
    return 0 if node.fallback and effect.waits else envelope.retries


def _delivery_line(effect: Effect, now: str) -> str:
    """One row for COPY. What no claim has touched yet has its default."""
    run, envelope, node, policy = effect.run, effect.envelope, effect.node, effect.node.policy
    customer = envelope.subjects.get("customer", run.customer_id)
    wait, factor = (policy.delay.seconds, policy.backoff) if policy else (envelope.retry_delay, envelope.backoff)
    verdict = envelope.verdict
    state, due, outcome, error = "QUEUED", now, NULL, NULL
    if verdict is not None:
        state, due, outcome, error = (
            settled_state(verdict),
            NULL,
            json_or_null(encode(verdict)),
            json_or_null(error_of(verdict)),
        )
    return (
        f"{run.workspace_id}\t{run.id}\t{effect.visit}\t{effect.number}\t{delivery_key(run.id, effect.visit, effect.number)}\t"
        f"{run.automation_id}\t{_names(node.id, node.kind.key, envelope.kind, state)}\t{NULL if customer is None else customer}\t"
        f"{field(envelope.to)}\t{field(envelope.subject)}\t{json_field(envelope_json(envelope))}\t"
        f"{envelope.customer_mail}\t{envelope.money}\t{effect.waits}\t{_retries(effect)}\t{wait}\t{factor}\t{policy is not None}\t"
        f"{due}\t{now}\t{outcome}\t{error}\n"
    )


def update_runs(cursor: Any, runs: Sequence[RunState]) -> None:
    """The rows of runs that were read and locked in this transaction. Raises `LostRun` when one is not where it was read."""
    if not runs:
        return
    columns = arrays([_run_row(run) for run in runs])
    without(cursor, _SWITCHES, _UPDATE, columns)
    if cursor.rowcount != len(runs):
        raise LostRun(f"{len(runs) - cursor.rowcount} of {len(runs)} runs had moved")


def _run_row(run: RunState) -> tuple[Any, ...]:
    return (
        run.id,
        run.claimed_seq,
        run.status,
        run.parked_on,
        run.due_at,
        run.step,
        run.seq,
        run.attempt,
        run.entered_at,
        dumps_or_none(run.state),
        run.wait_name,
        run.wait_key,
        run.wait_since,
        run.end_reason,
        dumps_or_none(run.error),
        run.ended_at,
        run.steps_executed,
    )


def _add_tallies(cursor: Any, walks: Sequence[Walk]) -> None:
    """Counts per step and port as appended deltas: no two workers wait for one counter row."""
    counts: dict[tuple[Any, ...], Counter[tuple[str, str]]] = defaultdict(Counter)
    for walk in walks:
        run = walk.run
        counts[run.workspace_id, run.automation_id, run.version_id].update(walk.tallies)
    day = walks[0].now.astimezone(UTC).date()
    rows = [(*of, *at, day, number) for of, passed in counts.items() for at, number in passed.items()]
    if not rows:
        return
    cursor.execute(
        "INSERT INTO automations_tallydelta (workspace_id, automation_id, version_id, step, port, day, count) SELECT * FROM "
        "unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::date[], %s::bigint[])",
        [list(column) for column in zip(*rows, strict=True)],
    )


def _second_looks(cursor: Any, runs: Sequence[RunState]) -> None:
    """A run that parks on an event is looked at once more after the commit (DESIGN 5.2, parking loses no wake)."""
    parked = [run for run in runs if run.parked_on == "event"]
    if parked:
        cursor.execute(
            # What was routed since (`run.wait_since`) has perhaps not seen the run parked.
            "INSERT INTO automations_secondlook (run_id, workspace_id, customer_id, since, created_at) "
            "SELECT *, now() FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) ON CONFLICT (run_id) DO UPDATE "
            "SET since = excluded.since, created_at = now()",
            [
                [run.id for run in parked],
                [run.workspace_id for run in parked],
                [run.customer_id for run in parked],
                [run.event_id - IDS_UNDER_WAY for run in parked],
            ],
        )


def _keep_items(cursor: Any, runs: Sequence[RunState]) -> None:
    """Loop items of runs that are still inside a loop lie beside the row; others need none any more."""
    kept = [run for run in runs if run.items and run.status in states.UNFINISHED]
    if kept:
        cursor.execute(
            "INSERT INTO automations_runinput (run_id, workspace_id, items) SELECT id, workspace, items::jsonb FROM "
            "unnest(%s::bigint[], %s::bigint[], %s::text[]) AS u(id, workspace, items) "
            "ON CONFLICT (run_id) DO UPDATE SET items = excluded.items",
            [[run.id for run in kept], [run.workspace_id for run in kept], [dumps(run.items) for run in kept]],
        )
    gone = [run.id for run in runs if run.had_items and run not in kept]
    if gone:
        cursor.execute("UPDATE automations_runinput SET items = '{}' WHERE run_id = ANY(%s)", [gone])


def _after_ends(cursor: Any, walks: Sequence[Walk]) -> None:
    """What the end of a run brings with it: the re-entry key is free again, a cancelled run's queued deliveries are cancelled."""
    ended = [walk for walk in walks if walk.run.status in states.ENDED]
    entered = [walk.run.id for walk in ended if walk.plan.settings.reentry == "one_at_a_time"]
    if entered:
        cursor.execute("DELETE FROM automations_entry WHERE run_id = ANY(%s) AND NOT once", [entered])
    cancelled = [walk.run.id for walk in ended if walk.run.status == states.CANCELLED]
    if cancelled:
        cancel_queued(cancelled)
