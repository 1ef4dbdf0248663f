"""The faulty line does what it says: it cuts between COMMIT and its answer, when the transaction is in the database, and else is a
line (RELIABILITY 5, 6)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.db import connection

from tests.chaos.proxy import Link, split


@pytest.fixture
def link(transactional_db: None) -> Iterator[Link]:
    folder = str(connection.settings_dict["HOST"])
    if not folder.startswith("/"):
        pytest.skip("needs a server on a socket of this machine, as the embedded one is")
    with Link(f"{folder}/.s.PGSQL.5432", random.Random(1)) as link:
        yield link


def session(link: Link, **more: Any) -> psycopg.Connection[Any]:
    found = connection.settings_dict
    return psycopg.connect(
        host="127.0.0.1", port=link.port, user=found["USER"], dbname=found["NAME"], sslmode="prefer", **more
    )


def test_a_message_that_comes_in_pieces_is_passed_on_whole() -> None:
    commit = b"C\x00\x00\x00\x0bCOMMIT\x00"
    other = b"C\x00\x00\x00\x0fINSERT 0 1\x00Z\x00\x00\x00\x05I"
    assert split(other + commit + other[:7]) == (other + commit, other[:7], [len(other)])
    for place in range(len(commit)):
        assert split(commit[:place]) == (b"", commit[:place], [])


def test_without_a_fault_it_is_a_line(link: Link) -> None:
    with session(link) as mine:
        assert mine.execute("SELECT repeat('x', 300000)").fetchone() == ("x" * 300000,)
        mine.execute("CREATE TEMPORARY TABLE kept (id int)")
        with mine.cursor().copy("COPY kept FROM STDIN") as copy:
            for number in range(5000):
                copy.write_row([number])
        assert mine.execute("SELECT count(*) FROM kept").fetchone() == (5000,)
    assert link.counts["commits"] == 1
    assert link.counts["cuts"] == 0


def test_a_cut_comes_after_the_commit_and_before_its_answer(link: Link) -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS chaos_line (id int primary key)")
    try:
        link.cut(5)
        broken = []
        for number in range(60):
            try:
                with session(link) as mine:
                    mine.execute("INSERT INTO chaos_line VALUES (%s)", [number])
            except psycopg.OperationalError:
                broken.append(number)
        assert len(broken) == link.counts["cuts"] == 5
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM chaos_line")
            assert cursor.fetchone() == (60,)  # those whose answer was lost are there as well
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE chaos_line")


def test_a_silent_line_lets_nobody_in_and_goes_on_where_it_was(link: Link) -> None:
    with session(link, autocommit=True) as mine:
        link.swallow(True)
        with pytest.raises(psycopg.OperationalError):
            session(link, connect_timeout=2)
        link.swallow(False)
        assert mine.execute("SELECT 1").fetchone() == (1,)


def test_a_slow_line_is_late_and_a_broken_one_is_gone(link: Link) -> None:
    with session(link, autocommit=True) as mine:
        link.delay = 0.2
        began = time.monotonic()
        mine.execute("SELECT 1")
        assert time.monotonic() - began >= 0.2
        link.delay = 0.0
        link.reset()
        with pytest.raises(psycopg.OperationalError):
            mine.execute("SELECT 1")
