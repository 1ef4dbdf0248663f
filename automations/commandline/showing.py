"""export and simulate: showing an automation, and what it would do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.dateparse import parse_datetime

from accounts.actor import Actor
from accounts.errors import Refusal
from accounts.ids import parse_id
from automations.api.operations import trial_json
from automations.commandline.files import Say
from automations.commandline.finding import named, newest
from automations.commandline.setting import DONE, PROBLEMS, WrongUse, format_of, text_of
from automations.engine.definition import Definition
from automations.services.testing import TrialInput, try_definition
from automations.services.texts import definition_of, read_text, yaml_of


def export(actor: Actor, name: str, say: Say, *, plain: bool = False) -> int:
    """The draft, else the active version, as YAML; `plain` without ids and positions."""
    automation = named(actor, name)
    if automation is None:
        raise WrongUse(f"There is no automation “{name}” in this workspace; give an id such as auto_1, or a key.")
    say(yaml_of(newest(automation), plain=plain).rstrip("\n"))
    return DONE


def simulate(actor: Actor, name: str, say: Say, given: Mapping[str, str | None]) -> int:
    """Walk a file or an automation in simulated time and print its log; nothing is written, sent or called."""
    try:
        result = try_definition(actor=actor, definition=_definition(actor, name), given=_given(given))
    except Refusal as refusal:
        if refusal.code == "not_found":
            raise WrongUse(refusal.message) from refusal
        say(refusal.message)
        for problem in refusal.details.get("problems", ()):
            say(f"  {problem['severity']}: {problem['message']} [{problem['code']}]")
        return PROBLEMS
    shown = trial_json(result)
    for step in shown["steps"]:
        _say_step(step, say)
    for warning in shown["warnings"]:
        say(f"warning: {warning}")
    say(f"{shown['runStatus']}: {shown['endReason'] or 'stands on ' + str(shown['currentStepId'])}")
    return DONE


def _definition(actor: Actor, name: str) -> Definition:
    automation = named(actor, name) if "/" not in name and format_of(name) is None else None
    if automation is not None:
        return definition_of(newest(automation))
    return read_text(text_of(name), format_of(name)).definition


def _given(given: Mapping[str, str | None]) -> TrialInput:
    event, customer, at = given.get("event"), given.get("customer"), given.get("at")
    moment = parse_datetime(at) if at else None
    if at and (moment is None or moment.tzinfo is None):
        raise WrongUse(f"“{at}” is no time; write 2026-11-20T09:00:00Z.")
    return TrialInput(
        event_id=parse_id("evt", event) if event else None,
        customer_id=parse_id("cus", customer) if customer else None,
        at=moment,
    )


def _say_step(step: Mapping[str, Any], say: Say) -> None:
    name = step["name"] or step["stepId"]
    output = "" if not step["output"] else "  " + ", ".join(f"{key}={value}" for key, value in step["output"].items())
    say(f"{step['endedAt']}  {name}  {step['status']} -> {step['port'] or 'end'}{output}")
    if step["error"]:
        say(f"    error: {step['error']['message']}")
    for message in step["rendered"]:
        say(f"    {message['kind']} to {message['to']}: {message['subject']}")
