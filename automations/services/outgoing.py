"""What would leave the house if workers began now: read by whoever decides about a restored backup (RELIABILITY 36)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection

SHOWN = 20

# By the time at which they were written down, oldest first: what the original has probably done already stands first.
_DELIVERIES = """
SELECT d.id, w.slug, d.kind, d."to", d.subject, d.state, d.created_at FROM automations_delivery d
JOIN accounts_workspace w ON w.id = d.workspace_id WHERE d.state = ANY(%s) ORDER BY d.created_at, d.id LIMIT %s
"""
_BY_KIND = """
SELECT kind, state, count(*) FROM automations_delivery WHERE state = ANY(%s) GROUP BY kind, state ORDER BY kind, state
"""
_RUNS = """
SELECT w.slug, a.id, a.name, count(*), min(r.due_at) FROM automations_run r
JOIN automations_automation a ON a.id = r.automation_id JOIN accounts_workspace w ON w.id = r.workspace_id
WHERE r.due_at <= onward_now() GROUP BY w.slug, a.id, a.name ORDER BY count(*) DESC, a.id LIMIT %s
"""
_SCHEDULES = """
SELECT w.slug, a.id, a.name, a.next_fire_at FROM automations_automation a JOIN accounts_workspace w ON w.id = a.workspace_id
WHERE a.state = 'ACTIVE' AND a.next_fire_at <= onward_now() ORDER BY a.next_fire_at, a.id LIMIT %s
"""
_WAITING = "SELECT (SELECT count(*) FROM automations_unrouted), (SELECT count(*) FROM automations_run WHERE due_at <= onward_now())"
QUEUED, UNDER_WAY = ["QUEUED"], ["SENDING", "UNKNOWN"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Counts of everything, and the first rows of each. `under_way` was being sent when the backup was made, and may have been sent."""

    kinds: list[tuple[str, str, int]]
    queued: list[tuple[Any, ...]]
    under_way: list[tuple[Any, ...]]
    runs_due: int
    runs: list[tuple[Any, ...]]
    schedules: list[tuple[Any, ...]]
    events: int

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)

    def lines(self) -> list[str]:
        """For people."""
        found = [f"{count} {kind} {_WORDS[state]}" for kind, state, count in self.kinds]
        found += [_row(row) for row in (*self.under_way, *self.queued)]
        found += [f"{self.runs_due} runs are due and would go on"] if self.runs_due else []
        found += [
            f"    {slug}  auto_{id} {name}: {count}, since {at:%Y-%m-%d %H:%M}"
            for slug, id, name, count, at in self.runs
        ]
        found += [f"{len(self.schedules)} schedules would fire"] if self.schedules else []
        found += [f"    {slug}  auto_{id} {name}: due {at:%Y-%m-%d %H:%M}" for slug, id, name, at in self.schedules]
        found += [f"{self.events} recorded events would be routed"] if self.events else []
        return found or ["Nothing would go out now."]


_WORDS = {
    "QUEUED": "would be sent",
    "SENDING": "was being sent, and may have been",
    "UNKNOWN": "may have been sent, and would be asked for",
}


def _row(row: tuple[Any, ...]) -> str:
    id, slug, kind, to, subject, state, at = row
    return f"    {slug}  dlv_{id} {kind} {state} since {at:%Y-%m-%d %H:%M}: {to} {subject}".rstrip()


def outgoing(most: int = SHOWN) -> Outgoing:
    """Six queries over all workspaces; changes nothing."""
    runs, schedules = _all(_RUNS, most), _all(_SCHEDULES, most)
    events, due = _all(_WAITING)[0]
    return Outgoing(
        _all(_BY_KIND, [*QUEUED, *UNDER_WAY]),
        _all(_DELIVERIES, QUEUED, most),
        _all(_DELIVERIES, UNDER_WAY, most),
        due,
        runs,
        schedules,
        events,
    )


def _all(sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
