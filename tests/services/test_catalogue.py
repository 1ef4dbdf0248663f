"""The catalogue says everything about every trigger, step, action and variable (TRG-48, CONTRACTS 6)."""

from __future__ import annotations

import jsonschema
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.errors import Refusal
from accounts.models import Workspace
from automations.engine.registry import registry
from automations.services.catalogue import catalogue, type_of
from tests.factories import actor_of, make_customer
from tests.worker.living import happen

pytestmark = pytest.mark.django_db


def document(workspace: Workspace) -> dict:
    return catalogue(actor=actor_of(workspace)).data


def test_every_trigger_has_its_attributes(workspace: Workspace) -> None:
    # TRG-48: name, group, subject, dispatch, ends, parameters
    triggers = {item["name"]: item for item in document(workspace)["triggers"]}
    assert set(triggers) == set(registry.triggers)
    for item in triggers.values():
        assert item["label"]
        assert item["group"]
        assert item["dispatch"] in ("parallel", "exclusive")
        assert item["type"] in ("event", "schedule", "manual")
        assert isinstance(item["ends"], list)
        jsonschema.Draft202012Validator.check_schema(item["parameters"])
        jsonschema.Draft202012Validator.check_schema(item["variables"])
        assert item["sample"], item["name"]


def test_exclusive_triggers_are_marked_and_name_what_ends_them(workspace: Workspace) -> None:
    triggers = {item["name"]: item for item in document(workspace)["triggers"]}
    overdue = triggers["billing.invoice_overdue"]
    assert (overdue["dispatch"], overdue["subject"]) == ("exclusive", "invoice")
    assert {end["reason"] for end in overdue["ends"]} >= {"invoice_paid", "invoice_voided"}
    assert triggers["stage_enter"]["legacy"] is True  # TRG-41


@pytest.mark.parametrize("family", ["steps", "actions"])
def test_every_step_has_schemas_ports_and_a_valid_example(workspace: Workspace, family: str) -> None:
    found = {item["name"]: item for item in document(workspace)[family]}
    assert set(found) == set(getattr(registry, family))
    for item in found.values():
        jsonschema.Draft202012Validator.check_schema(item["config"])
        jsonschema.Draft202012Validator.check_schema(item["output"])
        jsonschema.validate(item["example"], item["config"])
        kind = registry.kind(item["name"])
        assert kind is not None
        kind.Config.model_validate(item["example"])
        assert all({"name", "label", "optional", "when"} == set(port) for port in item["ports"])


def test_the_concept_actions_of_this_issue_are_there(workspace: Workspace) -> None:
    # DEF-05, ACT-36
    actions = {item["name"]: item for item in document(workspace)["actions"]}
    assert {"send_email", "send_webhook", "update_customer", "add_tag", "create_task", "start_automation"} <= set(
        actions
    )
    assert {"retry_payment", "void_invoice"} <= set(actions)
    assert (actions["retry_payment"]["money"], actions["retry_payment"]["effect"]) == (True, "outside")
    assert actions["add_tag"]["subjects"] == ["customer"]


def test_ports_say_when_they_exist(workspace: Workspace) -> None:
    found = {item["name"]: {port["name"]: port for port in item["ports"]} for item in document(workspace)["steps"]}
    assert found["wait_until"]["timeout"]["when"] == "branchOnTimeout"
    assert found["wait_until"]["next"]["when"] is None
    assert set(found["condition"]) == {"true", "false"}
    assert found["stop"] == {}
    actions = {item["name"]: {port["name"]: port for port in item["ports"]} for item in document(workspace)["actions"]}
    assert actions["send_email"]["error"]["optional"] is True
    assert actions["send_email"]["next"]["optional"] is False


def test_an_action_is_offered_where_the_trigger_has_its_subject(workspace: Workspace) -> None:
    # ACT-33, ACT-36
    triggers = {item["name"]: item["actions"] for item in document(workspace)["triggers"]}
    assert "add_tag" in triggers["payment.failed"]
    assert "retry_payment" in triggers["payment.failed"]
    assert "retry_payment" not in triggers["customer.created"]
    assert "add_tag" not in triggers["schedule"]
    assert "create_task" in triggers["schedule"]


def test_variables_are_typed_and_have_their_other_names(workspace: Workspace) -> None:
    # CND-02: typed fields
    variables = {item["path"]: item for item in document(workspace)["variables"]}
    assert variables["customer.segment"]["type"] == "text"
    assert variables["invoice.total"]["type"] == "number"
    assert variables["customer.tags"]["type"] == "list"
    assert variables["customer.createdAt"]["type"] == "datetime"
    assert "profile.segment" in variables["customer.segment"]["aliases"]
    assert "country" in variables["customer.country"]["aliases"]
    assert variables["run.id"]["root"] == "run"


def test_filters_of_a_trigger_are_fields_of_what_it_is_about(workspace: Workspace) -> None:
    # CND-17: which filters are offered depends on the trigger
    triggers = {item["name"]: item["filters"] for item in document(workspace)["triggers"]}
    assert "invoice.total" in triggers["payment.failed"]
    assert "invoice.total" not in triggers["customer.created"]
    assert triggers["schedule"] == []


def test_custom_events_are_listed_as_they_were_learned(workspace: Workspace, other: Workspace) -> None:
    happen(make_customer(workspace), "demo_booked", {"seats": 12})
    happen(make_customer(other), "elsewhere", {"x": 1})
    assert document(workspace)["events"] == [{"name": "demo_booked", "fields": {"seats": "number"}}]


def test_the_tag_changes_only_with_what_was_learned(workspace: Workspace) -> None:
    first = catalogue(actor=actor_of(workspace)).etag
    assert catalogue(actor=actor_of(workspace)).etag == first
    happen(make_customer(workspace), "new_kind")
    assert catalogue(actor=actor_of(workspace)).etag != first


def test_it_takes_one_query(workspace: Workspace) -> None:
    document(workspace)
    actor = actor_of(workspace)
    with CaptureQueriesContext(connection) as queries:
        catalogue(actor=actor)
    assert len(queries) == 1


def test_it_needs_the_scope_to_read(workspace: Workspace) -> None:
    nobody = actor_of(workspace, "stranger")
    with pytest.raises(Refusal) as refused:
        catalogue(actor=nobody)
    assert refused.value.code == "role_missing"


@pytest.mark.parametrize(
    ("schema", "type_"),
    [
        ({"type": "string"}, "text"),
        ({"type": "integer"}, "number"),
        ({"type": "number", "format": "money"}, "number"),
        ({"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]}, "date"),
        ({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}, "datetime"),
        ({"type": "boolean"}, "boolean"),
        ({"type": "array", "items": {}}, "list"),
        ({"$ref": "#/$defs/X"}, "object"),
        ({}, "text"),
    ],
)
def test_types_come_from_the_schema(schema: dict, type_: str) -> None:
    assert type_of(schema) == type_
