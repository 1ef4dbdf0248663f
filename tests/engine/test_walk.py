"""How a run goes through its plan: order, exits, pacing, fuel, ends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from automations.engine import states
from automations.engine.definition import ExitSpec, Settings
from automations.engine.moves import Apply
from automations.engine.outcomes import Done
from automations.engine.plan import PlanError, compile_plan
from automations.engine.walk import STEP_LIMIT
from tests.engine.worlds import NOW, RECORDS, REGISTRY, chain, new_run, node, plan_of, play, steps_of, walk_once

NEXT_PASS = NOW + timedelta(minutes=5)
BACK = NOW - timedelta(minutes=1)


def mails(count: int) -> list:
    return [node(f"m{number}", "mail", text="x") for number in range(count)]


def test_steps_are_walked_in_order_and_the_end_completes_the_run():  # DEF-11, RUN-09, ACT-37
    done = play(chain(*mails(3)))
    assert steps_of(done) == ["m0", "m1", "m2"]
    assert (done.run.status, done.run.end_reason, done.run.ended_at) == ("COMPLETED", "completed", NOW)
    assert done.run.steps_executed == 3  # C-39
    assert [row.seq for row in done.rows] == [1, 2, 3]


def test_a_run_without_steps_completes_at_once():
    assert play(chain()).run.end_reason == "completed"


def test_an_unconnected_port_ends_the_run_as_completed():  # CNV-17
    done = play(
        chain(
            node("c", "condition", if_="1 == 1"),
            node("m", "mail"),
            edges=[("trigger", "next", "c"), ("c", "false", "m")],
        )
    )
    assert steps_of(done) == ["c"]
    assert done.run.status == "COMPLETED"


def test_two_arms_that_meet_run_the_meeting_step_once():  # STP-25
    for condition in ("1 == 1", "1 == 2"):
        done = play(
            chain(
                node("c", "condition", if_=condition),
                node("a", "note"),
                node("b", "note"),
                node("m", "mail"),
                edges=[
                    ("trigger", "next", "c"),
                    ("c", "true", "a"),
                    ("c", "false", "b"),
                    ("a", "next", "m"),
                    ("b", "next", "m"),
                ],
            )
        )
        assert steps_of(done).count("m") == 1
        assert len(done.effects) == 1


def test_stop_ends_the_run_with_its_own_reason_and_nothing_after_it_happens():  # STP-08
    done = play(chain(node("s", "stop", reason="handled"), node("n", "note")))
    assert (done.run.status, done.run.end_reason) == ("COMPLETED", "stopped")
    assert steps_of(done) == ["s"]


def test_the_log_has_start_end_input_and_output_of_each_step():  # EXE-04, STP-01
    done = play(chain(node("n", "note", text="Hi {{customer.name}}"), node("d", "delay", duration="5m")))
    note, delay = done.rows
    assert note.input == {"text": "Hi Ana"}
    assert (note.started_at, note.ended_at) == (NOW, NOW)
    assert (delay.started_at, delay.ended_at) == (NOW, NOW + timedelta(minutes=5))


def test_an_unknown_variable_renders_empty_with_a_warning_in_the_log():  # VAR-26
    done = play(chain(node("n", "note", text="Hi {{customer.nope}}!")))
    assert done.rows[0].input == {"text": "Hi !"}
    assert [warning["code"] for warning in done.rows[0].warnings] == ["missing_value"]


def test_outputs_are_kept_only_when_a_later_expression_reads_them():  # DESIGN 6, run state
    read = play(
        chain(node("first", "call", text="x"), node("c", "condition", if_="steps.first.result == 'declined'")),
        outcomes={"first": {"result": "declined"}},
    )
    assert read.rows[1].port == "true"
    assert read.run.state["out"] == {"first": {"sent": "x", "result": "declined"}}
    unread = play(chain(node("first", "call", text="x")), outcomes={"first": {"result": "declined"}})
    assert "out" not in unread.run.state


def test_an_exit_whose_predicate_holds_ends_the_run_before_its_next_step():  # RUN-28, C-11
    definition = chain(node("d", "delay", duration="1d"), node("n", "note"), exits=(ExitSpec("invoice.paid"),))
    paid = {**RECORDS, "invoice": {8: {"id": "inv_8", "status": "paid"}}}
    run = new_run(plan_of(definition), subjects={"customer": 7, "invoice": 8})
    done = play(definition, run, records=paid)
    assert (done.run.status, done.run.end_reason) == ("CANCELLED", "invoice_paid")
    assert steps_of(done) == []
    assert steps_of(play(definition)) == ["d", "n"]


def test_an_exit_with_a_condition_is_judged_on_its_event_alone():
    definition = chain(node("n", "note"), exits=(ExitSpec("invoice.paid", where=("event.total > 5",)),))
    assert plan_of(definition).predicates == ()


def test_a_run_older_than_its_greatest_age_ends():
    definition = chain(node("d", "delay", duration="3d"), node("n", "note"), settings=Settings(max_run_age="2d"))
    done = play(definition)
    assert (done.run.status, done.run.end_reason) == ("CANCELLED", "max_age")
    assert steps_of(done) == ["d"]


def test_tick_takes_one_step_a_pass_and_is_due_at_the_next_point_of_the_grid():  # CRN-03, RUN-15, C-07
    definition = chain(*mails(3), settings=Settings(pacing="tick"))
    walk, _ = walk_once(definition, new_run(plan_of(definition)), next_pass=NEXT_PASS)
    assert [effect.node.id for effect in walk.effects] == ["m0"]
    assert (walk.run.step, walk.run.due_at, walk.run.parked_on) == ("m1", NEXT_PASS, None)
    again, _ = walk_once(definition, walk.run, now=NEXT_PASS, next_pass=NEXT_PASS + timedelta(minutes=5))
    assert [effect.node.id for effect in again.effects] == ["m1"]


def test_immediate_pacing_walks_as_far_as_it_can_whatever_the_grid_says():  # CRN-10
    definition = chain(*mails(3))
    walk, _ = walk_once(definition, new_run(plan_of(definition)), next_pass=NEXT_PASS)
    assert len(walk.effects) == 3
    assert walk.run.status == "COMPLETED"


def test_a_turn_without_fuel_left_stays_due_and_goes_on_where_it_stood():
    definition = chain(*mails(5))
    run = new_run(plan_of(definition))
    walk, _ = walk_once(definition, run, fuel=2)
    assert (run.step, run.due_at, run.status) == ("m2", NOW, "RUNNING")
    rest, _ = walk_once(definition, run)
    assert [row.step for row in [*walk.rows, *rest.rows]] == [f"m{number}" for number in range(5)]
    assert [row.seq for row in rest.rows] == [3, 4, 5]


def test_a_run_beyond_the_step_limit_fails_with_that_reason():  # X3
    definition = chain(*mails(2))
    run = new_run(plan_of(definition), seq=STEP_LIMIT)
    walk_once(definition, run)
    assert (run.status, run.end_reason) == ("FAILED", "step_limit")


def test_advancing_a_run_that_asked_and_was_not_answered_asks_the_same_again():  # P1, crash between question and answer
    definition = chain(node("n", "note", text="hello"))
    run = new_run(plan_of(definition))
    walk, asked = walk_once(definition, run)
    walk.interrupt()
    again, asked_again = walk_once(definition, run)
    assert isinstance(asked[0], Apply)
    assert asked_again[0].request == asked[0].request
    assert run.seq == 1
    assert again.rows == walk.rows == []


def test_a_turn_is_pure_the_same_input_gives_the_same_log():  # P10
    definition = chain(
        node("n", "note", text="{{customer.name}}"),
        node("s", "percentage_split", percent=50),
        node("d", "delay", duration="1d"),
    )
    assert play(definition).rows == play(definition).rows


@pytest.mark.parametrize("place", ["timer", "event", "delivery", "approval", "hold", "due"])
def test_every_unfinished_standing_can_end_and_no_end_can_be_left(place):  # R3
    for end in states.ENDED:
        states.check_transition(place, end)
        with pytest.raises(states.IllegalTransition):
            states.check_transition(end, place)


def test_only_a_wait_for_an_event_has_a_status_of_its_own():  # RUN-07, RUN-08
    assert {place: states.status_when(place) for place in ("due", *states.PARKED_ON)} == {
        "due": "RUNNING",
        "timer": "RUNNING",
        "event": "WAITING_FOR_EVENT",
        "delivery": "RUNNING",
        "approval": "RUNNING",
        "hold": "RUNNING",
    }
    assert states.standing("RUNNING", None) == "due"
    assert states.standing("FAILED", None) == "FAILED"


def test_a_definition_that_cannot_be_walked_is_refused_in_words():
    with pytest.raises(PlanError, match="unknown type"):
        compile_plan(chain(node("x", "teleport")), REGISTRY)
    with pytest.raises(PlanError, match="cannot be run"):
        compile_plan(chain(node("c", "condition", if_="1 ==")), REGISTRY)


def test_a_run_whose_clock_was_set_back_ends_no_sooner_than_it_began():  # RELIABILITY 13
    definition = chain(*mails(1))
    walk, _ = walk_once(definition, new_run(plan_of(definition)), BACK)
    assert (walk.run.status, walk.run.ended_at) == ("COMPLETED", NOW)


def test_a_step_ends_no_sooner_than_it_began_and_a_delay_no_sooner_than_it_was_due():  # RELIABILITY 13, T1
    definition = chain(node("d", "delay", duration="5m"))
    walk, _ = walk_once(definition, new_run(plan_of(definition)))
    due = walk.run.due_at
    walk, _ = walk_once(definition, walk.run, BACK)  # claimed when it was due, and set back before it was walked
    assert [(row.started_at, row.ended_at) for row in walk.rows] == [(NOW, due)]
    assert walk.run.ended_at == due


def test_an_answer_after_the_clock_was_set_back_leaves_no_step_of_negative_length():  # RELIABILITY 13
    definition = chain(node("c", "call", text="x"))
    walk, _ = walk_once(definition, new_run(plan_of(definition)))
    walk.run.answer = Done({})
    walk, _ = walk_once(definition, walk.run, BACK)
    assert [(row.started_at, row.ended_at) for row in walk.rows] == [(NOW, NOW)]
