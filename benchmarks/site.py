"""The product as `make up` starts it, web and workers and cluster under one parent, on the measured database; a mail server beside it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller

from benchmarks.stage import READY, end, until
from config.supervise import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
UNDER_TESTS = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST", "ONWARD_TEST_DATA")


class Mailbox:
    """Accepts every mail and remembers when it came, by its recipient."""

    def __init__(self) -> None:
        self.came: dict[str, list[float]] = {}
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    @property
    def url(self) -> str:
        """What ONWARD_SMTP_URL takes."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """aiosmtpd's hook, when the whole mail was read."""
        for address in envelope.rcpt_tos:
            self.came.setdefault(address, []).append(time.perf_counter())
        return "250 queued"

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Of the product's own processes: what this process has, without what tests add."""
    kept = {name: value for name, value in os.environ.items() if name not in UNDER_TESTS}
    return {**kept, "DJANGO_SETTINGS_MODULE": "config.settings", "ONWARD_LOG": "error", **more}


@contextmanager
def running(mail: str) -> Iterator[str]:
    """`manage.py up`; answers its address once the web server answers and all workers stand by."""
    port = free_port()
    folder = Path(os.environ["ONWARD_DATA"])
    (folder / "demo-credentials").touch()  # no demo workspace: its automations would run beside
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "manage.py"), "up"],
        cwd=ROOT,
        env=environment(PORT=str(port), ONWARD_SMTP_URL=mail, ONWARD_DEBUG="1"),
        stdout=subprocess.DEVNULL,
        preexec_fn=die_with_parent,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(process, f"{address}/healthz"), READY)
        until(_workers_listen, READY)
        yield address
    finally:
        end(process)


@contextmanager
def served(application: str, **more: str) -> Iterator[str]:
    """A web server with the arguments of `make up`, for this application; answers its address."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        web_command(application, port),
        cwd=ROOT,
        env=environment(PYTHONPATH=str(ROOT), PORT=str(port), **more),
        preexec_fn=die_with_parent,
    )
    try:
        until(lambda: answers(process, f"{address}/"), READY)
        yield address
    finally:
        end(process)


def web_command(application: str, port: int) -> list[str]:
    """What `up` starts for the web, with another application and port."""
    from config.up import _children

    web = next(child for child in _children(None) if child.name == "web")
    command = list(web.command)
    command[command.index("config.wsgi:application")] = application
    command[command.index("--bind") + 1] = f"127.0.0.1:{port}"
    return command


def answers(process: subprocess.Popen[Any], url: str) -> bool:
    """Whether the server says anything at all. RuntimeError when it has ended."""
    if process.poll() is not None:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
    direct: Callable[..., Any] = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    with suppress(urllib.error.URLError, OSError):
        try:
            direct(url, timeout=2).close()
        except urllib.error.HTTPError as error:
            error.close()
        return True
    return False


def _workers_listen() -> bool:
    from django.conf import settings
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM automations_worker WHERE kind = 'work'")
        return int(cursor.fetchone()[0]) >= settings.ONWARD_WORKERS
