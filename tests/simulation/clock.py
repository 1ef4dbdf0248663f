"""One simulated time for Python and for the server: it moves only when the scheduler says so."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A Monday morning, far from any month's end: partitions are by month.
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
TICK = timedelta(milliseconds=1)  # between two transactions, so that no two begin at one moment

# Unlogged: reading and setting it is no write that a transaction would have to commit, and all see it at once.
COVER = """
create schema simulated;
create unlogged sequence simulated.clock;
create function simulated.clock_timestamp() returns timestamptz volatile language sql as
    $$ select timestamptz 'epoch' + last_value * interval '1 microsecond' from simulated.clock $$;
create function simulated.statement_timestamp() returns timestamptz stable language sql as
    $$ select timestamptz 'epoch' + last_value * interval '1 microsecond' from simulated.clock $$;
create function simulated.now() returns timestamptz stable language sql as
    $$ select timestamptz 'epoch' + interval '1 microsecond' * coalesce(
        nullif(current_setting('simulated.began', true), '')::bigint, (select last_value from simulated.clock)) $$;
"""
#: Defaults of columns were bound to the server's own functions when the tables were made.
REBIND = r"""
do $$
declare
    one record;
begin
    for one in select c.oid::regclass as name, a.attname as field, pg_get_expr(d.adbin, d.adrelid) as said
        from pg_attrdef d join pg_class c on c.oid = d.adrelid
        join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where c.relnamespace = 'public'::regnamespace
            and pg_get_expr(d.adbin, d.adrelid) ~ '(now|statement_timestamp|clock_timestamp)\(\)|CURRENT_TIMESTAMP'
    loop
        execute format('alter table %s alter column %I set default %s', one.name, one.field, replace(regexp_replace(
            one.said, '(pg_catalog\.)?(now|statement_timestamp|clock_timestamp)\(\)', 'simulated.\2()'),
            'CURRENT_TIMESTAMP', 'simulated.now()'));
    end loop;
end $$
"""
SET = "select setval('simulated.clock', {0})"
BEGIN = "select set_config('simulated.began', setval('simulated.clock', {0})::text, true)"


class Clock:
    """The time, counted in microseconds by the scheduler; the server holds a copy."""

    def __init__(self) -> None:
        self.micros = int((START - EPOCH) / timedelta(microseconds=1))

    @property
    def now(self) -> datetime:
        """The moment as everybody sees it."""
        return EPOCH + timedelta(microseconds=self.micros)

    @property
    def seconds(self) -> float:
        """Since the beginning of the simulation."""
        return (self.now - START).total_seconds()

    def tick(self) -> int:
        """The beginning of a transaction; answers the time for the server."""
        self.micros += int(TICK / timedelta(microseconds=1))
        return self.micros

    def jump(self, seconds: float) -> None:
        """Nobody has anything to do for so long, or somebody stands still."""
        self.micros += int(seconds * 1_000_000)

    def tell(self) -> None:
        """Let the server know, over the connection of the calling thread, which is in no transaction."""
        with connection.cursor() as cursor:
            cursor.execute(SET.format(self.micros))


class Time:
    """In place of the module `time` where the worker measures or sleeps."""

    def __init__(self, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._clock, self._sleep = clock, sleep

    def monotonic(self) -> float:
        """Never 0, which the product takes for long ago."""
        return 1_000_000.0 + self._clock.seconds

    def sleep(self, seconds: float) -> None:
        """The others go on meanwhile."""
        self._sleep(seconds)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the simulation knows no time.{name}")
