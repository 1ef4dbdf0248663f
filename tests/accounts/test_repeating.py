"""Transactions that the server broke off for another's sake are made again, where they are the service's own (DESIGN 5.2)."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import OperationalError, connection, transaction

from accounts.repeating import TRIES, counted, is_contended, repeat, repeated
from tests.worker.racing import Racer

pytestmark = pytest.mark.django_db(transaction=True)
RAISE = "do $$ begin raise exception 'broken off' using errcode = '%s'; end $$"


def failing(times: int, state: str = "40P01") -> tuple[Callable[[], str], list[int]]:
    """Work that the server breaks off so many times, and the tries it took."""
    tries: list[int] = []

    def work() -> str:
        with transaction.atomic(), connection.cursor() as cursor:
            tries.append(len(tries))
            if len(tries) <= times:
                cursor.execute(RAISE % state)
        return "done"

    return work, tries


@pytest.mark.parametrize("state", ["40P01", "40001"])
@pytest.mark.parametrize("times", [0, 1, TRIES - 1])
def test_it_is_made_again(times: int, state: str) -> None:
    work, tries = failing(times, state)
    before = counted[state]
    assert repeated(work)() == "done"
    assert (len(tries), counted[state] - before) == (times + 1, times)


def test_the_last_error_is_the_callers() -> None:
    work, tries = failing(TRIES)
    with pytest.raises(OperationalError, match="broken off") as raised:
        repeat(work)
    assert is_contended(raised.value)
    assert len(tries) == TRIES


@pytest.mark.parametrize("state", ["55P03", "57014", "53300", "22012"])
def test_anything_else_is_not_made_again(state: str) -> None:
    work, tries = failing(1, state)
    with pytest.raises(Exception, match="broken off") as raised:
        repeat(work)
    assert not is_contended(raised.value)
    assert len(tries) == 1


def test_inside_of_a_callers_transaction_it_is_the_callers_to_repeat() -> None:
    work, tries = failing(1)
    with pytest.raises(OperationalError), transaction.atomic():
        repeated(work)()
    assert len(tries) == 1


def test_two_that_lock_in_opposite_orders_both_come_through() -> None:
    """The server's own deadlock, not one that a test made up."""

    meet = threading.Barrier(2)
    first: set[int] = set()

    def locking(*keys: int) -> Callable[[], None]:
        def work() -> None:
            with transaction.atomic(), connection.cursor() as cursor:
                for place, key in enumerate(keys):
                    cursor.execute("select pg_advisory_xact_lock(%s)", [key])
                    if not place and keys[0] not in first:
                        first.add(keys[0])
                        meet.wait(20)

        return repeated(work)

    before = counted["40P01"]
    racers = [Racer(locking(1, 2)), Racer(locking(2, 1))]
    for racer in racers:
        racer.result()
    assert counted["40P01"] - before == 1
