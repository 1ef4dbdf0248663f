"""What filters, exits and wait filters read while a batch is routed: loaded in bulk before anything is judged (DESIGN 5.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from automations.engine.expressions import Environment, Expression
from automations.engine.expressions.paths import fold
from automations.engine.registry import registry
from automations.engine.scope import NeedLoad, Records, RunData
from automations.engine.sight import root_ids
from automations.engine.values import invoice_status, plain
from automations.worker.batch import LiveRun, Occurrence
from automations.worker.context import Context


class Reader:
    """The records of one batch. `zones` are the workspaces' time zones."""

    def __init__(self, now: datetime, zones: Mapping[int, Any]) -> None:
        self.now = now
        self.zones = zones
        self.context = Context(now)
        self._wanted: dict[str, set[int]] = defaultdict(set)

    # -- what will be needed ------------------------------------------------------------------------------------------

    def expect(self, occurrence: Occurrence, expressions: Iterable[Expression]) -> None:
        """Entry filters read the event's snapshot where it has the field, else the live object (C-10): only then is it loaded."""
        for expression in expressions:
            for path in expression.paths:
                if not covered(occurrence, path):
                    self._expect_root(path[0], occurrence)

    def expect_live(self, occurrence: Occurrence, expressions: Iterable[Expression]) -> None:
        """Exits are judged on the live object."""
        for expression in expressions:
            for root in expression.roots:
                self._expect_root(root, occurrence)

    def expect_run(self, run: LiveRun, expressions: Iterable[Expression]) -> None:
        """What an exit, goal or wait of a run reads."""
        expressions = tuple(expressions)
        if not expressions:
            return
        ids = root_ids(run.plan, run, run.subjects)  # type: ignore[arg-type]  # it has the fields of a run state that are read
        for expression in expressions:
            for root in expression.roots & ids.keys():
                self._wanted[root].add(ids[root])

    def _expect_root(self, name: str, occurrence: Occurrence) -> None:
        root = registry.roots.get(name)
        if root is None:
            return
        if root.subject == "workspace":
            self._wanted[name].add(occurrence.workspace_id)
        elif root.subject in occurrence.facts.subjects:
            self._wanted[name].add(occurrence.facts.subjects[root.subject])

    def load(self) -> None:
        """Read what was announced, the fixed few queries of each root."""
        wanted, self._wanted = self._wanted, defaultdict(set)
        self.context.load(wanted)

    # -- reading ------------------------------------------------------------------------------------------------------

    def of_event(self, occurrence: Occurrence) -> Environment:
        """What filters see: the snapshot's objects, completed by the live ones."""
        data = _EventData(self.context.records, occurrence, self.now)
        return Environment(data, self.now, self.zones[occurrence.workspace_id])

    def of_objects(self, occurrence: Occurrence) -> Environment:
        """What exits see where a run would start: the live objects."""
        facts = occurrence.facts
        local = {"trigger": facts.trigger, "event": facts.trigger, "now": self.now}
        return Environment(
            RunData(self.context.records, _ids(occurrence), local), self.now, self.zones[occurrence.workspace_id]
        )

    def of_run(self, run: LiveRun, occurrence: Occurrence) -> Environment:
        """What the exits, the goal and the wait of a run see when an event comes."""
        ids = root_ids(run.plan, run, run.subjects)  # type: ignore[arg-type]  # it has the fields of a run state that are read
        local = {
            "event": occurrence.facts.trigger,
            "steps": run.state.get("out", {}),
            "wait": run.state.get("wait", {}),
            "run": {"id": f"exec_{run.id}", "startedAt": run.started_at, "step": run.step},
            "now": self.now,
        }
        if run.id < 0:  # started by this batch: its trigger is at hand, and it has sent no mail
            ids = {name: id for name, id in ids.items() if id != run.id}
        return Environment(RunData(self.context.records, ids, local), self.now, self.zones[run.workspace_id])

    def holds(self, expression: Expression, env: Environment) -> bool:
        """Whether it holds. What nobody announced is read when it is missed."""
        return bool(self._reading(lambda: expression.test(env)))

    def live(self, root: str, env: Environment) -> Mapping[str, Any] | None:
        """The live object of a root, None when there is none."""
        found = self._reading(lambda: env.data.get(root))
        return found if isinstance(found, Mapping) else None

    def _reading(self, read: Any) -> Any:
        while True:
            try:
                return read()
            except NeedLoad as need:
                self.context.load(need.wanted)

    def values(self, expressions: Iterable[Expression], env: Environment) -> dict[str, Any]:
        """The values that decided, by path (`invoice.total`), for the evaluation row."""
        found: dict[str, Any] = {}
        for expression in expressions:
            for path in sorted(expression.paths):
                found[".".join(path)] = plain(self._reading(lambda path=path: follow(env.data, path)))
        return found


class _EventData(RunData):
    """Roots of an event: the live record with the snapshot's fields on top."""

    __slots__ = ("occurrence",)

    def __init__(self, records: Records, occurrence: Occurrence, now: datetime) -> None:
        trigger = occurrence.facts.trigger
        super().__init__(records, {}, {"trigger": trigger, "event": trigger, "now": now})
        self.occurrence = occurrence

    def get(self, name: str, default: Any = None) -> Any:
        """The root, its snapshot joined with the record, or `default` where there is neither."""
        if name in self.locals:
            return self.locals[name]
        merged = self.occurrence.merged
        if name not in merged:
            joined = self._joined(name)
            if joined is None:
                return default
            merged[name] = joined
        return merged[name]

    def _joined(self, name: str) -> Mapping[str, Any] | None:
        snapshot = self.occurrence.facts.trigger.get(name)
        joined = live = self._live(name)
        if isinstance(snapshot, Mapping):
            joined = {**live, **snapshot} if live else snapshot
        if name == "invoice" and joined is not None and isinstance(joined.get("status"), str):
            joined = {**joined, "status": _status(joined)}
        return joined

    def _live(self, name: str) -> Mapping[str, Any] | None:
        """The record as far as it was read; a filter asks for it beforehand (`Reader.expect`)."""
        table = self.records.by_root.get(name)
        return table.get(_ids(self.occurrence).get(name, 0)) if table else None


def _status(invoice: Mapping[str, Any]) -> str:
    """JSON keeps one name of a status; give it the others again (C-14)."""
    status = invoice["status"]
    return invoice_status(getattr(status, "stored", str(status)), bool(invoice.get("isOverdue")))


def covered(occurrence: Occurrence, path: tuple[str, ...]) -> bool:
    """Whether the event's own data has what a path names, so that nothing needs to be read for it."""
    if path[0] not in registry.roots:
        return True
    snapshot = occurrence.facts.trigger.get(path[0])
    if not isinstance(snapshot, Mapping) or len(path) == 1:
        return False
    return path[1] in snapshot or fold(path[1]) in {fold(str(key)) for key in snapshot}


def follow(data: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    """The value at a path, in either spelling of names; None where there is none."""
    value: Any = data.get(path[0])
    for name in path[1:]:
        if isinstance(value, (list, tuple)) and name.isdigit():
            value = value[int(name)] if int(name) < len(value) else None
        elif isinstance(value, Mapping):
            value = (
                value[name]
                if name in value
                else next((value[key] for key in value if fold(str(key)) == fold(name)), None)
            )
        else:
            return None
    return value


def _ids(occurrence: Occurrence) -> dict[str, int]:
    subjects = {**occurrence.facts.subjects, "workspace": occurrence.workspace_id}
    return {name: subjects[root.subject] for name, root in registry.roots.items() if root.subject in subjects}
