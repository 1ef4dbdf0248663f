"""Each gate between an event and a run, and that the evaluation says which one it was (CONTRACTS 7, PRI-13)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.actor import system_actor
from accounts.clock import evaluation_now
from accounts.models import Workspace
from accounts.services.erasure import erase_customer
from automations.models import Evaluation, Event, Run
from automations.services.events import NewEvent, record_events
from automations.services.pause import pause_automation, resume_automation
from tests.factories import actor_of, make_customer, make_stage_entry, make_workspace
from tests.worker.living import happen, settle
from tests.worker.routing import DELAY, decisions, gate, occur, on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, country="DE", segment="enterprise")


def test_an_event_starts_one_run_and_other_events_none(workspace, customer):  # TRG-01, RUN-01, TRG-52
    automation = on(workspace, "type: event, event: demo_booked")
    event = occur(customer, "demo_booked", {"seats": 12})
    occur(customer, "demo_cancelled")
    [run] = runs(automation)
    assert (run.event_id, run.customer_id, run.status, run.step, run.seq) == (event, customer.pk, "RUNNING", "d", 0)
    assert (run.subject_kind, run.subject_id, run.subjects) == ("customer", customer.pk, {"customer": customer.pk})
    assert run.due_at is not None
    assert run.version_id == automation.active_version_id


def test_an_event_that_simply_starts_leaves_no_evaluation(workspace, customer):  # DESIGN 5.1
    on(workspace, "type: event, event: sign")
    event = occur(customer)
    assert not Evaluation.objects.filter(event_id=event).exists()
    assert Event.objects.get(pk=event).routed_at is not None


def test_an_event_that_nobody_hears_is_routed_and_forgotten(workspace, customer):  # E4
    event = occur(customer, "nobody_listens")
    assert Event.objects.get(pk=event).routed_at is not None
    assert not Evaluation.objects.filter(event_id=event).exists()
    assert route_all() == 0


def test_a_paused_automation_is_passed_over_at_the_gate_state(
    workspace, customer
):  # PAU-02, PAU-09, RUN-14, gate state
    automation = on(workspace, "type: event, event: sign")
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk)
    first = occur(customer)
    assert runs(automation) == []
    assert gate(first, automation) == "state"
    resume_automation(actor=actor_of(workspace), automation_id=automation.pk)
    route_all()
    assert runs(automation) == []  # nothing that happened meanwhile is made up for
    occur(customer)
    assert len(runs(automation)) == 1


def test_a_draft_hears_nothing(workspace, customer):  # RUN-12
    from automations.services.drafts import create_automation

    text = f"name: Draft\ntrigger: {{type: event, event: sign}}\n{DELAY}\n"
    create_automation(actor=system_actor(workspace.pk), body=text, fmt="yaml")
    event = occur(customer)
    assert Run.objects.count() == 0
    assert decisions(event) == {}


def test_old_events_start_nothing_unless_they_were_posted(workspace, customer):  # gate age, DESIGN 5.1 "Causes and age"
    automation = on(workspace, "type: event, event: sign")
    long_ago = evaluation_now() - timedelta(hours=73)
    old = occur(customer, occurred_at=long_ago)
    assert gate(old, automation) == "age"
    posted = occur(customer, occurred_at=long_ago, origin="api")
    assert [run.event_id for run in runs(automation)] == [posted]


def test_the_age_limit_is_the_triggers_own(workspace, customer):  # CONTRACTS 4, maxAge
    automation = on(workspace, "type: event, event: sign, maxAge: 1h")
    now = evaluation_now()
    young = occur(customer, occurred_at=now - timedelta(minutes=59))
    old = occur(customer, occurred_at=now - timedelta(minutes=61))
    assert [run.event_id for run in runs(automation)] == [young]
    assert gate(old, automation) == "age"


def test_an_own_effect_starts_another_automation_but_not_its_own(workspace, customer):  # RUN-24, C-41, gate self_caused
    mine = on(workspace, "type: event, event: sign")
    other = on(workspace, "type: event, event: sign")
    occur(customer)
    [cause] = runs(mine)
    second = occur(customer, cause_run=cause.pk)
    assert len(runs(mine)) == 1
    assert gate(second, mine) == "self_caused"
    assert [run.event_id for run in runs(other)][-1] == second


def test_an_own_effect_restarts_where_the_automation_says_so(
    workspace, customer
):  # RUN-24 "unless that is switched on"
    mine = on(workspace, "type: event, event: sign", "settings: {restartOnOwnEffects: true}")
    occur(customer)
    occur(customer, cause_run=runs(mine)[0].pk)
    assert len(runs(mine)) == 2


def test_a_chain_of_causes_deeper_than_eight_starts_nothing(workspace, customer):  # gate chain_depth
    pair = [on(workspace, "type: event, event: ping"), on(workspace, "type: event, event: pong")]
    event, depths = occur(customer, "ping"), []
    for step in range(10):
        started = runs(pair[step % 2])
        if not started or started[-1].event_id != event:
            break
        event = occur(customer, ("pong", "ping")[step % 2], cause_run=started[-1].pk)
        depths.append(Event.objects.get(pk=event).depth)
    assert depths == list(range(1, 10))
    assert gate(event, pair[1]) == "chain_depth"


def test_stage_and_where_of_stage_enter(workspace, customer):  # TRG-42, gate parameters
    automation = on(workspace, "type: event, event: stage_enter, stage: CUSTOMER, where: 'bucket == \"Churned\"'")
    for stage, bucket in (("CUSTOMER", "Retained"), ("TRIAL", ""), ("CUSTOMER", "Churned")):
        make_stage_entry(customer, stage, bucket)
    route_all()
    assert len(runs(automation)) == 1
    events = list(Event.objects.filter(name="stage_enter").order_by("pk").values_list("pk", flat=True))
    assert [gate(event, automation) for event in events] == ["parameters", "parameters", None]


def test_stage_enter_without_a_stage_fires_each_time(workspace, customer):  # TRG-41, MIS-02, BIL-16
    automation = on(workspace, "type: event, event: stage_enter")
    make_stage_entry(customer, "TRIAL")
    make_stage_entry(customer, "CUSTOMER", "Retained")
    make_stage_entry(customer, "CUSTOMER", "Retained")  # stands there already: no second event
    route_all()
    assert len(runs(automation)) == 2


def test_an_automation_bound_to_stages_hears_every_stage_of_their_funnel_only(
    workspace, customer
):  # C-06, C-30, MIS-06
    from accounts.models import Funnel, Stage

    other = Funnel.objects.create(workspace=workspace, slug="partners", name="Partners")
    Stage.objects.create(workspace=workspace, funnel=other, slug="SIGNED", name="Signed", order=1)
    own = Funnel.objects.filter(workspace=workspace).exclude(pk=other.pk).get().slug
    automation = on(workspace, "type: event, event: stage_enter", f"settings: {{scope: [{own}/TRIAL, {own}/CUSTOMER]}}")
    for stage in ("TRIAL", "CUSTOMER", "partners/SIGNED"):
        make_stage_entry(customer, stage)
    route_all()
    assert len(runs(automation)) == 2


def test_an_event_without_a_customer_starts_only_what_needs_none(workspace):  # CONTRACTS 7, gate subject
    free = on(workspace, "type: event, event: sign", steps="steps: [{type: stop}]")
    bound = on(workspace, "type: event, event: customer.created")
    nobody = [NewEvent(workspace.pk, name, "api", name, {}, {}) for name in ("sign", "customer.created")]
    first, second = (item.id for item in record_events(nobody))
    route_all()
    [run] = runs(free)
    assert (run.event_id, run.customer_id, run.subject_kind) == (first, None, "none")
    assert gate(second, bound) == "subject"


@pytest.mark.parametrize(
    ("country", "segment", "enters"), [("DE", "enterprise", False), ("US", "enterprise", True), ("US", "smb", False)]
)
def test_a_filter_decides_who_enters_and_says_what_it_read(workspace, country, segment, enters):  # CND-01, MIS-05, C-13
    automation = on(
        workspace,
        "type: event, event: sign",
        "filter: [\"country in ['US', 'CA']\", customer.segment = \"enterprise\"]",
    )
    event = occur(make_customer(workspace, country=country, segment=segment))
    assert len(runs(automation)) == int(enters)
    if not enters:
        assert gate(event, automation) == "filter"
        values = Evaluation.objects.get(event_id=event).values
        assert (values["customer.country"], values["customer.segment"]) == (country, segment)


def test_filters_read_the_snapshot_and_not_what_came_later(workspace, customer):  # C-10, TRG-51
    automation = on(workspace, "type: event, event: sign", "filter: customer.name == 'Ana Ruiz'")
    happen(customer)
    customer.name = "Ana Maria"
    customer.save()
    route_all()
    assert len(runs(automation)) == 1


def test_a_filter_that_cannot_be_worked_out_skips_its_automation_only(workspace, customer):  # "never the batch"
    broken = on(workspace, "type: event, event: sign", "filter: trigger.deep.a.b > 1")
    other = on(workspace, "type: event, event: sign")
    deep: dict = {}
    for _ in range(60):
        deep = {"a": deep}
    event = occur(customer, payload={"deep": deep})
    assert gate(event, broken) == "filter"
    assert len(runs(other)) == 1


def test_an_erased_customer_starts_nothing(workspace, customer):  # gate erased
    automation = on(workspace, "type: event, event: sign")
    event = happen(customer)
    erase_customer(actor=actor_of(workspace), customer_id=customer.pk)
    route_all()
    assert runs(automation) == []
    assert gate(event, automation) == "erased"


def test_a_plan_without_automations_starts_nothing(workspace, customer):  # gate plan, LIM-01
    automation = on(workspace, "type: event, event: sign")
    Workspace.objects.filter(pk=workspace.pk).update(plan="FREE")
    assert gate(occur(customer), automation) == "plan"
    assert runs(automation) == []


def test_every_run_belongs_to_the_workspace_of_its_event(workspace, customer):  # X1
    stranger = make_workspace()
    theirs = on(stranger, "type: event, event: sign")
    mine = on(workspace, "type: event, event: sign")
    occur(customer)
    assert runs(theirs) == []
    assert [run.workspace_id for run in runs(mine)] == [workspace.pk]


def test_the_run_walks_on_after_it_entered(workspace, customer):  # EXE-16
    automation = on(workspace, "type: event, event: sign", steps="steps: [{type: stop, reason: done}]")
    happen(customer)
    settle()
    assert runs(automation)[0].status == "COMPLETED"
