"""Which outputs a step has and in which order they are drawn and read, from its written configuration alone (DESIGN 3).

The graph form can hold configuration that does not validate yet; these functions take what is well-formed in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from automations.engine.definition import Node
from automations.engine.kinds import Action, Kind

ERROR, NEXT, EACH, TIMEOUT = "error", "next", "each", "timeout"
_DRAWN = ("true", "false", "a", "b", EACH, "default", NEXT, TIMEOUT, ERROR)


def case_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Ids of a branch's cases, as far as they are texts."""
    cases = config.get("cases")
    if not isinstance(cases, (list, tuple)):
        return ()
    ids = [case.get("id") for case in cases if isinstance(case, Mapping)]
    return tuple(dict.fromkeys(id for id in ids if isinstance(id, str)))


def through_ports(type_: str, config: Mapping[str, Any], kind: Kind | None = None) -> tuple[str, ...]:
    """The outputs that lead on to the following step where nothing else is written: all but `error` and a loop's body."""
    if type_ == "condition":
        return ("true", "false")
    if type_ == "branch":
        return tuple(dict.fromkeys((*case_ids(config), "default")))
    if type_ == "percentage_split":
        return ("a", "b")
    if type_ == "wait_until":
        return (NEXT, TIMEOUT) if config.get("branchOnTimeout") is True else (NEXT,)
    if type_ in ("delay", "loop") or kind is None or isinstance(kind, Action):
        return (NEXT,)
    ports = declared_ports(kind, config) or kind.ports(kind.sample())
    return tuple(port for port in ports if port not in (ERROR, EACH)) or (NEXT,)


def declared_ports(kind: Kind, config: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The outputs that the kind declares for this configuration; None when the configuration does not validate."""
    try:
        typed = kind.Config.model_validate(dict(config))
    except ValueError:
        return None
    return kind.ports(typed)


def ends_here(type_: str, kind: Kind | None) -> bool:
    """Whether nothing after the step is executed (C-12)."""
    return type_ == "stop" or (kind is not None and kind.ends_run)


def drawing_rank(node: Node | None, port: str) -> tuple[int, str]:
    """Sort key of a step's outputs from top to bottom: a branch's cases first, `error` last."""
    cases = case_ids(node.config) if node is not None and node.type == "branch" else ()
    if port in cases:
        return cases.index(port), ""
    known = _DRAWN.index(port) if port in _DRAWN else _DRAWN.index("default")
    return len(cases) + known, port


def reading_rank(node: Node | None, port: str) -> tuple[int, tuple[int, str]]:
    """Sort key of a step's outputs in the order in which their steps are read: arms before what follows the step.

    `next` is an arm of a wait with two outputs (`onEvent`), elsewhere it is what follows.
    """
    follows = port == NEXT and not (
        node is not None and node.type == "wait_until" and node.config.get("branchOnTimeout")
    )
    return int(follows), drawing_rank(node, port)
