"""Telling a restored backup, or a copy, from the installation that it was made of (RELIABILITY 36).

What a copy would send was perhaps sent long ago by the original, or is sent by it at this moment. So nothing works on one until a
person has seen what would go out (`manage.py restored`). Four things give a copy away: it lies in another server or database; it is
older than what this machine has seen of it, by a file in the data folder; its server was recovered to a point in time and nothing
here can tell that it is up to date; or the data folder itself, with the embedded server, was copied.

The copy of a whole disk beside its original shows none of these: `manage.py restored --hold WHY`, before anything is started on it.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from accounts.models import Installation, Provenance

log = logging.getLogger(__name__)
EVERY = 2.0  # seconds between two looks of a process
MOVED_ON = timedelta(seconds=10)  # so often the row, and after it the file, is written
# What a server that took over from another may lack without being a backup: replicas lag behind by seconds, backups by hours.
LAG = timedelta(seconds=30)
_MAY_ASK = """
SELECT bool_and(has_function_privilege(name, 'execute')) FROM unnest('{pg_control_system(),pg_control_checkpoint()}'::text[]) name
"""
_HOME = """
SELECT s.system_identifier::text || '/' || d.oid, c.timeline_id
FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d WHERE d.datname = current_database()
"""
_MOVE_ON = """
UPDATE accounts_provenance SET seen_at = greatest(seen_at, clock_timestamp()), timeline = %s
WHERE held_at IS NULL AND seen_at < clock_timestamp() - %s * interval '1 second' RETURNING seen_at
"""
_looked = float("-inf")
_answer = True


@dataclass(frozen=True, slots=True)
class Witness:
    """What the file of this machine says: up to when it saw these data at work, and whether it lies where it was written."""

    seen_at: datetime
    in_place: bool


def may_work() -> bool:
    """Whether workers may do anything. Asked all the time, looked up every two seconds; the first look is at the start."""
    global _looked, _answer
    if time.monotonic() - _looked >= EVERY:
        why = why_held()
        if why and _answer:
            log.warning("Nothing is done. %s See `manage.py restored`.", why)
        _answer, _looked = not why, time.monotonic()
    return _answer


def look_again() -> None:
    """Look anew when next asked: the connection was lost, and what is there now may be another database."""
    global _looked
    _looked = float("-inf")


def why_held() -> str:
    """Look now. A sentence when these data are a copy that nobody has confirmed, else empty and the row is moved on."""
    # Before the row: others move on both at any time, the row first, and the file must not seem to be ahead.
    witness = _read()
    home, timeline = _home()
    row = _row(home, timeline)
    if row.held_at:
        return row.held_why
    why = _suspicion(row, witness, home, timeline)
    if why:
        hold(why)
        return why
    with connection.cursor() as cursor:
        cursor.execute(_MOVE_ON, [timeline, MOVED_ON.total_seconds()])
        moved = cursor.fetchone()
    seen_at = moved[0] if moved else row.seen_at
    if witness is None or witness.seen_at < seen_at:
        _write(seen_at)
    return ""


def hold(why: str) -> None:
    """Let nothing work here until `confirm`."""
    _row(*_home())
    Provenance.objects.filter(held_at=None).update(held_at=_now(), held_why=why[:300])
    look_again()


def confirm() -> None:
    """A person has seen what would go out: these data are the installation now, here."""
    home, timeline = _home()
    _row(home, timeline)
    now = _now()
    Provenance.objects.update(home=home, timeline=timeline, seen_at=now, held_at=None, held_why="")
    _write(now)
    look_again()


def _row(home: str, timeline: int) -> Provenance:
    """The one row; made where nothing has worked yet."""
    row = Provenance.objects.filter(pk=1).first()
    return (
        row
        or Provenance.objects.get_or_create(pk=1, defaults={"home": home, "timeline": timeline, "seen_at": _now()})[0]
    )


def _suspicion(row: Provenance, witness: Witness | None, home: str, timeline: int) -> str:
    if row.home and home and row.home != home:
        return f"The data were last at work in another server or database, at {row.seen_at:%Y-%m-%d %H:%M:%S} UTC."
    if witness is not None and witness.seen_at - row.seen_at > LAG:
        return (
            f"The data are those of {row.seen_at:%Y-%m-%d %H:%M:%S} UTC, and this machine saw them at work until"
            f" {witness.seen_at:%Y-%m-%d %H:%M:%S} UTC."
        )
    if witness is not None and not witness.in_place and _embedded():
        return "The data folder is a copy: its files are not where they were written."
    if row.timeline and timeline and row.timeline != timeline and witness is None:
        return "The server was recovered to a point in time, and this machine has not seen these data before."
    return ""


def _home() -> tuple[str, int]:
    """Number of the server and of the database, and the server's timeline; empty and 0 where the role may not ask."""
    if not _may_ask():
        return "", 0
    with connection.cursor() as cursor:
        cursor.execute(_HOME)
        home, timeline = cursor.fetchone()
        return str(home), int(timeline)


@cache
def _may_ask() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(_MAY_ASK)
        return bool(cursor.fetchone()[0])


def _embedded() -> bool:
    """Whether the server's own files lie in the data folder."""
    return (settings.ONWARD_DATA / "postgres" / "data").is_dir() and str(connection.settings_dict["HOST"]).startswith(
        "/"
    )


def _now() -> Any:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def _file() -> Path:
    instance = Installation.objects.values_list("instance", flat=True).get()
    return Path(settings.ONWARD_DATA) / f"seen-{instance}.json"


def _read() -> Witness | None:
    """None where this machine has no file of these data, or one that cannot be read: then it is no witness."""
    file = _file()
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        return Witness(datetime.fromisoformat(said["seen_at"]), said["inode"] == file.stat().st_ino)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(seen_at: datetime) -> None:
    """Best effort: a machine without a folder to write in is no witness. Never ahead of what is committed."""
    if connection.in_atomic_block:
        return
    file = _file()
    fresh = file.with_suffix(".new")
    try:
        with fresh.open("w", encoding="utf-8") as target:
            json.dump({"seen_at": seen_at.isoformat(), "inode": fresh.stat().st_ino}, target)
        fresh.replace(file)
    except OSError:
        return
