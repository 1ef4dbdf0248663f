"""Those who use the product over HTTP, and their own record of what they were told (RELIABILITY 1, Jepsen: judge from it).

A caller that hears nothing, or that the product is unavailable, says the same thing again until it is told that it was heard.
"""

from __future__ import annotations

import http.client
import json
import queue
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

Sign = tuple[str, int]  # name of an event, and its number
AGAIN = (429, 500, 502, 503, 504)  # what a caller repeats; whether a 500 may be is for the judge to say


@dataclass
class Told:
    """What clients heard, each fact once: nothing here is read from the product's tables."""

    events: dict[Sign, int] = field(default_factory=dict)  # -> the id that the answer named
    moments: list[float] = field(default_factory=list)  # of acknowledgements, by the system's clock
    left: dict[int, float] = field(default_factory=dict)  # customer -> when it was told to be unsubscribed
    published: Counter[int] = field(default_factory=Counter)  # automation -> versions that were put in force
    answers: Counter[str] = field(default_factory=Counter)
    repeated: int = 0  # events said again although they had been acknowledged
    wrong: list[str] = field(default_factory=list)  # answers that contradict others, or that no client can use

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self.over = threading.Event()  # nobody insists any more

    def hear(self, sign: Sign, event: int) -> None:
        """An event was acknowledged under this id."""
        with self._lock:
            if sign in self.events:
                self.repeated += 1
                if self.events[sign] != event:
                    self.wrong.append(f"{sign} was {self.events[sign]} and became {event}")
            self.events[sign] = event
            self.moments.append(time.time())

    def note(self, answer: str, complaint: str = "") -> None:
        """One answer, of any kind."""
        with self._lock:
            self.answers[answer] += 1
            if complaint:
                self.wrong.append(complaint)


class Caller:
    """One integration with a key of its own."""

    def __init__(self, port: int, key: str, told: Told) -> None:
        self._port, self._key, self.told = port, key, told

    def move(self, port: int) -> None:
        """From the next request on speak with the server of this port, as behind a proxy that was told so."""
        self._port = port

    def call(self, method: str, path: str, body: Any, kind: str = "application/json") -> tuple[int, Any] | None:
        """One request; None when there is no answer, or none that is whole."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        text = body if isinstance(body, str) else json.dumps(body)
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": kind}
        try:
            connection.request(method, f"/api/v1{path}", text.encode(), headers)
            answer = connection.getresponse()
            found = answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            self.told.note("no answer")
            return None
        finally:
            connection.close()
        self.told.note(str(found[0]), f"{method} {path}: {found}" if found[0] == 500 else "")
        return found

    def insist(self, method: str, path: str, body: Any, kind: str = "application/json") -> tuple[int, Any] | None:
        """The same until there is an answer that says more than "try again"; None when it was stopped meanwhile."""
        while not self.told.over.is_set():
            found = self.call(method, path, body, kind)
            if found is not None and found[0] not in AGAIN:
                return found
            self.told.over.wait(0.1)
        return None

    def say(self, signs: list[Sign], customers: dict[int, int]) -> bool:
        """Events of these numbers, in one request; whether they were acknowledged."""
        events = [
            {"id": f"{name}-{number}", "name": name, "customer": f"cus_{customers[number]}", "payload": {"number": number}}
            for name, number in signs
        ]  # fmt: skip
        found = self.insist("POST", "/events", {"events": events})
        if found is None or found[0] != 202:
            if found is not None:
                self.told.note("refused", f"events were refused: {found}")
            return False
        for sign, row in zip(signs, found[1]["events"], strict=True):
            self.told.hear(sign, int(row["id"].removeprefix("evt_")))
        return True

    def leave(self, customer: int) -> None:
        """Unsubscribe a customer."""
        found = self.insist("PUT", f"/customers/cus_{customer}/consent", {"state": "unsubscribed"})
        if found is not None and found[0] == 200:
            self.told.left[customer] = time.time()

    def publish(self, automation: int, text: str) -> None:
        """Save a draft and put it in force. One that was put in force without our hearing of it leaves no draft: fine as well."""
        path = f"/automations/auto_{automation}"
        saved = self.insist("PUT", f"{path}/draft", text, "application/yaml")
        if saved is None or saved[0] != 200:
            return self.told.note("no draft", f"the draft was refused: {saved}" if saved else "")
        found = self.insist("POST", f"{path}/activate", {})
        if found is not None and (found[0] == 200 or found[1].get("code") == "wrong_state"):
            self.told.published[automation] += 1
        elif found is not None:
            self.told.note("not published", f"the draft was not put in force: {found}")
        return None


class Crowd:
    """Several threads that say what stands in the queue, in no order."""

    def __init__(self, callers: dict[int, Caller], customers: dict[int, int], threads: int = 3) -> None:
        self._callers, self._customers = callers, customers  # by workspace; number -> customer
        self._lines: queue.Queue[tuple[int, list[Sign]] | None] = queue.Queue()
        self._threads = [threading.Thread(target=self._talk, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def say(self, workspace: int, signs: list[Sign], chance: random.Random, doubled: float = 0.2) -> None:
        """Soon; some of it twice, perhaps at the same moment, in another order, in another request."""
        self._lines.put((workspace, signs))
        if chance.random() < doubled:
            again = signs[: len(signs) // 2]
            chance.shuffle(again)
            self._lines.put((workspace, again))

    def _talk(self) -> None:
        while (line := self._lines.get()) is not None:
            workspace, signs = line
            if signs:
                self._callers[workspace].say(signs, self._customers)

    def finish(self, patience: float) -> None:
        """Wait until everything was said and heard."""
        for _ in self._threads:
            self._lines.put(None)
        end = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(0.1, end - time.monotonic()))
            assert not thread.is_alive(), "callers still wait to be heard"
