"""Trying out: the draft walks on a sample, a payload, an event or a customer, and nothing happens (VER-10, DESIGN 7)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.apps import apps

from accounts.errors import Refusal
from accounts.models import CustomerTag, Task, Workspace
from automations.engine.simulate import PretendEvent
from automations.models import Delivery, EmailTemplate, Event, Run, Sender, Version
from automations.services.drafts import save_draft
from automations.services.testing import TrialInput, TrialResult, try_automation
from tests.automations import made, published, text
from tests.factories import actor_of, make_customer
from tests.worker.living import happen, settle

pytestmark = pytest.mark.django_db

FAILED = "{type: event, event: payment.failed}"
MAIL = """steps:
  - {id: mail, type: action, action: send_email, template: oops, to: "{{trigger.customer.email}}"}
  - {id: task, type: action, action: create_task, message: "Call {{trigger.customer.name}}"}
  - {id: tag, type: action, action: add_tag, tag: at-risk}
"""


def rehearse(automation, number: int | None = None, **given) -> TrialResult:
    actor = actor_of(automation.workspace)
    return try_automation(actor=actor, automation_id=automation.pk, given=TrialInput(**given), number=number)


def walked(result: TrialResult) -> list[str]:
    return [row.step for row in result.simulation.rows]


@pytest.fixture
def mail(workspace: Workspace) -> EmailTemplate:
    """A template and a sender to send it from."""
    now = datetime.now(UTC)
    Sender.objects.update_or_create(
        workspace=workspace, address="us@northwind.example", defaults={"verified_at": now, "name": "Us"}
    )
    if not Sender.objects.filter(workspace=workspace, default=True).exists():
        Sender.objects.filter(workspace=workspace).update(default=True)
    return EmailTemplate.objects.create(
        workspace=workspace,
        slug="oops",
        name="Oops",
        subject="{{trigger.customer.name}}, your payment failed",
        body="<p>{{trigger.amount}} {{trigger.currency}}</p>",
    )


def rows_everywhere() -> dict[str, int]:
    """How many rows every table of ours has."""
    models = [
        model for label in ("accounts", "automations", "billing") for model in apps.get_app_config(label).get_models()
    ]
    return {model._meta.label: model.objects.count() for model in models}


@pytest.mark.usefixtures("mail")
def test_the_sample_of_the_trigger_is_walked_and_rendered(workspace: Workspace) -> None:
    # DESIGN 7, …/test: every step's rendered output
    result = rehearse(made(workspace, MAIL, trigger=FAILED))
    assert walked(result) == ["mail", "task", "tag"]
    assert result.simulation.run.status == "COMPLETED"
    [message] = result.rendered[1]
    assert (message["kind"], message["to"]) == ("email", "ana@example.com")
    assert message["subject"] == "Ana Ruiz, your payment failed"
    assert "129.00 EUR" in message["body"]


@pytest.mark.usefixtures("mail")
def test_nothing_is_written_sent_or_called(workspace: Workspace) -> None:
    # VER-10: no live effect took place
    automation = made(workspace, MAIL, trigger=FAILED)
    before = rows_everywhere()
    rehearse(automation)
    assert rows_everywhere() == before
    assert not Run.objects.exists()
    assert not Delivery.objects.exists()
    assert not Task.objects.exists()


def test_a_payload_replaces_parts_of_the_sample(workspace: Workspace) -> None:
    body = "steps: [{id: first, type: condition, if: trigger.failureCount == 1, then: [{id: one, type: action, action: add_tag, tag: a}]}]"
    automation = made(workspace, body, trigger=FAILED)
    assert walked(rehearse(automation)) == ["first", "one"]
    assert walked(rehearse(automation, payload={"failureCount": 3})) == ["first"]


def test_time_is_simulated(workspace: Workspace) -> None:
    # DESIGN 9: with an accelerated clock
    at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    automation = made(
        workspace, "steps: [{type: delay, duration: 30d}, {id: late, type: action, action: add_tag, tag: a}]"
    )
    result = rehearse(automation, at=at)
    last = result.simulation.rows[-1]
    assert (last.step, last.ended_at) == ("late", datetime(2026, 3, 31, 12, tzinfo=UTC))


def test_a_recorded_event_is_walked_with_its_own_data(workspace: Workspace) -> None:
    customer = make_customer(workspace, segment="vip")
    event = happen(customer, payload={"seats": 12})
    body = (
        "steps: [{id: c, type: condition, if: trigger.seats == 12 and customer.segment == 'vip', "
        "then: [{id: yes, type: action, action: add_tag, tag: a}]}]"
    )
    result = rehearse(made(workspace, body), event_id=event)
    assert walked(result) == ["c", "yes"]
    settle()
    assert not CustomerTag.objects.filter(customer=customer).exists()


def test_a_real_customer_takes_the_place_of_the_samples(workspace: Workspace) -> None:
    customer = make_customer(workspace, name="Bo", segment="vip")
    message = "{{customer.name}} is {{customer.segment}}, {{trigger.customer.name}}"
    body = f'steps: [{{id: task, type: action, action: create_task, message: "{message}"}}]'
    result = rehearse(made(workspace, body, trigger=FAILED), customer_id=customer.pk)
    assert result.simulation.rows[0].input["message"] == "Bo is vip, Bo"


def test_outcomes_can_be_given(workspace: Workspace) -> None:
    body = (
        "steps:\n  - {id: hook, type: action, action: send_webhook, url: 'https://x.example/', "
        "onError: [{id: failed, type: action, action: create_task, message: Look}]}\n"
        "  - {id: after, type: condition, if: steps.hook.status == 200, then: [{id: fine, type: action, action: add_tag, tag: a}]}\n"
    )
    automation = made(workspace, body)
    assert walked(rehearse(automation, outcomes={"hook": {"status": 200}})) == ["hook", "after", "fine"]
    failed = rehearse(automation, outcomes={"hook": {"error": {"code": "boom", "message": "It broke."}}})
    assert walked(failed)[:2] == ["hook", "failed"]


def test_events_can_be_pretended(workspace: Workspace) -> None:
    body = (
        "steps: [{id: wait, type: wait_until, event: reply, filter: event.seats > 5, timeout: 7d, "
        "onEvent: [{id: came, type: action, action: add_tag, tag: a}], onTimeout: [{id: late, type: action, action: add_tag, tag: b}]}]"
    )
    automation = made(workspace, body)
    assert walked(rehearse(automation)) == ["wait", "late"]
    assert walked(rehearse(automation, events=[PretendEvent("2d", "reply", {"seats": 9})])) == ["wait", "came"]
    assert walked(rehearse(automation, events=[PretendEvent("2d", "reply", {"seats": 1})])) == ["wait", "late"]


def test_events_of_one_moment_come_in_the_order_in_which_they_are_given(workspace: Workspace) -> None:
    """As in the worker, a wait takes none that came before the one that woke the run (C-37)."""
    waits = "steps: [{id: w, type: wait_until, event: ping}, {id: v, type: wait_until, event: pong}]"
    automation = made(workspace, waits)
    pong, ping = PretendEvent("1h", "pong"), PretendEvent("1h", "ping")
    assert walked(rehearse(automation, events=[ping, pong])) == ["w", "v"]
    assert walked(rehearse(automation, events=[pong, ping])) == ["w"]


def test_a_filter_that_does_not_hold_is_said_and_the_test_goes_on(workspace: Workspace) -> None:
    automation = made(
        workspace,
        "filter: trigger.failureCount > 5\nsteps: [{id: a, type: action, action: add_tag, tag: a}]",
        trigger=FAILED,
    )
    result = rehearse(automation)
    assert walked(result) == ["a"]
    assert any("no run would start" in warning for warning in result.warnings)
    assert not rehearse(automation, payload={"failureCount": 6}).warnings


def test_the_draft_is_tried_and_not_what_runs(workspace: Workspace) -> None:
    # VER-10: draft versions are to be tested before activating
    automation = published(workspace, "steps: [{id: old, type: action, action: add_tag, tag: a}]")
    save_draft(
        actor=actor_of(workspace),
        automation_id=automation.pk,
        body=text("steps: [{id: new, type: action, action: add_tag, tag: a}]"),
        fmt="yaml",
    )
    assert walked(rehearse(automation)) == ["new"]
    assert walked(rehearse(automation, number=1)) == ["old"]
    assert Version.objects.filter(automation=automation).count() == 2


def test_a_definition_that_cannot_be_walked_is_refused_with_its_problems(workspace: Workspace) -> None:
    automation = made(workspace, "steps: [{type: delay, duration: 3x}]")
    with pytest.raises(Refusal) as refused:
        rehearse(automation)
    assert refused.value.code == "invalid_definition"
    assert [problem["code"] for problem in refused.value.details["problems"]] == ["bad_duration"]


def test_foreign_things_are_not_there(workspace: Workspace, other: Workspace) -> None:
    automation = made(workspace)
    stranger = make_customer(other)
    event = happen(stranger)
    foreign = made(other)
    for attempt in (
        lambda: rehearse(automation, customer_id=stranger.pk),
        lambda: rehearse(automation, event_id=event),
        lambda: rehearse(automation, number=7),
        lambda: try_automation(actor=actor_of(workspace), automation_id=foreign.pk, given=TrialInput()),
    ):
        with pytest.raises(Refusal) as refused:
            attempt()
        assert refused.value.code == "not_found"
    assert Event.objects.filter(pk=event).exists()


def test_a_loop_over_a_query_walks_the_first_records(workspace: Workspace) -> None:
    for _number in range(3):
        make_customer(workspace)
    body = (
        "steps: [{id: all, type: loop, over: {query: customers}, as: one, "
        'steps: [{id: each, type: action, action: create_task, message: "{{one.email}}"}]}]'
    )
    result = rehearse(made(workspace, body, trigger="{type: manual}"))
    assert walked(result).count("each") == 3
    assert not Task.objects.exists()
