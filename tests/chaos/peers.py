"""What stands outside: a mail server and an HTTP server on loopback that remember by key what reached them.

They are the judges (INVARIANTS, "the product would be its own witness"): nothing here is read from the product's tables. Both
sometimes act and then hang up, which is what a caller cannot tell from an accident.
"""

from __future__ import annotations

import asyncio
import email
import hashlib
import random
import threading
import time
from collections import Counter, defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller

from tests.worker.smtp_peer import _free_port

ANSWER_SECONDS = 0.03  # between act and answer: many callers die just then


class Record:
    """Acts by key: how many, and the hashes of what was handed over."""

    def __init__(self, chance: random.Random, hang_up: float) -> None:
        self.acts: Counter[str] = Counter()
        self.bytes: defaultdict[str, set[str]] = defaultdict(set)
        self.hung_up: set[str] = set()
        self._chance, self._hang_up = chance, hang_up
        self._lock = threading.Lock()

    def act(self, key: str, content: bytes) -> bool:
        """Count it; whether to answer. It hangs up on a key once at most."""
        with self._lock:
            self.acts[key] += 1
            self.bytes[key].add(hashlib.sha256(content).hexdigest())
            if key in self.hung_up or self._chance.random() >= self._hang_up:
                return True
            self.hung_up.add(key)
            return False


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
        key = str(email.message_from_bytes(envelope.content)["Message-ID"]).partition("@")[0].lstrip("<")
        answers = self.record.act(key, envelope.content)
        await asyncio.sleep(ANSWER_SECONDS)
        if answers:
            return "250 queued"
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

    def __init__(self, chance: random.Random, hang_up: float = 0.0) -> None:
        self.record = record = Record(chance, hang_up)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                self.close_connection = True
                answers = record.act(self.headers["Idempotency-Key"], content)
                time.sleep(ANSWER_SECONDS)
                if answers:
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that was killed in the middle is no news here."""
