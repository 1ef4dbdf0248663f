"""What becomes of failing steps: retries, fallbacks, ends; and results that are no errors."""

from __future__ import annotations

from datetime import timedelta

from automations.engine.definition import ErrorHandling, Settings
from automations.engine.outcomes import Done, Failed, Refused, Skipped, Suppressed
from automations.engine.walk import FALLBACK
from tests.engine.worlds import NOW, chain, new_run, node, plan_of, play, steps_of, walk_once

BROKEN = {"error": {"code": "broken", "message": "It broke."}}
FALLBACK_EDGES = [("trigger", "next", "a"), ("a", "error", "f"), ("a", "next", "z"), ("f", "next", "z")]


def fail_local(definition, run, times, temporary=True):
    """Play turns of a local step whose effect fails `times` times; answers the log rows and the due times."""
    now, rows, dues = NOW, [], []
    for attempt in range(times + 1):
        walk, asked = walk_once(definition, run, now=now)
        if asked:
            walk.give(Failed("busy", "Busy.", temporary) if attempt < times else Done({"ok": True}))
            walk.advance()
        rows += walk.rows
        if run.due_at is None:
            break
        dues.append(run.due_at - now)
        now = run.due_at
    return rows, dues


def test_a_local_step_is_tried_again_after_5_10_and_20_minutes():  # ERR-01, ERR-02, ERR-03
    definition = chain(node("a", "note", errors=ErrorHandling(3, "5m", 2)))
    run = new_run(plan_of(definition))
    rows, dues = fail_local(definition, run, times=4)
    assert [row.status for row in rows] == ["failed"] * 4
    assert [row.attempt for row in rows] == [0, 1, 2, 3]
    assert {row.seq for row in rows} == {1}
    assert dues == [timedelta(minutes=5), timedelta(minutes=10), timedelta(minutes=20)]
    assert (run.status, run.end_reason, run.error["code"]) == ("FAILED", "failed", "busy")


def test_a_step_that_succeeds_on_a_retry_lets_the_run_go_on():  # ERR-04
    definition = chain(node("a", "note", errors=ErrorHandling(3, "5m", 1)))
    run = new_run(plan_of(definition))
    rows, _ = fail_local(definition, run, times=1)
    assert [row.status for row in rows] == ["failed", "succeeded"]
    assert run.status == "COMPLETED"
    assert run.steps_executed == 1


def test_an_error_that_cannot_succeed_on_repetition_is_not_retried():  # ERR-10
    definition = chain(node("a", "note", errors=ErrorHandling(3, "5m", 1)))
    run = new_run(plan_of(definition))
    rows, dues = fail_local(definition, run, times=1, temporary=False)
    assert len(rows) == 1
    assert dues == []
    assert run.status == "FAILED"


def test_the_errorhandling_of_a_step_overrides_that_of_the_automation():  # ERR-09
    automation = Settings(error_handling=ErrorHandling(3, "1m", 1))
    run = new_run(plan_of(chain(node("a", "note"), settings=automation)))
    assert len(fail_local(chain(node("a", "note"), settings=automation), run, times=9)[0]) == 4
    own = chain(node("a", "note", errors=ErrorHandling(0)), settings=automation)
    assert len(fail_local(own, new_run(plan_of(own)), times=9)[0]) == 1


def test_after_a_successful_fallback_the_run_goes_on():  # ERR-05, ERR-07, C-38
    definition = chain(node("a", "call"), node("f", "note"), node("z", "mail"), edges=FALLBACK_EDGES)
    done = play(definition, outcomes={"a": BROKEN})
    assert steps_of(done) == ["a", "f", "z"]
    assert done.run.status == "COMPLETED"
    assert done.rows[0].port == "error"
    assert done.rows[0].error["message"] == "It broke."


def test_fallback_steps_are_marked_and_not_counted():  # C-39
    definition = chain(node("a", "call"), node("f", "note"), node("z", "mail"), edges=FALLBACK_EDGES)
    done = play(definition, outcomes={"a": BROKEN})
    assert [row.flags for row in done.rows] == [0, FALLBACK, 0]
    assert done.run.steps_executed == 2


def test_without_a_fallback_the_run_fails_with_the_error():  # ERR-07, RUN-11
    done = play(chain(node("a", "call"), node("z", "mail")), outcomes={"a": BROKEN})
    assert (done.run.status, done.run.end_reason) == ("FAILED", "failed")
    assert done.run.error == {"code": "broken", "message": "It broke.", "temporary": False, "details": {}, "step": "a"}
    assert done.effects[-1].node.id == "a"


def test_a_failing_fallback_fails_the_run_with_both_errors_in_the_log():  # ERR-08
    definition = chain(
        node("a", "call"),
        node("f", "call"),
        edges=FALLBACK_EDGES[:2],
        settings=Settings(error_handling=ErrorHandling(5, "1m", 1)),
    )
    done = play(definition, outcomes={"a": BROKEN, "f": {"error": {"code": "worse", "message": "Worse."}}})
    assert done.run.status == "FAILED"
    assert [row.error["code"] for row in done.rows] == ["broken", "worse"]
    assert plan_of(definition).nodes["f"].policy is None
    assert plan_of(definition).nodes["a"].policy.retries == 5


def test_a_step_that_raises_fails_its_own_run_and_says_what_it_was():  # ERR-11
    done = play(
        chain(
            node("l", "loop", over="{{trigger.many}}"),
            node("n", "note"),
            edges=[("trigger", "next", "l"), ("l", "each", "n")],
        ),
        records={"customer": {7: {}}, "invoice": {}, "mail": {}, "trigger": {9: {"many": list(range(1001))}}},
    )
    assert done.run.status == "FAILED"
    assert "more than the 1000" in done.run.error["message"]


def test_an_expression_beyond_its_budget_fails_its_own_run():  # VAR-27, P4
    deep = "{% for a in trigger.many %}{% for b in trigger.many %}{{a}}{{b}}{% endfor %}{% endfor %}"
    done = play(
        chain(node("n", "note", text=deep)),
        records={"customer": {7: {}}, "invoice": {}, "mail": {}, "trigger": {9: {"many": list(range(1000))}}},
    )
    assert done.run.status == "FAILED"
    assert done.run.error["code"] == "budget_exceeded"


def settle(outcome):
    definition = chain(node("a", "call"), node("z", "mail"))
    run = new_run(plan_of(definition))
    walk_once(definition, run)
    assert run.parked_on == "delivery"
    run.parked_on, run.answer = None, outcome
    walk, _ = walk_once(definition, run)
    return walk.rows[0], run


def test_suppressed_and_skipped_are_results_not_errors():  # C-45
    for outcome in (Suppressed("unsubscribed"), Skipped("quota")):
        row, run = settle(outcome)
        assert (row.status, row.port, row.error) == ("skipped", "next", None)
        assert run.status == "COMPLETED"


def test_a_refused_act_is_visible_and_lets_the_run_go_on():  # DESIGN 5.3
    row, run = settle(Refused("not_open", "The invoice is paid."))
    assert row.output["result"] == "refused"
    assert run.status == "COMPLETED"


def test_a_declined_card_is_a_result_to_branch_on():  # C-24
    row, _ = settle(Done({"result": "declined"}))
    assert (row.status, row.output) == ("succeeded", {"result": "declined"})


def test_a_mail_goes_on_when_queued_and_waits_when_its_error_port_is_joined():  # EML-03, C-45
    free = chain(node("m", "mail"), node("z", "note"))
    run = new_run(plan_of(free))
    walk, _ = walk_once(free, run)
    assert [effect.waits for effect in walk.effects] == [False]
    assert run.step == "z"
    joined = chain(node("m", "mail"), node("z", "note"), edges=[("trigger", "next", "m"), ("m", "error", "z")])
    run = new_run(plan_of(joined))
    walk, _ = walk_once(joined, run)
    assert [effect.waits for effect in walk.effects] == [True]
    assert (run.status, run.parked_on, run.due_at) == ("RUNNING", "delivery", None)
