"""Delays, waits and splits."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from automations.engine.moves import KeepBranch
from automations.engine.simulate import PretendEvent
from automations.steps.percentage_split import bucket
from tests.engine.worlds import NOW, RECORDS, chain, new_run, node, plan_of, play, steps_of, walk_once

DAY = timedelta(days=1)


def parked(*nodes, now=NOW, **parts):
    definition = chain(*nodes, **parts)
    run = new_run(plan_of(definition))
    walk_once(definition, run, now=now)
    return run


def test_a_delay_parks_the_run_with_a_wake_time_and_stays_running():  # RUN-17, STP-03, DEF-15
    run = parked(node("d", "delay", duration="2d"))
    assert (run.status, run.parked_on, run.due_at) == ("RUNNING", "timer", NOW + 2 * DAY)


def test_months_are_calendar_months():  # STP-12, C-22
    run = parked(node("d", "delay", duration="1mo2d3h4m"), now=datetime(2025, 1, 15, 10, tzinfo=UTC))
    assert run.due_at == datetime(2025, 2, 17, 13, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("config", "due"),
    [
        ({"until": "09:00"}, datetime(2026, 11, 21, 9, tzinfo=UTC)),
        ({"until": "11:30"}, datetime(2026, 11, 20, 11, 30, tzinfo=UTC)),
        ({"until": "2026-12-01T08:00:00Z"}, datetime(2026, 12, 1, 8, tzinfo=UTC)),
        ({"until": "2026-12-01"}, datetime(2026, 12, 1, 9, tzinfo=UTC)),
        ({"until": "{{invoice.dueDate}}"}, datetime(2026, 11, 30, 9, tzinfo=UTC)),
        ({"anchor": "due_date", "offset": "-3d", "at": "08:00"}, datetime(2026, 11, 27, 8, tzinfo=UTC)),
        ({"anchor": "due_date"}, datetime(2026, 11, 30, 9, tzinfo=UTC)),
        ({"anchor": "due_date", "offset": "1w"}, datetime(2026, 12, 7, 9, tzinfo=UTC)),
    ],
)
def test_a_delay_ends_at_the_moment_it_names(config, due):  # C-21, DESIGN 5.4
    assert parked(node("d", "delay", **config)).due_at == due


def test_a_moment_already_past_lets_the_run_go_on_at_once():
    done = play(chain(node("d", "delay", until="2026-01-01T00:00:00Z"), node("n", "note")))
    assert steps_of(done) == ["d", "n"]
    assert done.run.ended_at == NOW


def test_an_anchored_offset_already_past_is_skipped_with_what_belongs_to_it():  # C-21
    anchor = {"anchor": "due_date", "at": "08:00"}
    done = play(
        chain(
            node("early", "delay", offset="-30d", **anchor),
            node("first", "mail"),
            node("wait", "note"),
            node("late", "delay", offset="-3d", **anchor),
            node("second", "mail"),
        )
    )
    assert [(row.step, row.status) for row in done.rows] == [
        ("early", "succeeded"),
        ("first", "skipped"),
        ("wait", "skipped"),
        ("late", "succeeded"),
        ("second", "succeeded"),
    ]
    assert [effect.node.id for effect in done.effects] == ["second"]


def test_wait_until_parks_on_the_narrowest_object_that_run_and_event_share():  # RUN-18, STP-13
    run = parked(node("w", "wait_until", event="invoice.paid"))
    assert (run.status, run.parked_on, run.due_at) == ("WAITING_FOR_EVENT", "event", None)
    assert (run.wait_name, run.wait_key) == ("invoice.paid", "invoice:8")
    assert parked(node("w", "wait_until", event="demo_booked")).wait_key == "customer:7"  # STP-17


def test_the_event_ends_the_wait_with_outcome_event():  # STP-13, STP-19
    definition = chain(
        node("w", "wait_until", event="demo_booked", timeout="7d"),
        node("c", "condition", if_="wait.outcome == 'event'"),
    )
    done = play(definition, events=[PretendEvent("2d", "demo_booked")])
    assert [row.port for row in done.rows] == ["next", "true"]
    assert done.rows[0].ended_at == NOW + 2 * DAY


def test_the_timeout_ends_the_wait_through_the_main_output_unless_it_has_its_own():  # STP-18, C-18, C-19
    wait = {"event": "demo_booked", "timeout": "7d"}
    plain = play(chain(node("w", "wait_until", **wait), node("c", "condition", if_="wait.outcome == 'timeout'")))
    assert [row.port for row in plain.rows] == ["timeout", "true"]
    assert plain.rows[0].ended_at == NOW + 7 * DAY
    edges = [("trigger", "next", "w"), ("w", "next", "a"), ("w", "timeout", "b")]
    own = chain(
        node("w", "wait_until", branchOnTimeout=True, **wait), node("a", "note"), node("b", "note"), edges=edges
    )
    assert steps_of(play(own)) == ["w", "b"]
    assert steps_of(play(own, events=[PretendEvent("1d", "demo_booked")])) == ["w", "a"]


def test_without_a_timeout_the_run_waits_for_ever():  # STP-18
    done = play(chain(node("w", "wait_until", event="demo_booked"), node("n", "note")))
    assert done.run.status == "WAITING_FOR_EVENT"
    assert done.run.due_at is None


def test_only_an_event_that_passes_the_filter_counts():
    definition = chain(node("w", "wait_until", event="demo_booked", filter="event.seats > 5"))
    events = [PretendEvent("1d", "demo_booked", {"seats": 3}), PretendEvent("2d", "demo_booked", {"seats": 9})]
    assert play(definition, events=events).run.ended_at == NOW + 2 * DAY


def test_an_open_before_the_wait_counts_if_it_is_of_the_latest_mail():  # RUN-22, C-37
    opened = {**RECORDS, "mail": {456: {"opened": True, "clicked": False}}}
    done = play(chain(node("w", "wait_until", event="email_opened")), records=opened)
    assert done.rows[0].output["outcome"] == "event"
    assert play(chain(node("w", "wait_until", event="email_clicked")), records=opened).run.parked_on == "event"


def test_a_condition_logs_the_values_that_decided():  # RUN-19, CND-25
    done = play(chain(node("c", "condition", if_="invoice.total >= 100 AND customer.plan == 'pro'")))
    assert done.rows[0].output == {"result": True, "values": {"customer.plan": "pro", "invoice.total": 129}}


def test_a_branch_follows_the_first_true_case_else_the_default():  # STP-06
    cases = [{"id": "large", "if": "invoice.total >= 100"}, {"id": "any", "if": "invoice.total > 0"}]
    edges = [("trigger", "next", "b"), ("b", "large", "x"), ("b", "any", "y"), ("b", "default", "z")]
    ends = [node("x", "note"), node("y", "note"), node("z", "note")]
    for total, expected in ((129, "x"), (5, "y"), (0, "z")):
        records = {**RECORDS, "invoice": {8: {"total": total}}}
        assert steps_of(play(chain(node("b", "branch", cases=cases), *ends, edges=edges), records=records)) == [
            "b",
            expected,
        ]


def test_the_bucket_is_what_an_outsider_computes():  # STP-22, RUN-20
    digest = hashlib.sha256(b"exec_456" + b"split").digest()
    assert bucket("exec_456", "split") == int.from_bytes(digest, "big") % 100


@pytest.mark.parametrize(("percent", "low", "high"), [(0, 0, 0), (100, 10_000, 10_000), (30, 2_800, 3_200)])
def test_the_share_of_a_split_is_its_percentage(percent, low, high):  # STP-21
    taken = sum(bucket(f"exec_{number}", "s") < percent for number in range(10_000))
    assert low <= taken <= high


def test_a_kept_branch_wins_over_the_computed_one():  # STP-23, C-20
    definition = chain(node("s", "percentage_split", percent=50))
    run = new_run(plan_of(definition))
    walk, asked = walk_once(definition, run)
    assert asked == [KeepBranch("s", "a" if bucket("exec_456", "s") < 50 else "b")]
    other = "b" if asked[0].branch == "a" else "a"
    walk.give((other, True))
    walk.advance()
    assert walk.rows[0].port == other
    assert walk.rows[0].output == {"bucket": bucket("exec_456", "s"), "threshold": 50, "branch": other, "kept": True}
