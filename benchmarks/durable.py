"""DBOS Transact, what a user would pick who wants each step kept: a workflow of six recorded steps on its queue, two processes.
Optional: the package is in `config/requirements-bench.lock`, and without it the row says so.

`python -m benchmarks.durable tables|work NUMBER|enrol` are its programs; the polling is set far below its default of a second."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from benchmarks.stage import PROCESSES, Contender, expect, spawned
from config.database import Database, parse_database_url

ROOT = Path(__file__).resolve().parents[1]
QUEUE, WORKFLOW = "drip", "drip"
POLL = 0.02  # seconds; DBOS looks every second by default
AT_ONCE = 25  # workflows of one process
OUTBOX = (
    "CREATE TABLE IF NOT EXISTS durable_outbox (id bigserial PRIMARY KEY, run bigint, recipient text, subject text)"
)
CLEAR = "TRUNCATE dbos.workflow_status, dbos.operation_outputs CASCADE; TRUNCATE durable_outbox"
COUNTS = """
SELECT (SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'), (SELECT count(*) FROM dbos.operation_outputs),
    (SELECT count(*) FROM durable_outbox)
"""


def missing() -> str:
    """Why it cannot be measured; empty when it can."""
    if find_spec("dbos") is None:
        return "the package dbos is not installed (pip install -r config/requirements-bench.lock)"
    return ""


class Durable:
    """The contender, seen from outside."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._made = False
        self._feeder: subprocess.Popen[str] | None = None

    def prepare(self, number: int) -> None:
        """No rows."""
        if not self._made:
            subprocess.run(_program("tables"), env=_environment(), check=True)
            self._made = True
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            connection.execute(CLEAR)

    @contextmanager
    def working(self) -> Iterator[list[int]]:
        """Two workers and the one that enrols, at rest."""
        workers = [_program("work", str(number)) for number in range(PROCESSES)]
        with spawned(_program("enrol"), *workers, environment=_environment()) as (self._feeder, *started):
            yield [worker.pid for worker in started]

    def enrol(self, count: int) -> None:
        """Have the workflows queued."""
        assert self._feeder is not None
        assert self._feeder.stdin is not None
        self._feeder.stdin.write(f"{count}\n")
        self._feeder.stdin.flush()

    def counts(self) -> tuple[int, int, int]:
        """Workflows that succeeded, recorded steps, mails."""
        with psycopg.connect(self._dsn) as connection:
            row = connection.execute(COUNTS).fetchone()
        assert row is not None
        return row[0], row[1], row[2]


def contender(dsn: str, runs: int) -> Contender | None:
    """None where the package is missing."""
    if missing():
        return None
    durable = Durable(dsn)
    return Contender(
        size=runs,
        prepare=durable.prepare,
        working=durable.working,
        begin=lambda number: durable.enrol(runs),
        done=lambda: durable.counts()[0] == runs,
        check=lambda number: expect("DBOS", durable.counts(), (runs, 6 * runs, 2 * runs)),
    )


def _program(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.durable", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _url(place: Database) -> str:
    """As SQLAlchemy reads it, a socket folder included."""
    login = quote(place.user, safe="") + (f":{quote(place.password, safe='')}" if place.password else "")
    port = f"&port={place.port}" if place.port else ""
    return f"postgresql://{login}@/{quote(place.name, safe='')}?host={quote(place.host, safe='')}{port}"


def _launch(number: str) -> Any:
    from dbos import DBOS

    place = parse_database_url(os.environ["DATABASE_URL"])
    config: Any = {
        "name": "drip",
        "system_database_url": _url(place),
        "executor_id": number,
        "application_version": "1",
        "log_level": "ERROR",
        "enable_otlp": False,
    }
    DBOS(config=config)
    _declare(DBOS, _url(place))
    return DBOS


def _declare(app: Any, url: str) -> None:
    """The workflow: condition, mail, a delay already past, condition, mail, end; each is a recorded step."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), pool_size=AT_ONCE)

    @app.step(name="condition")
    def condition(failures: int) -> bool:
        return failures == 1

    @app.step(name="mail")
    def mail(run: int, recipient: str, subject: str) -> str:
        with engine.begin() as connection:
            query = text("INSERT INTO durable_outbox (run, recipient, subject) VALUES (:run, :recipient, :subject)")
            connection.execute(query, {"run": run, "recipient": recipient, "subject": subject})
        return "queued"

    @app.step(name="delay")
    def delay() -> str:
        return "past"  # DBOS's own sleep records nothing when there is nothing to wait for

    @app.step(name="end")
    def end() -> str:
        return "end"

    @app.workflow(name=WORKFLOW)
    def drip(run: int, failures: int) -> None:
        for again in (False, True):
            if condition(failures):
                mail(run, f"customer-{run}@example.com", f"Payment failed {failures}")
            if not again:
                delay()
        end()


def _serve(name: str, number: str) -> None:
    app = _launch(number)
    app.launch()
    if name == "tables":
        place = parse_database_url(os.environ["DATABASE_URL"])
        with psycopg.connect(_url(place), autocommit=True) as connection:
            connection.execute(OUTBOX)
        app.destroy()
        return
    app.register_queue(QUEUE, worker_concurrency=AT_ONCE, polling_interval_sec=POLL)
    print("ready", flush=True)
    sys.stdin.read()


def _enrol() -> None:
    from dbos import DBOSClient

    client = DBOSClient(system_database_url=_url(parse_database_url(os.environ["DATABASE_URL"])))
    print("ready", flush=True)
    for line in sys.stdin:
        for run in range(1, int(line) + 1):
            client.enqueue({"workflow_name": WORKFLOW, "queue_name": QUEUE, "app_version": "1"}, run, 1)


if __name__ == "__main__":
    if sys.argv[1] == "enrol":
        _enrol()
    else:
        _serve(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "tables")
