"""Answers are written as the framework writes them (CONTRACTS 1)."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from accounts.api.rendering import AnswerRenderer, written

PLAIN = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text()
VALUES = st.recursive(
    PLAIN, lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4), max_leaves=20
)


@given(VALUES)
def test_plain_values_are_written_byte_by_byte_as_by_the_framework(value: Any) -> None:
    assert AnswerRenderer().render(value) == JSONRenderer().render(value)


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 20, 9, 14, 2, 120000, UTC),
        datetime(2026, 11, 20, 9, 14),  # noqa: DTZ001  # one without a zone
        date(2026, 11, 20),
        timedelta(minutes=1.5),
        Decimal("12.50"),
        uuid.UUID(int=7),
        gettext_lazy("Save"),
        b"bytes",
        ("a", 1),
        {1: "a key that is no text"},
        "\u2028 and \u2029 break lines in JavaScript",
        2**64,
        12.5,
    ],
)
def test_and_so_are_others(value: Any) -> None:
    assert AnswerRenderer().render({"value": value}) == JSONRenderer().render({"value": value})


def test_nothing_is_nothing() -> None:
    assert AnswerRenderer().render(None) == JSONRenderer().render(None) == b""


def test_what_can_be_no_json_is_an_error_and_no_half_an_answer() -> None:
    with pytest.raises(TypeError):
        AnswerRenderer().render({"value": object()})


def test_floats_read_back_as_they_were() -> None:
    values = [0.1, 1e16, 1e-7, -0.0, 123456789.125]
    assert json.loads(AnswerRenderer().render(values)) == values


@pytest.mark.parametrize(("data", "status"), [({"id": "evt_7", "status": "accepted"}, 202), ([], 200), (None, 204)])
def test_an_answer_that_is_written_at_once_is_the_one_that_is_rendered_later(data: Any, status: int) -> None:
    later = Response(data, status=status)
    later.accepted_renderer, later.accepted_media_type, later.renderer_context = (
        AnswerRenderer(),
        "application/json",
        {},
    )
    later.render()
    at_once = written(data, status)
    assert (at_once.status_code, at_once.content) == (later.status_code, later.content)
    if data is not None:
        assert dict(at_once.headers) == dict(later.headers)
