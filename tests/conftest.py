"""What every test may use. Fixtures of one area stand in `tests/<area>/conftest.py`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from config.database import Database
from config.environment import process_environment
from config.start import embedded_cluster


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> Iterator[None]:
    """Start the embedded server before the first test that needs a database, and stop it after the last one.

    With DATABASE_URL nothing is started. Each xdist worker has its own database in the one server.
    """
    environment = process_environment(keys_needed=False)
    cluster = embedded_cluster(environment)
    hold = cluster.attach() if cluster else None
    yield
    if hold:
        hold.release()


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
