"""A host whose clock is wrong: with this folder on PYTHONPATH every Python process tells a time that is `CHAOS_CLOCK` seconds off, or
as many as the file `CHAOS_CLOCK_FILE` says at the moment, so that a clock jumps under processes that are at work.

It needs no package and no rights. What is asked of the system elsewhere (file times, TLS) stays right; the product asks neither for
what it decides. `datetime` becomes a class that makes nothing but instances of the real one, so that code in C which knows this one by
identity (psycopg, orjson) sees no difference.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_REAL_DATETIME, _REAL_TIME, _REAL_TIME_NS = datetime.datetime, time.time, time.time_ns


class _Meta(type):
    """Calling it, which its class methods do as well, makes an instance of the real class; all of those are its own."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return _REAL_DATETIME(*args, **kwargs)

    def __instancecheck__(cls, thing: object) -> bool:
        return isinstance(thing, _REAL_DATETIME)

    def __subclasscheck__(cls, other: type) -> bool:
        return issubclass(other, _REAL_DATETIME)


LOOKS = 0.05  # seconds between two looks into the file


class Jumps:
    """What the file says, looked up now and then."""

    def __init__(self, file: str) -> None:
        self._file, self._said, self._next = Path(file), 0.0, 0.0

    def __call__(self) -> float:
        """Seconds."""
        if time.monotonic() >= self._next:
            self._said, self._next = float(self._file.read_text()), time.monotonic() + LOOKS
        return self._said


def _shift(seconds: Callable[[], float]) -> None:
    class Shifted(datetime.datetime, metaclass=_Meta):
        __slots__ = ()
        __module__, __qualname__ = "datetime", "datetime"

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return _REAL_DATETIME.fromtimestamp(_REAL_TIME() + seconds(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return _REAL_DATETIME.fromtimestamp(_REAL_TIME() + seconds(), datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> Any:
            return _REAL_DATETIME.fromtimestamp(_REAL_TIME() + seconds())

    time.time = lambda: _REAL_TIME() + seconds()
    time.time_ns = lambda: _REAL_TIME_NS() + int(seconds() * 1e9)
    datetime.datetime = Shifted  # type: ignore[misc,assignment]  # stands in for it wherever it is imported later


if os.environ.get("CHAOS_CLOCK_FILE"):
    _shift(Jumps(os.environ["CHAOS_CLOCK_FILE"]))
elif os.environ.get("CHAOS_CLOCK"):
    _off = float(os.environ["CHAOS_CLOCK"])
    _shift(lambda: _off)
