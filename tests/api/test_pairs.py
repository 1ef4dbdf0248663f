"""Cursors of two numbers: opaque, ours alone, and read back as they were written."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import Refusal
from automations.api.pairs import read_pair, write_pair

NUMBERS = st.integers(0, 2**63 - 1)


@given(NUMBERS, NUMBERS)
def test_what_is_written_is_read(first: int, second: int) -> None:
    cursor = write_pair(first, second)
    assert read_pair(cursor) == (first, second)
    assert cursor.isascii()
    assert "=" not in cursor


@given(st.text(max_size=60))
def test_anything_else_is_refused_and_never_breaks(text: str) -> None:
    with pytest.raises(Refusal) as refused:
        read_pair(f"~{text}")  # no cursor begins so
    assert refused.value.code == "invalid"


@pytest.mark.parametrize("inside", ["1:5", "2:5", "2:5:", "2:-1:5", "2:5:x", "3:5:5", f"2:{2**63}:1", "2:٣:1", ""])
def test_a_foreign_cursor_is_refused(inside: str) -> None:
    cursor = base64.urlsafe_b64encode(inside.encode()).decode().rstrip("=")
    with pytest.raises(Refusal) as refused:
        read_pair(cursor)
    assert (refused.value.code, list(refused.value.details["fields"])) == ("invalid", ["cursor"])
