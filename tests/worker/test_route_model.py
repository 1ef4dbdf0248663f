"""Routing against a plain model of it: random histories of events, in batches of any size, end in the same runs (E3, RUN-23, RUN-28,
RELIABILITY 20)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automations.models import Entry, Evaluation, Event, Run
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen
from tests.worker.routing import on, route_all

pytestmark = pytest.mark.django_db
RULES = ("always", "one_at_a_time", "once")
NAMES = ("sign", "leave", "bought", "noise")
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 2), st.booleans()), min_size=1, max_size=14)


@dataclass
class Modelled:
    """What one automation does with one customer's events, said as simply as possible."""

    rule: str
    runs: list[str] = field(default_factory=list)
    goals: int = 0

    def hear(self, name: str) -> None:
        """End, count, enter: in this order."""
        if name == "leave":
            self.runs = ["leave" if state == "open" else state for state in self.runs]
        if name == "sign" and self.may_enter():
            self.runs.append("open")

    def may_enter(self) -> bool:
        """The table of RUN-23."""
        if self.rule == "one_at_a_time":
            return "open" not in self.runs
        return self.rule == "always" or not self.runs


def automations(workspace):
    """One for each rule; all end by `leave` and have `bought` for a goal."""
    return {
        rule: on(
            workspace,
            "type: event, event: sign",
            f"exits: [{{event: leave}}]\ngoal: {{event: bought, within: 30d}}\nsettings: {{reentry: {rule}}}",
        )
        for rule in RULES
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_any_history_in_any_batches_ends_as_the_model_says(db, steps):
    workspace = make_workspace()
    people = [make_customer(workspace) for _ in range(3)]
    real = automations(workspace)
    route_all()
    models = {(rule, who.pk): Modelled(rule) for rule in RULES for who in people}
    for name, number, route_now in steps:
        happen(people[number], name)
        for rule in RULES:
            models[rule, people[number].pk].hear(name)
        if route_now:
            route_all()
    route_all()
    for (rule, customer), model in models.items():
        rows = Run.objects.filter(automation=real[rule], customer_id=customer).order_by("pk")
        assert [row.end_reason or "open" for row in rows] == model.runs
    assert_keys_agree(real)
    assert not Event.objects.filter(workspace=workspace, routed=None).exists()


def assert_keys_agree(real):
    """A key is kept exactly by an unfinished run of `one_at_a_time` and by each run of `once`."""
    for rule, automation in real.items():
        kept = set(Entry.objects.filter(automation=automation).values_list("run_id", flat=True))
        rows = Run.objects.filter(automation=automation)
        expected = {
            "always": Run.objects.none(),
            "one_at_a_time": rows.filter(ended_at=None),
            "once": rows,
        }[rule]
        assert kept == set(expected.values_list("pk", flat=True))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_each_event_has_a_run_or_a_reason_at_each_automation_that_hears_it(db, steps):  # PRI-13, E3
    workspace = make_workspace()
    people = [make_customer(workspace) for _ in range(3)]
    real = automations(workspace)
    route_all()
    ids = []
    for name, number, route_now in steps:
        ids.append((happen(people[number], name), name))
        if route_now:
            route_all()
    route_all()
    for id, name in ids:
        started = set(Run.objects.filter(event_id=id).values_list("automation_id", flat=True))
        row = Evaluation.objects.filter(event_id=id).first()
        skipped = {item["automation"]: item for item in row.decisions if item["outcome"] == "skipped"} if row else {}
        if name != "sign":
            assert not started
            assert row is None
            continue
        assert real["always"].pk in started
        for rule in RULES:
            assert (real[rule].pk in started) != (real[rule].public_id in skipped)
        assert {item["gate"] for item in skipped.values()} <= {"reentry"}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["sign", "bought"]), min_size=1, max_size=10), together=st.booleans())
def test_a_goal_is_counted_once_for_each_run_that_was_there(db, steps, together):
    workspace = make_workspace()
    who = make_customer(workspace)
    automation = automations(workspace)["always"]
    route_all()
    expected: list[bool] = []
    for name in steps:
        happen(who, name)
        expected = [True] * len(expected) if name == "bought" else [*expected, False]
        if not together:
            route_all()
    route_all()
    rows = Run.objects.filter(automation=automation).order_by("pk")
    reached = [row.goal_reached_at is not None for row in rows]
    if together:  # a run of the same batch begins when the batch is routed: what happened before that is before it
        assert all(not found or wanted for found, wanted in zip(reached, expected, strict=True))
    else:
        assert reached == expected


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    priorities=st.permutations(["large", "middle", "rest"]),
    totals=st.lists(st.sampled_from(["50.00", "500.00", "5000.00"]), min_size=1, max_size=8),
)
def test_exclusive_dispatch_takes_the_first_that_matches_in_any_order(db, priorities, totals):  # PRI-02
    workspace = make_workspace()
    limits = {"large": 1000, "middle": 100, "rest": 0}
    real = {
        name: on(workspace, "type: event, event: billing.invoice_overdue", f"filter: trigger.total > {limits[name]}")
        for name in priorities
    }
    expected: Counter[str] = Counter()
    for total in totals:
        happen(make_customer(workspace), "invoice.overdue", {"collectionMethod": "send_invoice", "total": total})
        expected[next(name for name in priorities if float(total) > limits[name])] += 1
    route_all()
    found = {name: Run.objects.filter(automation=automation).count() for name, automation in real.items()}
    assert found == {name: expected[name] for name in priorities}
