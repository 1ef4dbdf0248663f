"""A worker that is killed between the act and its settlement (RELIABILITY 1: 0 lost, at least once with one key)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response
from werkzeug.wrappers import Request

from automations.models import DeliveryAttempt
from automations.worker.deliver import deliver_batch
from tests.worker.deliveries import World, expire_lease

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "import django; django.setup(); from automations.worker.deliver import deliver_batch; deliver_batch()"


def worker(database_url: str) -> subprocess.Popen[bytes]:
    """A process of its own that makes one batch of deliveries."""
    environment = os.environ | {
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "ONWARD_EGRESS_ALLOW": "127.0.0.0/8",
        "ONWARD_DEBUG": "1",
    }
    return subprocess.Popen([sys.executable, "-c", PROGRAM], cwd=ROOT, env=environment)


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something another process does; fails when it does not."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_call_whose_worker_was_killed_is_made_again_with_its_key(
    httpserver: HTTPServer, database_url: str, settings: Any
) -> None:
    settings.ONWARD_EGRESS_ALLOW = ("127.0.0.0/8",)
    seen: list[tuple[str, bytes]] = []
    processes: list[subprocess.Popen[bytes]] = []

    def receive(request: Request) -> Response:
        seen.append((request.headers["Idempotency-Key"], request.get_data()))
        if len(seen) == 1:  # it has acted; its caller dies before it hears of it
            processes[0].send_signal(signal.SIGKILL)
            processes[0].wait()
        return Response("{}", 200)

    httpserver.expect_request("/hook").respond_with_handler(receive)
    world = World()
    run = world.run()
    delivery = world.webhook(httpserver.url_for("/hook"), run)
    processes.append(worker(database_url))
    until(lambda: bool(seen))
    until(lambda: processes[0].poll() is not None)
    assert processes[0].returncode == -signal.SIGKILL
    delivery.refresh_from_db()
    assert (delivery.state, delivery.fence) == ("SENDING", 1)
    assert deliver_batch() == 0  # its lease still runs
    expire_lease(delivery)
    assert deliver_batch() == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, run.answer["outcome"]["kind"]) == ("SENT", "done")
    assert seen == [(delivery.key, b'{"a":1}')] * 2
    assert [row.outcome for row in DeliveryAttempt.objects.filter(delivery=delivery).order_by("number")] == [
        "lost",
        "ok",
    ]


def test_two_workers_share_the_work_and_double_none(httpserver: HTTPServer, database_url: str) -> None:  # INVARIANTS O4
    keys: list[str] = []

    def receive(request: Request) -> Response:
        keys.append(request.headers["Idempotency-Key"])
        return Response("{}", 200)

    httpserver.expect_request("/hook").respond_with_handler(receive)
    world = World()
    deliveries = [world.webhook(httpserver.url_for("/hook")) for _ in range(60)]
    processes = [worker(database_url), worker(database_url)]
    for process in processes:
        assert process.wait(60) == 0
    while deliver_batch():  # what was skipped while the other one held it
        pass
    for delivery in deliveries:
        delivery.refresh_from_db()
    assert {delivery.state for delivery in deliveries} == {"SENT"}
    assert sorted(keys) == sorted(delivery.key for delivery in deliveries)
