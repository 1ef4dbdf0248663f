"""Reads the nested form: `steps` with arms, as in the quick start (CONTRACTS 4, C-08).

Three passes: the lists become a tree of steps, ids are made in order of reading, then order and arms become wires.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from automations.engine.definition import TRIGGER
from automations.engine.kinds import ControlStep
from automations.engine.ports import EACH, ERROR, NEXT, TIMEOUT, ends_here, through_ports
from automations.engine.reading.aliases import ARMS, canonical_port, normal
from automations.engine.reading.draft import END, Draft, Step
from automations.engine.reading.parsed import Path, shown

#: Keys of every step; all others are its configuration or its arms.
STEP_KEYS = frozenset({"id", "name", "note", "type", "action", "next", "position", "onError", "errorHandling"})


@dataclass(slots=True)
class Arm:
    """What follows an output: a list of steps, or one that is named (`end` for none). An empty list falls through."""

    path: Path
    steps: list[Branching] = field(default_factory=list)
    named: Any = None


@dataclass(slots=True)
class Branching:
    """A step with its arms and its `next`."""

    step: Step
    arms: dict[str, Arm]
    follows: Any  # None, an id, `end`, or a map of outputs to ids


def read_nested(data: dict[str, Any], draft: Draft) -> None:
    """Fill the draft from the top-level key `steps`."""
    steps = _list(data.get("steps"), ("steps",), draft)
    draft.settle_ids()
    if steps:
        draft.wire(TRIGGER, NEXT, steps[0].step.id, ("steps",))
    _Linker(draft).chain(steps, None)


def _list(value: Any, path: Path, draft: Draft) -> list[Branching]:
    items = draft.shape.list(value, path)
    return [_step(draft.shape.mapping(item, (*path, index)), (*path, index), draft) for index, item in enumerate(items)]


def _step(data: dict[str, Any], path: Path, draft: Draft) -> Branching:
    type_ = draft.type(data, path)
    names = _arm_names(type_, data, draft)
    config = {key: value for key, value in data.items() if key not in STEP_KEYS and key not in names}
    cases = _without_arms(type_, config)
    read = normal(type_, config, has_default="default" in data)
    if type_ == "branch" and read.type == "condition":  # written with `if`, `then` and `else`
        names |= _arm_names("condition", data, draft)
        read.config = {key: value for key, value in read.config.items() if key not in names}
    step = draft.common(data, path, read)
    written = [(canonical_port(read, port), data[key], (*path, key)) for key, port in names.items()]
    written += [(canonical_port(read, id), then, (*path, "cases", index, "then")) for index, id, then in cases]
    if "onError" in data:
        written.append((ERROR, data["onError"], (*path, "onError")))
    arms = _arms(written, draft)
    if read.type == "wait_until" and TIMEOUT in arms:
        read.config["branchOnTimeout"] = True
    return Branching(step, arms, data.get("next"))


def _arms(written: list[tuple[str, Any, Path]], draft: Draft) -> dict[str, Arm]:
    """The arms by output, read in the order in which they are given here."""
    arms: dict[str, Arm] = {}
    for port, value, path in written:
        if port in arms:
            message = f"“{shown(path)}” and “{shown(arms[port].path)}” are the same output; keep one of them."
            draft.shape.report("bad_config", path, message)
        else:
            arms[port] = _arm(value, path, draft)
    return arms


def _arm_names(type_: str, data: dict[str, Any], draft: Draft) -> dict[str, str]:
    """Keys of this step that are arms, with their ports. Control steps without names of their own use their ports."""
    named = ARMS.get(type_)
    if named is None:
        kind = draft.registry.kind(type_)
        own = kind.ports(kind.sample()) if isinstance(kind, ControlStep) else ()
        named = {port: port for port in own if port not in (NEXT, ERROR)}
    return {key: port for key, port in named.items() if key in data}


def _without_arms(type_: str, config: dict[str, Any]) -> list[tuple[int, str, Any]]:
    """Give a branch's cases ids where they have none, and take their `then` out: number, id and arm of each."""
    cases = config.get("cases")
    if type_ != "branch" or not isinstance(cases, list):
        return []
    arms: list[tuple[int, str, Any]] = []
    kept = list(cases)
    for index, case in enumerate(cases):
        if isinstance(case, dict):
            id = case["id"] if "id" in case else f"case_{index + 1}"
            kept[index] = {"id": id, **{key: value for key, value in case.items() if key not in ("id", "then")}}
            if "then" in case:
                arms.append((index, str(id), case["then"]))
    config["cases"] = kept
    return arms


def _arm(value: Any, path: Path, draft: Draft) -> Arm:
    if value is None or isinstance(value, list):
        return Arm(path, _list(value, path, draft))
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return Arm(path, named=value)
    message = f"“{shown(path)}” must be a list of steps, the id of a step, or “end”."
    draft.shape.report("bad_config", path, message)
    return Arm(path)


@dataclass(slots=True)
class _Linker:
    """Turns order and arms into wires. `following` is what comes after a list: an id, or None for the end."""

    draft: Draft

    def chain(self, steps: list[Branching], following: str | None) -> None:
        after_end: list[tuple[str, str]] = []
        for index, item in enumerate(steps):
            own = steps[index + 1].step.id if index + 1 < len(steps) else None
            kind = self.draft.registry.kind(item.step.normal.type)
            ends = ends_here(item.step.normal.type, kind) and item.follows is None
            self._outputs(item, following if own is None else own, ends)
            if ends and own is not None:
                after_end.append((item.step.id, own))
        for source, target in after_end:
            # A step behind one that ends the run would hang in the air; wired to it, validation says that it is dead.
            if target not in self.draft.edges.values():
                self.draft.wire(source, NEXT, target, ())

    def _outputs(self, item: Branching, following: str | None, ends: bool) -> None:
        named = self._named(item)
        if not isinstance(item.follows, dict) and item.follows is not None:
            following = named.get("")
        type_, config = item.step.normal.type, item.step.normal.config
        through = through_ports(type_, config, self.draft.registry.kind(type_))
        for port in dict.fromkeys((*through, *item.arms, *named)):
            arm = item.arms.get(port)
            if arm is not None and (arm.steps or arm.named is not None):
                self._arm(item, port, arm, None if port == EACH else following)
            elif port in named:
                self._wire(item, port, named[port])
            elif arm is not None or (port in through and not (ends and port == NEXT)):
                self._wire(item, port, None if port == EACH else following)

    def _named(self, item: Branching) -> dict[str, str | None]:
        """What `next` says: of one output each, or under "" of all that fall through."""
        path = (*item.step.path, "next")
        if isinstance(item.follows, dict):
            ports = {canonical_port(item.step.normal, port): (port, value) for port, value in item.follows.items()}
            return {port: self._target(value, (*path, key), port) for port, (key, value) in ports.items()}
        return {} if item.follows is None else {"": self._target(item.follows, path, "")}

    def _target(self, value: Any, path: Path, port: str) -> str | None:
        if value != END:
            return self.draft.resolve(value, path, f"“{shown(path)}”")
        if port == ERROR:
            message = f"“{shown(path)}” cannot be “end”: an error without a fallback fails the run. Name a stop step."
            self.draft.shape.report("bad_config", path, message)
        return None

    def _arm(self, item: Branching, port: str, arm: Arm, following: str | None) -> None:
        if arm.steps:
            self._wire(item, port, arm.steps[0].step.id)
            self.chain(arm.steps, following)
        else:
            self._wire(item, port, self._target(arm.named, arm.path, port))

    def _wire(self, item: Branching, port: str, target: str | None) -> None:
        if port and target is not None:
            self.draft.wire(item.step.id, port, target, item.step.path)
