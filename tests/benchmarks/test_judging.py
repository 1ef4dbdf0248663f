"""What makes a figure honest: wrong counts are errors, ratios are of one round, goals are judged by the median, what wrk says is read."""

from __future__ import annotations

import pytest

from benchmarks import report
from benchmarks.load import read_wrk
from benchmarks.stage import Contender, Goal, Sizes, cpu, expect, in_turn, paired, seconds
from benchmarks.w1 import goals
from tests.benchmarks.places import dsn

ROW = {"seconds": 2.0, "app": 1.0, "postgres": 1.0, "wal": 100.0, "fsyncs": 4.0, "memory": 5.0, "count": 10.0}
WRK = """Running 4s test @ http://127.0.0.1:1/api/v1/events
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.56ms    2.10ms  40.20ms   88.10%
  Latency Distribution
     50%    5.12ms
     75%    6.01ms
     90%    7.90ms
     99%    1.20s
  2862 requests in 4.01s, 1.02MB read
  Non-2xx or 3xx responses: 3
Requests/sec:    713.71
"""


def test_a_wrong_count_is_an_error_and_no_figure() -> None:
    with pytest.raises(AssertionError, match="runs: 9 in place of 10"):
        expect("runs", 9, 10)


def test_costs_are_of_one_run_so_that_contenders_may_do_fewer() -> None:
    many, few = dict(ROW), {**ROW, "count": 1.0}
    assert seconds(few) == 10 * seconds(many)
    assert cpu(few) == 10 * cpu(many)


def test_ratios_are_of_the_same_round() -> None:
    rows = {
        "product": [{**ROW, "seconds": 4.0}, {**ROW, "seconds": 9.0}],
        "floor": [{**ROW, "seconds": 2.0}, {**ROW, "seconds": 3.0}],
    }
    assert paired(rows, "product", "floor", seconds) == [2.0, 3.0]
    assert paired(rows, "product", "absent", seconds) == []


@pytest.mark.parametrize(
    ("values", "at_least", "verdict"),
    [
        ([2.0, 2.4, 9.0], False, "aim reached"),
        ([1.0, 3.0, 3.0], False, "must reached"),
        ([5.0], False, "MISSED"),
        ([5.0], True, "aim reached"),
        ([3.0], True, "must reached"),
        ([1.0], True, "MISSED"),
        ([], False, "not measured"),
    ],
)
def test_a_goal_is_judged_by_the_median(values: list[float], at_least: bool, verdict: str) -> None:
    must, aim = (2.5, 4.5) if at_least else (4.0, 2.5)
    assert report.verdict(Goal("x", values, must, aim, at_least)) == verdict


def test_every_line_of_w1_in_the_table_of_goals_is_judged() -> None:
    rows = {name: [ROW] for name in ("floor", "guarded floor", "product", "DBOS", "django-q2", "cron")}
    limits = [(goal.must, goal.aim, goal.at_least) for goal in goals(rows)]
    assert limits == [
        (4.0, 2.5, False), (4.5, 2.8, False), (1.5, 1.15, False), (1.5, 1.15, False), (50, 100, True), (150, 250, True),
        (60, 100, True), (3.5, 2.0, False), (200, 90, False),
    ]  # fmt: skip
    assert goals(rows)[-1].values == [4000.0]  # syncs of 10,000 runs


def test_what_wrk_says_is_read() -> None:
    assert read_wrk(WRK) == {"requests": 2862.0, "errors": 3.0, "seconds": 4.01, "p50": 5.12, "p99": 1200.0}
    with pytest.raises(ValueError, match="something unknown"):
        read_wrk("wrk: unable to connect")


@pytest.mark.django_db(transaction=True)
def test_contenders_come_in_turn_and_warm_rounds_are_not_counted() -> None:
    from contextlib import nullcontext

    order: list[str] = []

    def contender(name: str) -> Contender:
        return Contender(
            size=1,
            prepare=lambda number: order.append(f"{name}{number}"),
            working=lambda: nullcontext([]),
            begin=lambda number: None,
            done=lambda: True,
            check=lambda number: None,
        )

    rows = in_turn(dsn(), Sizes(rounds=2).numbers(), {"a": contender("a"), "b": contender("b")})
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]
    assert [len(found) for found in rows.values()] == [2, 2]
    assert rows["a"][0]["count"] == 1
