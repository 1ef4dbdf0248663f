"""What stands outside: a mail server and an HTTP server on loopback that remember by key what reached them.

They are the judges (INVARIANTS, "the product would be its own witness"): nothing here is read from the product's tables. Both
sometimes act and then hang up, which is what a caller cannot tell from an accident.
"""

from __future__ import annotations

import asyncio
import email
import hashlib
import json
import random
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from tests.worker.smtp_peer import _free_port

ANSWER_SECONDS = 0.03  # between act and answer: many callers die just then
HANG_SECONDS = 20.0  # longer than any caller waits


class Record:
    """Acts by key: how many, the hashes of what was handed over, what it said, and when (by the system's clock)."""

    def __init__(self, chance: random.Random, hang_up: float) -> None:
        self.acts: Counter[str] = Counter()
        self.bytes: defaultdict[str, set[str]] = defaultdict(set)
        self.said: dict[str, Any] = {}
        self.moments: defaultdict[str, list[float]] = defaultdict(list)
        self.hung_up: set[str] = set()
        self.hang = 0.0  # the share of those it leaves without an answer that it keeps waiting instead of hanging up
        self._chance, self._hang_up = chance, hang_up
        self._lock = threading.Lock()

    def act(self, key: str, content: bytes, said: Any = None) -> bool:
        """Count it; whether to answer. It hangs up on a key once at most."""
        with self._lock:
            self.acts[key] += 1
            self.bytes[key].add(hashlib.sha256(content).hexdigest())
            self.said[key] = said
            self.moments[key].append(time.time())
            if key in self.hung_up or self._chance.random() >= self._hang_up:
                return True
            self.hung_up.add(key)
            return False

    def silence(self) -> float:
        """How long somebody who gets no answer waits for it."""
        with self._lock:
            return HANG_SECONDS if self._chance.random() < self.hang else 0.0


class Mailbox:
    """A real mail server. The left part of the Message-ID is the key."""

    def __init__(self, chance: random.Random, hang_up: float = 0.0) -> None:
        self.record = Record(chance, hang_up)
        self._controller = Controller(self, hostname="127.0.0.1", port=_free_port())

    @property
    def url(self) -> str:
        """What ONWARD_SMTP_URL takes."""
        return f"smtp://127.0.0.1:{self._controller.port}"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content)
        key = str(message["Message-ID"]).partition("@")[0].lstrip("<")
        answers = self.record.act(key, envelope.content, (envelope.rcpt_tos[0], str(message["Subject"])))
        await asyncio.sleep(ANSWER_SECONDS)
        if answers:
            return "250 queued"
        await asyncio.sleep(self.record.silence())
        server.transport.abort()
        await asyncio.sleep(0)
        return "451 never heard"

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()


class Receiver:
    """A real HTTP server. `Idempotency-Key` is the key."""

    path = "/hook"

    def __init__(self, chance: random.Random, hang_up: float = 0.0) -> None:
        self.record = Record(chance, hang_up)
        peer = self

        class Handler(_Handler):
            receiver = peer

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    @property
    def port(self) -> int:
        """Of this machine."""
        return int(self._server.server_address[1])

    def accept(self, key: str, content: bytes) -> bool:
        """Count a call; whether to answer it."""
        return self.record.act(key, content, content)

    def knows(self, key: str) -> bool:
        """Whether somebody who asks for this key finds it."""
        return False

    def __enter__(self) -> Any:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Payments(Receiver):
    """A payment provider: the same key is charged once, however often it is sent; `charged` counts by what it was for."""

    path = "/charges"

    def __init__(self, chance: random.Random, hang_up: float = 0.0) -> None:
        super().__init__(chance, hang_up)
        self.charged: Counter[int] = Counter()
        self._ledger: set[str] = set()
        self._booking = threading.Lock()

    def accept(self, key: str, content: bytes) -> bool:
        """Charge a key that is new."""
        with self._booking:
            if key not in self._ledger:
                self._ledger.add(key)
                self.charged[json.loads(content)["number"]] += 1
        return super().accept(key, content)

    def knows(self, key: str) -> bool:
        """Whether it was charged."""
        with self._booking:
            return key in self._ledger


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        content = self.rfile.read(length)
        self.close_connection = True
        if len(content) < length:  # its sender died on the way: no receiver acts on half a call
            return
        answers = self.receiver.accept(self.headers["Idempotency-Key"], content)
        time.sleep(ANSWER_SECONDS)
        if answers:
            self._answer(200)
        else:
            time.sleep(self.receiver.record.silence())

    def do_GET(self) -> None:
        self.close_connection = True
        self._answer(200 if self.receiver.knows(self.path.rpartition("/")[2]) else 404)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that was killed in the middle is no news here."""
