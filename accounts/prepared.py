"""Statements that the server plans once for each connection and not at each call (PERFORMANCE W6: for one event, planning cost more
than doing).

For the few statements that every request or every batch of a worker makes, and for parameters that say nothing about the plan. An array
is hidden from the planner by `any((select %(ids)s::bigint[])::bigint[])`: it would take the length of each for a reason to plan anew. The
settings of the connection (`prepare_threshold`) have these statements prepared, and only these: Django's own cursors bind on this side,
which prepares nothing.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper


def prepared() -> CursorWrapper:
    """A cursor as `connection.cursor()` gives one, seen by the query log as well, whose statements the connection keeps. Parameters go to
    the server as they are: say their types (`%s::bigint`)."""
    ours = connections[DEFAULT_DB_ALIAS]  # once: finding it costs as much as a small query's parameters
    ours.close_if_health_check_failed()
    ours.ensure_connection()
    cursor: Any = psycopg.Cursor(ours.connection)
    return ours.make_debug_cursor(cursor) if ours.queries_logged else ours.make_cursor(cursor)
