"""What is looked at again under the lock, before a delivery is sent: its run, marks, exits, the person, consent
(DESIGN 5.3).

What is being sent or may have been sent is finished and shown, whatever became of its run; so reading back is never stopped. A
repetition that is stopped is read back where the provider can be asked, and otherwise a matter for a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accounts.services.erasure import hashed_address
from accounts.services.locking import share_addresses
from automations.engine.outcomes import Failed, Outcome, Skipped, Suppressed, Unknown
from automations.engine.states import UNFINISHED
from automations.worker.delivery_exits import over
from automations.worker.jobs import Job, Stopped, gone
from automations.worker.locks import try_lock_shared
from automations.worker.losses import record_losses
from automations.worker.policy import LOST_LIMIT
from automations.worker.unheard import may_end

UNSUBSCRIBED = "unsubscribed"

_RUNS = """
SELECT id, status, parked_on, automation_id, version_id, workspace_id, customer_id FROM automations_run WHERE id = ANY(%s) ORDER BY id
FOR SHARE SKIP LOCKED
"""
_MARKS = "SELECT id, cancel_mark, hold_mark FROM automations_automation WHERE id = ANY(%s)"
_CUSTOMERS = """
SELECT id, erased_at IS NOT NULL FROM accounts_customer WHERE id = ANY(%s) ORDER BY id FOR SHARE SKIP LOCKED
"""
_UNSUBSCRIBED = """
SELECT c.workspace_id, c.address FROM accounts_consent c
JOIN unnest(%s::bigint[], %s::text[]) AS u(workspace_id, address) USING (workspace_id, address)
WHERE c.topic = '' AND c.state = 'unsubscribed'
"""
_WITHOUT_MAIL = """
SELECT w.id FROM accounts_workspace w JOIN accounts_plan p ON p.slug = w.plan WHERE w.id = ANY(%s) AND
p.monthly_emails = 0
"""
_HOLD = "UPDATE automations_delivery SET state = 'QUEUED', due_at = NULL, lease_until = NULL WHERE id = ANY(%s)"


@dataclass(slots=True)
class Checked:
    """`go` may be sent or read back; `stopped` must not be; `later` waits for routers; the rest waits too. `kept`: of automations that
    are held, what a worker was lost over: it may have been sent, so it stays what it is, and nobody cancels it as if it had not."""

    go: list[Job] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)
    later: list[int] = field(default_factory=list)
    kept: list[Job] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Facts:
    runs: Mapping[int, Mapping[str, Any]]
    customers: Mapping[int, bool]
    silenced: Collection[tuple[int, str]]
    without_mail: Collection[int]
    settled: Collection[tuple[int, str]]  # addresses about whose consent nobody is deciding at this moment
    over: Mapping[int, str]
    may_end: Collection[int]  # runs that an event may end which nobody has routed yet


def check(cursor: Any, jobs: Iterable[Job]) -> Checked:
    """Sort the jobs of a claim, in its transaction. Locks runs, customers and addresses in share mode, so that a cancel or
    unsubscribe comes before the claim or after it (RELIABILITY 21, 22)."""
    checked, acting = Checked(), list[Job]()
    for job in jobs:
        (acting if job.mode != "read_back" else checked.go).append(job)
    if not acting:
        return checked
    facts = _facts(cursor, acting)
    held = list[Job]()
    for job in acting:
        verdict = _verdict(job, facts)
        if isinstance(verdict, Stopped):
            checked.stopped.append(verdict)
        elif verdict == "go":
            checked.go.append(job)
        elif verdict == "hold":
            (checked.kept if job.mode == "recover" and job.lost else held).append(job)
        elif verdict == "later":
            checked.later.append(job.id)
    if held:
        record_losses(cursor, held)
        cursor.execute(_HOLD, [[job.id for job in held]])
    return checked


def _facts(cursor: Any, jobs: list[Job]) -> _Facts:
    runs = _runs(cursor, {job.run_id for job in jobs})
    cursor.execute(_CUSTOMERS, [sorted({job.customer_id for job in jobs if job.customer_id is not None})])
    customers = dict(cursor.fetchall())
    mails = [job for job in jobs if job.envelope.customer_mail]
    addresses = {_address(job) for job in mails}
    unfinished = [run for run in runs.values() if run["status"] in UNFINISHED]
    settled = share_addresses(addresses)  # before consent is read: what is decided later comes after the claim
    return _Facts(
        runs,
        customers,
        silenced(cursor, addresses),
        _without_mail(cursor, {job.workspace_id for job in mails}),
        settled,
        over([run["id"] for run in unfinished]),
        may_end([_Run(*[run[name] for name in _Run._fields]) for run in unfinished]),
    )


class _Run(NamedTuple):
    id: int
    version_id: int
    workspace_id: int
    customer_id: int | None


def _address(job: Job) -> tuple[int, str]:
    return job.workspace_id, job.envelope.to.strip().lower()


def _runs(cursor: Any, ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """The runs that nobody else holds, with the marks of their automations; pause and publish come before or after: marks are
    read when the automations are locked, for one could be set between two statements."""
    cursor.execute(_RUNS, [sorted(ids)])
    found = _rows(cursor)
    cursor.execute(_MARKS, [sorted(try_lock_shared({run["automation_id"] for run in found.values()}))])
    marks = _rows(cursor)
    return {id: {**marks[run["automation_id"]], **run} for id, run in found.items() if run["automation_id"] in marks}


def _rows(cursor: Any) -> dict[int, dict[str, Any]]:
    columns = [column.name for column in cursor.description]
    return {row[0]: dict(zip(columns, row, strict=True)) for row in cursor.fetchall()}


def silenced(cursor: Any, addresses: Collection[tuple[int, str]]) -> set[tuple[int, str]]:
    """Those of the (workspace, address in lower case) that must not be mailed, also when only their hash is left
    (SUP-09)."""
    wanted = {(workspace, to.strip().lower()) for workspace, to in addresses}
    if not wanted:
        return set()
    names = {(workspace, name): to for workspace, to in wanted for name in (to, hashed_address(to))}
    cursor.execute(_UNSUBSCRIBED, [[name[0] for name in names], [name[1] for name in names]])
    return {(workspace, names[workspace, name]) for workspace, name in cursor.fetchall()}


def _without_mail(cursor: Any, workspaces: set[int]) -> set[int]:
    """Workspaces whose plan has no customer mail at all (LIM-07)."""
    if not workspaces:
        return set()
    cursor.execute(_WITHOUT_MAIL, [list(workspaces)])
    return {row[0] for row in cursor.fetchall()}


def _verdict(job: Job, facts: _Facts) -> Stopped | str:
    run = facts.runs.get(job.run_id)
    if run is None or (job.customer_id is not None and job.customer_id not in facts.customers):
        return "wait"  # somebody is at work on it this very moment
    if job.envelope.customer_mail and _address(job) not in facts.settled:
        return "wait"  # somebody unsubscribes the address, or comes back, this very moment
    unfinished = run["status"] in UNFINISHED
    if unfinished and not _covered(run, "cancel_mark") and (_covered(run, "hold_mark") or run["parked_on"] == "hold"):
        return "hold"
    stopped = _stop(job, run, facts)
    if stopped is None:
        return "later" if job.run_id in facts.may_end else "go"
    if job.mode == "act":
        return _unsent(job, *stopped)
    if stopped[0] == "REVIEW" or job.unsure() != "read_back":
        return _doubtful(job)
    job.mode = "read_back"
    return "go"


def _covered(run: Mapping[str, Any], mark: str) -> bool:
    return run[mark] is not None and run["id"] <= run[mark]


def _stop(job: Job, run: Mapping[str, Any], facts: _Facts) -> tuple[str, str, Outcome | None] | None:
    """State, reason and what the run is told, when the delivery is not to be made."""
    unfinished = run["status"] in UNFINISHED
    if run["status"] == "CANCELLED" or (unfinished and _covered(run, "cancel_mark")):
        return "CANCELLED", "run_cancelled", None
    if job.customer_id is not None and facts.customers[job.customer_id]:
        return "CANCELLED", "profile_deleted", None
    if unfinished and job.run_id in facts.over:
        reason = facts.over[job.run_id]
        return "CANCELLED", reason, Skipped(reason)
    if job.action is None:
        return "FAILED", "unknown_action", gone(job)
    if job.envelope.customer_mail and _address(job) in facts.silenced:
        return "SUPPRESSED", UNSUBSCRIBED, Suppressed(UNSUBSCRIBED)
    if job.envelope.customer_mail and job.workspace_id in facts.without_mail:
        return "SKIPPED", "plan", Skipped("plan")
    if job.mode == "recover" and job.doubtful():
        return "REVIEW", "lost", None
    if job.mode == "act" and job.tries.in_a_row >= LOST_LIMIT:  # they died of making its bytes: nothing was sent
        return "FAILED", "poison", Failed("poison", _WORDS["poison"])
    return None


def _unsent(job: Job, state: str, reason: str, answer: Outcome | None) -> Stopped:
    return Stopped(job, state, answer, {"code": reason, "message": _WORDS.get(reason, f"The run is over: {reason}.")})


def _doubtful(job: Job) -> Stopped:
    """A worker died over it and it must not be done again: it may have been sent or not."""
    message = "A worker was lost while it was being sent; nobody can tell whether it was."
    answer = None if job.rules.money else Unknown(message)
    return Stopped(job, "REVIEW", answer, {"code": "lost", "message": message})


_WORDS = {
    "run_cancelled": "The run was cancelled before it was sent.",
    "profile_deleted": "The customer was erased before it was sent.",
    "poison": f"{LOST_LIMIT} workers died while they prepared it; it was never sent.",
    "unknown_action": "The action is not installed any more.",
    UNSUBSCRIBED: "The address is unsubscribed.",
    "plan": "The plan of the workspace has no customer mail.",
}
