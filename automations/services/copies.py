"""What an automation's row copies of a definition: trigger, events it hears, stages, dispatch, priority (CONTRACTS 3)."""

from __future__ import annotations

from collections.abc import Iterable

from automations.engine.definition import Definition
from automations.engine.kinds import Trigger
from automations.engine.registry import registry
from automations.models import Automation
from automations.services.limits import stage_ids
from automations.services.priorities import last_place


def trigger_key(definition: Definition) -> str:
    """What a run says it was triggered by: a key of the catalogue, a custom event's name, `schedule` or `manual`."""
    spec = definition.trigger
    return spec.event if spec.type == "event" else spec.type


def trigger_of(definition: Definition) -> Trigger | None:
    """The catalogue's entry; None for a custom event."""
    return registry.triggers.get(trigger_key(definition))


def heard(definition: Definition) -> list[str]:
    """Names of the events that concern an automation with this definition: those that start it, end its runs or reach its
    goal. Waits are found by their own index. Ordered, without doubles."""
    trigger = trigger_of(definition)
    names: list[str] = []
    if definition.trigger.type == "event":
        names += event_names(definition.trigger.event)
    names += [end.event for end in trigger.ends] if trigger else []
    for spec in definition.exits:
        names += event_names(spec.event)
    if definition.goal is not None:
        names += event_names(definition.goal.event)
    return list(dict.fromkeys(names))


def event_names(name: str) -> list[str]:
    """The event names behind a trigger's key; a name that is no key stands for itself."""
    known = registry.triggers.get(name)
    return list(dict.fromkeys([*(known.listens if known else ()), name]))


def copy_definition(automation: Automation, definition: Definition, also_heard: Iterable[str] = ()) -> None:
    """Fill the copies; does not save. A new exclusive automation, or one that changed its trigger, stands last (PRI-09).
    `also_heard` are events of older versions whose runs go on."""
    trigger = trigger_of(definition)
    key = trigger_key(definition)
    exclusive = trigger is not None and trigger.dispatch == "exclusive"
    if not exclusive:
        automation.priority = None
    elif automation.priority is None or automation.trigger_key != key:
        automation.priority = last_place(automation.workspace_id, key)
    automation.name = definition.name[:200]
    automation.description = definition.description
    automation.key = definition.key
    automation.trigger_key = key
    automation.exclusive = exclusive
    automation.listens = list(dict.fromkeys([*heard(definition), *also_heard]))
    automation.stages = list(stage_ids(automation.workspace_id, definition.settings.scope).values())
