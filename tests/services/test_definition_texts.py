"""Definitions in the database and as texts: what is stored reads back the same, and people see what they wrote (CONTRACTS 4, P5)."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from accounts.errors import Refusal
from accounts.models import Workspace
from automations.engine.definition import Definition
from automations.engine.reading import read_data
from automations.engine.registry import registry
from automations.models import Version
from automations.services.copies import event_names, heard, trigger_key
from automations.services.drafts import save_draft, update_automation
from automations.services.texts import (
    definition_of,
    format_named,
    read_text,
    shown_yaml,
    stored,
    written_source,
    yaml_of,
)
from tests.automations import TAGGING, WAITING, made, published, text
from tests.engine.definitions import definitions
from tests.factories import actor_of

EXAMPLES = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@EXAMPLES
@given(definitions())
def test_what_is_stored_reads_back_as_the_same_value(definition: Definition) -> None:
    # P5: parse(dump(d)) == d, through JSON as the database keeps it
    data, sha256 = stored(definition)
    again = read_data(json.loads(json.dumps(data)), registry).definition
    assert again == definition
    assert stored(again) == (data, sha256)


@EXAMPLES
@given(definitions())
def test_a_stored_version_is_shown_as_yaml_that_says_the_same(definition: Definition) -> None:
    data, sha256 = stored(definition)
    version = Version(number=1, definition=data, sha256=sha256)
    assert stored(read_text(yaml_of(version), "yaml").definition)[1] == sha256


def test_the_hash_is_of_the_graph_and_not_of_its_spelling() -> None:
    yaml = read_text(
        "name: x\ntrigger: {type: manual}\nsteps: [{id: a, type: delay, duration: 3d}]\n", "yaml"
    ).definition
    graph = {
        "edges": [{"to": "a", "port": "next", "from": "trigger"}],
        "nodes": [{"config": {"duration": "3d"}, "type": "delay", "id": "a"}],
        "trigger": {"type": "manual"},
        "name": "x",
    }
    assert stored(yaml)[1] == stored(read_text(json.dumps(graph), "json").definition)[1]
    other = {**graph, "nodes": [{"id": "a", "type": "delay", "config": {"duration": "4d"}}]}
    assert stored(read_text(other, None).definition)[1] != stored(yaml)[1]


def test_numbers_with_a_point_come_back_as_decimals() -> None:
    # DESIGN 4
    call = "{id: h, type: action, action: send_webhook, url: 'https://x.example', body: {rate: 0.10}}"
    body = f"name: x\ntrigger: {{type: manual}}\nsteps: [{call}]"
    data, _ = stored(read_text(body, "yaml").definition)
    config = read_data(json.loads(json.dumps(data)), registry).definition.nodes[0].config
    assert config["body"]["rate"] == Decimal("0.1")
    assert isinstance(config["body"]["rate"], Decimal)


@pytest.mark.parametrize(
    ("name", "found"), [("yaml", "yaml"), ("json", "json"), ("", None), (None, None), ("toml", None)]
)
def test_formats(name: str | None, found: str | None) -> None:
    assert format_named(name) == found


@pytest.mark.parametrize(
    ("body", "count"),
    [("name: 3x\nsteps: [{type: juggle}, {type: juggle}]\ntriger: {}\n", 3), ("name: [", 1)],
)
def test_a_refusal_counts_the_problems_that_it_lists(body: str, count: int) -> None:
    with pytest.raises(Refusal) as refused:
        read_text(body, "yaml")
    problems = refused.value.details["problems"]
    assert len(problems) >= count
    assert (f"{len(problems) - 1} more problems" in refused.value.message) == (len(problems) > 1)


@pytest.mark.django_db
class TestSources:
    def test_comments_and_spelling_are_kept(self, workspace: Workspace) -> None:
        body = "# because\n" + text(WAITING)
        automation = made(workspace)
        draft = save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=body, fmt="yaml")
        assert yaml_of(Version.objects.get(pk=draft.version.pk)) == body
        assert "# because" not in yaml_of(draft.version, plain=True)

    def test_a_text_that_no_longer_says_the_same_is_not_shown(self, workspace: Workspace) -> None:
        automation = made(workspace, WAITING, name="Before")
        update_automation(actor=actor_of(workspace), automation_id=automation.pk, name="After")
        version = Version.objects.get(automation=automation)
        assert version.source
        assert written_source(version) is None
        assert yaml_of(version).startswith("name: After")

    def test_a_text_that_no_longer_reads_is_not_shown(self, workspace: Workspace) -> None:
        version = Version.objects.get(automation=made(workspace))
        version.source = "name: ["
        assert written_source(version) is None
        assert read_text(yaml_of(version), "yaml").definition.nodes

    def test_a_graph_has_no_source_but_a_yaml(self, workspace: Workspace) -> None:
        graph = {"name": "G", "trigger": {"type": "manual"}, "nodes": [], "edges": []}
        automation = made(workspace)
        draft = save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=graph)
        assert (draft.version.source, draft.version.source_format) == ("", "")
        assert "name: G" in yaml_of(draft.version)

    def test_json_is_kept_and_shown_as_yaml_when_asked_for(self, workspace: Workspace) -> None:
        body = '{"name": "J", "trigger": {"type": "manual"}, "nodes": [], "edges": []}'
        draft = save_draft(actor=actor_of(workspace), automation_id=made(workspace).pk, body=body, fmt="json")
        assert (draft.version.source, draft.version.source_format) == (body, "json")
        assert yaml_of(draft.version).startswith("name: J")

    def test_a_mark_at_the_beginning_of_a_file_is_taken_off(self, workspace: Workspace) -> None:
        draft = save_draft(
            actor=actor_of(workspace),
            automation_id=made(workspace).pk,
            body=b"\xef\xbb\xbf" + text().encode(),
            fmt="yaml",
        )
        assert draft.version.source.startswith("name:")

    def test_lines_of_the_shown_text_are_those_of_its_steps(self, workspace: Workspace) -> None:
        version = Version.objects.get(automation=made(workspace, WAITING))
        shown = shown_yaml(version)
        assert shown.definition == definition_of(version)
        assert (
            shown.lines.step(0).line
            == shown.text.splitlines().index(next(line for line in shown.text.splitlines() if "pause" in line)) + 1
        )

    def test_the_quick_start_is_shown_to_the_letter(self, workspace: Workspace) -> None:
        # DEF-20
        body = Path("docs/samples/quick-start.yaml").read_text()
        automation = made(workspace)
        draft = save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=body, fmt="yaml")
        assert yaml_of(Version.objects.get(pk=draft.version.pk)) == body


class TestHeard:
    """Which events concern an automation: by them the router finds it."""

    @staticmethod
    def of(body: str) -> list[str]:
        return heard(read_text(f"name: x\n{body}\nsteps: []\n", "yaml").definition)

    @pytest.mark.parametrize(
        ("body", "names"),
        [
            ("trigger: {type: event, event: demo_booked}", {"demo_booked"}),
            ("trigger: {type: manual}", set()),
            ("trigger: {type: schedule, interval: 1d}", set()),
            (
                "trigger: {type: event, event: a}\nexits: [{event: b}, {event: c}]\ngoal: {event: d, within: 1d}",
                {"a", "b", "c", "d"},
            ),
            ("trigger: {type: manual}\nexits: [{event: left}]", {"left"}),
            ("trigger: {type: event, event: payment.failed}", {"payment.failed"}),
        ],
    )
    def test_trigger_exits_and_goal(self, body: str, names: set[str]) -> None:
        found = self.of(body)
        assert names <= set(found)
        assert len(found) == len(set(found))
        if "payment" not in body:
            assert set(found) == names

    def test_an_exclusive_trigger_hears_what_ends_its_runs(self) -> None:
        found = self.of("trigger: {type: event, event: billing.invoice_overdue}")
        assert {"invoice.overdue", "invoice.paid", "invoice.voided", "invoice.updated"} <= set(found)

    def test_a_name_that_is_no_trigger_stands_for_itself(self) -> None:
        assert event_names("demo_booked") == ["demo_booked"]
        assert "payment.failed" in event_names("billing.subscription_payment_failed")

    @pytest.mark.parametrize(
        ("trigger", "key"),
        [
            ("{type: event, event: x}", "x"),
            ("{type: manual}", "manual"),
            ("{type: schedule, interval: 1d}", "schedule"),
        ],
    )
    def test_what_a_run_says_it_was_triggered_by(self, trigger: str, key: str) -> None:
        assert trigger_key(read_text(f"name: x\ntrigger: {trigger}\n", "yaml").definition) == key


@pytest.mark.django_db
def test_copies_are_those_of_the_draft_until_something_was_active(workspace: Workspace) -> None:
    # CONTRACTS 3
    draft = made(workspace, TAGGING, trigger="{type: event, event: one}")
    save_draft(
        actor=actor_of(workspace), automation_id=draft.pk, body=text(trigger="{type: event, event: two}"), fmt="yaml"
    )
    draft.refresh_from_db()
    assert (draft.trigger_key, draft.listens) == ("two", ["two"])
    active = published(workspace, TAGGING, trigger="{type: event, event: one}")
    save_draft(
        actor=actor_of(workspace), automation_id=active.pk, body=text(trigger="{type: event, event: two}"), fmt="yaml"
    )
    active.refresh_from_db()
    assert (active.trigger_key, active.listens) == ("one", ["one"])
