"""One world for all tests of a module, in a transaction that is never committed; each test in a savepoint of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection, transaction
from pytest_httpserver import HTTPServer

from tests.doctor.world import World, build, clean_books


@pytest.fixture(scope="module")
def shared_world(django_db_setup: None, django_db_blocker: pytest.FixtureRequest) -> Iterator[World]:
    with HTTPServer() as server, django_db_blocker.unblock(), transaction.atomic():  # type: ignore[attr-defined]  # pytest-django's blocker
        yield build(server)
        clean_books()
        transaction.set_rollback(True)


@pytest.fixture
def world(shared_world: World, django_db_blocker: pytest.FixtureRequest) -> Iterator[World]:
    with django_db_blocker.unblock(), transaction.atomic():  # type: ignore[attr-defined]  # as above
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        yield shared_world
        transaction.set_rollback(True)
