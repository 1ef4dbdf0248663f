"""Writes the nested form where the graph is a tree that rejoins: every arm leads to the step that follows its split, or ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from automations.engine.definition import Node
from automations.engine.graph import reach
from automations.engine.kinds import ControlStep
from automations.engine.ports import EACH, ERROR, NEXT, TIMEOUT, case_ids
from automations.engine.reading.draft import END
from automations.engine.writing.step_data import CannotBeWritten, Pages

MAX_NESTING = 40  # arms inside arms; deeper graphs are written flat, far from the reader's limit of depth

_ARM_KEYS: Mapping[str, Mapping[str, str]] = {
    "condition": {"true": "then", "false": "else"},
    "percentage_split": {"a": "a", "b": "b"},
    "wait_until": {NEXT: "onEvent", TIMEOUT: "onTimeout"},
    "branch": {"default": "default"},
}


@dataclass(slots=True)
class Nest:
    """Places every step once; a step that would have to stand in two places makes the graph no tree."""

    pages: Pages
    placed: set[str] = field(default_factory=set)
    rank: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rank = {id: index for index, id in enumerate(self.pages.graph.order)}

    def steps(self, first: str | None) -> list[dict[str, Any]]:
        """The whole definition. Raises `CannotBeWritten` when it has no nested form."""
        steps = self._list(first, None, 0) if first is not None else []
        if len(self.placed) < len(self.pages.graph.nodes):
            raise CannotBeWritten
        return steps

    def _list(self, id: str | None, follow: str | None, level: int) -> list[dict[str, Any]]:
        """A list of steps from `id` on, after which comes `follow`."""
        if level > MAX_NESTING:
            raise CannotBeWritten
        steps = []
        while id is not None:
            if id in self.placed or id not in self.pages.graph.nodes:
                raise CannotBeWritten
            self.placed.add(id)
            data, id = self._step(self.pages.graph.nodes[id], follow, level)
            steps.append(data)
        return steps

    def _step(self, node: Node, follow: str | None, level: int) -> tuple[dict[str, Any], str | None]:
        """The written step, and the step that comes next in the same list."""
        data, targets, through = self.pages.begin(node), self.pages.targets(node.id), self.pages.through(node)
        if set(targets) - {*through, ERROR, *([EACH] if node.type == "loop" else [])}:
            raise CannotBeWritten
        if through == (NEXT,):
            own, after = self._straight(node, data, targets.get(NEXT), follow)
        else:
            own = self._meeting(through, targets, follow)
            after = own or follow
            self._arms(node, data, through, targets, after, level)
        if EACH in targets and node.type == "loop":
            data["steps"] = self._list(targets[EACH], None, level + 1)
        if ERROR in targets:
            error = targets[ERROR]
            data["onError"] = [] if error == after else self._list(error, after, level + 1)
        self.pages.finish(node, data)
        return data, own

    def _straight(
        self, node: Node, data: dict[str, Any], target: str | None, follow: str | None
    ) -> tuple[str | None, str | None]:
        """A step with one way on: what comes next in the list, and what follows its fallback."""
        if self.pages.ends(node):
            if target is not None:
                data["next"] = self.pages.refer(target)
            return (None if target == follow else target), target or follow
        if target == follow:
            return None, follow
        if target is None:
            data["next"] = END
        return target, target

    def _meeting(self, through: tuple[str, ...], targets: Mapping[str, str], follow: str | None) -> str | None:
        """The first step that two outputs have in common before what follows the list."""
        arms = [targets[port] for port in (*through, ERROR) if port in targets]
        seen: set[str] = set()
        common: set[str] = set()
        for start in arms:
            ways = self._before(start, follow)
            common |= ways & seen
            seen |= ways
        return min(common, key=lambda id: self.rank[id], default=None)

    def _before(self, start: str, follow: str | None) -> set[str]:
        if start == follow:
            return set()
        cut = [edge for edges in self.pages.graph.out.values() for edge in edges if edge.target == follow]
        return reach(self.pages.graph, [start], without=frozenset(cut))

    def _arms(
        self,
        node: Node,
        data: dict[str, Any],
        through: tuple[str, ...],
        targets: Mapping[str, str],
        after: str | None,
        level: int,
    ) -> None:
        cases = case_ids(node.config) if node.type == "branch" else ()
        for port in through:
            arm = self._arm(targets.get(port), after, level)
            if port in cases:
                if arm is not None:
                    self._case(data, port)["then"] = arm
                continue
            key = self._arm_key(node, port)
            if key == "onTimeout":
                data.pop("branchOnTimeout", None)  # `onTimeout` says it
                data[key] = arm if arm is not None else []
            elif arm is not None:
                data[key] = arm

    def _arm(self, target: str | None, after: str | None, level: int) -> list[dict[str, Any]] | str | None:
        """A list of steps, `end`, or None where the output falls through."""
        if target == after:
            return None
        return END if target is None else self._list(target, after, level + 1)

    def _arm_key(self, node: Node, port: str) -> str:
        keys = _ARM_KEYS.get(node.type)
        kind = self.pages.registry.kind(node.type)
        if keys is None and isinstance(kind, ControlStep) and port != NEXT:
            return port
        if keys is None or port not in keys:
            raise CannotBeWritten
        return keys[port]

    @staticmethod
    def _case(data: dict[str, Any], id: str) -> dict[str, Any]:
        case: dict[str, Any] = next(case for case in data["cases"] if isinstance(case, dict) and case.get("id") == id)
        return case
