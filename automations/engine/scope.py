"""What expressions and templates of one run read at one moment, and what `prepare` is given (DESIGN 4, CONTRACTS 5).

Data is plain and lies in `Records`, filled in bulk by the shell. A root that is not there yet raises `NeedLoad`: the walk
asks for it and evaluates again, which is safe because evaluation and `prepare` are pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from automations.engine.expressions import Environment, Names, compile_expression, compile_template
from automations.engine.kinds import Need
from automations.engine.values import plain

_ABSENT: Any = object()


class NeedLoad(Exception):
    """A record or resource has to be read before the evaluation can go on."""

    def __init__(self, wanted: Mapping[str, list[int]], needs: tuple[Need, ...] = ()) -> None:
        super().__init__(wanted, needs)
        self.wanted = wanted
        self.needs = needs


Answer = TypeVar("Answer")


def loaded(ask: Callable[[], Answer], load: Callable[[NeedLoad], None]) -> Answer:
    """What `ask` answers once everything it reads is there: it is asked again after each `load`. It must be pure."""
    while True:
        try:
            return ask()
        except NeedLoad as need:
            load(need)


@dataclass
class Records:
    """Records read for a batch, shared by its runs: root name -> id -> data (None: there is no such record)."""

    by_root: dict[str, dict[int, Any]] = field(default_factory=dict)
    resources: dict[tuple[int, str, str | None], Any] = field(default_factory=dict)  # workspace, kind, key

    def get(self, root: str, id: int) -> Any:
        """The record, None, or `NeedLoad`."""
        table = self.by_root.get(root)
        found = _ABSENT if table is None else table.get(id, _ABSENT)
        if found is _ABSENT:
            raise NeedLoad({root: [id]})
        return found

    def put(self, root: str, records: Mapping[int, Any], asked: Iterator[int] | list[int]) -> None:
        """Add what was read; ids asked for and not found are remembered as absent."""
        table = self.by_root.setdefault(root, {})
        table.update(dict.fromkeys(asked))
        table.update(records)

    def forget(self, root: str, id: int) -> None:
        """It was changed in this turn: read it again before it is used."""
        self.by_root.get(root, {}).pop(id, None)

    def resource(self, workspace: int, kind: str, key: str | None) -> Any:
        """A named record of the workspace, None, or `NeedLoad`."""
        found = self.resources.get((workspace, kind, key), _ABSENT)
        if found is _ABSENT:
            raise NeedLoad({}, (Need(kind, key),))
        return found


class RunData(Mapping[str, Any]):
    """The roots of one run as a mapping. `locals` are values at hand (steps, loop, items, wait, run, event, now); others are read
    from `records` by the id that `ids` gives for the root's subject."""

    __slots__ = ("ids", "locals", "records")

    def __init__(self, records: Records, ids: Mapping[str, int], locals: dict[str, Any]) -> None:
        self.records = records
        self.ids = ids
        self.locals = locals

    def __getitem__(self, name: str) -> Any:
        found = self.get(name, _ABSENT)
        if found is _ABSENT:
            raise KeyError(name)
        return found

    def get(self, name: str, default: Any = None) -> Any:
        """The root, or `default` where there is none; every path begins with this."""
        if name in self.locals:
            return self.locals[name]
        id = self.ids.get(name)
        if id is None:
            return default
        try:
            found = self.records.by_root[name][id]
        except KeyError:
            raise NeedLoad({name: [id]}) from None
        return default if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter({*self.locals, *self.ids})

    def __len__(self) -> int:
        return len({*self.locals, *self.ids})


@dataclass
class Scope:
    """What a step may read while it is prepared. Every method is pure; warnings gather in `env.warnings`."""

    names: Names
    env: Environment
    records: Records
    workspace_id: int
    subjects: Mapping[str, int]
    run: Mapping[str, Any]
    workspace: Mapping[str, Any]
    transactional: bool = False

    @property
    def now(self) -> datetime:
        """The evaluation clock."""
        return self.env.now

    @property
    def zone(self) -> ZoneInfo:
        """The workspace's time zone."""
        return self.env.time_zone

    def text(self, source: str, place: str = "text") -> str:
        """Render a template for its place."""
        if "{" not in source:
            return source
        return compile_template(source, self.names, place).render(self.env)

    def value(self, source: str) -> Any:
        """The typed value of a text that is one `{{ }}` alone, else the rendered text."""
        if "{" not in source:
            return source
        return compile_template(source, self.names).value(self.env)

    def expression(self, source: str) -> Any:
        """The value of an expression."""
        return compile_expression(source, self.names).value(self.env)

    def test(self, source: str) -> bool:
        """Whether an expression holds."""
        return compile_expression(source, self.names).test(self.env)

    def values_read(self, source: str) -> dict[str, Any]:
        """The values that decide an expression, by dotted path, as plain data for the log."""
        read = self.read
        return {label: plain(read(path)) for label, path in compile_expression(source, self.names).labelled}

    def tree(self, data: Any) -> Any:
        """Nested data with every text in it rendered; texts of one `{{ }}` alone keep their type."""
        if isinstance(data, str):
            return self.value(data)
        if isinstance(data, Mapping):
            return {key: self.tree(item) for key, item in data.items()}
        if isinstance(data, (list, tuple)):
            return [self.tree(item) for item in data]
        return data

    def resource(self, kind: str, key: str | None) -> Any:
        """A named record of the workspace (an e-mail template, a sender), or None."""
        return self.records.resource(self.workspace_id, kind, key)

    def read(self, path: tuple[str, ...]) -> Any:
        """The value at a path of the data, None when something on the way is missing."""
        value: Any = self.env.data.get(path[0]) if path else None
        for segment in path[1:]:
            value = value.get(segment) if type(value) is dict or isinstance(value, Mapping) else None
        return value
