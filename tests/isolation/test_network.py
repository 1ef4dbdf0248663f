"""Each side of a connection over TCP asks whether the other one still lives (RELIABILITY 6).

`python -m tests.isolation.several --cut` pulls the cable of a host and measures; here the two ends say what they were told.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import psycopg
import pytest

from config.database import CLIENT_ALIVE, SERVER_ALIVE, connection_settings, parse_database_url
from tests.isolation.network import server_on_tcp


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that listens on an address of this machine."""
    with server_on_tcp("alive", f"127.99.{os.getpid() % 250}.1") as (_, url):
        yield url


def connected(url: str, kind: str) -> psycopg.Connection[tuple[object, ...]]:
    settings = connection_settings(parse_database_url(url), kind)
    return psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], user=settings["USER"], dbname=settings["NAME"], **settings["OPTIONS"]
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["web", "worker", "command"])
def test_both_ends_ask(url: str, kind: str) -> None:
    with connected(url, kind) as connection:
        for name, value in SERVER_ALIVE.items():
            row = connection.execute(f"SELECT setting::int FROM pg_settings WHERE name = '{name}'").fetchone()
            assert row == (value,), name
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            for option, name in ((socket.TCP_KEEPIDLE, "keepalives_idle"), (socket.TCP_KEEPCNT, "keepalives_count")):
                assert end.getsockopt(socket.IPPROTO_TCP, option) == CLIENT_ALIVE[name]
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == CLIENT_ALIVE["tcp_user_timeout"]


def test_the_system_s_own_settings_would_take_hours(url: str) -> None:
    place = parse_database_url(url)
    with psycopg.connect(host=place.host, port=place.port, user=place.user, dbname=place.name) as plain:
        row = plain.execute("SHOW tcp_keepalives_idle").fetchone()
    assert row is not None
    assert int(str(row[0])) >= 3600
