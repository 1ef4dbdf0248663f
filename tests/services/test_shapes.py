"""What is learned of custom events' payloads (DESIGN 4: an unseen field is a warning)."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from automations.models import EventShape
from automations.services import shapes
from automations.services.events import NewEvent
from automations.services.shapes import DEEPEST, MOST_PATHS, learn, paths_of
from tests.factories import make_workspace


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "boolean"),
        (3, "number"),
        (Decimal("1.5"), "number"),
        (1.5, "number"),
        ("text", "text"),
        ("2026-11-20", "time"),
        ("2026-11-20T10:00:00Z", "time"),
        (datetime(2026, 11, 20, tzinfo=UTC), "time"),
        ("20261120", "text"),
        ([], "list"),
        ([1], "list"),
        (None, "null"),
        ({}, "object"),
    ],
)
def test_types(value, kind):
    assert paths_of({"field": value}) == {"field": kind}


def test_paths_of_nested_data():
    payload = {"plan": {"name": "team", "price": {"amount": "9.00"}}, "tags": [{"ignored": 1}]}
    assert paths_of(payload) == {
        "plan": "object",
        "plan.name": "text",
        "plan.price": "object",
        "plan.price.amount": "text",
        "tags": "list",
    }


def test_data_is_looked_into_so_deep_and_no_deeper():
    payload: dict = {"end": 1}
    for _ in range(DEEPEST + 5):
        payload = {"in": payload}
    assert max(path.count(".") for path in paths_of(payload)) == DEEPEST


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.integers() | st.dictionaries(st.text(max_size=3), st.integers())
    )
)
def test_every_top_level_field_is_there(payload):
    found = paths_of(payload)
    assert set(payload) <= set(found) or len(found) == MOST_PATHS


def event(workspace, payload, name="purchase", **parts):
    """An event that was recorded."""
    return NewEvent(workspace.pk, name, "api", "k", {}, payload, **parts)


@pytest.fixture
def workspace(db):
    shapes.forget()
    return make_workspace()


def test_types_follow_what_came_last(workspace):
    learn([event(workspace, {"seats": 3})])
    learn([event(workspace, {"seats": "many"})])
    assert EventShape.objects.get(workspace=workspace).paths == {"seats": "text"}


def test_each_name_and_workspace_has_a_shape_of_its_own(workspace):
    other = make_workspace()
    learn([event(workspace, {"a": 1}), event(workspace, {"b": 1}, "signup"), event(other, {"c": 1})])
    rows = EventShape.objects.values_list("workspace_id", "name", "paths")
    assert {(workspace, name, *paths) for workspace, name, paths in rows} == {
        (workspace.pk, "purchase", "a"),
        (workspace.pk, "signup", "b"),
        (other.pk, "purchase", "c"),
    }


def test_events_for_one_automation_teach_nothing(workspace):
    learn([event(workspace, {"a": 1}, only_automation=3), event(workspace, {"b": 1}, "payment.failed")])
    assert not EventShape.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_what_this_process_knows_costs_no_statement(workspace):
    from django.db import transaction

    with transaction.atomic():
        learn([event(workspace, {"seats": 1, "plan": "x"})])
    with CaptureQueriesContext(connection) as queries:
        learn([event(workspace, {"seats": 2}), event(workspace, {"plan": "y"})])
    assert len(queries) == 0
    with CaptureQueriesContext(connection) as queries:
        learn([event(workspace, {"seats": 2, "coupon": "z"})])
    assert len(queries) == 1
    assert set(EventShape.objects.get(workspace=workspace).paths) == {"seats", "plan", "coupon"}


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_is_not_believed(workspace):
    from django.db import transaction

    def fail():
        with transaction.atomic():
            learn([event(workspace, {"seats": 1})])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    learn([event(workspace, {"seats": 1})])
    assert EventShape.objects.get(workspace=workspace).paths == {"seats": "number"}
