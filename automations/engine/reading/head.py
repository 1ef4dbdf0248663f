"""Reads what stands around the steps: trigger, exits, goal, settings (CONTRACTS 4)."""

from __future__ import annotations

from typing import Any

from automations.engine.definition import ErrorHandling, ExitSpec, GoalSpec, Settings, TriggerSpec
from automations.engine.reading.parsed import Path, shown
from automations.engine.reading.shape import Shape, did_you_mean

#: Spellings of events that are read and never written.
EVENT_ALIASES = {"email_open": "email_opened", "email_click": "email_clicked"}
TRIGGER_TYPES = ("event", "schedule", "manual")
EVENT_LIMIT = 100  # characters of an event's name, as in `event.name`

_SETTINGS = ("scope", "pacing", "reentry", "transactional", "restartOnOwnEffects", "errorHandling", "maxRunAge")


def event_name(name: str) -> str:
    """The name as it is stored."""
    return EVENT_ALIASES.get(name, name)


def read_trigger(value: Any, shape: Shape) -> TriggerSpec:
    """One trigger. A list of them, or of events, is refused with the advice to make two automations (DEF-27)."""
    path: Path = ("trigger",)
    two = isinstance(value, list) or (isinstance(value, dict) and isinstance(value.get("event"), list))
    if two:
        message = "An automation has exactly one trigger; make one automation for each event, with the same steps."
        shape.report("bad_config", path, message)
        return TriggerSpec("manual")
    if value is None:
        shape.report("missing_config", path, "A definition needs a trigger; add “trigger” with a “type”.")
        return TriggerSpec("manual")
    data = shape.mapping(value, path)
    kind = data.get("type")
    if kind not in TRIGGER_TYPES:
        if isinstance(value, dict):
            message = f"“trigger.type” must be one of {', '.join(TRIGGER_TYPES)}."
            shape.report("bad_config", (*path, "type"), message, did_you_mean(str(kind), TRIGGER_TYPES))
        return TriggerSpec("manual")
    if kind != "event":
        return TriggerSpec(kind, parameters=_rest(data, "type"))
    return TriggerSpec(
        "event",
        event=event_name(shape.text(data, "event", path, EVENT_LIMIT)),
        where=shape.expressions(data, "where", path),
        max_age=shape.text(data, "maxAge", path) or None,
        parameters=_rest(data, "type", "event", "where", "maxAge"),
    )


def _rest(data: dict[str, Any], *taken: str) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key not in taken}


def read_exits(value: Any, shape: Shape) -> tuple[ExitSpec, ...]:
    """A list of events that end the run."""
    exits = []
    for index, item in enumerate(shape.list(value, ("exits",))):
        path: Path = ("exits", index)
        data = shape.mapping(item, path)
        shape.keys(data, ("event", "where", "reason"), path)
        event = event_name(shape.text(data, "event", path, EVENT_LIMIT))
        exits.append(ExitSpec(event, shape.expressions(data, "where", path), shape.text(data, "reason", path, 40)))
    return tuple(exits)


def read_goal(value: Any, shape: Shape) -> GoalSpec | None:
    """The goal, or None when absent."""
    if value is None:
        return None
    path: Path = ("goal",)
    data = shape.mapping(value, path)
    shape.keys(data, ("event", "where", "within", "endsRun"), path)
    return GoalSpec(
        event_name(shape.text(data, "event", path, EVENT_LIMIT)),
        shape.text(data, "within", path),
        shape.expressions(data, "where", path),
        bool(shape.flag(data, "endsRun", path)),
    )


def read_settings(value: Any, shape: Shape, error_handling: Any = None) -> Settings:
    """`error_handling` is the object written at the top of the definition, as one of the products does (DEF-19)."""
    path: Path = ("settings",)
    data = shape.mapping(value, path)
    shape.keys(data, _SETTINGS, path)
    if error_handling is not None and data.get("errorHandling") is not None:
        message = "“errorHandling” stands at the top and in “settings”; keep the one in “settings”."
        shape.report("bad_config", ("errorHandling",), message)
    handling = read_error_handling(data.get("errorHandling"), (*path, "errorHandling"), shape)
    return Settings(
        scope=_scope(data.get("scope"), (*path, "scope"), shape),
        pacing=shape.choice(data, "pacing", path, ("immediate", "tick")),
        reentry=shape.choice(data, "reentry", path, ("always", "one_at_a_time", "once")),
        transactional=shape.flag(data, "transactional", path),
        restart_on_own_effects=bool(shape.flag(data, "restartOnOwnEffects", path)),
        error_handling=handling or read_error_handling(error_handling, ("errorHandling",), shape),
        max_run_age=shape.text(data, "maxRunAge", path) or None,
    )


def _scope(value: Any, path: Path, shape: Shape) -> tuple[str, ...]:
    if value is None or value == "global":
        return ()
    items = value if isinstance(value, list) else [value]
    texts = tuple(item for item in items if isinstance(item, str))
    if len(texts) < len(items):
        message = f"“{shown(path)}” must be “global” or a list of stages such as onboarding/trial."
        shape.report("bad_config", path, message)
    return texts


def read_error_handling(value: Any, path: Path, shape: Shape) -> ErrorHandling | None:
    """`{retries, retryDelay, backoffMultiplier}`, each optional; None when absent."""
    if value is None:
        return None
    data = shape.mapping(value, path)
    shape.keys(data, ("retries", "retryDelay", "backoffMultiplier"), path)
    return ErrorHandling(
        int(shape.number(data, "retries", path, 0, whole=True)),
        shape.text(data, "retryDelay", path) if "retryDelay" in data else "5m",
        shape.number(data, "backoffMultiplier", path, 1, whole=False),
    )
