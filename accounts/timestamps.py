"""Reading times from PostgreSQL quickly. Psycopg's reader is written in Python and takes every text apart by a pattern; a worker's
batch holds thousands of times, and the same few over and over (a twentieth of its processor time)."""

from __future__ import annotations

from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any

from django.db.backends.postgresql.psycopg_any import BaseTzLoader
from psycopg.abc import Buffer


@lru_cache(maxsize=4096)
def _utc(text: bytes, zone: tzinfo | None) -> datetime | None:
    """The time of a text as a connection in UTC writes it (`2026-11-21 10:39:30.12+00`); None for any other."""
    if not text.endswith(b"+00"):
        return None
    try:
        return datetime.fromisoformat(text[:-3].decode()).replace(tzinfo=zone)
    except ValueError:  # infinity, years beyond the calendar: psycopg says what is wrong
        return None


class _QuickLoader(BaseTzLoader):
    """What Django registers, with the ordinary case read first."""

    def load(self, data: Buffer) -> datetime:
        return _utc(bytes(data), self.timezone) or super().load(data)


def read_quickly(*, connection: Any, **kwargs: Any) -> None:
    """Register the reader with a new connection (the signal `connection_created`)."""
    if connection.vendor == "postgresql":
        own = type("QuickLoader", (_QuickLoader,), {"timezone": connection.timezone})
        connection.connection.adapters.register_loader("timestamptz", own)
