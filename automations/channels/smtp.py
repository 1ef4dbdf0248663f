"""The conversation with the mail server, step by step, so that each failure is known for what it is (RELIABILITY 29).

Before the body was handed over nothing was sent, and the mail may be tried again. Once it was, silence means that
nobody can tell. Connections are kept for the mails of one batch and closed after it.
"""

from __future__ import annotations

import re
import smtplib
import ssl
import time
from dataclasses import dataclass
from functools import cache
from queue import Empty, LifoQueue
from urllib.parse import unquote, urlsplit

from django.conf import settings

from automations.engine.outcomes import Done, Failed, Outcome, Unknown

SECONDS = 15.0  # for each step of the conversation
_IDLE = 20.0  # seconds after which a kept connection is not trusted any more
_DOTS = re.compile(rb"(?m)^\.")


@dataclass(frozen=True, slots=True)
class Server:
    """Where mail is handed over. `starttls`: `auto` when offered, `always`, `never`; `tls` from the first byte
    (smtps)."""

    host: str
    port: int
    user: str = ""
    password: str = ""
    tls: bool = False
    starttls: str = "auto"


def server() -> Server | None:
    """The mail server of the installation (`ONWARD_SMTP_URL`, `ONWARD_STARTTLS`), None when there is none."""
    text = getattr(settings, "ONWARD_SMTP_URL", "") or ""
    return parse_server(text, getattr(settings, "ONWARD_STARTTLS", "auto")) if text else None


@cache
def parse_server(text: str, starttls: str = "auto") -> Server:
    """`smtp://user:password@host:port`, or `smtps://`; port 587 with a user, else 25, for smtps 465."""
    parts = urlsplit(text)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    tls = parts.scheme == "smtps"
    port = parts.port or (465 if tls else 587 if user else 25)
    return Server(parts.hostname or "localhost", port, user, password, tls, starttls)


@dataclass(slots=True)
class _Kept:
    smtp: smtplib.SMTP
    at: float


_kept: dict[Server, LifoQueue[_Kept]] = {}


def hand_over(server: Server, sender: str, recipient: str, message: bytes) -> Outcome:
    """Give one message to the server. `Done({"answer"})` once it has said 250 to all of it."""
    options = [] if sender.isascii() and recipient.isascii() else ["SMTPUTF8"]
    for fresh in (False, True):
        found = _connection(server, fresh)
        if isinstance(found, Failed):
            return found
        outcome = _transaction(found, sender, recipient, message, options)
        if outcome is not None:
            _give_back(server, found, outcome)
            return outcome
        found.close()  # a kept connection had died in the meantime; nothing of the mail had been sent
    return Failed("mail_server", "The mail server broke off before the mail was handed over.", temporary=True)


def close_all() -> None:
    """Say goodbye on all kept connections (end of a batch)."""
    for queue in list(_kept.values()):
        while (kept := _take(queue)) is not None:
            _quit(kept.smtp)


def _connection(server: Server, fresh: bool) -> smtplib.SMTP | Failed:
    queue = _kept.setdefault(server, LifoQueue())
    while not fresh and (kept := _take(queue)) is not None:
        if time.monotonic() - kept.at < _IDLE:
            return kept.smtp
        _quit(kept.smtp)
    try:
        return _connect(server)
    except smtplib.SMTPAuthenticationError as error:
        return _failed("mail_server_login", "The mail server refused the sign-in", error.smtp_code, error.smtp_error)
    except smtplib.SMTPNotSupportedError as error:
        return Failed("mail_server_settings", f"The mail server cannot do what is asked of it: {error}")
    except (OSError, smtplib.SMTPException) as error:
        return Failed("mail_server", f"The mail server cannot be reached: {_words(error)}", temporary=True)


def _take(queue: LifoQueue[_Kept]) -> _Kept | None:
    try:
        return queue.get_nowait()
    except Empty:
        return None


def _connect(server: Server) -> smtplib.SMTP:
    if server.tls:
        smtp: smtplib.SMTP = smtplib.SMTP_SSL(server.host, server.port, timeout=SECONDS, context=_tls())
    else:
        smtp = smtplib.SMTP(server.host, server.port, timeout=SECONDS)
    try:
        smtp.ehlo_or_helo_if_needed()
        if not server.tls and (
            server.starttls == "always" or (server.starttls == "auto" and smtp.has_extn("starttls"))
        ):
            smtp.starttls(context=_tls())
            smtp.ehlo_or_helo_if_needed()
        if server.user:
            smtp.login(server.user, server.password)
    except BaseException:
        smtp.close()
        raise
    return smtp


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _transaction(smtp: smtplib.SMTP, sender: str, recipient: str, message: bytes, options: list[str]) -> Outcome | None:
    """One mail. None: the connection was dead before anything of it was sent."""
    if options and not smtp.has_extn("smtputf8"):
        return Failed("address_not_supported", "The mail server takes no addresses with letters beyond ASCII.")
    try:
        code, answer = smtp.mail(sender, options)
        if code == 421:
            return None
        if code != 250:
            return _failed("sender_refused", f"The mail server refused the sender {sender}", code, answer)
        code, answer = smtp.rcpt(recipient)
        if code not in (250, 251):
            return _failed("recipient_refused", f"The mail server refused the recipient {recipient}", code, answer)
        code, answer = smtp.docmd("DATA")
        if code != 354:
            return _failed("mail_refused", "The mail server refused the mail", code, answer)
    except (OSError, smtplib.SMTPException):
        return None
    return _body(smtp, message)


def _body(smtp: smtplib.SMTP, message: bytes) -> Outcome:
    """From the first byte on the server may have the mail, whatever happens to the connection."""
    stuffed = _DOTS.sub(b"..", message)
    try:
        # In one piece: a last line sent for itself would wait for the acknowledgement of the rest.
        smtp.send(stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n"))
        code, answer = smtp.getreply()
    except (OSError, smtplib.SMTPException) as error:
        return Unknown(f"The mail server broke off while it had the mail: {_words(error)}")
    if code == 250:
        return Done({"answer": answer.decode("utf-8", "replace")[:200]})
    return _failed("mail_refused", "The mail server refused the mail", code, answer)


def _failed(code: str, what: str, status: int, answer: bytes | str) -> Failed:
    said = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    said = said.replace("\x00", "")[:300]
    return Failed(code, f"{what}: {status} {said}", temporary=not 500 <= status < 600, details={"status": status})


def _give_back(server: Server, smtp: smtplib.SMTP, outcome: Outcome) -> None:
    """Keep the connection when it is in a known state, else close it."""
    try:
        usable = isinstance(outcome, Done) or (isinstance(outcome, Failed) and smtp.rset()[0] == 250)
    except (OSError, smtplib.SMTPException):
        usable = False
    if usable:
        _kept[server].put(_Kept(smtp, time.monotonic()))
    else:
        smtp.close()


def _quit(smtp: smtplib.SMTP) -> None:
    try:
        smtp.quit()
    except (OSError, smtplib.SMTPException):
        smtp.close()


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:300].replace("\x00", "")
