"""The worker on the database and the simulator walk the same way (DESIGN 5.2: production and simulation call the same function)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from accounts.clock import set_clock
from accounts.models import Customer, Workspace
from automations.doctor.run import examine
from automations.engine.definition import Definition
from automations.engine.kinds import LocalAction
from automations.engine.registry import registry
from automations.engine.run_state import Record, RunState
from automations.engine.simulate import PretendEvent, Simulation, World, simulate
from automations.engine.writing import to_data
from automations.models import Automation, Run, StepLog
from automations.services.drafts import create_automation
from automations.services.events import load_events
from automations.services.jsontext import plain_text
from automations.services.publish import activate
from automations.worker.context import load_workspaces
from automations.worker.plans import plans_for
from automations.worker.resources import load_resources
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, settle
from tests.worker.random_flows import HAPPENINGS, PAYLOADS, flows

pytestmark = pytest.mark.django_db(transaction=True)
Happenings = Sequence[tuple[int, int]]
Line = tuple[Any, ...]


def published(workspace: Workspace, definition: Definition) -> Automation:
    """The definition as an ACTIVE automation."""
    actor = actor_of(workspace)
    draft = create_automation(actor=actor, body=json.dumps(to_data(definition)), fmt="json")
    return activate(actor=actor, automation_id=draft.automation.pk)


def work_through(run: Run, customer: Customer, happenings: Happenings) -> Run:
    """Move the clock from one due time or event to the next, and let the worker do what is due there."""
    coming = [(run.started_at + timedelta(minutes=minutes), seats) for minutes, seats in happenings]
    settle()
    run = Run.objects.get(pk=run.pk)
    while run.ended_at is None and (coming or run.due_at):
        if coming and (run.due_at is None or coming[0][0] < run.due_at):
            moment, seats = coming.pop(0)
            set_clock(moment.isoformat())
            happen(customer, "ping", {"seats": seats})
        else:
            set_clock(run.due_at.isoformat())
        settle()
        run = Run.objects.get(pk=run.pk)
    return run


def simulated(run: Run, happenings: Happenings) -> Simulation:
    """The same run, of the same version, on the same records."""
    plan = plans_for({run.version_id})[run.version_id]
    state = RunState(
        run.pk, run.workspace_id, run.automation_id, run.version_id, run.event_id, run.customer_id, run.subjects,
        run.started_at, plan.first, due_at=run.started_at,
    )  # fmt: skip

    def load(root: str, ids: Sequence[int]) -> Any:
        if root == "trigger":
            return {id: facts.trigger for id, facts in load_events(list(ids)).items()}
        return registry.roots[root].load(ids)

    world = World(
        load,
        lambda need: load_resources(run.workspace_id, [need])[need.kind, need.key],
        events=[PretendEvent(f"{minutes}m", "ping", {"seats": seats}) for minutes, seats in happenings],
    )
    return simulate(plan, state, world, run.started_at, load_workspaces([run.workspace_id])[run.workspace_id])


def line(row: Record | StepLog) -> Line:
    """What must agree. Outputs of local effects hold ids and are made by the effect; an event's id is not foreseen; times follow."""
    local = isinstance(registry.actions.get(row.type), LocalAction)
    output = {} if local else {key: value for key, value in (row.output or {}).items() if key not in ("event", "until")}
    given = json.loads(plain_text(row.input or {}))
    shown = json.loads(plain_text(output))
    return row.seq, row.attempt, row.step, row.type, row.status, row.port, row.iteration, row.flags, given, shown


def late_by(row: StepLog, foreseen: Record) -> float:
    """Seconds between two ends of one delay. The worker's clock goes on while it works; the simulator's does not."""
    found, expected = ((item.output or {}).get("until") for item in (row, foreseen))
    if found is None or expected is None:
        return 0.0 if found == expected else float("inf")
    return (datetime.fromisoformat(str(found)) - datetime.fromisoformat(str(expected))).total_seconds()


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
    phases=(Phase.explicit, Phase.generate),
)
@given(definition=flows(), payload=PAYLOADS, happenings=HAPPENINGS)
def test_worker_and_simulator_write_the_same_log(
    workspace: Workspace, definition: Definition, payload: dict[str, Any], happenings: Happenings
) -> None:
    automation = published(workspace, definition)
    customer = make_customer(workspace, plan="pro", country="DE")
    happen(customer, payload=payload)
    settle()
    run = Run.objects.get(automation=automation, customer=customer)
    foreseen = simulated(run, happenings)
    walked = work_through(run, customer, happenings)
    log = StepLog.objects.filter(run_id=run.pk).order_by("seq", "attempt")
    in_order = sorted(foreseen.rows, key=lambda row: (row.seq, row.attempt))
    assert [line(row) for row in log] == [line(row) for row in in_order]
    assert all(0 <= late_by(row, other) < 60 for row, other in zip(log, in_order, strict=True))
    assert (walked.status, walked.end_reason) == (foreseen.run.status, foreseen.run.end_reason)
    assert walked.steps_executed == foreseen.run.steps_executed
    assert [finding.as_json() for finding in examine(at_rest=True)] == []
    Automation.objects.filter(pk=automation.pk).update(state="PAUSED")


def test_what_is_compared_can_differ(workspace: Workspace) -> None:
    """A simulation on other records gives another log: the comparison above is able to fail."""
    text = {"name": "x", "trigger": {"type": "event", "event": "sign"}}
    steps = [
        {
            "id": "c",
            "type": "condition",
            "if": "trigger.n > 2",
            "then": [{"id": "t", "type": "delay", "duration": "1h"}],
        }
    ]
    actor = actor_of(workspace)
    draft = create_automation(actor=actor, body=json.dumps({**text, "steps": steps}), fmt="yaml")
    automation = activate(actor=actor, automation_id=draft.automation.pk)
    logs = []
    for n in (1, 5):
        customer = make_customer(workspace)
        happen(customer, payload={"n": n})
        settle()
        run = Run.objects.get(automation=automation, customer=customer)
        logs.append([line(row) for row in simulated(run, []).rows])
    assert [len(log) for log in logs] == [1, 2]
