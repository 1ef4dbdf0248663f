"""Advancing runs on the floor with protections: fair claim, the worker's row, bulk reads, a Python state machine, COPY and one UPDATE
(DESIGN 5.2)."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from benchmarks.guarded_route import SHARD_LOCK, planned, wake

BATCH = 500
Connection = psycopg.Connection[Any]
_DUE = """
SELECT DISTINCT workspace_id FROM guarded_automation w WHERE EXISTS (
    SELECT 1 FROM guarded_run r WHERE r.workspace_id = w.workspace_id AND r.due_at <= now())
"""
_CLAIM = """
SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;
SELECT r.id, r.workspace_id, r.automation_id, r.version_id, r.event_id, r.customer_id, r.step, r.seq, r.attempt, r.steps_executed,
    r.state::text FROM unnest(%s::bigint[]) w(id) CROSS JOIN LATERAL (
    SELECT * FROM guarded_run WHERE workspace_id = w.id AND due_at <= now() AND lost = 0 ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED) r;
SET LOCAL enable_sort = on; SET LOCAL enable_bitmapscan = on
"""
_UPDATE = """
UPDATE guarded_run r SET status = u.status, parked_on = u.parked_on, due_at = u.due_at, step = u.step, seq = u.seq, attempt = 0,
    entered_at = u.at, state = NULL, wait_name = u.wait_name, wait_key = u.wait_key, wait_since = u.wait_since,
    end_reason = u.end_reason, ended_at = u.ended_at, steps_executed = u.executed, lost = 0
FROM unnest(%s::bigint[], %s::int[], %s::text[], %s::text[], %s::timestamptz[], %s::text[], %s::int[], %s::timestamptz[], %s::text[],
    %s::text[], %s::bigint[], %s::text[], %s::timestamptz[], %s::int[]) AS u(id, claimed, status, parked_on, due_at, step, seq, at,
    wait_name, wait_key, wait_since, end_reason, ended_at, executed)
WHERE r.id = u.id AND r.seq = u.claimed
"""
_TALLY = (
    "INSERT INTO guarded_tally_delta (workspace_id, automation_id, version_id, step, port, day, count) SELECT * FROM unnest("
    "%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::date[], %s::bigint[])"
)
# (step, kind, port, next); what a version says, made once in each process.
PLANS: dict[int, dict[str, tuple[str, str]]] = {
    11: {
        "first": ("condition", "mail1"),
        "mail1": ("mail", "pause"),
        "pause": ("past", "second"),
        "second": ("condition", "mail2"),
        "mail2": ("mail", "over"),
        "over": ("stop", ""),
    },
    12: {"first": ("wait", "paid"), "paid": ("happened", "after"), "after": ("delay", "after")},
}


def advance(connection: Connection, holder: Connection, worker: int) -> int:
    """One batch in one transaction; answers how many runs moved."""
    with connection.transaction():
        rows = _claim(connection)
        if not rows:
            return 0
        holder.execute(
            "UPDATE guarded_worker SET holding = %s, beat_at = clock_timestamp() WHERE id = %s",
            [[row[0] for row in rows], worker],
        )
        customers = _by_id(connection, "SELECT id, name, email FROM guarded_customer WHERE id = ANY(%s)", rows, 5)
        events = _by_id(
            connection, "SELECT event_id, payload::text FROM guarded_content WHERE event_id = ANY(%s)", rows, 4
        )
        batch = Batch(datetime.now(UTC))
        for row in rows:
            batch.walk(row, customers.get(row[5]), events.get(row[4]))
        batch.write(connection)
    return len(rows)


def _claim(connection: Connection) -> list[Any]:
    workspaces = [row[0] for row in connection.execute(_DUE)]
    if not workspaces:
        return []
    cursor = psycopg.ClientCursor(connection)
    cursor.execute(_CLAIM, [workspaces, -(-BATCH // len(workspaces))])
    for _ in range(2):
        cursor.nextset()
    return cursor.fetchall()


def _by_id(connection: Connection, statement: Any, rows: list[Any], place: int) -> dict[int, Any]:
    return {row[0]: row[1:] for row in connection.execute(statement, [sorted({row[place] for row in rows})])}


class Batch:
    """What a batch of walks comes to, as lists of rows."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.logs: list[tuple[Any, ...]] = []
        self.mails: list[tuple[Any, ...]] = []
        self.runs: list[tuple[Any, ...]] = []
        self.looks: list[tuple[Any, ...]] = []
        self.tallies: Counter[tuple[Any, ...]] = Counter()

    def walk(self, row: Any, customer: Any, event: Any) -> None:
        """Until the run parks or ends."""
        id, workspace, automation, version, _, _, step, claimed, _, executed, _ = row
        plan, seq = PLANS[version], claimed
        trigger = json.loads(event[0]) if event else {}
        while True:
            kind, following = plan[step]
            if kind in ("wait", "delay"):
                self._park(row, kind, following, seq, executed)
                return
            seq, executed = seq + 1, executed + 1
            port, input, output = self._take(kind, row, step, seq, trigger, customer)
            self.logs.append((id, seq, 0, workspace, step, kind, "succeeded", port, self.now, self.now, input, output))
            self.tallies[workspace, automation, version, step, port or ""] += 1
            if not following:
                self.runs.append(
                    (
                        id,
                        claimed,
                        "COMPLETED",
                        None,
                        None,
                        step,
                        seq,
                        self.now,
                        None,
                        None,
                        None,
                        "completed",
                        self.now,
                        executed,
                    )
                )
                return
            step = following

    def _take(
        self, kind: str, row: Any, step: str, seq: int, trigger: Any, customer: Any
    ) -> tuple[str | None, str | None, str | None]:
        if kind == "condition":
            holds = trigger.get("failureCount") == 1
            values = json.dumps({"values": {"trigger.failureCount": trigger.get("failureCount")}})
            return ("true" if holds else "false"), values, json.dumps({"result": holds})
        if kind == "mail":
            id, workspace, automation, _, _, customer_id, *_ = row
            name, email = customer
            subject = f"Payment failed {trigger.get('failureCount')}"
            output = json.dumps({"to": email, "subject": subject})
            envelope = json.dumps({"body": {"customer.name": name}, "subjects": {"customer": customer_id}})
            self.mails.append(
                (workspace, id, seq, 0, f"guarded.exec_{id}.{seq}.0", automation, step, "email", "QUEUED", customer_id, email,
                 subject, envelope, self.now, self.now)
            )  # fmt: skip
            return "next", output, output
        if kind == "past":
            return "next", None, json.dumps({"until": "2020-01-01T00:00:00Z", "past": True})
        return ("next" if kind == "happened" else None), None, None

    def _park(self, row: Any, kind: str, step: str, seq: int, executed: int) -> None:
        id, workspace, _, _, event, customer, _, claimed, *_ = row
        if kind == "delay":
            due = self.now + timedelta(days=30)
            self.runs.append(
                (id, claimed, "RUNNING", "timer", due, step, seq + 1, self.now, None, None, None, None, None, executed)
            )
            return
        key = f"customer:{customer}"
        self.runs.append(
            (id, claimed, "WAITING", "event", None, step, seq + 1, self.now, "paid", key, event, None, None, executed)
        )
        self.looks.append((id, workspace, customer, event))

    def write(self, connection: Connection) -> None:
        """Everything of the batch; what acts outside stands in a savepoint of its own."""
        with connection.cursor() as cursor:
            if self.logs:
                with cursor.copy(
                    "COPY guarded_log (run_id, seq, attempt, workspace_id, step, type, status, port, started_at, ended_at, input, "
                    "output) FROM STDIN"
                ) as copy:
                    for log in self.logs:
                        copy.write_row(log)
            if self.mails:
                with (
                    connection.transaction(),
                    cursor.copy(
                        "COPY guarded_delivery (workspace_id, run_id, visit, effect, key, automation_id, step, kind, state, customer_id, "
                        "recipient, subject, envelope, due_at, created_at) FROM STDIN"
                    ) as copy,
                ):
                    for mail in self.mails:
                        copy.write_row(mail)
            found = planned(connection, _UPDATE, [list(column) for column in zip(*self.runs, strict=True)]).rowcount
            if found != len(self.runs):
                raise RuntimeError(f"{len(self.runs) - found} runs had moved")
            self._write_rest(cursor)

    def _write_rest(self, cursor: psycopg.Cursor[Any]) -> None:
        day = self.now.date()
        rows = [(*of, day, count) for of, count in self.tallies.items()]
        if rows:
            cursor.execute(_TALLY, [list(column) for column in zip(*rows, strict=True)])
        if self.looks:
            cursor.execute(
                "INSERT INTO guarded_second_look SELECT *, now() FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[]) "
                "ON CONFLICT (run_id) DO UPDATE SET since = excluded.since, created_at = now()",
                [list(column) for column in zip(*self.looks, strict=True)],
            )


def look_again(connection: Connection) -> int:
    """Look once more for the runs that just parked on an event: one routed meanwhile may not have seen them."""
    with connection.transaction():
        found = connection.execute(
            "SELECT l.run_id, l.customer_id, l.since, l.created_at FROM guarded_second_look l ORDER BY l.run_id LIMIT 500 "
            "FOR UPDATE SKIP LOCKED"
        ).fetchall()
        if not found:
            return 0
        shards = "SELECT DISTINCT shard FROM guarded_event WHERE workspace_id = 1 AND customer_id = ANY(%s) ORDER BY 1"
        connection.execute(
            f"SELECT pg_advisory_xact_lock(%s + shard) FROM ({shards}) s", [SHARD_LOCK, [row[1] for row in found]]
        )
        missed = connection.execute(
            "SELECT e.id, e.name, e.customer_id FROM unnest(%s::bigint[], %s::bigint[], %s::timestamptz[]) l(customer, since, at) "
            "JOIN guarded_event e ON e.workspace_id = 1 AND e.customer_id = l.customer AND e.id > l.since "
            "JOIN guarded_routed m ON m.event_id = e.id AND m.routed_at >= l.at ORDER BY e.id",
            [[row[1] for row in found], [row[2] for row in found], [row[3] for row in found]],
        ).fetchall()
        if missed:
            wake(connection, missed)
        connection.execute("DELETE FROM guarded_second_look WHERE run_id = ANY(%s)", [[row[0] for row in found]])
    return len(found)
