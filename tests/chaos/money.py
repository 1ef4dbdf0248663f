"""A payment provider outside, and the action that charges there: `peers.Payments` counts what it accepted (RELIABILITY 27)."""

from __future__ import annotations

import json
from typing import Any

from django.apps import AppConfig

from automations.channels.http import call
from automations.engine.kinds import Config, Envelope, OutsideAction, TemplateText
from automations.engine.outcomes import Done, Failed, Outcome, Unknown
from automations.engine.registry import registry
from tests.chaos import without


class ChargeConfig(Config):
    """Where the provider is, and the number that is charged for."""

    url: str
    number: TemplateText


class PeerCharge(OutsideAction):
    """One charge by key. What it cannot tell is `Unknown`, and is read back; it is never made anew under another key."""

    key = "peer_charge"
    label = "Charge at the peer"
    money = True
    Config = ChargeConfig

    def sample(self) -> ChargeConfig:
        return ChargeConfig(url="http://127.0.0.1:9/charges", number="1")

    def prepare(self, config: Any, scope: Any) -> Envelope:
        body = {"url": config.url, "number": scope.text(config.number)}
        return Envelope(kind="charge", body=body, money=True, subject="1.00 EUR")

    def render(self, envelope: Envelope, key: str) -> bytes:
        return json.dumps({"number": int(envelope.body["number"])}).encode()

    def perform(self, envelope: Envelope, key: str, body: bytes) -> Outcome:
        answer = call("POST", envelope.body["url"], {"Idempotency-Key": key}, body)
        if isinstance(answer, Failed):
            return Unknown(answer.message)
        return Done({"result": "paid", "reference": key})

    def find(self, envelope: Envelope, key: str) -> Outcome | None:
        answer = call("GET", f"{envelope.body['url']}/{key}", {})
        if isinstance(answer, Failed) or answer.status != 200:
            return None
        return Done({"result": "paid", "reference": key})


class Money(AppConfig):
    """Makes the action known to each process of a storm, and takes away what `CHAOS_WITHOUT` names."""

    name = "tests.chaos"
    label = "chaos"

    def ready(self) -> None:
        registry.actions[PeerCharge.key] = PeerCharge()
        without.take_away()
