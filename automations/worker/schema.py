"""Whether the tables are those of this program (RELIABILITY 25): while an installation is upgraded, workers of the old release meet
tables of the new one, or the other way round."""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module

from django.db import connection

_APPS = ("accounts", "automations", "billing")


def is_ours() -> bool:
    """Whether exactly the migrations of this program were applied. One query; not for a transaction that has failed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations WHERE app = ANY(%s)", [list(_APPS)])
        return set(cursor.fetchall()) == _ours()


@cache
def _ours() -> set[tuple[str, str]]:
    found = set()
    for app in _APPS:
        folder = import_module(f"{app}.migrations").__path__
        found |= {(app, module.name) for module in pkgutil.iter_modules(folder) if module.name[0].isdigit()}
    return found
