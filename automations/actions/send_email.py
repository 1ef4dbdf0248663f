"""`send_email` (ACT-01, STP-10, C-23): a mail from a named template or from a subject and body in the step, through
one queue."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from django.utils import timezone
from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from automations.channels.email import build, email
from automations.engine.expressions import Environment, Names, Template, compile_template
from automations.engine.expressions.paths import fold
from automations.engine.kinds import (
    Config,
    Envelope,
    HeaderText,
    Marker,
    Need,
    OutsideAction,
    TemplateText,
    Unsure,
)
from automations.engine.outcomes import Done, Failed, Outcome, Skipped, Suppressed
from automations.engine.plan import aliases
from automations.engine.registry import registry
from automations.engine.scope import Scope
from automations.engine.values import MISSING
from automations.worker.resources import load_texts

HtmlText = Annotated[str, Marker("template", "html")]
RECIPIENTS = 50  # of one step


class EmailConfig(Config):
    """A template, or a subject and a body. `to` defaults to the customer's address, `sender` to the workspace's
    default one."""

    template: str | None = Field(
        None, title="Template", max_length=100, json_schema_extra={"x-widget": "email_template"}
    )
    to: TemplateText | list[TemplateText] | None = Field(None, title="To", json_schema_extra={"x-widget": "recipient"})
    subject: HeaderText | None = Field(None, title="Subject", max_length=2000, validate_default=True)
    body: HtmlText | None = Field(
        None, title="Body", max_length=65536, validate_default=True, json_schema_extra={"x-widget": "html"}
    )
    sender: str | None = Field(None, title="Sender", max_length=254, json_schema_extra={"x-widget": "sender"})
    kind: Literal["customer", "team"] | None = Field(None, title="Kind")

    @field_validator("subject", "body")
    @classmethod
    def _complete(cls, text: str | None, info: ValidationInfo) -> str | None:
        """Without a template both have to stand in the step (STP-11)."""
        if not text and not info.data.get("template"):
            raise PydanticCustomError("missing", "Needed where no template is named")
        return text or None


class EmailOutput(Config):
    """What later steps read."""

    delivery: str = Field("", title="Delivery")
    to: str = Field("", title="To")
    subject: str = Field("", title="Subject")


class SendEmail(OutsideAction):
    """The step goes on when the mail is queued; with its error output joined it waits for the hand-over (C-45)."""

    key = "send_email"
    group = "Communication"
    label = "Send email"
    help = "Sends a mail to the customer, or to your team."
    icon = "mail"
    Config = EmailConfig
    Output = EmailOutput
    reads = (Need("mail_plan", None),)
    asks_consent = True

    def summary(self, config: EmailConfig) -> str:
        """`Send payment_failed_first`."""
        return f"Send {config.template or config.subject or 'a mail'}"

    def sample(self) -> EmailConfig:
        """A mail that needs no template."""
        return EmailConfig(subject="Hi {{customer.name}}", body="<p>Hello {{customer.name}}</p>")

    def needs(self, config: EmailConfig) -> tuple[Need, ...]:
        """Its template and its sender."""
        sender = Need("sender", config.sender)
        return (Need("email_template", config.template), sender) if config.template else (sender,)

    def prepare(self, config: EmailConfig, scope: Scope) -> tuple[Envelope, ...] | Outcome:
        """One mail for each recipient, its subject rendered, the values that its body mentions kept."""
        template = scope.resource("email_template", config.template) if config.template else None
        if config.template and template is None:
            return Failed("unknown_template", f"There is no e-mail template “{config.template}”.")
        sender = scope.resource("sender", config.sender)
        if sender is None:
            return Failed(
                "no_sender", "There is no verified sender" + (f" “{config.sender}”." if config.sender else ".")
            )
        to_customer = (config.kind or (template or {}).get("kind", "customer")) == "customer"
        recipients = _recipients(config, scope)[:RECIPIENTS]
        # Asked first: what has to be read for it is read before the texts are made.
        verdicts = [_verdict(to_customer, to, scope) for to in recipients]
        subject = scope.text(config.subject or (template or {})["subject"], "header").strip()[:998]
        body = _body(config, scope, template, sender)
        mail = (body, subject, to_customer, config.template)
        return tuple(_addressed(mail, to, verdict, scope) for to, verdict in zip(recipients, verdicts, strict=True))

    def complete(self, envelopes: Sequence[tuple[int, Envelope]]) -> Sequence[Envelope]:
        """Bring the text of the template that each was queued with."""
        named = {(workspace, envelope.body["text"]) for workspace, envelope in envelopes if "text" in envelope.body}
        texts = load_texts(named)
        return [
            replace(envelope, body={**envelope.body, "source": texts.get((workspace, envelope.body["text"]))})
            if "text" in envelope.body
            else envelope
            for workspace, envelope in envelopes
        ]

    def html(self, envelope: Envelope) -> str:
        """The body as it is read by its recipient; also for showing it before it is sent."""
        data = envelope.body
        source = data.get("source")
        if source is None:
            raise LookupError("the text of its template is gone")
        names = Names(frozenset(data["roots"]), aliases(registry))
        zone, now = ZoneInfo(data["zone"]), datetime.fromisoformat(data["now"])
        env = Environment({"now": now} | data["values"], now, zone, data["locale"])
        return compile_template(source, names, "html").render(env)

    def render(self, envelope: Envelope, key: str) -> bytes:
        """The whole message, made once."""
        sender = envelope.body["from"]
        return build(
            key=key,
            sender=sender["address"],
            name=sender["name"],
            to=envelope.to,
            subject=envelope.subject,
            html=self.html(envelope),
            at=timezone.now(),
        )

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        """Hand it to the mail server."""
        outcome = email.send(envelope, key, body)
        return Done(dict(envelope.output)) if isinstance(outcome, Done) else outcome

    def unsure(self, envelope: Envelope, before: int) -> Unsure:
        """SMTP knows no key: a transactional mail is sent once more with its Message-ID, any other is not
        (RELIABILITY 29)."""
        return "resend" if envelope.body.get("transactional") and before == 0 else "review"


_SEPARATORS = re.compile("[,;]")


def _recipients(config: EmailConfig, scope: Scope) -> list[str]:
    """Addresses as written, each once. Nobody is one empty address: it fails when it is sent, and is shown (C-45,
    ERR-10)."""
    if config.to is None:
        return [str(scope.read(("customer", "email")) or "")]
    texts = [scope.text(text) for text in (config.to if isinstance(config.to, list) else [config.to])]
    if len(texts) == 1 and "," not in texts[0] and ";" not in texts[0]:
        return [texts[0].strip()]
    found = [part.strip() for text in texts for part in _SEPARATORS.split(text) if part.strip()]
    return list(dict.fromkeys(found)) or [""]


def _addressed(
    mail: tuple[dict[str, Any], str, bool, str | None], to: str, verdict: Outcome | None, scope: Scope
) -> Envelope:
    body, subject, to_customer, template = mail
    sender = body["from"]["address"]
    shown = {"to": to, "subject": subject, "sender": sender}
    if template:
        shown["template"] = template
    return Envelope(
        kind="email",
        body=body,
        input=shown,
        output={"to": to, "subject": subject},
        to=to[:320],
        subject=subject,
        subjects=scope.subjects,
        customer_mail=to_customer,
        waits=False,
        retries=5,
        retry_delay=60,
        verdict=verdict,
    )


def _verdict(to_customer: bool, to: str, scope: Scope) -> Outcome | None:
    """Whether it is known already that it must not be sent (SUP-09, LIM-07); asked again when it is."""
    if not to_customer or not to:
        return None
    if scope.resource("consent", to) is not None:
        return Suppressed("unsubscribed")
    return Skipped("plan") if (scope.resource("mail_plan", None) or {}).get("monthly") == 0 else None


@lru_cache(maxsize=1024)
def reading_of(source: str, names: Names) -> tuple[tuple[tuple[tuple[str, ...], bool], ...], list[str]]:
    """What a body reads, in order, each with whether it is named there; and its roots."""
    compiled: Template = compile_template(source, names, "html")
    paths = sorted({*compiled.paths, *compiled.reads} - {("now",)})
    return tuple((path, path in compiled.paths) for path in paths), sorted(compiled.roots)


def _body(
    config: EmailConfig, scope: Scope, template: Mapping[str, Any] | None, sender: Mapping[str, Any]
) -> dict[str, Any]:
    reading, roots = reading_of(config.body or (template or {})["body"], scope.names)
    text = {"source": config.body} if config.body else {"text": (template or {})["text"]}
    return {
        **text,
        "from": {"address": sender["address"], "name": sender["name"]},
        "values": picked(scope, reading),
        "roots": roots,
        "now": scope.now.isoformat(),
        "zone": str(scope.zone),
        "locale": scope.env.locale,
        "transactional": scope.transactional,
    }


def picked(scope: Scope, reading: Iterable[tuple[tuple[str, ...], bool]]) -> dict[str, Any]:
    """Only what the mail reads of the data at hand, so that no more of a person is kept than it shows. A value that is
    named and not there is a warning now, when the step can still log it (VAR-26); what is only looked at besides (the
    currency beside an amount) may be absent."""
    kept: dict[str, Any] = {}
    data = scope.env.data
    for path, is_named in reading:
        if not _pick(kept, path, data) and is_named:
            scope.env.warn("missing_value", f"{'.'.join(path)} has no value.")
    return kept


def _pick(kept: dict[str, Any], path: tuple[str, ...], data: Mapping[str, Any]) -> bool:
    """Copy the value at `path` of `data` into `kept`; lists and everything below the last name are taken whole."""
    name = path[0]
    value = data.get(name, MISSING)
    if value is MISSING:
        name = _spelled(data, name)
        value = data.get(name, MISSING)
        if value is MISSING:
            return False
    if len(path) == 1 or not (type(value) is dict or isinstance(value, Mapping)):
        kept[name] = value
        return value is not None or len(path) == 1
    inner = kept.setdefault(name, {})
    return inner is value or _pick(inner, path[1:], value)


def _spelled(data: Mapping[str, Any], name: str) -> str:
    """A name as the data spell it: camelCase and snake_case are one (C-10)."""
    wanted = fold(name)
    return next((key for key in data if fold(str(key)) == wanted), name)


send_email = SendEmail()
