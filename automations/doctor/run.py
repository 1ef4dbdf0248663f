"""Running the checks: all in one read-only snapshot, each bounded."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Q

from accounts import doctor as accounts
from automations.doctor import automations, clocks, deliveries, events, logs, runs
from automations.doctor.checks import Check, register, registered
from automations.doctor.references import reference_checks
from automations.engine.kinds import OutsideAction
from automations.engine.registry import registry
from automations.engine.walk import STEP_LIMIT
from automations.models import Run, Version, VersionState
from automations.worker.plans import read_plan

LAG = timedelta(minutes=2)  # INVARIANTS, "at rest"
MOST = 20  # rows shown of one check
_FAMILIES = (events, runs, logs, clocks, deliveries, automations)


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that is broken, and by what; `more` than these rows were found."""

    check: Check
    rows: list[str]
    more: bool

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"id": self.check.id, "title": self.check.title, "rows": self.rows, "more": self.more}


def all_checks() -> list[Check]:
    """Every check of every app, by family and number."""
    for family in _FAMILIES:
        register(family.CHECKS)
    register(Check(id, title, sql) for id, title, sql in accounts.CHECKS)
    register(reference_checks())
    return registered()


def examine(
    *,
    workspace_id: int | None = None,
    at_rest: bool = False,
    lag: timedelta = LAG,
    most: int = MOST,
    only: Iterable[str] = (),
) -> list[Finding]:
    """Run the checks over one snapshot and answer those that found something. `at_rest` adds the rules about lag; `only` names the
    checks wanted. With a workspace, what belongs to none is left out."""
    wanted = set(only)
    checks = [check for check in all_checks() if (not wanted or check.id in wanted) and (at_rest or not check.at_rest)]
    names = {**parameters(lag), "workspace": workspace_id, "most": most + 1}
    with _snapshot(), connection.cursor() as cursor:
        if any("%(unreadable)s" in check.sql for check in checks):
            names["unreadable"] = unreadable_versions()
        found = [_run(cursor, check, names, most) for check in checks]
    return [finding for finding in found if finding.rows]


def parameters(lag: timedelta = LAG) -> dict[str, Any]:
    """What the checks' SQL may name, beside `unreadable`, which has to be worked out in the snapshot."""
    outside = [key for key, action in registry.actions.items() if isinstance(action, OutsideAction)]
    return {"lag": lag, "outside": sorted(outside), "steps": STEP_LIMIT}


def unreadable_versions() -> list[int]:
    """Those versions in force, or with unfinished runs, that this installation's code cannot compile. SQL cannot say so."""
    followed = Run.objects.filter(ended_at__isnull=True).values("version_id")
    versions = Version.objects.filter(Q(state=VersionState.ACTIVE) | Q(pk__in=followed)).values_list("pk", "definition")
    return [id for id, definition in versions.iterator(chunk_size=200) if not _readable(definition)]


def _readable(definition: dict[str, Any]) -> bool:
    try:
        read_plan(definition)
    except Exception:  # whatever an older text does to newer code, as `plans_for` takes it
        return False
    return True


def _run(cursor: Any, check: Check, names: dict[str, Any], most: int) -> Finding:
    own = "" if names["workspace"] is None else "WHERE workspace_id = %(workspace)s "
    cursor.execute(f"SELECT found FROM ({check.sql}) AS broken {own}LIMIT %(most)s", names)
    rows = [str(row[0]) for row in cursor.fetchall()]
    return Finding(check, rows[:most], len(rows) > most)


def _snapshot() -> AbstractContextManager[Any]:
    """One moment for all checks, in which nothing can be written. Inside of a transaction (a test's) it is that one."""
    return nullcontext() if connection.in_atomic_block else _Snapshot()


class _Snapshot:
    """A transaction of its own, REPEATABLE READ and READ ONLY."""

    def __init__(self) -> None:
        self._atomic = transaction.atomic()

    def __enter__(self) -> None:
        self._atomic.__enter__()
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute("SET LOCAL statement_timeout = 0")  # whole tables are read; whoever asks can break it off

    def __exit__(self, *error: Any) -> None:
        self._atomic.__exit__(*error)
