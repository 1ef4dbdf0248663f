"""Several people and workers at once: each rule holds whoever comes first (INVARIANTS C2, C3; RELIABILITY 21, 23, 24)."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from accounts.clock import set_clock
from accounts.errors import Refusal
from accounts.models import Funnel, Workspace
from automations.models import Automation, Delivery, Run, StepLog
from automations.services.cancel import cancel_run
from automations.services.drafts import create_automation, read_draft, save_draft
from automations.services.inflight import follow_marks
from automations.services.pause import pause_automation, resume_automation
from automations.services.priorities import in_order, reorder
from automations.services.publish import activate
from automations.worker.advance import advance_batch
from automations.worker.loop import drain
from tests.automations import LISTENING, TAGGING, WAITING, fresh, made, published, queue, started, text, versions
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.racing import together

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("real_clock")]

OVERDUE = "billing.invoice_overdue"


@pytest.fixture
def workspace(transactional_db: None) -> Workspace:
    """A workspace that other connections see."""
    return make_workspace()


def outcome(work: Any) -> Any:
    """The code of a refusal, else `done`."""

    def tried() -> str:
        try:
            work()
        except Refusal as refusal:
            return refusal.code
        return "done"

    return tried


def test_of_two_saves_over_one_revision_one_wins(workspace: Workspace) -> None:
    # DESIGN 5.5: a stale save is a 409
    automation = made(workspace)
    actor = actor_of(workspace)

    def save(name: str) -> Any:
        body = text(name=name)
        return outcome(lambda: save_draft(actor=actor, automation_id=automation.pk, body=body, fmt="yaml", revision=1))

    assert sorted(together(*(save(f"Name {number}") for number in range(4)))) == ["done", *["draft_conflict"] * 3]
    assert fresh(automation).draft_revision == 2


def test_two_people_cannot_make_one_more_than_the_plan_allows(workspace: Workspace) -> None:
    # LIM-02
    Workspace.objects.filter(pk=workspace.pk).update(plan="HOBBY")
    stage = f"{Funnel.objects.get(workspace=workspace).slug}/TRIAL"
    actor = actor_of(workspace)
    body = text(more=f"settings: {{scope: [{stage}]}}")
    tries = [outcome(lambda: create_automation(actor=actor, body=body, fmt="yaml")) for _ in range(4)]
    assert sorted(together(*tries)) == ["done", *["plan_limit"] * 3]
    assert Automation.objects.filter(workspace=workspace).count() == 1


def test_new_exclusive_automations_never_share_a_place(workspace: Workspace) -> None:
    # PRI-09: no ties
    actor = actor_of(workspace)
    body = text("steps: []", trigger=f"{{type: event, event: {OVERDUE}}}")
    together(*(lambda: create_automation(actor=actor, body=body, fmt="yaml") for _ in range(5)))
    assert [row.priority for row in in_order(actor, OVERDUE)] == [1, 2, 3, 4, 5]


def test_two_orders_at_once_are_one_of_the_two(workspace: Workspace) -> None:
    actor = actor_of(workspace)
    body = text("steps: []", trigger=f"{{type: event, event: {OVERDUE}}}")
    ids = [create_automation(actor=actor, body=body, fmt="yaml").automation.pk for _ in range(3)]
    orders = [ids[::-1], [ids[1], ids[2], ids[0]]]
    together(*(lambda order=order: reorder(actor=actor, trigger=OVERDUE, order=order) for order in orders))
    assert [row.pk for row in in_order(actor, OVERDUE)] in orders


def test_two_activations_of_one_draft_make_one_active_version(workspace: Workspace) -> None:
    # VER-02
    automation = made(workspace)
    actor = actor_of(workspace)
    tries = [outcome(lambda: activate(actor=actor, automation_id=automation.pk)) for _ in range(3)]
    assert sorted(together(*tries)) == ["done", "wrong_state", "wrong_state"]
    assert versions(automation) == {1: "active"}


def test_the_same_key_is_taken_once(workspace: Workspace) -> None:
    actor = actor_of(workspace)
    body = text(more="key: dunning")
    tries = [outcome(lambda: create_automation(actor=actor, body=body, fmt="yaml")) for _ in range(4)]
    assert sorted(together(*tries)) == ["done", "invalid", "invalid", "invalid"]


@pytest.mark.parametrize("how", ["cancel", "hold"])
def test_pause_against_advance(workspace: Workspace, how: str) -> None:
    # RELIABILITY 21, INVARIANTS C2: whoever comes first, nothing is walked after the pause has answered
    for _turn in range(12):
        automation = published(workspace, TAGGING, trigger="{type: manual}")
        runs = [_due(automation) for _ in range(4)]
        together(
            lambda here=automation: pause_automation(actor=actor_of(workspace), automation_id=here.pk, in_flight=how),
            advance_batch,
            advance_batch,
        )
        before = StepLog.objects.count()
        drain(deliver=False)
        assert StepLog.objects.count() == before
        found = {(run.status, run.parked_on) for run in Run.objects.filter(pk__in=[run.pk for run in runs])}
        assert found <= {("COMPLETED", None), ("CANCELLED", None) if how == "cancel" else ("RUNNING", "hold")}
        assert not Automation.objects.get(pk=automation.pk).sweep


def _due(automation: Automation) -> Run:
    """A run that is due and that nobody has advanced."""
    from automations.services.entry import trigger_manually

    customer = make_customer(automation.workspace)
    return trigger_manually(actor_of(automation.workspace), automation, {"customer": customer.pk}, {})


def test_cancel_against_advance_forced_fifty_times(workspace: Workspace) -> None:
    # issue: cancel against advance, forced 50 times; INVARIANTS C3: each run ends once, one way
    automation = published(workspace, TAGGING, trigger="{type: manual}")
    actor = actor_of(workspace)
    ended: Counter[str] = Counter()
    for _turn in range(50):
        run = _due(automation)
        together(outcome(lambda run=run: cancel_run(actor=actor, run_id=run.pk)), advance_batch)
        run.refresh_from_db()
        ended[run.status] += 1
        logged = StepLog.objects.filter(run_id=run.pk).count()
        assert (run.status, logged) in {("COMPLETED", 1), ("CANCELLED", 0)}
    assert sum(ended.values()) == 50
    assert not ended.keys() - {"COMPLETED", "CANCELLED"}


def test_a_run_cancelled_while_its_mail_is_queued_sends_none(workspace: Workspace) -> None:
    # DESIGN 5.3
    automation = published(workspace, WAITING)
    for run in started(automation, 5):
        queue(run)
    actor = actor_of(workspace)
    together(
        lambda: pause_automation(actor=actor, automation_id=automation.pk, in_flight="cancel"),
        lambda: pause_automation(actor=actor, automation_id=automation.pk, in_flight="cancel"),
    )
    assert set(Delivery.objects.values_list("state", flat=True)) == {"CANCELLED"}
    assert set(Run.objects.values_list("end_reason", flat=True)) == {"cancelled_on_pause"}


def test_publishing_every_moment_disturbs_no_run(workspace: Workspace) -> None:
    # RELIABILITY 23, VER-04: each run's steps belong to the version that it started with
    automation = published(workspace, "steps: [{id: v1, type: action, action: add_tag, tag: v1}]")
    actor = actor_of(workspace)

    def publish() -> None:
        for number in range(2, 8):
            body = text(f"steps: [{{id: v{number}, type: action, action: add_tag, tag: v{number}}}]")
            save_draft(actor=actor, automation_id=automation.pk, body=body, fmt="yaml")
            activate(actor=actor, automation_id=automation.pk)

    def occur() -> None:
        for _number in range(10):
            happen(make_customer(workspace))
            drain(deliver=False)

    together(publish, occur, lambda: drain(deliver=False))
    drain(deliver=False)
    runs = Run.objects.filter(automation=automation).select_related("version")
    assert {run.status for run in runs} == {"COMPLETED"}
    assert len(runs) == 10
    for run in runs:
        assert [row.step for row in StepLog.objects.filter(run_id=run.pk)] == [f"v{run.version.number}"]


def test_pausing_and_resuming_over_and_over_loses_no_run(workspace: Workspace) -> None:
    # PAU-12: what a hold froze goes on, all of it, once
    automation = published(workspace, WAITING)
    runs = started(automation, 6)
    actor = actor_of(workspace)

    def toggle() -> None:
        for _time in range(6):
            pause_automation(actor=actor, automation_id=automation.pk, in_flight="hold")
            resume_automation(actor=actor, automation_id=automation.pk, held="continue")

    together(toggle, lambda: [follow_marks(2) for _ in range(20)], lambda: [advance_batch() for _ in range(20)])
    drain(deliver=False)
    assert {fresh(run).parked_on for run in runs} == {"timer"}
    set_clock("+4d")
    settle()
    assert {fresh(run).status for run in runs} == {"COMPLETED"}
    assert Counter(StepLog.objects.values_list("step", flat=True)) == {"pause": 6, "after": 6}


def test_an_event_against_a_hold_is_not_lost(workspace: Workspace) -> None:
    # DESIGN 5.2: parking loses no wake, a hold loses none either
    automation = published(workspace, LISTENING)
    actor = actor_of(workspace)
    for run in started(automation, 8):
        together(
            lambda: outcome(lambda: pause_automation(actor=actor, automation_id=automation.pk, in_flight="hold"))(),
            lambda run=run: (happen(run.customer, "reply"), drain(deliver=False)),
        )
        resume_automation(actor=actor, automation_id=automation.pk, held="continue")
        drain(deliver=False)
        assert fresh(run).status == "COMPLETED"


def test_reading_a_draft_while_it_is_saved_gives_one_of_the_two(workspace: Workspace) -> None:
    automation = made(workspace, name="One")
    actor = actor_of(workspace)
    body = text(WAITING, name="Two")
    draft, _saved = together(
        lambda: read_draft(actor=actor, automation_id=automation.pk),
        lambda: save_draft(actor=actor, automation_id=automation.pk, body=body, fmt="yaml"),
    )
    assert (draft.definition.name, len(draft.definition.nodes)) in {("One", 1), ("Two", 2)}
