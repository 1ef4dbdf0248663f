"""One simulated time for Python and for the server: it moves only when the scheduler says so. What their clocks show can be set back
(RELIABILITY 13); the time of the simulation itself, and what Python measures, go on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from django.db import connection

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: A Monday morning, far from any month's end: partitions are by month.
START = datetime(2030, 1, 7, 9, tzinfo=UTC)
TICK = timedelta(milliseconds=1)  # between two transactions, so that no two begin at one moment
BACK = 60.0  # seconds by which a clock is set back

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
    """The time, counted in microseconds by the scheduler; the server holds a copy of what its clock shows."""

    def __init__(self) -> None:
        self.micros = int((START - EPOCH) / timedelta(microseconds=1))
        self._behind = self._behind_here = 0  # microseconds by which the server's clock was set back, and Python's

    @property
    def now(self) -> datetime:
        """What Python's clock shows."""
        return EPOCH + timedelta(microseconds=self.micros - self._behind_here)

    @property
    def there(self) -> datetime:
        """What the server's clock shows."""
        return EPOCH + timedelta(microseconds=self.shown)

    @property
    def shown(self) -> int:
        """The same for the server."""
        return self.micros - self._behind

    @property
    def seconds(self) -> float:
        """Since the beginning of the simulation, whatever the clocks show."""
        return (EPOCH + timedelta(microseconds=self.micros) - START).total_seconds()

    def tick(self) -> int:
        """The beginning of a transaction; answers the time for the server."""
        self.micros += int(TICK / timedelta(microseconds=1))
        return self.shown

    def jump(self, seconds: float) -> None:
        """Nobody has anything to do for so long, or somebody stands still. What is counted is no less than what was asked for: else
        somebody would wait for ever for a part of it that is too short to be counted."""
        self.micros += ceil(seconds * 1_000_000)

    def back(self, here: bool) -> None:
        """Somebody sets the server's clock back, and Python's as well where both are of one host."""
        self._behind += int(BACK * 1_000_000)
        self._behind_here += int(BACK * 1_000_000) if here else 0

    def tell(self) -> None:
        """Let the server know, over the connection of the calling thread, which is in no transaction."""
        with connection.cursor() as cursor:
            cursor.execute(SET.format(self.shown))


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
