"""The rules of what follows from a try, and the JSON forms of outcomes and envelopes (ERR-01 to 03, ERR-10, C-24, DESIGN 5.3)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.kinds import Envelope
from automations.engine.outcomes import Done, Failed, Outcome, Refused, Skipped, Suppressed, Unknown
from automations.engine.values import StatusText
from automations.worker.answers import decode, decode_answer, encode, error_of
from automations.worker.envelopes import envelope_json, freeze, from_json, thaw
from automations.worker.policy import KEY_AGE, Rules, Tries, judge, may_repeat, next_look, next_wait, read_back

RULES = Rules(retries=3, delay=300, backoff=2.0, exact=True)
BUILT_IN = Rules(retries=3, delay=60, backoff=2.0, exact=False)
AWAY = Failed("unreachable", "away", temporary=True)
AT = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_step_is_tried_once_and_as_often_again_as_was_said() -> None:  # ERR-01
    states = [judge(AWAY, RULES, Tries(failed=failed), "repeat", 0).state for failed in range(4)]
    assert states == ["QUEUED", "QUEUED", "QUEUED", "FAILED"]


def test_the_waits_are_5_10_and_20_minutes() -> None:  # ERR-02, ERR-03
    assert [judge(AWAY, RULES, Tries(failed=failed), "repeat", 1).wait for failed in range(3)] == [300, 600, 1200]


@given(st.floats(0, 1), st.integers(0, 6))
def test_built_in_waits_are_longer_by_at_most_a_tenth_and_never_longer_than_an_hour_so(
    jitter: float, failed: int
) -> None:
    wait = next_wait(BUILT_IN, failed, None, jitter)
    plain = min(60 * 2.0**failed, 3600)
    assert plain <= wait <= plain * 1.1 + 1e-9


@pytest.mark.parametrize(("asked", "wait"), [(10, 300), (900, 900), (10**9, 3600)])
def test_what_the_receiver_asks_for_counts_up_to_an_hour(asked: int, wait: float) -> None:
    assert next_wait(RULES, 0, Failed("http_status", "", True, {"retryAfter": asked}), 0) == wait


def test_a_permanent_failure_is_final_at_once() -> None:  # ERR-10
    verdict = judge(Failed("invalid_address", "no"), RULES, Tries(), "repeat", 0)
    assert (verdict.state, verdict.wait) == ("FAILED", None)


def test_a_declined_card_is_a_result() -> None:  # C-24
    verdict = judge(Done({"result": "declined"}), RULES, Tries(), "read_back", 0)
    assert (verdict.state, verdict.answer) == ("SENT", Done({"result": "declined"}))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Done(), "SENT"),
        (Refused("a", "b"), "REFUSED"),
        (Suppressed("unsubscribed"), "SUPPRESSED"),
        (Skipped("quota"), "SKIPPED"),
    ],
)
def test_every_result_has_its_state(outcome: Outcome, state: str) -> None:
    verdict = judge(outcome, RULES, Tries(), "read_back", 0)
    assert (verdict.state, verdict.answer, verdict.wait) == (state, outcome, None)


@pytest.mark.parametrize(
    ("unsure", "state", "wait"),
    [("read_back", "UNKNOWN", 60), ("repeat", "QUEUED", 300), ("resend", "QUEUED", 300), ("review", "REVIEW", None)],
)
def test_what_nobody_can_tell_is_treated_as_the_action_says(unsure: Any, state: str, wait: float | None) -> None:
    verdict = judge(Unknown("?"), RULES, Tries(), unsure, 0)
    assert (verdict.state, verdict.wait, verdict.person) == (state, wait, state == "REVIEW")


def test_money_under_review_tells_its_run_nothing() -> None:  # DESIGN 5.3
    money = Rules(0, 60, 2, True, money=True)
    assert judge(Unknown("?"), money, Tries(), "review", 0).answer is None
    assert judge(Unknown("?"), RULES, Tries(), "review", 0).answer == Unknown("?")


def test_it_is_read_back_after_1_5_30_minutes_then_hourly_for_20_hours() -> None:
    moments, elapsed = [], timedelta()
    while (wait := next_look(elapsed)) is not None:
        elapsed += wait
        moments.append(int(elapsed.total_seconds() // 60))
    assert moments == [1, 5, 30, *range(90, 1200, 60), 1200]


@given(st.timedeltas(min_value=timedelta(), max_value=timedelta(days=3)))
def test_the_next_look_is_always_ahead_and_within_20_hours(elapsed: timedelta) -> None:
    wait = next_look(elapsed)
    if elapsed >= KEY_AGE:
        assert wait is None
    else:
        assert wait is not None
        assert timedelta() < wait <= timedelta(hours=1)
        assert elapsed + wait <= KEY_AGE


@pytest.mark.parametrize("found", [None, Unknown("still")])
def test_when_the_provider_cannot_tell_either_it_is_asked_again_and_then_a_person(found: Outcome | None) -> None:
    assert read_back(found, RULES, AT, AT + timedelta(minutes=2)).state == "UNKNOWN"
    late = read_back(found, RULES, AT, AT + KEY_AGE)
    assert (late.state, late.person) == ("REVIEW", True)


def test_what_the_provider_tells_is_final() -> None:
    assert read_back(Failed("declined", "no", temporary=True), RULES, AT, AT).state == "FAILED"
    assert read_back(Done(), RULES, AT, AT).state == "SENT"


def test_a_key_of_money_is_not_used_after_20_hours() -> None:  # INVARIANTS M2
    assert may_repeat(True, AT, AT + timedelta(hours=19))
    assert not may_repeat(True, AT, AT + timedelta(hours=20))
    assert may_repeat(False, AT, AT + timedelta(days=9))
    assert may_repeat(True, None, AT)


OUTCOMES: list[Outcome] = [
    Done({"a": 1, "b": ["x"]}),
    Failed("http_status", "The receiver answered 503.", True, {"status": 503}),
    Refused("paid", "It was paid."),
    Unknown("timed out"),
    Suppressed("unsubscribed"),
    Skipped("plan"),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_comes_back_as_it_was(outcome: Outcome) -> None:
    stored = json.loads(json.dumps(encode(outcome)))
    assert decode(stored) == outcome
    assert decode_answer({"delivery": 9, "outcome": stored}) == outcome


def test_an_answer_that_is_no_outcome_stays_as_it_is() -> None:
    assert decode_answer({"event": 9}) == {"event": 9}


def test_an_outcome_holds_only_what_the_database_can_hold() -> None:
    stored = encode(Done({"money": Decimal("1.50"), "at": AT, "nul": "a\x00b", "odd": object()}))
    assert stored["output"] == {"money": "1.50", "at": "2026-01-02T00:00:00.000Z", "nul": "a\ufffdb", "odd": None}


def test_errors_have_one_shape() -> None:  # CONTRACTS 9
    assert error_of(Done()) is None
    assert error_of(Suppressed("unsubscribed")) == {
        "code": "unsubscribed", "message": "", "temporary": False, "details": {}
    }  # fmt: skip
    assert error_of(AWAY) == {"code": "unreachable", "message": "away", "temporary": True, "details": {}}


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
    | st.decimals(allow_nan=False, allow_infinity=False, places=2) | st.datetimes(timezones=st.just(UTC)) | st.dates(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "b", "$", "name"]), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(PLAIN)
def test_frozen_values_keep_their_kind(value: Any) -> None:  # DESIGN 5.3: the resolved variables
    thawed = thaw(json.loads(json.dumps(freeze(value))))
    assert thawed == value
    assert type(thawed) is type(value)


def test_a_status_keeps_all_its_names() -> None:  # C-14
    status = StatusText("unpaid", "open", frozenset({"issued"}))
    thawed = thaw(json.loads(json.dumps(freeze({"status": status}))))["status"]
    assert (str(thawed), thawed.stored, thawed.also) == ("unpaid", "open", status.also)


def test_an_envelope_comes_back_as_it_was() -> None:
    envelope = Envelope(
        kind="email", body={"total": Decimal("1.50"), "day": date(2026, 1, 2)}, input={"to": "a"}, output={"to": "a"}, to="a",
        subject="s", subjects={"customer": 7}, customer_mail=True, waits=False,
    )  # fmt: skip
    stored = json.loads(envelope_json(envelope))
    assert (
        from_json(stored, kind="email", to="a", subject="s", customer_mail=True, waits=False, money=False) == envelope
    )


def test_an_emptied_envelope_can_still_be_read() -> None:  # SUP-06
    found = from_json({}, kind="email", to="", subject="", customer_mail=True, waits=False, money=False)
    assert (found.body, found.to) == ({}, "")
