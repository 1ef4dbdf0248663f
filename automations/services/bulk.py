"""Copying rows on the chance that none of them is there, which costs less than asking for each (PERFORMANCE, "What the anchors
taught"). Where one is, nothing was written and the caller inserts with `on conflict`."""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import IntegrityError, connection, transaction

#: Up to here one statement costs less than the round trips of a savepoint and its COPYs.
FEW = 30


def copy_new(cursor: Any, unique: str, *copies: tuple[str, str]) -> bool:
    """Send the lines of each COPY statement, in the caller's transaction. False, and nothing written, when a row breaks the rule
    `unique`, be it by one that somebody else is writing: then this waited for him."""
    try:
        with transaction.atomic():
            for statement, lines in copies:
                with connection.wrap_database_errors, cursor.copy(statement) as copy:
                    copy.write(lines)
    except IntegrityError as error:
        cause = error.__cause__
        if not isinstance(cause, psycopg.errors.UniqueViolation) or cause.diag.constraint_name != unique:
            raise
        return False
    return True
