"""What a settled delivery means for its run (DESIGN 5.3): the run that stands on that visit goes on; for any other
the outcome is recorded as late and changes nothing."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from automations.engine.outcomes import Done, Failed, Outcome, Unknown
from automations.engine.walk import LATE
from automations.services.jsontext import plain_text
from automations.worker.answers import decode, encode
from automations.worker.jobs import Job
from automations.worker.policy import Verdict

#: States in which a delivery has still to come to something.
_OPEN = frozenset({"QUEUED", "SENDING", "UNKNOWN"})
_STATUS = {
    "SENT": "succeeded",
    "REFUSED": "succeeded",
    "SUPPRESSED": "skipped",
    "SKIPPED": "skipped",
    "CANCELLED": "skipped",
}


@dataclass(frozen=True, slots=True)
class Settled:
    """One delivery whose row has just been written."""

    job: Job
    verdict: Verdict
    error: Mapping[str, Any] | None


@dataclass(slots=True)
class RunRow:
    """A locked run, as far as its deliveries are concerned. `visit` is the one it stands on for a delivery, None for
    none."""

    id: int
    workspace_id: int
    visit: int | None
    attempt: int
    entered_at: datetime | None
    held: dict[str, Any] | None


def lock_runs(cursor: Any, ids: Collection[int]) -> dict[int, RunRow]:
    """Lock the runs in id order, first of all rows (DESIGN 5.2, lock order)."""
    cursor.execute(
        "SELECT id, workspace_id, seq, attempt, entered_at, held::text, status, parked_on FROM automations_run "
        "WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE",
        [sorted(ids)],
    )
    found = {}
    for id, workspace_id, seq, attempt, entered_at, held_text, status, parked_on in cursor.fetchall():
        held = json.loads(held_text) if held_text else None
        frozen = parked_on == "hold" and held is not None and held.get("parkedOn") == "delivery"
        stands = status == "RUNNING" and (parked_on == "delivery" or frozen)
        found[id] = RunRow(id, workspace_id, seq if stands else None, attempt, entered_at, held if frozen else None)
    return found


def tell_runs(cursor: Any, settled: Sequence[Settled], runs: Mapping[int, RunRow]) -> None:
    """Wake the runs that stood on these deliveries, log tries that are repeated, and note what came too late to
    matter."""
    ended: list[tuple[RunRow, Settled]] = []
    repeated: list[tuple[RunRow, Settled]] = []
    late: list[Settled] = []
    for item in settled:
        run = runs.get(item.job.run_id)
        stands = run is not None and run.visit == item.job.visit
        if item.verdict.state == "QUEUED":
            repeated += [(run, item)] if run and stands and item.error else []
        elif item.verdict.answer is None:
            continue
        elif run is not None and stands:
            ended.append((run, item))
        elif item.job.envelope.waits or item.verdict.state != "SENT":
            late.append(item)
    _wake(cursor, ended)
    _log_repeated(cursor, repeated)
    _log_late(cursor, late)


def _wake(cursor: Any, ended: Sequence[tuple[RunRow, Settled]]) -> None:
    if not ended:
        return
    answers = _answers(cursor, ended)
    awake = [(run, answers[run.id]) for run, _item in ended if run.id in answers and run.held is None]
    held = [(run, answers[run.id]) for run, _item in ended if run.id in answers and run.held is not None]
    if awake:
        cursor.execute(_GO_ON, [[run.id for run, _ in awake], [plain_text(answer) for _, answer in awake]])
    if held:
        cursor.execute(_GO_ON_LATER, [[run.id for run, _ in held], [plain_text(answer) for _, answer in held]])


_GO_ON = """
UPDATE automations_run r SET parked_on = NULL, due_at = onward_now(), answer = u.answer::jsonb
FROM unnest(%s::bigint[], %s::text[]) AS u(id, answer) WHERE r.id = u.id
"""
_GO_ON_LATER = """
UPDATE automations_run r SET answer = u.answer::jsonb,
    held = r.held || jsonb_build_object('parkedOn', NULL, 'dueAt', onward_now(), 'remaining', 0)
FROM unnest(%s::bigint[], %s::text[]) AS u(id, answer) WHERE r.id = u.id
"""
_SIBLINGS = """
SELECT d.run_id, d.id, d.state, d.outcome::text FROM automations_delivery d
JOIN unnest(%s::bigint[], %s::bigint[], %s::int[]) AS u(workspace_id, run_id, visit) USING (workspace_id, run_id, visit)
ORDER BY d.effect
"""


def _answers(cursor: Any, ended: Sequence[tuple[RunRow, Settled]]) -> dict[int, dict[str, Any]]:
    """What each run is told. A visit with several deliveries goes on when the last of them has settled, and failed if
    one of them did."""
    cursor.execute(
        _SIBLINGS,
        [
            [run.workspace_id for run, _ in ended],
            [run.id for run, _ in ended],
            [item.job.visit for _, item in ended],
        ],
    )
    rows: dict[int, list[tuple[int, str, str | None]]] = defaultdict(list)
    for run_id, *rest in cursor.fetchall():
        rows[run_id].append(tuple(rest))
    fresh = {item.job.id: item.verdict.answer for _, item in ended}
    return {
        run.id: {
            "delivery": item.job.id,
            "outcome": encode(_joined(rows[run.id], fresh)),
            "input": dict(item.job.envelope.input),
        }
        for run, item in ended
        if not any(state in _OPEN and id not in fresh for id, state, _outcome in rows[run.id])
    }


def _joined(rows: Sequence[tuple[int, str, str | None]], fresh: Mapping[int, Outcome | None]) -> Outcome:
    outcomes = [_outcome(id, text, fresh) for id, _state, text in {row[0]: row for row in rows}.values()]
    known = [outcome for outcome in outcomes if outcome is not None]
    wrong = next((outcome for outcome in known if isinstance(outcome, (Failed, Unknown))), None)
    if wrong is not None or len(known) == 1:
        return wrong or known[0]
    done = [dict(outcome.output) for outcome in known if isinstance(outcome, Done)]
    return Done({"deliveries": done}) if done else known[0]


def _outcome(id: int, text: str | None, fresh: Mapping[int, Outcome | None]) -> Outcome | None:
    return fresh[id] if id in fresh else decode(json.loads(text)) if text else None


def _log_repeated(cursor: Any, repeated: Sequence[tuple[RunRow, Settled]]) -> None:
    """A try that failed and will be made again is a row of the log, as the tries of a local step are (ERR-04)."""
    if not repeated:
        return
    _log(cursor, [(item, run.attempt, "failed", run.entered_at, 0) for run, item in repeated])
    cursor.execute(
        "UPDATE automations_run SET attempt = attempt + 1 WHERE id = ANY(%s)", [[run.id for run, _item in repeated]]
    )


def _log_late(cursor: Any, late: Sequence[Settled]) -> None:
    _log(cursor, [(item, item.job.attempts, _STATUS.get(item.verdict.state, "failed"), None, LATE) for item in late])


def _log(cursor: Any, rows: Sequence[tuple[Settled, int, str, datetime | None, int]]) -> None:
    if not rows:
        return
    cursor.execute(
        _LOG,
        [
            [item.job.run_id for item, *_ in rows],
            [item.job.visit for item, *_ in rows],
            [attempt for _, attempt, *_ in rows],
            [item.job.workspace_id for item, *_ in rows],
            [item.job.step for item, *_ in rows],
            [item.job.action_key for item, *_ in rows],
            [status for _, _, status, *_ in rows],
            [started or item.job.now for item, _, _, started, _ in rows],
            [_shown(item) for item, *_ in rows],
            [plain_text(item.error) if item.error else None for item, *_ in rows],
            [flags for *_, flags in rows],
        ],
    )


def _shown(item: Settled) -> str | None:
    answer = item.verdict.answer
    return plain_text(encode(answer).get("output")) if isinstance(answer, Done) and answer.output else None


_LOG = """
INSERT INTO automations_step_log
    (run_id, seq, attempt, recorded_at, workspace_id, step, type, status, started_at, ended_at, output, error, flags)
SELECT run_id, seq, attempt, clock_timestamp(), workspace_id, step, type, status, least(started, onward_now()),
onward_now(),
    output::jsonb, error::jsonb, flags
FROM unnest(%s::bigint[], %s::int[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
%s::text[],
    %s::text[], %s::int[]) AS u(run_id, seq, attempt, workspace_id, step, type, status, started, output, error, flags)
"""
