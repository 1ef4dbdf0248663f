"""A small site behind `config.web.Worker`, with short times: what test_web.py talks to, byte by byte."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

from config.web import Worker
from tests.config.conftest import plain_environment

ROOT = Path(__file__).resolve().parents[2]
THREADS = 2


class Hasty(Worker):
    """Cuts after a second, and keeps little."""

    grace = 1.0
    pace = 50 * 1024
    silence = 0.5
    linger_most = 0.5
    held_most = 300_000


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says what it was asked; `/slow` after a second, `/large` with more than any buffer takes."""
    body = environ["wsgi.input"].read()
    asked = {
        "method": environ["REQUEST_METHOD"],
        "path": environ["PATH_INFO"],
        "length": len(body),
        "body": body[:50].decode("latin-1"),
    }
    answer = json.dumps(asked).encode()
    if asked["path"] == "/large":
        answer = b"x" * 50_000_000
    if asked["path"] == "/slow":
        time.sleep(1)
    start_response("200 OK", [("Content-Length", str(len(answer)))])
    return [answer]


class Site:
    """One process of two threads, until `end`."""

    def __init__(
        self, worker: str = "tests.config.web_site.Hasty", connections: int = 40, more: Sequence[str] = ()
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        options = [
            *(
                "--bind",
                f"127.0.0.1:{self.port}",
                "--worker-class",
                worker,
                "--workers",
                "1",
                "--threads",
                str(THREADS),
            ),
            *(
                "--worker-connections",
                str(connections),
                "--keep-alive",
                "5",
                "--log-level",
                "error",
                "--no-control-socket",
            ),
            *more,
        ]
        command = [sys.executable, "-m", "gunicorn", "tests.config.web_site:application", *options]
        self.process = subprocess.Popen(command, cwd=ROOT, env=plain_environment(), stderr=subprocess.PIPE, text=True)
        self._await()
        self._first = self._resident()

    def _await(self) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.ask()
                return
            except ConnectionError:
                time.sleep(0.05)
        raise AssertionError(f"gunicorn did not come up: {self.end()}")

    def connect(self) -> socket.socket:
        """A client."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def ask(self, path: str = "/", client: socket.socket | None = None) -> dict[str, Any]:
        """A short request and its answer."""
        own = client or self.connect()
        try:
            own.sendall(request(path=path))
            return read(own)[1]
        finally:
            if client is None:
                own.close()

    def memory(self) -> int:
        """Bytes that its worker has taken since it came up."""
        return self._resident() - self._first

    def _resident(self) -> int:
        (worker,) = psutil.Process(self.process.pid).children()
        return int(worker.memory_info().rss)

    def end(self) -> str:
        """SIGTERM; answers what the server logged."""
        self.process.terminate()
        return self.process.communicate(timeout=60)[1]


def request(body: bytes = b"", path: str = "/", head: str = "") -> bytes:
    """A whole request."""
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    return f"{'POST' if body else 'GET'} {path} HTTP/1.1\r\nHost: here\r\n{length}{head}\r\n".encode() + body


def read(client: socket.socket) -> tuple[str, dict[str, Any]]:
    """The next answer on this connection: its status and its JSON. Raises `ConnectionError` when there is none."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _some(client, 1)
    lines = head.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    body = b""
    while len(body) < int(fields.get("content-length", 0)):
        body += _some(client, int(fields["content-length"]) - len(body))
    status = lines[0].split(" ", 1)[1]
    return status, json.loads(body) if fields.get("content-type") == "application/json" or body.startswith(b"{") else {}


def _some(client: socket.socket, most: int) -> bytes:
    piece = client.recv(most)
    if not piece:
        raise ConnectionError("the server has closed")
    return piece


def is_closed(client: socket.socket) -> bool:
    """Wait for the server's end of the connection."""
    try:
        return client.recv(1) == b""
    except ConnectionError:
        return True
