"""Checks of what stands around the steps: trigger, exits, goal, settings."""

from __future__ import annotations

import re
from typing import Any

from automations.engine.definition import ErrorHandling
from automations.engine.durations import DurationError, parse_duration
from automations.engine.event_names import NAME, group_of
from automations.engine.reading.lines import Place
from automations.engine.reading.shape import nearest
from automations.engine.schedules import problems as schedule_problems
from automations.engine.validation.config_errors import config_problems, keys_of
from automations.engine.validation.context import Context, like, typed_config

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def check_head(context: Context) -> None:
    """All checks of this module."""
    key = context.definition.key
    if key and not _KEY.fullmatch(key):
        message = f"The key “{key}” may hold letters, digits, “-” and “_” only; write it that way."
        context.report("bad_config", message, context.lines.top("key"))
    _trigger(context)
    _exits(context)
    _goal(context)
    _settings(context)


def check_event(context: Context, name: str, place: Place, what: str, step: str | None = None) -> None:
    """An event's name: there, well-formed, and known where a group of the catalogue claims it."""
    if not name:
        context.report("missing_config", f"{what} needs the name of an event; add “event”.", place, step)
    elif not NAME.fullmatch(name):
        message = f"“{name}” cannot be the name of an event; use small letters, digits, “_” and “.”."
        context.report("bad_config", message, place, step)
    elif name not in context.events:
        group = group_of(name, context.events)
        if group is not None:
            message = f"There is no event “{name}” in the group “{group}”; use one that the catalogue has."
            help = like(name, [known for known in context.events if known.startswith(f"{group}.")])
            context.report("unknown_event", message, place, step, help)
        elif name not in context.known.events and (other := _mistyped(name, context)):
            message = f"“{name}” is no event of the catalogue; it is taken as an event of your own."
            context.report("unknown_event", message, place, step, f"Did you mean {other}?", "warning")


def _mistyped(name: str, context: Context) -> str:
    other = nearest(name, sorted(context.events))
    return other if other and abs(len(other) - len(name)) <= 2 and len(name) > 4 and _near(name, other) else ""


def _near(name: str, other: str) -> bool:
    """One slip of the finger: a letter more, less, other or moved."""
    return sorted(name) == sorted(other) or sum(a != b for a, b in zip(name, other, strict=False)) <= 1


def _trigger(context: Context) -> None:
    spec = context.definition.trigger
    if spec.type == "event":
        check_event(context, spec.event, context.lines.top("trigger", "event"), "The trigger")
    if spec.max_age is not None:
        check_duration(context, spec.max_age, context.lines.top("trigger", "maxAge"), zero=True)
    told = _schedule(context) if spec.type == "schedule" else False
    if context.trigger is None:
        return
    model = context.trigger.Parameters
    if told:  # its rules were judged in better words than the model's; what is left are keys that it does not know
        unknown = [key for key in spec.parameters if key not in keys_of(model)]
        errors: list[Any] = [{"type": "extra_forbidden", "loc": (key,), "msg": ""} for key in unknown]
    else:
        errors = typed_config(model, spec.parameters)[1]
    for found in config_problems(errors, spec.parameters, model, "the trigger", {}):
        context.report(found.code, found.message, context.lines.top("trigger", *found.path), None, found.help)


def _schedule(context: Context) -> bool:
    parameters = context.definition.trigger.parameters
    found = schedule_problems(parameters)
    for code, text in found:
        key = {"bad_cron": "cron", "bad_duration": "interval"}.get(code)
        key = key or next((kind for kind in ("cron", "calendar", "interval") if parameters.get(kind)), None)
        place = context.lines.top("trigger", key) if key else context.lines.top("trigger")
        context.report(code, text, place)
    return bool(found)


def _exits(context: Context) -> None:
    seen: set[tuple[str, tuple[str, ...]]] = set()
    own = {end.event for end in context.trigger.ends} if context.trigger is not None else set()
    for index, item in enumerate(context.definition.exits):
        place = context.lines.top("exits", index, "event")
        check_event(context, item.event, place, f"Exit {index + 1}")
        if item.event and (item.event, item.where) in seen:
            message = f"The exit on “{item.event}” stands there twice; remove one of them."
            context.report("duplicate_exit", message, place, severity="warning")
        elif item.event in own and not item.where:
            message = f"“{item.event}” ends the runs of this trigger by itself; the exit can be left out."
            context.report("duplicate_exit", message, place, severity="info")
        seen.add((item.event, item.where))


def _goal(context: Context) -> None:
    goal = context.definition.goal
    if goal is None:
        return
    check_event(context, goal.event, context.lines.top("goal", "event"), "The goal")
    place = context.lines.top("goal", "within")
    if not goal.within:
        context.report("missing_config", "The goal needs a time in which it counts; add “within”.", place)
    else:
        check_duration(context, goal.within, place)


def _settings(context: Context) -> None:
    settings = context.definition.settings
    if settings.max_run_age is not None:
        check_duration(context, settings.max_run_age, context.lines.top("settings", "maxRunAge"))
    if settings.error_handling is not None:
        check_error_handling(context, settings.error_handling, ("settings", "errorHandling"), None)
    for index, stage in enumerate(settings.scope):
        if context.known.stages is not None and stage not in context.known.stages:
            message = f"There is no stage “{stage}”; make it first or choose another."
            help = like(stage, context.known.stages)
            context.report("unknown_stage", message, context.lines.top("settings", "scope", index), help=help)
    for step in context.steps.values():
        if step.node.error_handling is not None:
            check_error_handling(context, step.node.error_handling, ("errorHandling",), step.id)


def check_error_handling(context: Context, handling: ErrorHandling, path: tuple[str, ...], step: str | None) -> None:
    """Retries and their pace (ERR-01 to 03)."""

    def place(key: str) -> Place:
        return context.lines.top(*path, key) if step is None else context.at(context.steps[step], *path, key)

    if handling.retries < 0:
        message = f"“retries” is {handling.retries}; it must be 0 or more."
        context.report("bad_config", message, place("retries"), step)
    if handling.backoff_multiplier < 1:
        message = f"“backoffMultiplier” is {handling.backoff_multiplier}; it must be 1 or more."
        context.report("bad_config", message, place("backoffMultiplier"), step)
    check_duration(context, handling.retry_delay, place("retryDelay"), step, zero=True)


def check_duration(context: Context, text: str, place: Place, step: str | None = None, zero: bool = False) -> None:
    """A duration that is one and, unless `zero`, lasts some time."""
    try:
        nothing = parse_duration(text).is_zero
    except DurationError as error:
        context.report("bad_duration", str(error), place, step)
        return
    if nothing and not zero:
        context.report("bad_duration", f"“{text}” lasts no time at all; write a longer duration.", place, step)
