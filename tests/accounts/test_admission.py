"""The SQL functions that let requests in: key, use and token in one statement (CONTRACTS 1, 8)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.api.authentication import take_token
from accounts.clock import real_now
from accounts.models import ApiKey, RateBucket, Workspace
from accounts.services.keys import secret_hash
from tests.factories import make_api_key, make_workspace, owner_of


def admit(text: str, per_second: float = 500, burst: float = 500) -> dict[str, Any] | None:
    """What the database says to a whole key."""
    _, prefix, secret = text.split("_", 2)
    with connection.cursor() as cursor:
        cursor.execute("select * from onward_admit(%s, %s, %s, %s)", [prefix, secret_hash(secret), per_second, burst])
        row = cursor.fetchone()
        names = [column.name for column in cursor.description]
    return dict(zip(names, row, strict=True)) if row else None


def test_a_good_key_is_let_in_with_what_it_may(workspace: Workspace) -> None:
    key, text = make_api_key(workspace, ["read", "events"])
    found = admit(text)
    assert found is not None
    assert (found["key_id"], found["workspace_id"], found["scopes"]) == (key.pk, workspace.pk, ["read", "events"])
    assert (found["name"], found["maker_id"], found["problem"]) == (key.name, owner_of(workspace).pk, "")
    assert (found["allowed"], found["tokens"]) == (True, 499.0)


@pytest.mark.parametrize("change", [lambda text: text + "x", lambda text: text[:-1], lambda text: text.swapcase()])
def test_a_wrong_secret_finds_nothing_and_costs_nothing(workspace: Workspace, change: Any) -> None:
    _, text = make_api_key(workspace)
    _, prefix, secret = text.split("_", 2)
    assert admit(f"ow_{prefix}_{change(secret)}") is None
    assert not RateBucket.objects.exists()
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"revoked_at": timedelta(0)}, "key_revoked"),
        ({"expires_at": timedelta(seconds=-1)}, "key_expired"),
        ({"expires_at": timedelta(hours=1)}, ""),
        ({"revoked_at": timedelta(0), "expires_at": timedelta(seconds=-1)}, "key_revoked"),
    ],
)
def test_a_dead_key_is_named(workspace: Workspace, change: dict[str, timedelta], problem: str) -> None:
    _, text = make_api_key(workspace)
    ApiKey.objects.update(**{name: real_now() + delta for name, delta in change.items()})
    found = admit(text)
    assert found is not None
    assert found["problem"] == problem
    assert (ApiKey.objects.get().last_used_at is None) == bool(problem), "a refused try is no use"


def test_a_bucket_counts_down_to_refusal_and_no_further(db: None) -> None:
    answers = [take_token("x", per_second=0, burst=3) for _ in range(5)]
    assert [answer.allowed for answer in answers] == [True, True, True, False, False]
    assert [answer.tokens for answer in answers] == [2, 1, 0, 0, 0]


def test_callers_do_not_share(db: None) -> None:
    assert take_token("a", per_second=0, burst=1).allowed
    assert take_token("b", per_second=0, burst=1).allowed
    assert not take_token("a", per_second=0, burst=1).allowed


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tokens=st.floats(0, 10),
    passed=st.floats(-5, 20),
    per_second=st.sampled_from([0.0, 0.5, 1.0, 4.0]),
    burst=st.integers(1, 10),
)
def test_a_bucket_does_what_the_model_says(
    db: None, tokens: float, passed: float, per_second: float, burst: int
) -> None:
    # the model: fill by the time passed, never over the brim, never backwards; take one if there is one
    now = real_now()
    RateBucket.objects.update_or_create(
        caller="m", defaults={"tokens": tokens, "at": now - timedelta(seconds=passed), "allowed": True}
    )
    answer = take_token("m", per_second=per_second, burst=burst)
    level = min(burst, tokens + per_second * max(passed, 0))
    slack = per_second * 0.5  # the statements themselves take time
    if level >= 1:
        assert answer.allowed
    if level + slack < 1:
        assert not answer.allowed
    expected = level - 1 if answer.allowed else level
    assert expected - 1e-6 <= answer.tokens <= min(burst, expected + slack) + 1e-6
    assert RateBucket.objects.get(caller="m").at >= now - timedelta(seconds=max(passed, 0))


@pytest.mark.django_db(transaction=True)
def test_many_at_once_take_each_token_once() -> None:
    def take(turn: int) -> int:
        try:
            return sum(take_token("hot", per_second=0, burst=50).allowed for _ in range(20))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(take, range(5))) == 50


@pytest.mark.django_db(transaction=True)
def test_many_at_once_with_one_key_are_all_let_in() -> None:
    workspace = make_workspace()
    _, text = make_api_key(workspace)

    def enter(turn: int) -> int:
        try:
            return sum(bool(found and found["allowed"]) for found in (admit(text) for _ in range(10)))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(enter, range(5))) == 50
    assert ApiKey.objects.get().last_used_at is not None


@pytest.mark.parametrize("name", ["onward_admit", "onward_take_token"])
def test_the_functions_are_volatile(db: None, name: str) -> None:
    # they write; the planner must not fold two calls into one
    with connection.cursor() as cursor:
        cursor.execute("select provolatile from pg_proc where proname = %s", [name])
        assert cursor.fetchone() == ("v",)
