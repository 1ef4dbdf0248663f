"""Where the databases of these tests are."""

from __future__ import annotations

from django.db import connection
from psycopg.conninfo import make_conninfo

_NAMES = ("user", "password", "host", "port")


def dsn() -> str:
    """The test database."""
    return _dsn(str(connection.settings_dict["NAME"]))


def admin_dsn() -> str:
    """Another database on the same server: one cannot copy or drop what one is connected to."""
    return _dsn("postgres")


def _dsn(name: str) -> str:
    found = connection.settings_dict
    parts = {key: str(found[key.upper()]) for key in _NAMES if found.get(key.upper())}
    return make_conninfo("", dbname=name, **parts)
