"""Checks of single steps: their type, configuration, what they name, where they are allowed (CNV-13, ACT)."""

from __future__ import annotations

from collections.abc import Mapping

from automations.engine.durations import DurationError, parse_duration
from automations.engine.kinds import Need
from automations.engine.reading.parsed import Path
from automations.engine.validation.config_errors import config_problems
from automations.engine.validation.context import Context, Step, find_text, like
from automations.engine.validation.of_head import check_event

#: What a `Need` may name: the code, the words, and the collection of `Known`.
_NEEDS = {
    "email_template": ("unknown_template", "e-mail template", "templates"),
    "tag": ("unknown_tag", "tag", "tags"),
    "stage": ("unknown_stage", "stage", "stages"),
    "automation": ("unknown_automation", "automation", "automations"),
}


def check_steps(context: Context) -> None:
    """All checks of this module, step by step."""
    for step in context.steps.values():
        if step.kind is None:
            _unknown(context, step)
            continue
        told = _waits(context, step)
        what = f"step “{step.id}”"
        for found in config_problems(step.errors, step.node.config, step.kind.Config, what, told):
            place = context.at(step, "config", *found.path)
            context.report(found.code, found.message, place, step.id, found.help)
        if step.usable is not None:
            for need in step.kind.needs(step.usable):
                _need(context, step, need)
        _allowed(context, step)


def _unknown(context: Context, step: Step) -> None:
    known = [*context.registry.actions, *context.registry.steps]
    message = f"There is no action “{step.node.type}” (step “{step.id}”); use one that the catalogue has."
    key = "action" if context.lines.nested else "type"
    context.report("unknown_action", message, context.at(step, key), step.id, like(step.node.type, known))


def _waits(context: Context, step: Step) -> Mapping[Path, str]:
    """Durations of the steps that wait, said in their own words before the model's errors are; answers with what was said."""
    keys = {"delay": (("duration", False), ("offset", True)), "wait_until": (("timeout", False),)}
    told: dict[Path, str] = {}
    for key, signed in keys.get(step.node.type, ()):
        text = step.node.config.get(key)
        if not isinstance(text, str):
            continue
        try:
            zero = parse_duration(text, signed).is_zero and not signed
        except DurationError as error:
            told[(key,)] = "bad_duration"
            context.report("bad_duration", str(error), context.at(step, "config", key), step.id)
            continue
        if zero:
            told[(key,)] = "wait_zero"
            message = f"Step “{step.id}” waits for no time at all; give “{key}” a length or remove the step."
            context.report("wait_zero", message, context.at(step, "config", key), step.id)
    if step.node.type == "delay" and not {"duration", "until", "anchor"} & set(step.node.config):
        told[("duration",)] = "missing_config"
        message = f"Step “{step.id}” needs “duration”, “until” or “anchor”; fill one in."
        context.report("missing_config", message, context.at(step, "config", "duration"), step.id)
    event = step.node.config.get("event")
    if step.node.type == "wait_until" and isinstance(event, str) and event:
        check_event(context, event, context.at(step, "config", "event"), f"Step “{step.id}”", step.id)
    return told


def _need(context: Context, step: Step, need: Need) -> None:
    if need.kind == "sender":
        _sender(context, step, need.key)
        return
    code, word, names = _NEEDS.get(need.kind, ("", "", ""))
    known = getattr(context.known, names) if names else None
    if known is None or need.key is None or "{{" in need.key or need.key in known:
        return
    place = context.at(step, "config", *(find_text(step.node.config, need.key) or ()))
    if need.kind == "tag":  # giving a tag makes it
        message = f"No customer has the tag “{need.key}” yet; it is made when step “{step.id}” first gives it."
        context.report(code, message, place, step.id, like(need.key, known), "info")
        return
    message = f"There is no {word} “{need.key}” (step “{step.id}”); make it first or name another."
    context.report(code, message, place, step.id, like(need.key, known))


def _sender(context: Context, step: Step, key: str | None) -> None:
    known = context.known
    if key is None and not known.has_sender:
        message = f"Step “{step.id}” sends mail, and there is no verified sender; add one in the settings or name one."
        context.report("no_sender", message, context.at(step), step.id)
    elif key is not None and "{{" not in key and known.senders is not None and key not in known.senders:
        place = context.at(step, "config", *(find_text(step.node.config, key) or ()))
        message = f"There is no verified sender “{key}” (step “{step.id}”); add it in the settings or name another."
        context.report("no_sender", message, place, step.id, like(key, known.senders))


def _allowed(context: Context, step: Step) -> None:
    spec, kind = context.definition.trigger, step.kind
    if kind is None:
        return
    name = spec.event if spec.type == "event" else spec.type
    key = "action" if context.lines.nested and kind.key in context.registry.actions else "type"
    if kind.triggers is not None and name and name not in kind.triggers:
        message = f"Step “{step.id}” ({kind.label}) is not allowed on the trigger “{name}”."
        help = f"It is allowed on {', '.join(sorted(kind.triggers))}."
        context.report("action_not_allowed", message, context.at(step, key), step.id, help)
        return
    missing = sorted(kind.subjects - context.subjects(step))
    if missing and context.trigger is not None:
        words = " and ".join(f"{_article(word)} {word}" for word in missing)
        message = f"Step “{step.id}” ({kind.label}) needs {words}, which a run of “{name}” is not about."
        help = "Put it into a loop over such records, or use a trigger that brings one."
        context.report("subject_missing", message, context.at(step, key), step.id, help)


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"
