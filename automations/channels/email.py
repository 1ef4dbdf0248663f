"""E-mail (EML-02, EML-05). One recipient a message; the delivery key is the left part of its Message-ID (CONTRACTS
9)."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

from automations.channels import smtp
from automations.channels.plain_text import plain_text
from automations.engine.kinds import Channel, Envelope
from automations.engine.outcomes import Failed, Outcome

_LOCAL = re.compile(r"[^\s\x00-\x20\x7f\"(),:;<>@\[\]\\]{1,64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.I)
_BREAKS = re.compile(r"[\r\n\x00]")


class BadAddress(ValueError):
    """No mail can go there; the text says why."""

    code = "invalid_address"


def check_address(text: str) -> str:
    """An address as the server takes it: trimmed, its domain in ASCII. `BadAddress` for anything that is not exactly
    one address: a list, a name beside it, a line break (RELIABILITY 56, ERR-10)."""
    local, at, domain = text.strip().rpartition("@")
    try:
        domain = domain.encode("idna").decode("ascii") if not domain.isascii() else domain
    except UnicodeError:
        domain = ""
    dotted = local.startswith(".") or local.endswith(".") or ".." in local
    if not at or dotted or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise BadAddress(f"“{_BREAKS.sub(' ', text)[:100]}” is not an e-mail address.")
    return f"{local}@{domain.lower()}"


def header(text: str) -> str:
    """A header value; `ValueError` for CR, LF and NUL, which would begin a header of its own."""
    if _BREAKS.search(text):
        raise ValueError("A line break cannot stand in a mail header.")
    return text


def build(*, key: str, sender: str, name: str, to: str, subject: str, html: str, at: datetime) -> bytes:
    """The bytes of one message, the same for the same arguments: HTML with a text part made from it."""
    sender, to = check_address(sender), check_address(to)
    message = EmailMessage(policy=policy.SMTP if sender.isascii() and to.isascii() else policy.SMTPUTF8)
    local, _, domain = sender.rpartition("@")
    message["From"] = Address(display_name=header(name), username=local, domain=domain)
    to_local, _, to_domain = to.rpartition("@")
    message["To"] = Address(username=to_local, domain=to_domain)
    message["Subject"] = header(subject)
    message["Date"] = format_datetime(at)
    message["Message-ID"] = f"<{key}@{domain}>"
    message["MIME-Version"] = "1.0"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(plain_text(html), charset="utf-8", cte="quoted-printable")
    message.add_alternative(html, subtype="html", charset="utf-8", cte="quoted-printable")
    message.set_boundary(f"=_{hashlib.sha256(key.encode()).hexdigest()[:32]}")
    return message.as_bytes()


class EmailChannel(Channel):
    """Hands a rendered message to the installation's mail server."""

    kind = "email"

    def send(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        """From `envelope.body["from"]["address"]` to `envelope.to`; `body` is the message."""
        server = smtp.server()
        if server is None:
            return Failed("no_mail_server", "No mail server is set; ONWARD_SMTP_URL names one.", temporary=True)
        try:
            sender, to = check_address(envelope.body["from"]["address"]), check_address(envelope.to)
        except BadAddress as error:
            return Failed("invalid_address", str(error))
        return smtp.hand_over(server, sender, to, body)


email = EmailChannel()
