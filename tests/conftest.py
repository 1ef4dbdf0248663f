"""What every test may use. Fixtures of one area stand in `tests/<area>/conftest.py`."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from django.db import connection

from config.database import Database
from config.environment import process_environment
from config.start import embedded_cluster


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Start the embedded server before the first test that needs a database, and stop it after the last one.

    With DATABASE_URL nothing is started. Each process of tests has a database of its own in the one server, also when
    two runs go on at once.
    """
    cluster = embedded_cluster(process_environment(keys_needed=False))
    if cluster is None:
        yield
        return
    hold = cluster.attach()
    with _own_database(cluster.folder) as name:
        connection.settings_dict["TEST"]["NAME"] = name
        yield
    hold.release()


@contextmanager
def _own_database(folder: Path) -> Iterator[str]:
    """The first name that no other process of tests holds."""
    for number in count(1):
        with (folder / f"tests-{number}.lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield f"test_onward_{number}"
            return


@pytest.fixture
def database_url(transactional_db: None) -> str:
    """The test database as a URL, for processes that a test starts."""
    found = connection.settings_dict
    name, user, password, host, port = (str(found[key]) for key in ("NAME", "USER", "PASSWORD", "HOST", "PORT"))
    return Database(name, user, password, host, port).as_url()


@pytest.fixture(scope="session", autouse=True)
def fast_flush() -> None:
    """See tests/flushing.py."""
    from tests import flushing

    flushing.install()
