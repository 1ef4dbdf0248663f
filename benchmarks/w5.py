"""W5, latency at low load: one event over HTTP, to the 202, to the first step logged, to three steps done, to the mail in the SMTP peer.
Web and workers are those of `make up`."""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
import urllib.request
from typing import Any

from django.db import connection

from accounts.actor import system_actor
from accounts.services.keys import create_api_key
from automations.services.drafts import create_automation
from automations.services.publish import activate
from benchmarks import product
from benchmarks.site import Mailbox, running
from benchmarks.stage import Column, Goal, Result, Row, Sizes, expect, say, until

AUTOMATION = """
name: Three steps
key: three-steps
trigger: {type: event, event: hello}
settings: {reentry: always, transactional: true}
steps:
  - id: check
    type: condition
    if: "{{trigger.number}} >= 0"
    then:
      - {id: mail, type: action, action: send_email, to: "{{customer.email}}", subject: "Hello {{trigger.number}}",
         body: "Dear {{customer.name}}"}
  - {id: over, type: stop}
"""
MOMENTS = ("accepted", "first", "done", "mail")
PAUSE = (0.15, 0.35)  # seconds between two events: nobody waits for another's
GIVE_UP = 120  # seconds for one event
_SEEN = """
SELECT EXISTS (SELECT 1 FROM automations_step_log l WHERE l.run_id = r.id), r.ended_at IS NOT NULL
FROM automations_event e JOIN automations_run r ON r.workspace_id = e.workspace_id AND r.event_id = e.id
WHERE e.workspace_id = %s AND e.source = 'api' AND e.key = %s
"""
_COUNTS = """
SELECT (SELECT count(*) FROM automations_run WHERE status = 'COMPLETED'), (SELECT count(*) FROM automations_step_log),
    (SELECT count(*) FROM automations_delivery WHERE state = 'SENT')
"""
COLUMNS = tuple(Column(f"{name} ms", lambda row, name=name: row[name], 1) for name in MOMENTS) + tuple(  # type: ignore[misc]  # bound now
    Column(f"{name} p95", lambda row, name=name: row[f"{name} p95"], 1)  # type: ignore[misc]  # bound now
    for name in ("accepted", "done", "mail")
)


def run(dsn: str, sizes: Sizes) -> Result:
    """The product alone: these goals are times."""
    workspace = product.prepare(100)
    actor = system_actor(workspace)
    draft = create_automation(actor=actor, body=AUTOMATION, fmt="yaml")
    activate(actor=actor, automation_id=draft.automation.pk)
    key = create_api_key(actor=actor, name="latency", scopes=["events"])[1]
    rows = []
    with Mailbox() as mailbox, running(mailbox.url) as address:
        caller = Caller(workspace, address, key, mailbox)
        for number in sizes.numbers():
            row = _round(caller, number, sizes.posts)
            say(f"round {number}: " + ", ".join(f"{name} {row[name]:.1f} ms" for name in MOMENTS))
            if number > 0:
                rows.append(row)
        posts = len(sizes.numbers()) * sizes.posts
        until(lambda: _counts() == (posts, 3 * posts, posts), GIVE_UP)
        expect("mails", sum(len(came) for came in mailbox.came.values()), posts)
    limits = (
        ("accepted", "202", 20, 10),
        ("first", "first step logged", 100, 30),
        ("done", "three steps done", 120, 40),
    )
    goals = [
        Goal(f"W5 {text}, median", [row[name] for row in rows], must, aim, unit=" ms")
        for name, text, must, aim in limits
    ]
    title = f"W5, latency: {sizes.posts} events a round, one at a time, over HTTP to web and workers of `make up`"
    return Result(title, {"product": rows}, COLUMNS, goals)


def _counts() -> Any:
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS)
        return cursor.fetchone()


def _round(caller: Caller, number: int, posts: int) -> Row:
    chance = random.Random(number)
    found = []
    for post in range(posts):
        time.sleep(chance.uniform(*PAUSE))
        found.append(caller.post(f"{number}-{post}", 1 + post % 100))
    row = {name: statistics.median(one[name] for one in found) for name in MOMENTS}
    for name in MOMENTS:
        ordered = sorted(one[name] for one in found)
        row[f"{name} p95"] = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    return row


class Caller:
    """Posts an event and watches what becomes of it, by the database and the mail server, not by the product's word."""

    def __init__(self, workspace: int, address: str, key: str, mailbox: Mailbox) -> None:
        self._workspace, self._mailbox = workspace, mailbox
        self._url = f"{address}/api/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def post(self, id: str, customer: int) -> Row:
        """Milliseconds from before the request to each moment."""
        body = {"id": id, "name": "hello", "customer": {"externalId": str(customer)}, "payload": {"number": 1}}
        request = urllib.request.Request(self._url, json.dumps(body).encode(), self._headers)
        address = f"customer-{customer}@example.com"
        before = len(self._mailbox.came.get(address, ()))
        seen: dict[str, float] = {}
        started = time.perf_counter()
        watcher = threading.Thread(target=self._watch, args=(id, seen))
        watcher.start()
        with self._open(request, timeout=GIVE_UP) as answer:
            answer.read()
            seen["accepted"] = time.perf_counter()
            expect("the answer", answer.status, 202)
        watcher.join()
        until(lambda: len(self._mailbox.came.get(address, ())) > before, GIVE_UP)
        seen["mail"] = self._mailbox.came[address][before]
        return {name: (moment - started) * 1000 for name, moment in seen.items()}

    def _watch(self, id: str, seen: dict[str, float]) -> None:
        """Every millisecond, on a connection of this thread."""
        end = time.perf_counter() + GIVE_UP
        with connection.cursor() as cursor:
            while "done" not in seen and time.perf_counter() < end:
                cursor.execute(_SEEN, [self._workspace, id])
                row, now = cursor.fetchone(), time.perf_counter()
                if row is not None and row[0]:
                    seen.setdefault("first", now)
                if row is not None and row[1]:
                    seen["done"] = now
                time.sleep(0.001)
        connection.close()
