"""A catch-all mail server on loopback, for development: every mail becomes a file in the data folder."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from config.folder import locked

LARGEST = 32 * 1024 * 1024  # bytes of one mail


@dataclass(frozen=True)
class Mail:
    """One caught mail; `number` counts from 1 in the order of arrival."""

    number: int
    path: Path

    def message(self) -> EmailMessage:
        """The mail as it was handed over, its envelope in X-Envelope-From and X-Envelope-To."""
        found = message_from_bytes(self.path.read_bytes(), policy=policy.default)
        assert isinstance(found, EmailMessage)
        return found


class Mailbox:
    """The folder `mailbox` of a data folder."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "mailbox"

    def mails(self) -> list[Mail]:
        """All mails, oldest first."""
        return sorted(self._found(), key=lambda mail: mail.number)

    def keep(self, sender: str, recipients: list[str], content: bytes) -> Mail:
        """Write one mail under the next number, whole or not at all."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(self.folder / "lock"):
            number = max((mail.number for mail in self._found()), default=0) + 1
            path = self.folder / f"{number}.eml"
            envelope = f"X-Envelope-From: {sender}\r\nX-Envelope-To: {', '.join(recipients)}\r\n"
            partial = path.with_suffix(".part")
            partial.write_bytes(envelope.encode() + content)
            partial.rename(path)
        return Mail(number, path)

    def _found(self) -> Iterator[Mail]:
        if self.folder.exists():
            for path in self.folder.glob("*.eml"):
                yield Mail(int(path.stem), path)


class Keeper:
    """aiosmtpd's handler: accepts every recipient and keeps what comes."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Answer 250 only once the mail is a file."""
        content = envelope.original_content or b""
        self.mailbox.keep(envelope.mail_from or "", envelope.rcpt_tos, content)
        return "250 Kept"


def serve(mailbox: Mailbox, port: int) -> None:
    """Listen on 127.0.0.1 until SIGTERM or Ctrl-C. Raises OSError when the port is taken."""
    controller = Controller(Keeper(mailbox), hostname="127.0.0.1", port=port, data_size_limit=LARGEST)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    controller.start()
    try:
        asked.wait()
    finally:
        controller.stop()
