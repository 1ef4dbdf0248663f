"""What stands outside, in memory, behind the real protocol code: a mail server, a receiver of calls and a payment provider.

They are the judges (INVARIANTS, "the product would be its own witness"): what they accepted is counted by key and bytes, and nothing
here is read from the product's tables. Each may answer, refuse for a while, be away, act and then hang; and whoever calls may stand
still for longer than a lease around the call, so that another takes the delivery over.
"""

from __future__ import annotations

import email
import hashlib
import smtplib
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import httpcore
import pytest

from automations.channels import http
from automations.engine.kinds import Charge, Gateway
from automations.engine.outcomes import Done, Failed, Outcome, Unknown
from automations.engine.registry import registry
from tests.simulation.baton import Actor
from tests.simulation.faults import Points

MOODS = ["well"] * 12 + ["away", "busy", "hangs", "hangs", "slow"]
STANDSTILL = 90.0  # simulated seconds, longer than a lease
ADDRESS = "http://receiver.example/hook"


class Record:
    """Acts by key: how many, and the hashes of what was handed over."""

    def __init__(self) -> None:
        self.acts: Counter[str] = Counter()
        self.bytes: defaultdict[str, set[str]] = defaultdict(set)
        self.at: dict[str, float] = {}

    def act(self, key: str, content: bytes, at: float) -> None:
        """It was accepted; `at` is when, in simulated seconds."""
        self.acts[key] += 1
        self.bytes[key].add(hashlib.sha256(content).hexdigest())
        self.at[key] = at


class Peers:
    """The three of them, in moods that are drawn from the start value."""

    def __init__(self, points: Points) -> None:
        self.points, self.baton = points, points.baton
        self.mails, self.calls, self.charges = Record(), Record(), Record()
        self.gateway = Provider(self)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put them behind the doors of the product."""
        patch.setattr(smtplib, "SMTP", lambda *_, **__: Post(self))
        patch.setattr(http, "GuardedBackend", lambda *_, **__: Network(self))
        patch.setitem(registry.gateways, self.gateway.key, self.gateway)

    def act(self, name: str, record: Record, key: str, content: bytes) -> str:
        """One call with its points; answers the mood in which it ends: well, away, busy or hangs."""

        def accept(actor: Actor) -> str:
            mood = self.baton.chance.choice(MOODS)
            if mood == "slow":
                self.baton.pause(actor, STANDSTILL)
                mood = "well"
            if mood in ("well", "hangs"):
                record.act(key, content, self.baton.clock.seconds)
            self.baton.note(f"{name} of {key.partition('.')[2]}: {mood}")
            if mood == "well" and self.baton.chance.random() < 0.08:
                self.baton.pause(actor, STANDSTILL)
            return mood

        return str(self.points.call(name, accept))


class Post:
    """A mail server as `smtplib.SMTP` shows it, as far as the product speaks with it. The Message-ID begins with the key."""

    def __init__(self, peers: Peers) -> None:
        self._peers, self._message = peers, b""

    def ehlo_or_helo_if_needed(self) -> None:
        """Hello."""

    def has_extn(self, name: str) -> bool:
        """It offers nothing."""
        return False

    def mail(self, sender: str, options: Any = ()) -> tuple[int, bytes]:
        """From."""
        return 250, b"ok"

    def rcpt(self, recipient: str) -> tuple[int, bytes]:
        """To."""
        return 250, b"ok"

    def docmd(self, name: str) -> tuple[int, bytes]:
        """DATA."""
        return 354, b"go on"

    def send(self, content: bytes) -> None:
        """The message."""
        self._message = content

    def getreply(self) -> tuple[int, bytes]:
        """Whether it was taken."""
        key = str(email.message_from_bytes(self._message)["Message-ID"]).partition("@")[0].lstrip("<")
        mood = self._peers.act("mail", self._peers.mails, key, self._message)
        if mood in ("hangs", "away"):
            raise smtplib.SMTPServerDisconnected("Connection unexpectedly closed")
        return (250, b"queued") if mood == "well" else (451, b"later")

    def rset(self) -> tuple[int, bytes]:
        """The next one."""
        return 250, b"ok"

    def quit(self) -> None:
        """Goodbye."""

    def close(self) -> None:
        """Without a goodbye."""


class Network(httpcore.NetworkBackend):
    """Whoever connects, to whatever, speaks with the receiver."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        """At once."""
        return _Stream(self._peers)


class _Stream(httpcore.NetworkStream):
    """One request, one answer, as bytes. `Idempotency-Key` is the key."""

    def __init__(self, peers: Peers) -> None:
        self._peers, self._sent = peers, b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """The request comes in pieces."""
        self._sent += buffer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """All of it is there when the answer is asked for."""
        if not self._sent:
            return b""
        head, _, content = self._sent.partition(b"\r\n\r\n")
        self._sent = b""
        key = str(email.message_from_bytes(head.partition(b"\r\n")[2])["Idempotency-Key"])
        mood = self._peers.act("call", self._peers.calls, key, content)
        if mood == "hangs":
            raise httpcore.ReadTimeout("timed out")
        if mood == "away":
            raise httpcore.ReadError("reset")
        status = b"200 OK" if mood == "well" else b"503 Service Unavailable"
        return b"HTTP/1.1 " + status + b"\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

    def close(self) -> None:
        """Closed."""


class Provider(Gateway):
    """Keeps a ledger by key: the same key is charged once and answered the same for ever. It can be asked about a key."""

    key = "simulated"
    label = "Simulated provider"
    test = True
    cards: Mapping[str, Any] = {"card": "every charge is paid"}

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self.asked: dict[str, Charge] = {}

    @property
    def ledger(self) -> dict[str, Charge]:
        """What was charged, by key."""
        return {key: self.asked[key] for key in self._peers.charges.acts}

    def charge(self, charge: Charge, key: str) -> Outcome:
        """Charge."""
        content = f"{charge.amount} {charge.currency} {charge.reference} {charge.invoice}".encode()
        self.asked.setdefault(key, charge)
        mood = self._peers.act("charge", self._peers.charges, key, content)
        if mood == "hangs":
            return Unknown("The provider did not answer in time; it may have charged.")
        return (
            self._answer(key)
            if mood == "well"
            else Failed("gateway_unreachable", "The provider is away.", temporary=True)
        )

    def find(self, key: str) -> Outcome | None:
        """What became of a key; None when it is not in the books."""
        self._peers.baton.note(f"asked about {key.partition('.')[2]}: {'charged' if key in self.ledger else 'unknown'}")
        return self._answer(key) if key in self.ledger else None

    def _answer(self, key: str) -> Outcome:
        return Done({"result": "paid", "reference": f"ref_{key}"})
