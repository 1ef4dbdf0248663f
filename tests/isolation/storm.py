"""`python -m tests.isolation.storm --timers 1000000`: so many timers of one workspace fall due at one moment (RELIABILITY 15).

The server of a user's own settings, real workers and the real web server. While they drain, somebody turns pages and calls the API, and
another workspace starts one run after the other. Prints drain rate, the 95th percentile of pages and calls before and during, and of the
neighbour's runs, then counts: each timer fired once. The web must stay below 300 ms at the 95th percentile.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

from tests.chaos.fleet import KEYS
from tests.chaos.server import Server, own_server
from tests.isolation.hosts import Host, until, work_beside
from tests.worker.smtp_peer import _free_port

MUST = 0.3  # seconds
CHUNK = 50_000  # rows written at once
_COPY = """
INSERT INTO automations_run (event_id, {names}) SELECT g, {names} FROM automations_run, generate_series(%s::bigint, %s) g WHERE id = %s
"""
_DONE = "SELECT count(*) FROM automations_run WHERE automation_id = %s AND ended_at IS NOT NULL"
_LOGGED = """
SELECT count(*), count(DISTINCT run_id) FROM automations_step_log WHERE run_id IN (SELECT id FROM automations_run WHERE automation_id = %s)
    AND step = 'rest'
"""


def main() -> int:
    """0 when each fired once and the web stayed usable."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation.storm")
    parser.add_argument("--timers", type=int, default=1_000_000)
    parser.add_argument("--calm", type=float, default=15, help="seconds of measuring before the storm (15)")
    options = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(own_server("storm", as_users_run_it=True))
        os.environ |= KEYS
        work_beside(server.url)
        storm = Storm(server, options.timers)
        figures = storm.rage(stack, options.calm)
    print(json.dumps(figures, indent=1))
    return 0 if storm.usable() else 1


@dataclass
class Probe:
    """Something asked again and again; seconds of each answer, apart for the calm before and the storm."""

    ask: Callable[[], None]
    pause: float = 0.25
    calm: list[float] = field(default_factory=list)
    storm: list[float] = field(default_factory=list)

    def run(self, raging: threading.Event, over: threading.Event) -> None:
        """Until it is over. An answer counts where its question was put."""
        while not over.is_set():
            into, began = self.storm if raging.is_set() else self.calm, time.monotonic()
            self.ask()
            into.append(time.monotonic() - began)
            over.wait(self.pause)

    def figures(self) -> dict[str, float]:
        """The 95th percentiles in seconds, and how many were asked."""
        return {"calm p95": _p95(self.calm), "storm p95": _p95(self.storm), "asked": len(self.calm) + len(self.storm)}


class Storm:
    """One storm on one server."""

    def __init__(self, server: Server, timers: int) -> None:
        self.server, self.timers = server, timers
        self.port = _free_port()
        self.probes: dict[str, Probe] = {}

    def rage(self, stack: ExitStack, calm: float) -> dict[str, Any]:
        """All of it; answers the figures."""
        self._install()
        for command in (("work", "--processes", "2"), ("qcluster",)):
            stack.enter_context(Host(self.server.url, command))
        stack.enter_context(self._web())
        raging, over = threading.Event(), threading.Event()
        threads = [threading.Thread(target=one.run, args=(raging, over), daemon=True) for one in self.probes.values()]
        until(self._answers, 180, pause=0.5)
        for thread in threads:
            thread.start()
        time.sleep(calm)  # the measure before
        raging.set()
        self._let_go()
        began = time.monotonic()
        until(lambda: self._count() == self.timers, 60 + self.timers / 100, pause=1)
        seconds = time.monotonic() - began
        over.set()
        for thread in threads:
            thread.join(60)
        self._judge()
        return {
            "timers": self.timers, "seconds": round(seconds, 1), "a second": round(self.timers / seconds),
            **{name: probe.figures() for name, probe in self.probes.items()},
        }  # fmt: skip

    def usable(self) -> bool:
        """Whether pages and calls stayed below what they must."""
        return all(_p95(self.probes[name].storm) < MUST for name in ("page", "call"))

    def _install(self) -> None:
        from django.db import connection

        from tests.factories import make_api_key, make_customer, make_user, make_workspace
        from tests.worker.living import happen, live, settle, the_run

        crowd, quiet = make_workspace(), make_workspace()
        self.automation = live(crowd, "steps:\n- {id: rest, type: delay, duration: 1d}\n- {type: stop}\n")
        self.quiet = live(
            quiet, "settings: {reentry: always}\nsteps:\n- {id: tag, type: action, action: add_tag, tag: seen}\n"
        )
        self.neighbour = make_customer(quiet)
        happen(make_customer(crowd))
        settle()
        self.first = the_run(self.automation).pk
        names = self._columns()
        with connection.cursor() as cursor:
            for start in range(1, self.timers, CHUNK):
                end = min(start + CHUNK - 1, self.timers - 1)
                cursor.execute(_COPY.format(names=names), [start + 10**9, end + 10**9, self.first])
            cursor.execute("VACUUM ANALYZE automations_run")
        _, key = make_api_key(crowd, scopes=["read", "events"])
        user = make_user(is_staff=True, is_superuser=True)
        self._make_probes(key, user)

    @staticmethod
    def _columns() -> str:
        from automations.models import Run

        return ", ".join(one.column for one in Run._meta.concrete_fields if one.column not in ("id", "event_id"))

    def _make_probes(self, key: str, user: Any) -> None:
        from django.conf import settings
        from django.test import Client

        client = Client()
        client.force_login(user)
        cookie = {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}
        bearer = {"Authorization": f"Bearer {key}"}
        automation = f"/api/v1/automations/auto_{self.automation.pk}/executions"
        self.probes = {
            "page": Probe(lambda: self._get("/admin/automations/run/", cookie)),
            "call": Probe(lambda: self._get(automation, bearer)),
            "neighbour's run": Probe(self._one_run, 0.3),
        }

    def _get(self, path: str, headers: dict[str, str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        assert answer.status == 200, (path, answer.status)

    def _one_run(self) -> None:
        """From the event to the end of the run that it starts."""
        from automations.models import Run
        from tests.worker.living import happen

        event = happen(self.neighbour)
        until(lambda: Run.objects.filter(event_id=event, ended_at__isnull=False).exists(), 300, pause=0.01)

    def _web(self) -> Host:
        """As `manage.py up` starts it."""
        return Host(
            self.server.url,
            module=("gunicorn", "config.wsgi:application", "--bind", f"127.0.0.1:{self.port}", "--worker-class", "config.web.Worker",
                    "--threads", "4", "--workers", "2", "--log-level", "warning", "--no-control-socket"),
        )  # fmt: skip

    def _answers(self) -> bool:
        try:
            self._get("/healthz", {})
        except OSError:
            return False
        return True

    def _let_go(self) -> None:
        """The clock moves on by a day: all fall due at one moment."""
        self.server.ask("UPDATE accounts_installation SET clock_offset = clock_offset + interval '25 hours'")

    def _count(self) -> int:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute(_DONE, [self.automation.pk])
            return int(cursor.fetchone()[0])

    def _judge(self) -> None:
        from django.db import connection

        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute(_LOGGED, [self.automation.pk])
            rows, runs = cursor.fetchone()
        assert (rows, runs) == (self.timers, self.timers), "a timer fired twice, or not at all"


def _p95(seconds: list[float]) -> float:
    return round(quantiles(seconds, n=20)[-1], 3) if len(seconds) > 1 else float("nan")


if __name__ == "__main__":
    sys.exit(main())
