"""`send_webhook` (ACT-04, MIS-03, C-25): one signed request to an address chosen in the step; its answer is the
step's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from django.utils import timezone
from pydantic import Field, field_validator
from standardwebhooks import Webhook

from accounts.models import Workspace
from automations.channels.http import check_headers, http
from automations.engine.kinds import Config, Envelope, HeaderText, OutsideAction, TemplateData, Unsure, UrlText
from automations.engine.outcomes import Outcome
from automations.engine.scope import Scope
from automations.engine.values import iso, json_text

_OURS = frozenset({"idempotency-key", "webhook-id", "webhook-timestamp", "webhook-signature"})
_BODILESS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS"})


class WebhookConfig(Config):
    """Where the request goes and what it carries."""

    url: UrlText = Field(title="Address", max_length=2000, json_schema_extra={"x-widget": "url"})
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE", "HEAD", "OPTIONS"] = Field("POST", title="Method")
    headers: dict[str, HeaderText] = Field(default_factory=dict, title="Headers", max_length=50)
    body: TemplateData = Field(None, title="Body", json_schema_extra={"x-widget": "json"})

    @field_validator("headers")
    @classmethod
    def _names(cls, headers: dict[str, str]) -> dict[str, str]:
        ours = sorted(name for name in headers if name.lower() in _OURS)
        if ours:
            raise ValueError(f"{', '.join(ours)} is set by us")
        list(check_headers(dict.fromkeys(headers, "")))
        return headers


class WebhookOutput(Config):
    """The answer of the receiver. JSON up to 2 kB is kept as data, anything else as text, cut."""

    status: int = Field(0, title="Status")
    headers: dict[str, str] = Field(default_factory=dict, title="Headers")
    body: Any = Field(None, title="Body")


class SendWebhook(OutsideAction):
    """Parks the run until the receiver has answered. A non-2xx answer is a failed step (ACT-04)."""

    key = "send_webhook"
    group = "Communication"
    label = "Send webhook"
    help = "Calls an address of yours with the run's data, signed with the workspace's secret."
    icon = "webhook"
    Config = WebhookConfig
    Output = WebhookOutput

    def summary(self, config: WebhookConfig) -> str:
        """`POST https://crm.example/hooks`."""
        return f"{config.method} {config.url}"

    def sample(self) -> WebhookConfig:
        """A request with a body of its own."""
        return WebhookConfig(url="https://crm.example/hooks/dunning", body={"customer": "{{customer.id}}"})

    def prepare(self, config: WebhookConfig, scope: Scope) -> Envelope:
        """Everything resolved: address, headers, and the content as text."""
        url = scope.text(config.url, "url").strip()
        headers = {name: scope.text(value, "header").strip() for name, value in config.headers.items()}
        content = _content(config, scope)
        if content and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = (
                "text/plain; charset=utf-8" if isinstance(config.body, str) else "application/json"
            )
        return Envelope(
            kind="http",
            body={"method": config.method, "url": url, "headers": headers, "content": content},
            input={"method": config.method, "url": url},
            to=url[:320],
            subject=f"{config.method} {url}"[:998],
            subjects=dict(scope.subjects),
            retries=3,
            retry_delay=60,
        )

    def complete(self, envelopes: Sequence[tuple[int, Envelope]]) -> Sequence[Envelope]:
        """Bring the secrets of the workspaces, which are never stored with a delivery."""
        rows = Workspace.objects.filter(pk__in={workspace for workspace, _ in envelopes})
        secrets = dict(rows.values_list("pk", "webhook_secret"))
        return [
            replace(envelope, body={**envelope.body, "secret": secrets.get(workspace, "")})
            for workspace, envelope in envelopes
        ]

    def render(self, envelope: Envelope, key: str) -> bytes:
        """The body of the request."""
        return str(envelope.body["content"]).encode()

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        """One request: its id is the delivery's key on every try, its time stamp that of the try (Standard
        Webhooks)."""
        signed = {**envelope.body["headers"], **signature(envelope.body.get("secret", ""), key, body)}
        return http.send(replace(envelope, body={**envelope.body, "headers": signed}), key, body)

    def unsure(self, envelope: Envelope, before: int) -> Unsure:
        """At least once: receivers know the id."""
        return "repeat"


def signature(secret: str, key: str, body: bytes) -> dict[str, str]:
    """The three headers of Standard Webhooks; none without a secret."""
    if not secret:
        return {}
    now = timezone.now()
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, now, body.decode()),
    }


def _content(config: WebhookConfig, scope: Scope) -> str:
    if config.body is None:
        return "" if config.method in _BODILESS else json_text(_event(scope))
    if isinstance(config.body, str):
        return scope.text(config.body)
    return json_text(scope.tree(config.body))


def _event(scope: Scope) -> Mapping[str, Any]:
    """What is sent where no body is written (CONTRACTS 9)."""
    run = scope.run
    return {
        "type": "automation.step",
        "timestamp": iso(scope.now),
        "data": {
            "execution": run["id"],
            "automation": run["automation"],
            "step": run["step"],
            "customer": scope.read(("customer",)),
            "trigger": scope.read(("trigger",)),
        },
    }


send_webhook = SendWebhook()
