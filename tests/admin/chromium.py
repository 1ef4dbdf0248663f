"""A browser for tests, spoken to through its debugging pipe: no driver and no port are needed.

Chromium reads commands from its file descriptor 3 and answers on 4, JSON texts that end with a NUL.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings

PATIENCE = 20.0  # seconds
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = {"Enter": 13, "F8": 119, "s": 83, "Tab": 9}
CONTROL, SHIFT = 2, 8


class BrowserError(AssertionError):
    """The browser answered with an error, or not in time."""


def chromium() -> str | None:
    """The browser that ONWARD_CHROMIUM names, else one of this machine."""
    return settings.ONWARD_CHROMIUM or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def browser(program: str, profile: Path) -> Iterator[Browser]:
    """One that is gone afterwards."""
    to_it, from_us = os.pipe()
    to_us, from_it = os.pipe()

    def descriptors() -> None:
        os.dup2(os.dup(to_it), 3)
        os.dup2(os.dup(from_it), 4)

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
    process = subprocess.Popen(
        [program, *flags, f"--user-data-dir={profile}", "about:blank"],
        preexec_fn=descriptors, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(to_it)
    os.close(from_it)
    try:
        yield Browser(from_us, to_us)
    finally:
        os.close(from_us)  # it ends when nobody can command it any more
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(to_us)


@dataclass
class Browser:
    """One tab. `heard` are all events, in order."""

    to_it: int
    to_us: int
    session: str = ""
    target: str = ""
    heard: list[dict[str, Any]] = field(default_factory=list)
    _number: int = 0
    _rest: bytes = b""

    def open(self) -> None:
        """A tab whose console and network are listened to."""
        self.target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=self.target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def close(self) -> None:
        """Of the tab, which is not asked whether something would be lost."""
        self.session = ""
        self.ask("Target.closeTarget", targetId=self.target)
        self.heard.clear()

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """A command and its answer; events in between are kept."""
        self._number += 1
        order: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self.session:
            order["sessionId"] = self.session
        os.write(self.to_it, json.dumps(order).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            message = self._next(until)
            if message.get("id") == self._number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']}")
                return dict(message["result"])
            self.heard.append(message)

    def _next(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self.to_us], [], [], max(until - time.monotonic(), 0))
            if not ready:
                raise BrowserError("The browser did not answer in time.")
            self._rest += os.read(self.to_us, 65536)
        text, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(text))

    def see(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise BrowserError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait(self, expression: str) -> Any:
        """The same, as soon as it is true."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = self.see(f"(() => {{ try {{ return {expression} }} catch {{ return null }} }})()")
            if found:
                return found
            time.sleep(0.05)
        raise BrowserError(f"Never came true: {expression}\n{self.see('document.body.innerText')[:2000]}")

    def go(self, address: str) -> None:
        """To a page, until all of it is there."""
        self.see("window.left = true")
        self.ask("Page.navigate", url=address)
        self.wait("!window.left && document.readyState === 'complete'")

    def press(self, key: str, modifiers: int = 0) -> None:
        """A key, with CONTROL or SHIFT."""
        common = {"key": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        down = {"text": "\r"} if key == "Enter" and not modifiers else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **common, **down)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Text where the cursor is."""
        self.ask("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """What a person would click."""
        self.see(f"document.querySelector({json.dumps(selector)}).click()")

    def shot(self) -> bytes:
        """A picture."""
        return base64.b64decode(self.ask("Page.captureScreenshot")["data"])

    def complaints(self) -> list[str]:
        """Errors of scripts, and what the content security policy stopped."""
        self.see("1")  # whatever is under way is heard first
        found = [
            event["params"]
            for event in self.heard
            if event.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]
        entries = [params.get("entry") or params["exceptionDetails"] for params in found]
        return [
            str(entry.get("text"))
            for entry in entries
            if entry.get("level", "error") == "error" and entry.get("source") != "network"
        ]
