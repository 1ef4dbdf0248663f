"""Two records become one, or are emptied: runs, waits, keys, branches, logs and mails (DESIGN 5.5, SUP-06)."""

from __future__ import annotations

import pytest

from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from automations.models import (
    Delivery,
    Entry,
    Evaluation,
    EventContent,
    Run,
    RunInput,
    SecondLook,
    SplitChoice,
    StepLog,
)
from tests.factories import actor_of, make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.routing import occur, on, route_all, runs

pytestmark = pytest.mark.django_db
MAIL = (
    "steps: [{id: m, type: action, action: send_email, subject: 'Hi {{customer.name}}', body: '<p>Hi</p>', to: '{{customer.email}}'},"
    " {id: w, type: wait_until, event: ping, timeout: 9d}, {type: stop}]"
)


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def old(workspace):
    return make_customer(workspace, name="Old", email="old@example.com")


@pytest.fixture
def new(workspace):
    return make_customer(workspace, name="New", email="new@example.com")


def merge(old, new):
    """Old goes into new."""
    merge_customers(actor=actor_of(old.workspace), source_id=old.pk, into_id=new.pk)


def test_runs_and_their_subjects_move(workspace, old, new):
    automation = on(workspace, "type: event, event: sign")
    occur(old)
    occur(new)
    merge(old, new)
    assert {run.customer_id for run in runs(automation)} == {new.pk}
    assert {run.subject_id for run in runs(automation)} == {new.pk}
    assert [run.subjects for run in runs(automation)] == [{"customer": new.pk}] * 2


def test_a_run_about_an_invoice_stays_about_it(workspace, old, new):
    from tests.billing.helpers import make_invoice

    automation = on(workspace, "type: event, event: invoice.issued")
    invoice = make_invoice(old)
    route_all()
    merge(old, new)
    [run] = runs(automation)
    assert (run.customer_id, run.subject_kind, run.subject_id) == (new.pk, "invoice", invoice.pk)
    assert run.subjects == {"customer": new.pk, "invoice": invoice.pk}


def test_ended_runs_move_as_well(workspace, old, new):
    automation = on(workspace, "type: event, event: sign", steps="steps: [{type: stop}]")
    happen(old)
    settle()
    merge(old, new)
    assert [(run.customer_id, run.status) for run in runs(automation)] == [(new.pk, "COMPLETED")]


def test_a_wait_hears_the_survivor(workspace, old, new):
    automation = on(workspace, "type: event, event: sign", steps=MAIL)
    happen(old)
    settle()
    merge(old, new)
    assert runs(automation)[0].wait_key == f"customer:{new.pk}"
    happen(new, "ping")
    settle()
    assert runs(automation)[0].status == "COMPLETED"


def test_events_of_the_old_record_still_wake_it(workspace, old, new):
    automation = on(workspace, "type: event, event: sign", steps=MAIL)
    happen(old)
    settle()
    happen(old, "ping")
    merge(old, new)
    settle()
    assert runs(automation)[0].status == "COMPLETED"


def test_mails_move_with_their_runs(workspace, old, new):
    automation = on(workspace, "type: event, event: sign", steps=MAIL)
    happen(old)
    settle()
    merge(old, new)
    delivery = Delivery.objects.get(run=runs(automation)[0])
    assert (delivery.customer_id, delivery.to) == (new.pk, "old@example.com")  # written down before the merge


@pytest.mark.parametrize("first", ["old", "new"])
def test_of_two_keys_the_older_wins(workspace, old, new, first):
    automation = on(workspace, "type: event, event: sign", "settings: {reentry: once}")
    order = (old, new) if first == "old" else (new, old)
    for who in order:
        occur(who)
    older = Run.objects.filter(automation=automation).earliest("pk")
    merge(old, new)
    entry = Entry.objects.get(automation=automation)
    assert (entry.key, entry.run_id) == (f"customer:{new.pk}", older.pk)


@pytest.mark.parametrize(
    ("branches", "kept"), [({"old": "a"}, "a"), ({"new": "b"}, "b"), ({"old": "a", "new": "b"}, "a")]
)
def test_kept_branches_move_and_the_older_wins(workspace, old, new, branches, kept):  # C-20
    automation = on(workspace, "type: event, event: sign")
    people = {"old": old, "new": new}
    for name, branch in branches.items():
        SplitChoice.objects.create(
            workspace=workspace, customer=people[name], automation=automation, step="s", branch=branch
        )
    merge(old, new)
    choice = SplitChoice.objects.get(automation=automation)
    assert (choice.customer_id, choice.branch) == (new.pk, kept)


def test_what_a_worker_has_still_to_look_at_moves(workspace, old, new):
    automation = on(workspace, "type: event, event: sign")
    occur(old)
    [run] = runs(automation)
    SecondLook.objects.create(run=run, workspace=workspace, customer_id=old.pk, since=0)
    merge(old, new)
    assert SecondLook.objects.get(run=run).customer_id == new.pk


def test_other_workspaces_are_left_alone(workspace, old, new):
    stranger = make_customer(make_workspace())
    theirs = on(stranger.workspace, "type: event, event: sign", "settings: {reentry: once}")
    occur(stranger)
    merge(old, new)
    assert runs(theirs)[0].customer_id == stranger.pk
    assert Entry.objects.get(automation=theirs).key == f"customer:{stranger.pk}"


# -- erasing -------------------------------------------------------------------------------------------------------------


def erase(customer):
    """The person wants to be forgotten."""
    erase_customer(actor=actor_of(customer.workspace), customer_id=customer.pk)


def texts(*rows):
    """Everything that a few rows say, as one text."""
    return " ".join(str(value) for row in rows for name, value in vars(row).items() if name != "_state")


def test_nothing_of_the_person_stays_in_what_automations_wrote(workspace, old):  # SUP-06
    automation = on(workspace, "type: event, event: sign", "filter: trigger.phone == '0123'", MAIL)
    skipped = on(workspace, "type: event, event: sign", "filter: customer.email == 'x'")
    event = happen(old, payload={"phone": "0123"})
    settle()
    happen(old, "ping")
    settle()
    [run] = runs(automation)
    assert Evaluation.objects.get(event_id=event).values["customer.email"] == "old@example.com"
    erase(old)
    rows = [
        *EventContent.objects.filter(workspace_id=workspace.pk),
        *Evaluation.objects.filter(workspace_id=workspace.pk),
        *StepLog.objects.filter(run_id=run.pk),
        *Delivery.objects.filter(run=run),
    ]
    assert len(rows) >= 5
    assert "old@example.com" not in texts(*rows)
    assert "0123" not in texts(*rows)
    assert runs(skipped) == []


def test_counts_and_outcomes_stay(workspace, old):
    automation = on(
        workspace,
        "type: event, event: sign",
        steps="steps: [{id: t, type: action, action: add_tag, tag: x}, {type: stop}]",
    )
    happen(old)
    settle()
    before = [
        (row.seq, row.step, row.status, row.port) for row in StepLog.objects.filter(run_id=runs(automation)[0].pk)
    ]
    erase(old)
    [run] = runs(automation)
    after = [(row.seq, row.step, row.status, row.port) for row in StepLog.objects.filter(run_id=run.pk)]
    assert (after, run.status, run.end_reason) == (before, "COMPLETED", "stopped")


def test_records_merged_into_the_person_are_emptied_too(workspace, old, new):
    automation = on(workspace, "type: event, event: sign")
    event = occur(old, payload={"phone": "0123"})
    merge(old, new)
    erase(new)
    assert EventContent.objects.get(event_id=event).payload == {}
    assert [run.status for run in runs(automation)] == ["CANCELLED"]


def test_the_inputs_of_runs_are_emptied(workspace, old):
    automation = on(workspace, "type: event, event: sign")
    occur(old)
    [run] = runs(automation)
    RunInput.objects.create(run=run, workspace=workspace, items={"l": ["old@example.com"]}, snapshot={"a": 1})
    erase(old)
    kept = RunInput.objects.filter(run=run).first()
    assert kept is None or (kept.items, kept.snapshot) == ({}, None)


def test_a_mail_that_is_under_way_keeps_its_bytes_until_it_is_settled(workspace, old):  # DESIGN 5.3
    automation = on(workspace, "type: event, event: sign", steps=MAIL)
    happen(old)
    settle()
    delivery = Delivery.objects.get(run=runs(automation)[0])
    Delivery.objects.filter(pk=delivery.pk).update(state="UNKNOWN")
    erase(old)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.to) == ("UNKNOWN", "old@example.com")


def test_other_people_are_left_alone(workspace, old, new):
    automation = on(workspace, "type: event, event: sign")
    event = occur(new, payload={"phone": "0123"})
    occur(old)
    erase(old)
    assert EventContent.objects.get(event_id=event).payload == {"phone": "0123"}
    assert sorted(run.status for run in runs(automation)) == ["CANCELLED", "RUNNING"]
