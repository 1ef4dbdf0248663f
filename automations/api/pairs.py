"""Cursors of two numbers, for lists whose index has two columns."""

from __future__ import annotations

import base64
import binascii

from accounts.errors import Refusal


def write_pair(first: int, second: int) -> str:
    """An opaque text for the place after a row."""
    return base64.urlsafe_b64encode(f"2:{first}:{second}".encode()).decode().rstrip("=")


def read_pair(cursor: str) -> tuple[int, int]:
    """The two numbers of a cursor that we wrote; anything else is `invalid`."""
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)).decode("ascii")
        version, first, second = text.split(":")
        numbers = int(first), int(second)
        fine = version == "2" and first.isdigit() and second.isdigit() and max(numbers) < 2**63
    except (UnicodeError, binascii.Error, ValueError):
        fine = False
    if not fine:
        raise Refusal(
            "invalid", "cursor: this is none of ours; begin again without it.", {"fields": {"cursor": ["unknown"]}}
        )
    return numbers
