"""Checks of every expression, template and duration: that it reads, and that what it names can exist (VAR-26, CND, C-09)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from automations.engine.expressions import Expression, ExpressionError, Template, compile_expression, compile_template
from automations.engine.kinds import Config, Marker
from automations.engine.marks import marked_in
from automations.engine.reading.lines import Place
from automations.engine.reading.parsed import Path
from automations.engine.reading.shape import nearest
from automations.engine.validation.context import Context, Step
from automations.engine.validation.of_head import check_duration
from automations.engine.validation.variables import (
    BUILT_IN,
    Miss,
    Segments,
    Sight,
    missing_in,
    missing_in_event,
    missing_in_root,
    supplied,
)
from automations.engine.writing.mentions import folded

_EXPRESSION, _TEMPLATE = Marker("expression"), Marker("template")
MAX_EXPRESSION, MAX_TEMPLATE = 4_000, 64 * 1024  # characters (DESIGN 6)


@dataclass(frozen=True, slots=True)
class Text:
    """A text, how it is read, where it stands and what can be seen from there."""

    source: str
    marker: Marker
    place: Place
    sight: Sight
    step: Step | None = None


def check_texts(context: Context) -> None:
    """All checks of this module."""
    told = {problem.pointer for problem in context.problems}
    for text in (*_head_texts(context), *_step_texts(context)):
        if text.place.pointer in told:  # what it should be has been said
            continue
        if text.marker.kind == "duration":
            _duration(context, text)
        else:
            _evaluated(context, text)


def _head_texts(context: Context) -> Iterator[Text]:
    definition, lines = context.definition, context.lines
    here = Sight(context.subjects())
    groups: list[tuple[Path, tuple[str, ...], Sight]] = [
        (("trigger", "where"), definition.trigger.where, here),
        (("filter",), definition.filter, here),
    ]
    for number, item in enumerate(definition.exits):
        groups.append((("exits", number, "where"), item.where, Sight(here.subjects, event=item.event)))
    if definition.goal is not None:
        groups.append((("goal", "where"), definition.goal.where, Sight(here.subjects, event=definition.goal.event)))
    for path, sources, sight in groups:
        for index, source in enumerate(sources):
            yield Text(source, _EXPRESSION, _listed(context, path, index, len(sources)), sight)
    if context.trigger is not None:
        for path, source, marker in marked_in(context.trigger.Parameters, definition.trigger.parameters):
            if marker.kind != "duration":  # schedules say more about theirs
                yield Text(source, marker, lines.top("trigger", *path), here)


def _listed(context: Context, path: Path, index: int, count: int) -> Place:
    """The place of one expression of several; the graph form holds a single one without a list."""
    whole, part = context.lines.top(*path), context.lines.top(*path, index)
    written = part if context.lines.is_list(*path, alone=count == 1) else whole
    return Place(written.path, whole.pointer if count == 1 else part.pointer, written.line)


def _step_texts(context: Context) -> Iterator[Text]:
    for step in context.steps.values():
        if step.kind is None:
            continue
        sight, inner = _sight(context, step), _sight(context, step, own_loop=True)
        for path, source, marker in marked_in(step.kind.Config, step.node.config):
            looks = inner if path[:2] == ("over", "where") else sight
            yield Text(source, marker, context.at(step, "config", *path), looks, step)
        if step.typed is not None:
            for source in step.kind.templates(step.typed):
                yield Text(source, _TEMPLATE, context.at(step, "config"), sight, step)


def _sight(context: Context, step: Step, own_loop: bool = False) -> Sight:
    loops = (*step.loops, step.id) if own_loop else step.loops
    items: dict[str, str] = {}
    for loop in loops:
        config = context.graph.nodes[loop].config
        items[str(config.get("as") or "item")] = context.query_root(config.get("over"))
    around = replace(step, loops=loops)
    event = step.node.config.get("event") if step.node.type == "wait_until" else None
    return Sight(context.subjects(around), items, event if isinstance(event, str) else None)


def _duration(context: Context, text: Text) -> None:
    """Those of the steps that wait were judged with them."""
    if text.step is not None and text.step.node.type not in ("delay", "wait_until"):
        check_duration(context, text.source, text.place, text.step.id, zero=True)


def _evaluated(context: Context, text: Text) -> None:
    step = text.step.id if text.step is not None else None
    expression = text.marker.kind == "expression"
    try:
        compiled: Expression | Template = (
            compile_expression(text.source, context.names)
            if expression
            else compile_template(text.source, context.names, text.marker.place)
        )
    except ExpressionError as error:
        code, what = ("bad_expression", "expression") if expression else ("bad_template", "template")
        message = f"The {what} “{_short(text.source)}” cannot be read: {error.message}"
        context.report(code, message, text.place, step)
        return
    limit = MAX_EXPRESSION if expression else MAX_TEMPLATE
    if len(text.source) * 2 >= limit:
        message = (
            f"“{text.place.path}” has {len(text.source):,} of at most {limit:,} characters; think of making it shorter."
        )
        context.report("size_warning", message, text.place, step, severity="warning")
    for path in sorted(compiled.paths):
        _path(context, text, path)
    for word in sorted(compiled.words):
        message = f"“{word}” in “{_short(text.source)}” is read as text; put it in quotes to make that plain."
        context.report("bare_word", message, text.place, step, f'Write "{word}".', "info")


def _path(context: Context, text: Text, path: Segments) -> None:
    """Report a path that can have no value here."""
    step = text.step.id if text.step is not None else None
    shown = ".".join(path)
    if path[0] == "steps":
        _step_path(context, text, path)
        return
    miss = _miss(context, text.sight, path)
    if miss is None:
        return
    messages = {
        "unknown_variable": f"Nothing supplies “{shown}” here, so it is always empty; check “{miss.name}”.",
        "unseen_field": f"No event has brought “{shown}” so far; check its spelling.",
        "learned_field": f"“{shown}” is not declared; it is known only from events that were posted.",
    }
    other = nearest(miss.name, miss.known)
    help = f"Did you mean {other}?" if other else ""
    context.report(
        miss.code, messages[miss.code], text.place, step, help, "info" if miss.code == "learned_field" else "warning"
    )


def _miss(context: Context, sight: Sight, path: Segments) -> Miss | None:
    root, rest = path[0], path[1:]
    if root in sight.items:
        of_query = context.registry.roots.get(sight.items[root])
        return missing_in_root(of_query, rest) if of_query is not None else None
    if root == "trigger":
        trigger, event = context.trigger, context.definition.trigger.event
        return missing_in_event(trigger, context.registry, context.known.events.get(event), rest) if trigger else None
    if root == "event":
        return _event_miss(context, sight, rest)
    if root == "loop" and not sight.items:
        return Miss(root)
    declared = context.registry.roots.get(root)
    if declared is not None:
        return (
            missing_in_root(declared, rest) if supplied(declared, sight.subjects) else Miss(root, tuple(sight.subjects))
        )
    if root in BUILT_IN:
        fields = BUILT_IN[root]
        known = not rest or folded(rest[0]) in {folded(name) for name in fields}
        return None if known else Miss(rest[0], tuple(sorted(fields)))
    return None if root in ("now", "workspace") else Miss(root, tuple(sight.items))


def _event_miss(context: Context, sight: Sight, rest: Segments) -> Miss | None:
    if sight.event is None:
        return Miss("event", ("trigger",))
    kind = context.registry.triggers.get(sight.event) or context.registry.triggers.get("custom")
    return missing_in_event(kind, context.registry, context.known.events.get(sight.event), rest) if kind else None


def _step_path(context: Context, text: Text, path: Segments) -> None:
    """`steps.<id>.<output>`: the step exists, and its kind declares the output."""
    step = text.step.id if text.step is not None else None
    if len(path) < 2:
        return
    found = next((other for other in context.steps.values() if folded(other.id) == folded(path[1])), None)
    if found is None:
        message = f"“{'.'.join(path)}” speaks of the step “{path[1]}”, which does not exist."
        other = nearest(path[1], list(context.steps))
        help = f"Did you mean steps.{other}?" if other else ""
        context.report("unknown_step_reference", message, text.place, step, help)
        return
    output: Any = found.kind.Output if found.kind is not None else Config
    miss = missing_in(output, path[2:]) if output.model_fields else None
    if miss is not None:
        message = f"Step “{found.id}” gives no “{'.'.join(path[2:])}”, so “{'.'.join(path)}” is always empty."
        other = nearest(miss.name, miss.known)
        help = f"Did you mean {other}?" if other else ""
        context.report("unknown_variable", message, text.place, step, help, "warning")


def _short(source: str) -> str:
    return source if len(source) <= 60 else source[:59] + "…"
