"""`python -m tests.isolation.slow_bodies --clients 200`: others' requests beside clients that send theirs a byte at a time
(RELIABILITY 41).

The server of a user's own settings and the web server as `make up` starts it. Somebody reads a page and another records events, first
in peace, then beside so many clients of which half drip the head and half the body of a request, and who come back when they are cut.
Prints the median and the 95th percentile of both in milliseconds, and what the slow ones were told.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from statistics import median, quantiles
from typing import Any

from tests.chaos.fleet import KEYS, Web
from tests.chaos.server import own_server
from tests.isolation.hosts import until, work_beside

DRIP = 1.0  # seconds between two bytes of a slow client
SPARE = 1.5  # times what it was in peace; less is noise


def main() -> int:
    """0 when every request of the others was answered and their 95th percentile stayed what it was."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation.slow_bodies")
    parser.add_argument("--clients", type=int, default=200, help="that send slowly (200)")
    parser.add_argument("--seconds", type=float, default=45, help="of peace, and of slow clients (45)")
    options = parser.parse_args()
    with ExitStack() as stack:
        server = stack.enter_context(own_server("slow", as_users_run_it=True))
        os.environ |= KEYS
        work_beside(server.url)
        web = Web(server.url)
        stack.callback(web.destroy)
        trial = Trial(web.port)
        until(trial.answers, 180, pause=0.5)
        trial.ask(2)  # everything is loaded
        peace = trial.ask(options.seconds)
        with Slow(web.port, options.clients) as slow:
            beside = trial.ask(options.seconds)
    print(json.dumps({"peace": figures(peace), "beside": figures(beside), "slow clients": slow.told}, indent=1))
    return 0 if all(figures(beside)[name]["p95"] <= SPARE * figures(peace)[name]["p95"] for name in peace) else 1


def figures(found: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    """In milliseconds."""
    return {
        name: {
            "median": round(1000 * median(times), 1),
            "p95": round(1000 * quantiles(times, n=20)[-1], 1),
            "asked": len(times),
        }
        for name, times in found.items()
    }


class Trial:
    """Those who have nothing to do with it: one reads a list, one records events."""

    def __init__(self, port: int) -> None:
        from tests.factories import make_api_key, make_customer, make_workspace

        workspace = make_workspace()
        self.port, self.customer = port, make_customer(workspace)
        self._key = make_api_key(workspace, scopes=["read", "events"])[1]
        self._numbers = iter(range(1, 1 << 40))

    def answers(self) -> bool:
        """Whether the web server is there."""
        try:
            return self._ask("GET", "/healthz") == 200
        except OSError:
            return False

    def ask(self, seconds: float) -> dict[str, list[float]]:
        """Seconds of each answer."""
        found: dict[str, list[float]] = {"list": [], "event": []}
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for name in found:
                began = time.monotonic()
                status = self._ask("GET", "/api/v1/executions") if name == "list" else self._record()
                assert status in (200, 202), (name, status)
                found[name].append(time.monotonic() - began)
                time.sleep(0.02)
        return found

    def _record(self) -> int:
        event = {"name": "seen", "id": f"e{next(self._numbers)}", "customer": f"cus_{self.customer.pk}"}
        return self._ask("POST", "/api/v1/events", json.dumps(event))

    def _ask(self, method: str, path: str, body: str | None = None) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status
        finally:
            connection.close()


class Slow:
    """Clients that send a byte a second, in one thread; `told` is what the server said to them."""

    HEAD = b"POST /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

    def __init__(self, port: int, clients: int) -> None:
        self.told: Counter[str] = Counter()
        self._port, self._clients = port, clients
        self._poll = selectors.DefaultSelector()
        self._sent: dict[socket.socket, bytes] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Slow:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join(30)
        for client in list(self._sent):
            self._leave(client)
        self._poll.close()

    def _run(self) -> None:
        for number in range(self._clients):
            self._come(number % 2 == 0)
        while not self._over.is_set():
            until_next = time.monotonic() + DRIP
            for client in list(self._sent):
                self._drip(client)
            while (left := until_next - time.monotonic()) > 0:
                for key, _ in self._poll.select(left):
                    self._hear(key.fileobj)  # type: ignore[arg-type]  # sockets were registered

    def _come(self, with_body: bool) -> None:
        client = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        start = self.HEAD + b"Content-Length: 5000\r\n\r\n{" if with_body else self.HEAD + b"X-Slow: "
        client.sendall(start)
        client.setblocking(False)
        self._sent[client] = start
        self._poll.register(client, selectors.EVENT_READ)

    def _drip(self, client: socket.socket) -> None:
        with suppress(OSError):
            client.send(b" ")

    def _hear(self, client: socket.socket) -> None:
        try:
            said = client.recv(4096)
        except OSError:
            said = b""
        self.told[said.split(b"\r\n")[0].decode() or "closed without a word"] += 1
        with_body = b"Content-Length" in self._sent[client]
        self._leave(client)
        self._come(with_body)

    def _leave(self, client: socket.socket) -> None:
        del self._sent[client]
        self._poll.unregister(client)
        client.close()


if __name__ == "__main__":
    sys.exit(main())
