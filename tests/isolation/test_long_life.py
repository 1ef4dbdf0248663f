"""Tables that are rewritten all the time stay small (DESIGN 6; RELIABILITY 62). Partitions: `test_partitions`, `test_housekeeping`."""

from __future__ import annotations

import pytest
from django.db import connection

pytestmark = pytest.mark.django_db
TEN_MILLION = 10_000_000
MOST_DEAD = 500_000  # rows, before a vacuum of a table of ten million begins


def dead_before_a_vacuum(table: str, rows: int) -> float:
    """How many dead rows gather in a table of so many, by its own settings and the server's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(reloptions, '{}') FROM pg_class WHERE oid = %s::regclass", [table])
        own = dict(option.split("=") for option in cursor.fetchone()[0])
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN ('autovacuum_vacuum_scale_factor', 'autovacuum_vacuum_threshold')"
        )
        said = dict(cursor.fetchall()) | own
    return float(said["autovacuum_vacuum_threshold"]) + rows * float(said["autovacuum_vacuum_scale_factor"])


@pytest.mark.parametrize("table", ["automations_run", "automations_delivery"])
def test_what_is_rewritten_at_every_step_is_vacuumed_long_before_a_fifth_of_it_is_dead(table: str) -> None:
    assert dead_before_a_vacuum(table, TEN_MILLION) <= MOST_DEAD


def test_the_queue_of_events_is_vacuumed_by_what_passes_through() -> None:
    assert dead_before_a_vacuum("automations_unrouted", TEN_MILLION) <= 10_000


def test_by_the_server_s_own_settings_they_would_not_be() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE automations_run RESET (autovacuum_vacuum_scale_factor)")
    assert dead_before_a_vacuum("automations_run", TEN_MILLION) > MOST_DEAD
