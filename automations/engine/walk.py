"""The interpreter: one run's turn through its plan (DESIGN 5.2). Pure: data, time and answers come in, records and effects come out.

`Walk.advance()` goes as far as the run can go at once and returns the question that the shell has to answer, or None when the run
parked, ended or is out of fuel. Production, simulation and back-test call the same code; only what answers its questions differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from automations.engine import states
from automations.engine.expressions import ExpressionError
from automations.engine.kinds import ControlStep, Envelope, LocalAction, OutsideAction, Request
from automations.engine.loops import Frames
from automations.engine.moves import Apply, Ask, End, Enter, Go, Load, Park, Question
from automations.engine.outcomes import Done, Failed, Outcome, Refused, Skipped, Suppressed, Unknown
from automations.engine.plan import Plan, PlanNode
from automations.engine.run_state import Effect, Record, RunState
from automations.engine.scope import NeedLoad, Records, Scope
from automations.engine.sight import make_scope, renew, root_ids, show

STEP_LIMIT = 10_000  # logged steps a run (DESIGN 6)
FALLBACK, LATE = 1, 2  # flags of a log row


class TimerDue:
    """The answer to a run whose due time came: a delay is over, a wait timed out, a retry may be made."""


class BodyEnded:
    """The answer to a loop whose iteration ended."""


_NOTHING: Any = object()


class Walk:
    """One turn of one run. `now` is the evaluation clock; `next_pass` the next point of the pass grid (`pacing: tick`)."""

    def __init__(
        self,
        plan: Plan,
        run: RunState,
        records: Records,
        now: datetime,
        workspace: Mapping[str, Any],
        next_pass: datetime | None = None,
        fuel: int = 500,
    ) -> None:
        self.plan, self.run, self.records, self.now, self.workspace = plan, run, records, now, workspace
        self.next_pass = next_pass if plan.settings.pacing == "tick" else None
        self.fuel = fuel
        self.rows: list[Record] = []
        self.effects: list[Effect] = []
        self.tallies: list[tuple[str, str]] = []  # (step, "") for each entry, (step, port) for each exit
        self.frames = Frames(run)
        self.done = False
        self._entering = False
        self._stepped = False
        self._answer: Any = _NOTHING
        self._scope: Scope | None = None
        self._ids: dict[str, int] | None = None
        self.fresh: dict[str, Any] = {}  # roots of the run that this turn made anew, as later steps read them
        self._input: Mapping[str, Any] | None = None
        self._warned: list[Any] = []  # warnings of an attempt that asked a question before it ended
        self._take_up()

    # -- the turn -------------------------------------------------------------------------------------------------

    def advance(self) -> Question | None:
        """Go on until the run parks, ends, is out of fuel, or something has to be asked."""
        while not self.done:
            try:
                question = self._visit() if self.run.entered_at is not None else self._arrive()
            except NeedLoad as need:
                return Load(need.wanted, need.needs)
            if question is not None:
                return question
        return None

    def give(self, answer: Any) -> None:
        """Answer the question that `advance` returned (a `Load` is answered by filling the records)."""
        self._answer = answer

    def fail(self, code: str, message: str) -> None:
        """End the run as FAILED by an error of its own, at the step it stands on."""
        self._visit_to_fail()
        self._failed(Failed(code, message), final=True)

    def interrupt(self) -> None:
        """The rounds of this turn are used up: stay due; the open question is asked anew when the run is claimed again."""
        self._rest(self.now)

    def _take_up(self) -> None:
        """Turn the row's standing into the answer that the present step gets."""
        run = self.run
        if run.parked_on in ("timer", "event"):
            self._answer = TimerDue
            if run.due_at is not None:  # it has come, also where the clock was set back since it was seen to (T1)
                self.now = max(self.now, run.due_at)
        elif run.answer is not None:
            self._answer = run.answer
        run.parked_on = run.wait_name = run.wait_key = run.answer = None
        run.status = states.RUNNING

    def _arrive(self) -> Question | None:
        """Stand before a step: judge the exits, then begin the visit."""
        run = self.run
        if run.step is None:
            self._end(states.COMPLETED, "completed")
        elif self.plan.is_judged and (reason := self.exit_reason()) is not None:
            self._end(states.CANCELLED, reason)
        elif run.seq >= STEP_LIMIT:
            self._visit_to_fail()
            self._failed(
                Failed("step_limit", f"The run made {STEP_LIMIT} steps and was stopped."), "step_limit", final=True
            )
        elif self._stepped and self.next_pass is not None:
            self._rest(self.next_pass)
        elif self.fuel <= 0:
            self._rest(self.now)
        else:
            self._begin()
        return None

    def _visit_to_fail(self) -> None:
        """An error before a step is a visit of its own in the log: the one before it has ended and is logged (S1)."""
        run = self.run
        if run.entered_at is None:
            run.seq, run.attempt, run.entered_at = run.seq + 1, 0, self.now

    def _begin(self) -> None:
        run = self.run
        run.seq += 1
        run.attempt = 0
        run.entered_at = self.now
        self.fuel -= 1
        self._entering = self._stepped = True
        self._warned = []
        self._answer = _NOTHING
        self.tallies.append((run.step or "", ""))

    def exit_reason(self) -> str | None:
        """Why the run is over before its next step: its age, or the live object it is about (DESIGN 5.1, exits)."""
        plan = self.plan
        if plan.max_run_age and plan.max_run_age.after(self.run.started_at, self.zone) <= self.now:
            return "max_age"
        if not plan.predicates:
            return None
        env = self.scope(fresh=True).env
        for item in plan.predicates:
            if item.predicate is not None and item.predicate.test(env) and not self._caused(item.predicate.roots, item):
                return item.reason
        return None

    def _caused(self, roots: frozenset[str], item: Any) -> bool:
        """Whether the change was the run's own, where that does not count (C-12): the object remembers who changed it."""
        if item.own_effects:
            return False
        data = self.scope().env.data
        return any(_changed_by(data, root) == self.run.id for root in roots)

    # -- the visit ------------------------------------------------------------------------------------------------

    def _visit(self) -> Question | None:
        node = self.plan.nodes[self.run.step or ""]
        self._freshen()
        try:
            return self._act(node)
        except (NeedLoad, MemoryError):  # out of memory: the process at large is hurt, which its shell has to judge
            raise
        except ExpressionError as error:
            self._settle(node, Failed(error.code, str(error)))
        except Exception as error:  # a step that raises fails its own run and no other (ERR-11)
            self._settle(node, Failed("internal", f"{type(error).__name__}: {error}"))
        return None

    def _act(self, node: PlanNode) -> Question | None:
        kind = node.kind
        if isinstance(kind, ControlStep):
            if self._entering:
                return self._move(node, kind.enter(node.config, self))
            answer = BodyEnded if self._answer is _NOTHING and self.frames.stands_on(node.id) else self._answer
            if answer is _NOTHING:  # interrupted before its question was answered
                return self._move(node, kind.enter(node.config, self))
            return self._move(node, kind.resume(node.config, self, answer))
        if isinstance(kind, LocalAction):
            return self._local(node, kind)
        if isinstance(kind, OutsideAction):
            self._outside(node, kind)
            return None
        raise TypeError(f"“{node.id}” is neither a control step nor an action")

    def _move(self, node: PlanNode, move: Any) -> Question | None:
        if isinstance(move, Ask):
            self._entering = False
            return move.question
        if isinstance(move, Go):
            self._leave(node, move.port, output=move.output, input=move.input)
            if move.skip:
                self._skip()
        elif isinstance(move, Park):
            self._park(move)
        elif isinstance(move, Enter):
            self._iterate(node, move.frame)
        elif isinstance(move, End):
            self._log(node, "succeeded", None, output=move.output)
            self.run.steps_executed += not node.fallback
            self._end(states.COMPLETED, move.reason)
        return None

    def _local(self, node: PlanNode, kind: LocalAction) -> Question | None:
        if isinstance(self._answer, Outcome):
            for root in kind.changes:
                self._forget(root)
            self._settle(node, self._answer)
            return None
        prepared = kind.prepare(node.config, self.scope())
        if not isinstance(prepared, Request):
            self._settle(node, prepared)
            return None
        self._entering = False
        return Apply(kind.key, self._signed(prepared, node))

    def _show(self, sent: list[Envelope]) -> None:
        """The run's latest e-mail is this one for the steps of this turn, though no table has it yet: nobody can have opened it
        (RUN-22)."""
        for mail in sent:
            if mail.customer_mail and mail.kind == "email":
                self.fresh["mail"] = {"id": None, "subject": mail.subject, "opened": False, "clicked": False}
                if self._scope is not None:
                    show(self._scope, self.fresh)

    def _signed(self, request: Request, node: PlanNode) -> Request:
        run = self.run
        self._input, self._warned = request.input, list(self.scope().env.warnings)
        return Request(
            subjects=request.subjects,
            input=request.input,
            data=request.data,
            workspace_id=run.workspace_id,
            run_id=run.id,
            automation_id=run.automation_id,
            step=node.id,
            visit=run.seq,
        )

    def _outside(self, node: PlanNode, kind: OutsideAction) -> None:
        if isinstance(self._answer, Outcome):
            self._input = self.run.answered_input
            self._settle(node, self._answer)
            return
        prepared = kind.prepare(node.config, self.scope())
        envelopes: list[Envelope] = []
        for item in prepared if isinstance(prepared, tuple) else (prepared,):
            if not isinstance(item, Envelope):
                self._settle(node, item)
                return
            envelopes.append(item)
        to_send = [item for item in envelopes if item.verdict is None]
        waits = "error" in node.targets or any(item.waits for item in to_send)
        for number, envelope in enumerate(envelopes):
            self.effects.append(Effect(self.run, self.run.seq, number, node, envelope, waits))
        if not to_send and envelopes[0].verdict is not None:
            self._input = envelopes[0].input
            self._settle(node, envelopes[0].verdict)
        elif waits:
            self._park(Park("delivery"))
        else:
            self._leave(node, "next", output=_together(envelopes), input=envelopes[0].input)
            self._show(to_send)

    # -- what a step came to --------------------------------------------------------------------------------------

    def _settle(self, node: PlanNode, outcome: Outcome) -> None:
        input, self._input = self._input, None
        if isinstance(outcome, Done):
            self._leave(node, "next", output=outcome.output, input=input)
            if node.kind.ends_run and not self.done:
                self._end(states.COMPLETED, "stopped")
        elif isinstance(outcome, Refused):
            output = {"result": "refused", "code": outcome.code, "message": outcome.message}
            self._leave(node, "next", output=output, input=input)
        elif isinstance(outcome, Suppressed):
            self._leave(node, "next", "skipped", output={"result": "suppressed", "reason": outcome.reason}, input=input)
        elif isinstance(outcome, Skipped):
            self._leave(node, "next", "skipped", output={"result": "skipped", "reason": outcome.reason}, input=input)
        elif isinstance(outcome, Unknown):
            self._failed(Failed("unknown", outcome.message))
        else:
            self._failed(outcome)

    def _failed(self, outcome: Failed, reason: str = "failed", final: bool = False) -> None:
        """Log the failed attempt; then again, or the fallback, or the end (ERR-01, ERR-05, ERR-07)."""
        run = self.run
        node = self.plan.nodes[run.step or ""]
        error = {
            "code": outcome.code,
            "message": outcome.message,
            "temporary": outcome.temporary,
            "details": dict(outcome.details),
        }
        policy = node.policy
        retries = policy.retries if policy and node.kind.effect == "local" and outcome.temporary and not final else 0
        if policy and run.attempt < retries:
            self._log(node, "failed", None, error=error)
            due = self.now + timedelta(seconds=policy.wait(run.attempt))
            run.attempt += 1
            self._park(Park("timer", due))
        elif "error" in node.targets and not final:
            self._leave(node, "error", "failed", error=error)
        else:
            self._log(node, "failed", None, error=error)
            run.error = {**error, "step": node.id}
            self._end(states.FAILED, reason)

    def _leave(
        self,
        node: PlanNode,
        port: str,
        status: str = "succeeded",
        output: Mapping[str, Any] | None = None,
        input: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """The visit ended through `port`: log it, keep what later steps read, stand before the next step."""
        self._log(node, status, port, input, output, error)
        run = self.run
        if node.id in self.plan.kept:
            run.state.setdefault("out", {})[node.id] = dict(output or {})
        if not node.fallback:
            run.steps_executed += 1
        self.tallies.append((node.id, port))
        if self.frames.left(node.id):
            self._scope = self._ids = None
        target = node.targets.get(port) or (node.targets.get("next") if port == "timeout" else None)
        self._go_to(target)

    def _go_to(self, target: str | None) -> None:
        """Stand before `target`, or behind the last step of an iteration, or of the run."""
        run = self.run
        self._answer = _NOTHING
        run.attempt = 0
        if target is None and self.frames.top is not None:
            self._back_to_loop()
        else:
            run.step, run.entered_at = target, None

    def _back_to_loop(self) -> None:
        self._entering = False
        self.fuel -= 1
        self.run.step, self.run.entered_at = self.frames.loop, self.frames.entered_at
        self._answer = BodyEnded
        if self.fuel < 0:
            self._rest(self.now)

    def _iterate(self, node: PlanNode, frame: Mapping[str, Any]) -> None:
        self.frames.enter(node.id, frame, self.run.seq, self.run.entered_at or self.now)
        self._ids = None
        self.run.step = None
        self._go_to(node.targets.get("each"))

    def _skip(self) -> None:
        """Pass over the steps up to the next anchored delay: their moment was before the run began (C-21)."""
        while (step := self.run.step) is not None and not self.done:
            node = self.plan.nodes[step]
            if getattr(node.config, "anchor", None) or self.run.entered_at is not None:
                return
            self.run.seq += 1
            self.run.entered_at = self.now
            self._log(node, "skipped", node.kind.ports(node.config)[0])
            self._go_to(node.targets.get(node.kind.ports(node.config)[0]))

    def _park(self, park: Park) -> None:
        run = self.run
        states.check_transition("due", park.on)
        run.status, run.parked_on, run.due_at = states.status_when(park.on), park.on, park.due
        if park.wait is not None:
            run.wait_name, run.wait_key = park.wait.name, park.wait.key
        self._close()

    def _rest(self, due: datetime) -> None:
        """Due again later, standing between two steps (or within a loop): a step a pass, or out of fuel."""
        self.run.status, self.run.parked_on, self.run.due_at = states.RUNNING, None, due
        self._close()

    def _end(self, status: str, reason: str) -> None:
        run = self.run
        states.check_transition("due", status)
        # The database's clock may have been set back since the run began (RELIABILITY 13); none ends before its start.
        run.status, run.end_reason, run.ended_at = status, reason, max(self.now, run.started_at)
        run.parked_on = run.due_at = run.entered_at = run.wait_name = run.wait_key = None
        self._close()

    def _close(self) -> None:
        self.frames.save()
        self.done = True

    def _log(
        self,
        node: PlanNode,
        status: str,
        port: str | None,
        input: Mapping[str, Any] | None = None,
        output: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        run, frames = self.run, self.frames
        seq, iteration = run.seq, None
        if frames.top is not None:
            seq, iteration = frames.visit_of(node.id, seq), frames.iteration(node.id)
        started = run.entered_at or self.now
        flags = FALLBACK if node.fallback else 0
        ended = max(self.now, started)  # as in `_end`
        record = Record(
            run.id, seq, run.attempt, node.id, node.node.type, status, port, started, ended, input, output, error
        )
        record.warnings, record.iteration, record.flags = self._warnings(), iteration, flags
        self.rows.append(record)

    def _warnings(self) -> list[Mapping[str, str]] | None:
        warned = self._warned
        if self._scope is not None and self._scope.env.warnings:
            warned = [*warned, *self._scope.env.warnings]
        return [warning.as_json() for warning in warned] if warned else None

    # -- what steps read ------------------------------------------------------------------------------------------

    @property
    def zone(self) -> Any:
        """The workspace's time zone."""
        return self.workspace["zone"]

    def scope(self, fresh: bool = False) -> Scope:
        """The data of this moment. Its warnings are those of one attempt of a visit, or of what is asked `fresh` before one."""
        if fresh:
            self._freshen()
        if self._scope is None:
            self._scope = make_scope(self)
        return self._scope

    def _freshen(self) -> None:
        """What is read next belongs to another moment. In a loop all is joined anew: other items, other subjects."""
        if self._scope is not None:
            if self.frames.top is None:
                renew(self._scope, self.run)
            else:
                self._scope = self._ids = None

    def subjects(self) -> Mapping[str, int]:
        """The ids this moment is about: the run's, or those of the record a query loop stands on."""
        return self.frames.subjects(self.run.subjects)

    def ids(self) -> Mapping[str, int]:
        """The id under which each root is read at this moment."""
        if self._ids is None:
            self._ids = root_ids(self.plan, self.run, self.subjects())
        return self._ids

    def _forget(self, changed: str) -> None:
        ids = self.ids()
        for root in self.plan.read_with[changed]:
            if root in ids:
                self.records.forget(root, ids[root])


def _changed_by(data: Mapping[str, Any], root: str) -> Any:
    found = data.get(root)
    return found.get("changedByRun") if isinstance(found, Mapping) else None


def _together(envelopes: list[Envelope]) -> Mapping[str, Any]:
    """The output of a step that queued one delivery, or several."""
    if len(envelopes) == 1:
        return envelopes[0].output
    return {"deliveries": [dict(item.output) for item in envelopes]}
