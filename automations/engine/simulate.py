"""Simulation: the same walk on the same plan, with an accelerated clock and answers in place of effects (DESIGN 5.2, 9).

It writes, sends and calls nothing: records come from the caller's `load`, effects are collected and answered from `outcomes`,
and the clock jumps from one due time to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from automations.engine import states
from automations.engine.durations import parse_duration
from automations.engine.expressions import Environment, ExpressionError, compile_expression
from automations.engine.kinds import Need
from automations.engine.moves import Apply, KeepBranch, Load, NextPage, Question
from automations.engine.outcomes import Done, Failed, Outcome
from automations.engine.plan import Plan
from automations.engine.run_state import Effect, Record, RunState
from automations.engine.scope import NeedLoad, Records, RunData, loaded
from automations.engine.sight import holds, root_ids
from automations.engine.walk import Walk

MOST_TURNS = 2_000  # jumps of the clock and rounds of answers; a simulation that needs more is cut short with a warning


@dataclass(frozen=True, slots=True)
class PretendEvent:
    """An event that is to happen `after` a duration from the start."""

    after: str
    name: str
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class World:
    """What the simulated run meets. `load` reads records of a root by id, `resource` named records; `outcomes` say what a step's
    effect comes to (`{"result": "declined"}`, or `{"error": {"code", "message"}}`)."""

    load: Callable[[str, Sequence[int]], Mapping[int, Any]]
    resource: Callable[[Need], Any] = lambda need: None
    page: Callable[[str, int, int], Sequence[Mapping[str, int]]] = lambda query, after, limit: ()
    outcomes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    events: Sequence[PretendEvent] = ()


@dataclass
class Simulation:
    """What came of it: the run as it ended or stands, its log rows, what it would have sent, and warnings."""

    run: RunState
    rows: list[Record]
    effects: list[Effect]
    warnings: list[str]

    @property
    def status(self) -> str:
        """The stored status."""
        return self.run.status


def simulate(plan: Plan, run: RunState, world: World, now: datetime, workspace: Mapping[str, Any]) -> Simulation:
    """Walk `run` to its end, or until only an event that nobody foresees could move it."""
    return _Simulator(plan, run, world, now, workspace).go()


class _Simulator:
    def __init__(self, plan: Plan, run: RunState, world: World, now: datetime, workspace: Mapping[str, Any]) -> None:
        self.plan, self.run, self.world, self.now, self.workspace = plan, run, world, now, workspace
        self.records = Records()
        self.result = Simulation(run, [], [], [])
        self.branches: dict[str, str] = {}
        zone = workspace["zone"]
        moments = [(parse_duration(event.after).after(now, zone), event) for event in world.events]
        self.coming = sorted(moments, key=lambda item: item[0])

    def go(self) -> Simulation:
        for _ in range(MOST_TURNS):
            self._turn()
            if self.run.status in states.ENDED or not self._jump():
                return self.result
        self.result.warnings.append(f"The simulation was cut short after {MOST_TURNS} turns.")
        return self.result

    def _turn(self) -> None:
        walk = Walk(self.plan, self.run, self.records, self.now, self.workspace)
        while (question := walk.advance()) is not None:
            self._answer(walk, question)
        for root, data in walk.fresh.items():
            self.records.put(root, {self.run.id: data}, [])
        self.result.rows += walk.rows
        self.result.effects += walk.effects

    def _answer(self, walk: Walk, question: Question) -> None:
        if isinstance(question, Load):
            self._load(question)
        elif isinstance(question, Apply):
            walk.give(self._outcome(question.request.step, {}))
        elif isinstance(question, KeepBranch):
            kept = self.branches.get(question.step)
            self.branches[question.step] = kept or question.branch
            walk.give((kept or question.branch, kept is not None))
        elif isinstance(question, NextPage):
            walk.give(self._page(walk, question))

    def _load(self, question: Load | NeedLoad) -> None:
        for root, ids in question.wanted.items():
            self.records.put(root, self.world.load(root, list(ids)), list(ids))
        for need in question.needs:
            self.records.resources[self.run.workspace_id, need.kind, need.key] = self.world.resource(need)

    def _outcome(self, step: str, output: Mapping[str, Any]) -> Outcome:
        given = self.world.outcomes.get(step)
        if given is None:
            return Done(output)
        error = given.get("error")
        if isinstance(error, Mapping):
            return Failed(str(error.get("code", "failed")), str(error.get("message", "A pretended failure.")))
        return Done({**output, **given})

    def _page(self, walk: Walk, question: NextPage) -> list[Any]:
        root = self.plan.registry.roots[self.plan.registry.queries[question.query].root]
        page = list(self.world.page(question.query, question.after, question.limit))
        found = [item for item in page if question.where is None or self._holds(walk, question.where, item)]
        more = len(page) == question.limit
        after = page[-1][root.subject] if page else question.after
        if page and more and not found:
            return self._page(walk, NextPage(question.query, question.where, after, question.limit))
        return [found, after, more]

    def _holds(self, walk: Walk, where: str, subjects: Mapping[str, int]) -> bool:
        try:
            return holds(walk, where, subjects, self._load)
        except ExpressionError:
            return False  # as the worker passes over it

    def _jump(self) -> bool:
        """Move the clock to what moves the run next; False when nothing foreseen does."""
        run = self.run
        if run.parked_on == "delivery":
            open_ = [effect for effect in self.result.effects if effect.visit == run.seq]
            output = open_[0].envelope.output if open_ else {}
            run.answered_input = open_[0].envelope.input if open_ else None
            run.answer, run.parked_on = self._outcome(run.step or "", output), None
            return True
        if run.parked_on == "event" and self._event_comes():
            return True
        if run.due_at is None:
            return False
        self.now = max(self.now, run.due_at)
        return True

    def _event_comes(self) -> bool:
        run = self.run
        for place, (moment, event) in enumerate(self.coming):
            late = run.due_at is not None and moment >= run.due_at
            if event.name == run.wait_name and moment >= self.now and not late and self._passes(event):
                del self.coming[: place + 1]  # what came before, also at the same moment, is over
                self.now = moment
                run.parked_on, run.answer = None, {"event": None}
                return True
        return False

    def _passes(self, event: PretendEvent) -> bool:
        """Whether the wait's filter lets the pretended event through."""
        source = getattr(self.plan.nodes[self.run.step or ""].config, "filter", None)
        if source is None:
            return True
        data = RunData(self.records, root_ids(self.plan, self.run, self.run.subjects), {"event": dict(event.payload)})
        env = Environment(data, self.now, self.workspace["zone"])
        return loaded(lambda: compile_expression(source, self.plan.names).test(env), self._load)
