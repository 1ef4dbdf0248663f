"""A command on a database without the tables of this release is answered with one sentence (CONTRACTS 2: exit codes)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import django.db
import psycopg
from psycopg import errors

LACKING = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction)
# What goes wrong in these is wrong in a migration, and its traceback says where.
MIGRATING = {"migrate", "up"}


@contextmanager
def one_sentence(argv: Sequence[str]) -> Iterator[None]:
    """Ends the process with 2 when the command fell over what `migrate` has not made yet; any other error goes on."""
    try:
        yield
    except (django.db.ProgrammingError, psycopg.ProgrammingError) as error:
        lacking = isinstance(error, LACKING) or isinstance(error.__cause__, LACKING)
        if not lacking or argv[1] in MIGRATING or not _pending():
            raise
        print(_sentence(), file=sys.stderr)
        raise SystemExit(2) from error


def _pending() -> bool:
    from django.db.migrations.executor import MigrationExecutor

    django.db.connection.close()  # whatever transaction it is in has failed
    executor = MigrationExecutor(django.db.connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _sentence() -> str:
    from django.conf import settings

    where = "that DATABASE_URL names" if os.environ.get("DATABASE_URL", "").strip() else f"in {settings.ONWARD_DATA}"
    return (
        f"The database {where} lacks tables of this release: start it with `make up`, or run `manage.py migrate`;"
        " a second terminal needs the same ONWARD_DATA or DATABASE_URL."
    )
