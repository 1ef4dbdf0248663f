"""Runs on the real database: advanced once, in batches, whatever fails, whoever dies."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection, transaction

from accounts.models import Customer, Task
from accounts.services.tags import tags_of
from automations.engine.walk import FALLBACK
from automations.models import Delivery, Entry, Run, RunInput, SecondLook, SplitChoice, StepLog, Tally, TallyDelta
from automations.worker import advance, claim, poison
from automations.worker.loop import next_due, one_pass
from automations.worker.tally import fold_tallies
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live, log_of, pass_time, settle, steps_of, the_run

pytestmark = pytest.mark.django_db(transaction=True)

NOTE = "{type: action, action: create_task, message: '%s'}"


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, name="Ana", email="ana@example.com", plan="pro", country="DE", tags=["a", "b", "c"])


def test_an_event_starts_one_run_that_walks_to_its_end(workspace, customer):  # TRG-01, RUN-01, EXE-16
    automation = live(
        workspace, "steps:\n- {type: action, action: create_task, message: 'Call {{customer.name}}'}\n- {type: stop}\n"
    )
    happen(customer)
    settle()
    run = the_run(automation)
    assert (run.status, run.end_reason, run.steps_executed) == ("COMPLETED", "stopped", 2)
    assert Task.objects.get(run_id=run.pk).message == "Call Ana"


def test_a_run_in_a_delay_shows_where_it_stands_and_goes_on_when_the_time_comes(
    workspace, customer
):  # RUN-02 to 07, RUN-17
    automation = live(
        workspace, "steps:\n- {id: d, type: delay, duration: 2d}\n- {type: action, action: create_task, message: x}\n"
    )
    happen(customer)
    settle()
    run = the_run(automation)
    assert (run.status, run.parked_on, run.step) == ("RUNNING", "timer", "d")
    assert run.due_at == run.entered_at + timedelta(days=2)
    assert (run.automation_id, run.customer_id) == (automation.pk, customer.pk)
    pass_time("+47h59m")
    assert the_run(automation).step == "d"
    pass_time("+1m")
    assert the_run(automation).status == "COMPLETED"
    assert Task.objects.count() == 1


def test_an_event_wakes_the_run_that_waits_for_it_and_no_other(workspace, customer):  # RUN-18, STP-13, STP-17
    automation = live(
        workspace,
        "steps:\n- {type: wait_until, event: demo_booked}\n- {type: action, action: create_task, message: x}\n",
    )
    other = make_customer(workspace)
    happen(customer)
    settle()
    assert the_run(automation).status == "WAITING_FOR_EVENT"
    happen(other, "demo_booked")
    settle()
    assert the_run(automation).status == "WAITING_FOR_EVENT"
    event = happen(customer, "demo_booked")
    settle()
    run = the_run(automation)
    assert run.status == "COMPLETED"
    assert log_of(run)[0].output == {"outcome": "event", "event": f"evt_{event}"}


def test_a_wait_that_times_out_goes_on(workspace, customer):  # CRN-06, C-19
    automation = live(workspace, "steps:\n- {type: wait_until, event: demo_booked, timeout: 7d}\n")
    happen(customer)
    settle()
    pass_time("+7d")
    run = the_run(automation)
    assert run.status == "COMPLETED"
    assert log_of(run)[0].output["outcome"] == "timeout"


def test_a_local_effect_is_seen_by_the_step_that_follows_in_the_same_turn(workspace, customer):  # DESIGN 5.2, rounds
    automation = live(
        workspace,
        "steps:\n- {type: action, action: update_customer, fields: {segment: gold}}\n"
        "- {type: condition, if: customer.segment == 'gold', then: [{type: action, action: add_tag, tag: shiny}]}\n",
    )
    happen(customer)
    settle()
    assert steps_of(the_run(automation)) == ["update_customer", "condition", "add_tag"]
    assert log_of(the_run(automation))[1].port == "true"


def test_a_tag_added_twice_is_there_once(workspace, customer):  # ACT-10
    live(
        workspace,
        "steps:\n- {type: action, action: add_tag, tag: at-risk}\n- {type: action, action: add_tag, tag: at-risk}\n",
    )
    happen(customer)
    settle()
    assert tags_of([customer.pk])[customer.pk].count("at-risk") == 1


def test_two_runs_of_one_customer_in_one_batch_both_take_effect(workspace, customer):
    for number in range(2):
        live(
            workspace,
            f"steps:\n- {{type: action, action: update_customer, fields: {{metadata: {{k{number}: 'yes'}}}}}}\n",
        )
    happen(customer)
    settle()
    assert Customer.objects.get(pk=customer.pk).metadata == {"k0": "yes", "k1": "yes"}
    assert Run.objects.filter(status="COMPLETED").count() == 2


def test_a_split_is_kept_for_the_customer(workspace, customer):  # STP-23
    automation = live(workspace, "steps:\n- {id: s, type: percentage_split, percent: 50, a: [], b: []}\n")
    for _ in range(6):
        happen(customer)
    settle()
    ports = {log_of(run)[0].port for run in Run.objects.filter(automation=automation)}
    assert len(ports) == 1
    assert SplitChoice.objects.get().branch == ports.pop()


def test_loop_items_lie_beside_a_parked_run_and_go_when_it_has_ended(workspace, customer):  # STP-09, DESIGN 6
    automation = live(
        workspace,
        "steps:\n- type: loop\n  over: '{{customer.tags}}'\n  as: tag\n  steps:\n"
        "  - {type: delay, duration: 1d}\n  - {type: action, action: create_task, message: '{{tag}}'}\n",
    )
    happen(customer)
    settle()
    assert RunInput.objects.get().items == {"loop:1": ["a", "b", "c"]}
    for _ in range(3):
        pass_time("+1d")
    assert the_run(automation).status == "COMPLETED"
    assert sorted(Task.objects.values_list("message", flat=True)) == ["a", "b", "c"]
    assert not RunInput.objects.exclude(items={}).exists()


def test_an_error_in_one_run_does_not_touch_the_others(workspace):  # ERR-11
    automation = live(workspace, "steps:\n- type: loop\n  over: '{{trigger.items}}'\n  steps: [%s]\n" % (NOTE % "x"))
    for number in range(10):
        happen(make_customer(workspace), payload={"items": list(range(1001)) if number == 4 else [1]})
    settle()
    runs = Run.objects.filter(automation=automation)
    assert runs.filter(status="COMPLETED").count() == 9
    assert runs.get(status="FAILED").error["step"] == "loop"


def test_a_row_that_breaks_a_constraint_fails_alone_and_the_batch_goes_on(workspace):  # DESIGN 5.2, failure stays alone
    automation = live(workspace, "steps:\n- {type: action, action: create_task, message: x}\n")
    events = [happen(make_customer(workspace)) for _ in range(9)]
    from automations.worker.route import route_batch

    while route_batch():
        pass
    run = Run.objects.get(event_id=events[3])
    with connection.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE automations_run ADD CONSTRAINT planted CHECK (id <> %s OR status <> 'COMPLETED')", [run.pk]
        )
    try:
        settle()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE automations_run DROP CONSTRAINT planted")
    runs = Run.objects.filter(automation=automation)
    assert runs.filter(status="COMPLETED").count() == 8
    assert runs.get(status="FAILED").pk == run.pk
    assert Task.objects.exclude(run_id=run.pk).count() == 8
    assert not Task.objects.filter(run_id=run.pk).exists()


def advance_and_die():
    with transaction.atomic():
        advance.advance_batch()
        raise RuntimeError("killed")


def test_a_batch_that_is_rolled_back_leaves_nothing_half_done(workspace, customer):  # CRN-07, P3
    automation = live(
        workspace, "steps:\n- {type: action, action: create_task, message: x}\n- {type: delay, duration: 1d}\n"
    )
    happen(customer)
    from automations.worker.route import route_batch

    route_batch()
    with pytest.raises(RuntimeError, match="killed"):
        advance_and_die()
    assert not StepLog.objects.exists()
    assert not Task.objects.exists()
    settle()
    assert steps_of(the_run(automation)) == ["create_task"]
    assert Task.objects.count() == 1


def test_advancing_again_with_nothing_due_changes_nothing(workspace, customer):  # P1
    live(workspace, "steps:\n- {type: delay, duration: 1d}\n")
    happen(customer)
    settle()
    before = list(Run.objects.values())
    assert advance.advance_batch() == 0
    assert list(Run.objects.values()) == before


def test_tick_makes_one_step_a_pass(workspace, customer):  # CRN-03, RUN-15
    automation = live(
        workspace,
        "settings: {pacing: tick}\nsteps:\n"
        + "".join(f"- {NOTE % number}\n" for number in range(3))
        + "- {type: delay, duration: 1d}\n",
    )
    happen(customer)
    one_pass("automation", command=True)
    for expected in (1, 2, 3):
        assert Task.objects.count() == expected
        assert the_run(automation).status == "RUNNING"
        one_pass("automation", command=True)
    assert the_run(automation).parked_on == "timer"


def test_reentry_one_at_a_time_frees_its_key_at_the_end(workspace, customer):  # RUN-23
    automation = live(workspace, "settings: {reentry: one_at_a_time}\nsteps:\n- {type: delay, duration: 1d}\n")
    happen(customer)
    settle()
    happen(customer)
    settle()
    assert Run.objects.filter(automation=automation).count() == 1
    assert Entry.objects.count() == 1
    pass_time("+1d")
    assert Entry.objects.count() == 0
    happen(customer)
    settle()
    assert Run.objects.filter(automation=automation).count() == 2


def test_a_queued_mail_has_recipient_subject_run_and_step(workspace, customer):  # EML-01, VAR-21, RUN-21, STP-10
    automation = live(
        workspace,
        "steps:\n- {id: m, type: action, action: send_email, to: '{{customer.email}}', subject: 'Hi {{customer.name}}', body: 'Dear'}\n",
    )
    happen(customer)
    settle()
    run = the_run(automation)
    mail = Delivery.objects.get()
    assert (mail.state, mail.to, mail.subject, mail.run_id, mail.step) == (
        "QUEUED",
        "ana@example.com",
        "Hi Ana",
        run.pk,
        "m",
    )
    assert mail.key.endswith(f".exec_{run.pk}.1.0")
    assert run.status == "COMPLETED"  # EML-03: it does not wait for the hand-over


def test_tallies_count_entries_and_ports_and_are_folded_without_loss(workspace, customer):
    automation = live(workspace, "steps:\n- {id: c, type: condition, if: 1 == 1}\n")
    for _ in range(3):
        happen(customer)
        settle()
    fold_tallies()
    assert not TallyDelta.objects.exists()
    counts = {(row.step, row.port): row.count for row in Tally.objects.filter(automation=automation)}
    assert counts == {("c", ""): 3, ("c", "true"): 3}


def test_parking_on_an_event_asks_for_a_second_look_that_is_then_made(workspace, customer):  # W1
    live(workspace, "steps:\n- {type: wait_until, event: demo_booked}\n")
    happen(customer)
    from automations.worker.route import route_batch

    route_batch()
    advance.advance_batch()
    assert SecondLook.objects.count() == 1
    settle()
    assert SecondLook.objects.count() == 0


def test_a_version_that_cannot_be_compiled_fails_its_runs_and_no_others(workspace, customer):
    broken = live(workspace, "steps:\n- {type: delay, duration: 1d}\n")
    whole = live(workspace, "steps:\n- {type: delay, duration: 1d}\n")
    happen(customer)
    settle()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE automations_version DISABLE TRIGGER USER")
        cursor.execute(
            "UPDATE automations_version SET definition = jsonb_set(definition, '{nodes,0,type}', '\"gone\"') WHERE automation_id = %s",
            [broken.pk],
        )
        cursor.execute("ALTER TABLE automations_version ENABLE TRIGGER USER")
    from automations.worker.plans import forget_plans

    forget_plans()
    pass_time("+1d")
    assert the_run(broken).status == "FAILED"
    assert the_run(whole).status == "COMPLETED"
    forget_plans()


def test_what_three_workers_died_with_fails_as_poison(workspace, customer):  # RELIABILITY 26
    automation = live(workspace, "steps:\n- {type: delay, duration: 1d}\n")
    happen(customer)
    settle()
    run = the_run(automation)
    for deaths in (1, 2, 3):
        holder = poison.Holder()
        holder.hold([run.pk])
        holder._connection.close()  # what the death of a process does
        assert eventually(poison.reap) == 1  # the server notices a closed connection a moment later
        run.refresh_from_db()
        assert run.lost == deaths
    assert (run.status, run.end_reason) == ("FAILED", "poison")


def eventually(work, seconds=5):
    """The first answer of `work` that is not nothing."""
    end = time.monotonic() + seconds
    while not (found := work()) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def test_what_a_dead_worker_held_is_claimed_alone_and_forgiven_when_it_goes_well(workspace):
    automation = live(workspace, "steps:\n- {type: action, action: create_task, message: x}\n")
    for _ in range(3):
        happen(make_customer(workspace))
    from automations.worker.route import route_batch

    while route_batch():
        pass
    Run.objects.update(lost=1)
    with transaction.atomic():
        assert claim.claim(500) == []
        assert len(claim.claim_suspect()) == 1
    settle()
    assert set(Run.objects.filter(automation=automation).values_list("status", "lost")) == {("COMPLETED", 0)}


def test_fallback_steps_are_flagged_in_the_log(workspace, customer):
    automation = live(
        workspace,
        "steps:\n- {id: m, type: action, action: send_webhook, url: 'http://127.0.0.1:9/', errorHandling: {retries: 0},"
        " onError: [{id: f, type: action, action: create_task, message: fell}]}\n- {id: z, type: stop}\n",
    )
    happen(customer)
    settle(deliver=True)
    rows = log_of(the_run(automation))
    assert [(row.step, row.status, row.port) for row in rows] == [
        ("m", "failed", "error"),
        ("f", "succeeded", "next"),
        ("z", "succeeded", None),
    ]
    assert rows[1].flags == FALLBACK
    assert the_run(automation).steps_executed == 2


def test_one_workspace_with_many_due_runs_delays_another_by_at_most_one_batch(
    workspace,
):  # fairness, RELIABILITY isolation
    crowd = live(workspace, "steps:\n- {id: d, type: delay, duration: 1d}\n")
    quiet_place = make_workspace()
    quiet = live(quiet_place, "steps:\n- {id: d, type: delay, duration: 1d}\n")
    happen(make_customer(quiet_place))
    happen(make_customer(workspace))
    settle()
    copy_run(the_run(crowd), 100_000)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE automations_run SET due_at = onward_now() - interval '1 hour' WHERE automation_id = %s", [crowd.pk]
        )
        cursor.execute(
            "UPDATE automations_run SET due_at = onward_now() - interval '1 minute' WHERE automation_id = %s",
            [quiet.pk],
        )
    claim.due_workspaces.forget()
    advance.advance_batch(500)
    assert the_run(quiet).status == "COMPLETED"
    assert 0 < Run.objects.filter(automation=crowd, status="COMPLETED").count() <= 500


def copy_run(run, count):
    """More runs that stand where `run` stands."""
    columns = [field.column for field in Run._meta.concrete_fields if field.column not in ("id", "event_id")]
    names = ", ".join(columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO automations_run (event_id, {names}) SELECT g + 1000000, {names} FROM automations_run, generate_series(1, %s) g "
            "WHERE id = %s",
            [count, run.pk],
        )


def test_the_next_due_time_is_the_earliest_of_runs_deliveries_and_schedules(workspace, customer):
    assert next_due() is None
    automation = live(workspace, "steps:\n- {type: delay, duration: 3d}\n")
    happen(customer)
    settle()
    assert next_due() == the_run(automation).due_at
