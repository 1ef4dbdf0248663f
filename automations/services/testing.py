"""Trying an automation out: the same walk on sample data, a posted payload, a recorded event or a real customer (VER-10).

It writes, sends and calls nothing: the walk is simulated, and the transaction around it, which reads and renders, is rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from accounts.actor import Actor
from accounts.clock import evaluation_now
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from accounts.models import Customer
from automations.engine.definition import Definition
from automations.engine.expressions import Environment
from automations.engine.kinds import Need, Trigger
from automations.engine.plan import Plan, PlanError, compile_plan, find_trigger
from automations.engine.registry import registry
from automations.engine.run_state import Effect, RunState
from automations.engine.scope import NeedLoad, Records, RunData, loaded
from automations.engine.sight import root_ids
from automations.engine.simulate import PretendEvent, Simulation, World, simulate
from automations.engine.values import plain
from automations.models import Event, Version
from automations.services.drafts import checked
from automations.services.events import load_events
from automations.services.find import draft_of, find_automation, find_version
from automations.services.texts import definition_of
from automations.worker.context import load_workspaces
from automations.worker.resources import load_resources

#: The id of records that exist only in the sample; no real record has it.
PRETEND = 0
MOST_RECORDS = 25  # records of a query that a test walks through


@dataclass(frozen=True, slots=True)
class TrialInput:
    """What a test runs on: at most one of `payload`, `event_id`, `customer_id`; else the trigger's sample."""

    payload: Mapping[str, Any] | None = None
    event_id: int | None = None
    customer_id: int | None = None
    at: datetime | None = None
    outcomes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    events: Sequence[PretendEvent] = ()


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The simulated run, its definition (for names of steps), what each visit would have sent, and warnings."""

    simulation: Simulation
    definition: Definition
    rendered: Mapping[int, list[dict[str, Any]]]
    warnings: list[str]


def try_automation(*, actor: Actor, automation_id: int, given: TrialInput, number: int | None = None) -> TrialResult:
    """Walk the draft (else the active version, or version `number`) to its end in simulated time."""
    actor.require("read")
    automation = find_automation(actor, automation_id)
    version: Version | None = draft_of(automation) or automation.active_version
    if number is not None:
        version = find_version(automation, number)
    if version is None:
        raise Refusal("not_found", f"“{automation.name}” has neither a draft nor an active version.")
    return try_definition(actor=actor, definition=definition_of(version), given=given)


def try_definition(*, actor: Actor, definition: Definition, given: TrialInput) -> TrialResult:
    """The same for a definition that is not stored. One that cannot be walked is `invalid_definition` with its problems."""
    actor.require("read")
    try:
        plan = compile_plan(definition, registry)
    except PlanError as error:
        problems = [problem.as_json() for problem in checked(actor.workspace_id, definition).problems]
        raise Refusal("invalid_definition", str(error), {"problems": problems}) from error
    with transaction.atomic():
        try:
            return _test(actor.workspace_id, plan, given)
        finally:
            transaction.set_rollback(True)


def _test(workspace_id: int, plan: Plan, given: TrialInput) -> TrialResult:
    facts = _facts(workspace_id, plan.definition, given)
    now = given.at or evaluation_now()
    workspace = load_workspaces([workspace_id])[workspace_id]
    run = RunState(
        id=PRETEND,
        workspace_id=workspace_id,
        automation_id=PRETEND,
        version_id=PRETEND,
        event_id=PRETEND,
        customer_id=facts.subjects.get("customer"),
        subjects=facts.subjects,
        started_at=now,
        step=plan.first,
        due_at=now,
        mode="test",
    )
    world = World(facts.load, facts.resource, facts.page, given.outcomes, given.events)
    warnings = _would_not_start(plan, run, facts, now, workspace)
    simulation = simulate(plan, run, world, now, workspace)
    rendered = _rendered(workspace_id, simulation.effects, warnings)
    return TrialResult(simulation, plan.definition, rendered, [*warnings, *simulation.warnings])


@dataclass(slots=True)
class _Facts:
    """The data of a test: `pretend` are records that exist only here, by root; all others are read from the database."""

    workspace_id: int
    trigger: Mapping[str, Any]
    subjects: dict[str, int]
    pretend: dict[str, Mapping[str, Any]]

    def load(self, root: str, ids: Sequence[int]) -> Mapping[int, Any]:
        """Records of a root."""
        if root == "trigger":
            return dict.fromkeys(ids, self.trigger)
        of_run = registry.roots[root].subject == "run"
        real = [id for id in ids if id != PRETEND or of_run]
        found = dict(registry.roots[root].load(real)) if real else {}
        if PRETEND in ids and root in self.pretend:
            found[PRETEND] = self.pretend[root]
        return found

    def resource(self, need: Need) -> Any:
        """A named record of the workspace."""
        return load_resources(self.workspace_id, [need])[need.kind, need.key]

    def page(self, query: str, after: int, limit: int) -> Sequence[Mapping[str, int]]:
        """The first records of a query; a test does not walk through thousands."""
        return registry.queries[query].page(self.workspace_id, after, MOST_RECORDS)[: limit - 1] if not after else ()


def _facts(workspace_id: int, definition: Definition, given: TrialInput) -> _Facts:
    if given.event_id is not None:
        return _of_event(workspace_id, given.event_id)
    trigger = find_trigger(definition, registry)
    facts = _of_sample(workspace_id, trigger, given.payload)
    if given.customer_id is not None:
        _put_customer(facts, given.customer_id)
    return facts


def _of_event(workspace_id: int, event_id: int) -> _Facts:
    if not Event.objects.filter(workspace_id=workspace_id, pk=event_id).exists():
        raise not_found("event", public_id("evt", event_id))
    facts = load_events([event_id])[event_id]
    return _Facts(workspace_id, facts.trigger, dict(facts.subjects), {})


def _of_sample(workspace_id: int, trigger: Trigger, payload: Mapping[str, Any] | None) -> _Facts:
    """The sample with the payload on top; objects in it are the records that the run is about."""
    data = {**trigger.sample, **(payload or {})}
    pretend: dict[str, Mapping[str, Any]] = {}
    for name in registry.roots:
        if isinstance(data.get(name), Mapping):
            pretend[name] = data[name]
        elif name == trigger.subject:
            pretend[name] = {key: value for key, value in data.items() if not isinstance(value, Mapping)}
    subjects = {name: PRETEND for name in trigger.provides if name in pretend}
    return _Facts(workspace_id, data, subjects, pretend)


def _put_customer(facts: _Facts, customer_id: int) -> None:
    """A real customer takes the place of the sample's."""
    if not Customer.objects.filter(workspace_id=facts.workspace_id, pk=customer_id).exists():
        raise not_found("customer", public_id("cus", customer_id))
    facts.subjects["customer"] = customer_id
    facts.pretend.pop("customer", None)
    facts.trigger = {**facts.trigger, "customer": plain(registry.roots["customer"].load([customer_id])[customer_id])}


def _would_not_start(
    plan: Plan, run: RunState, facts: _Facts, now: datetime, workspace: Mapping[str, Any]
) -> list[str]:
    """What of the entry filter does not hold for this data: a test walks all the same and says so."""
    records = Records()
    data = RunData(records, root_ids(plan, run, run.subjects), {"now": now})
    env = Environment(data, now, workspace["zone"])

    def load(need: NeedLoad) -> None:
        for root, ids in need.wanted.items():
            records.put(root, facts.load(root, ids), ids)

    failing = [
        expression.source
        for expression in (*plan.where, *plan.filter)
        if not loaded(partial(expression.test, env), load)
    ]
    return [f"With this data no run would start, because this is not so: {source}" for source in failing]


def _rendered(workspace_id: int, effects: Sequence[Effect], warnings: list[str]) -> dict[int, list[dict[str, Any]]]:
    """What would have gone out, by visit: kind, recipient, subject and the text as its recipient would read it."""
    shown: dict[int, list[dict[str, Any]]] = {}
    for effect in effects:
        action: Any = effect.node.kind
        envelope = action.complete([(workspace_id, effect.envelope)])[0]
        try:
            body = action.html(envelope) if hasattr(action, "html") else action.render(envelope, "test").decode()
        except (LookupError, ValueError) as error:  # a template that cannot be rendered; the delivery would fail
            warnings.append(f"{effect.node.id}: {error}")
            body = ""
        shown.setdefault(effect.visit, []).append(
            {"kind": envelope.kind, "to": envelope.to, "subject": envelope.subject, "body": body}
        )
    return shown
