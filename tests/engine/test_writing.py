"""Writing definitions: whatever is written reads back the same (DEF-24, P5, C-08)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automations.engine.definition import Definition, Edge, Node, TriggerSpec
from automations.engine.graph import canonical
from automations.engine.reading import read_data, read_definition
from automations.engine.writing import fingerprint, to_data, to_nested, to_yaml
from tests.engine.definitions import DATA, definitions
from tests.engine.kinds_for_tests import REGISTRY

QUICK_START = Path("docs/samples/quick-start.yaml").read_text()
EVERYTHING = Path("tests/engine/samples/everything.yaml").read_text()
FEW = settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))


def build(nodes: dict[str, Any], *edges: tuple[str, str, str], **more: Any) -> Definition:
    made = tuple(Node(id, *(spec if isinstance(spec, tuple) else (spec, {}))) for id, spec in nodes.items())
    wires = (("trigger", "next", next(iter(nodes))), *edges) if nodes else edges
    return canonical(Definition("Built", TriggerSpec("manual"), made, tuple(Edge(*edge) for edge in wires), **more))


def without_positions(definition: Definition) -> Definition:
    data = to_data(definition)
    for node in data["nodes"]:
        node.pop("position", None)
    return read_data(data, REGISTRY).definition


class TestIdentity:
    """P5: parse after print is the identity."""

    @FEW
    @given(definitions())
    def test_yaml_reads_back_as_the_same_definition(self, definition: Definition) -> None:
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY, "yaml").definition == definition

    @FEW
    @given(definitions())
    def test_graph_data_reads_back_as_the_same_definition(self, definition: Definition) -> None:
        data = to_data(definition)
        again = read_data(data, REGISTRY).definition
        assert again == definition
        assert to_data(again) == data

    @FEW
    @given(definitions())
    def test_an_import_of_an_export_has_the_same_hash(self, definition: Definition) -> None:
        again = read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition
        assert fingerprint(again) == fingerprint(definition)

    @FEW
    @given(definitions())
    def test_plain_yaml_loses_positions_only(self, definition: Definition) -> None:
        again = read_definition(to_yaml(definition, REGISTRY, plain=True), REGISTRY, "yaml").definition
        assert again == without_positions(definition)

    @settings(max_examples=150, deadline=None)
    @given(DATA)
    def test_configuration_of_any_kind_survives(self, body: Any) -> None:
        definition = build({"hook": ("send_webhook", {"body": body})})
        again = read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition
        assert to_data(again)["nodes"][0]["config"] == to_data(definition)["nodes"][0]["config"]

    @pytest.mark.parametrize("text", [QUICK_START, EVERYTHING], ids=["quick start", "everything"])
    @pytest.mark.parametrize("plain", [False, True])
    def test_the_samples_survive(self, text: str, plain: bool) -> None:
        # DEF-24
        first = read_definition(text, REGISTRY).definition
        assert read_definition(to_yaml(first, REGISTRY, plain=plain), REGISTRY).definition == first


class TestHash:
    def test_it_does_not_depend_on_the_order_of_nodes_and_edges(self) -> None:
        data = to_data(read_definition(EVERYTHING, REGISTRY).definition)
        turned = {**data, "nodes": data["nodes"][::-1], "edges": data["edges"][::-1]}
        assert fingerprint(read_data(turned, REGISTRY).definition) == fingerprint(read_data(data, REGISTRY).definition)

    def test_it_tells_two_graphs_apart(self) -> None:
        one = build({"a": ("delay", {"duration": "1d"})})
        other = build({"a": ("delay", {"duration": "2d"})})
        assert fingerprint(one) != fingerprint(other)

    def test_it_is_that_of_the_text_form_whatever_the_form(self) -> None:
        nested = read_definition(QUICK_START, REGISTRY).definition
        graph = read_data(to_data(nested), REGISTRY).definition
        assert fingerprint(nested) == fingerprint(graph)


class TestNestedForm:
    """Nested where the graph is a tree that rejoins (C-08)."""

    def test_arms_hang_below_their_condition_and_what_follows_stands_behind_it(self) -> None:
        definition = build(
            {"c": ("condition", {"if": "a"}), "yes": "create_task", "no": "create_task", "after": "create_task"},
            ("c", "true", "yes"),
            ("c", "false", "no"),
            ("yes", "next", "after"),
            ("no", "next", "after"),
        )
        condition, after = to_nested(definition, REGISTRY)["steps"]
        assert [step["id"] for step in condition["then"]] == ["yes"]
        assert [step["id"] for step in condition["else"]] == ["no"]
        assert after["id"] == "after"

    def test_an_arm_that_ends_says_so_where_something_follows(self) -> None:
        definition = build(
            {"c": ("condition", {"if": "a"}), "d": "condition", "yes": "create_task", "after": "create_task"},
            ("c", "true", "d"),
            ("c", "false", "after"),
            ("d", "true", "yes"),
            ("yes", "next", "after"),
        )
        condition = to_nested(definition, REGISTRY)["steps"][0]
        assert condition["then"][0]["else"] == "end"

    def test_a_branch_carries_its_arms_in_its_cases(self) -> None:
        cases = {"cases": [{"id": "big", "if": "a"}, {"id": "small", "if": "b"}]}
        definition = build(
            {"b": ("branch", cases), "x": "create_task", "y": "create_task", "z": "create_task"},
            ("b", "big", "x"),
            ("b", "default", "y"),
            ("x", "next", "z"),
            ("y", "next", "z"),
        )
        branch = to_nested(definition, REGISTRY)["steps"][0]
        assert branch["cases"][0]["then"][0]["id"] == "x"
        assert branch["cases"][1]["then"] == "end"
        assert branch["default"][0]["id"] == "y"

    def test_a_wait_with_a_time_out_has_two_arms(self) -> None:
        definition = build(
            {"w": ("wait_until", {"event": "e", "timeout": "1d", "branchOnTimeout": True}), "x": "create_task"},
            ("w", "timeout", "x"),
        )
        wait = to_nested(definition, REGISTRY)["steps"][0]
        assert wait["onTimeout"][0]["id"] == "x"
        assert "branchOnTimeout" not in wait
        assert read_data(to_nested(definition, REGISTRY), REGISTRY).definition == definition

    def test_a_fallback_hangs_below_its_action(self) -> None:
        definition = build(
            {"m": "send_email", "f": "create_task", "n": "create_task"},
            ("m", "next", "n"),
            ("m", "error", "f"),
            ("f", "next", "n"),
        )
        mail, after = to_nested(definition, REGISTRY)["steps"]
        assert [step["id"] for step in mail["onError"]] == ["f"]
        assert after["id"] == "n"

    def test_a_fallback_that_only_goes_on_is_an_empty_list(self) -> None:
        definition = build({"m": "send_email", "n": "create_task"}, ("m", "next", "n"), ("m", "error", "n"))
        assert to_nested(definition, REGISTRY)["steps"][0]["onError"] == []

    def test_a_loop_holds_its_body(self) -> None:
        definition = build(
            {"l": ("loop", {"over": "{{x}}"}), "b": "create_task", "n": "create_task"},
            ("l", "each", "b"),
            ("l", "next", "n"),
        )
        loop, after = to_nested(definition, REGISTRY)["steps"]
        assert loop["steps"][0]["id"] == "b"
        assert after["id"] == "n"

    def test_an_arm_that_stops_needs_no_end(self) -> None:
        definition = build(
            {"c": ("condition", {"if": "a"}), "s": "stop", "n": "create_task"}, ("c", "true", "s"), ("c", "false", "n")
        )
        condition = to_nested(definition, REGISTRY)["steps"][0]
        assert condition["then"] == [{"id": "s", "type": "stop"}]
        assert read_data(to_nested(definition, REGISTRY), REGISTRY).definition == definition

    def test_no_step_carries_next(self) -> None:
        definition = read_definition(QUICK_START, REGISTRY).definition
        assert "next:" not in to_yaml(definition, REGISTRY)


class TestFlatForm:
    """Otherwise a flat list with `next` (C-08)."""

    def crossing(self) -> Definition:
        return build(
            {"c": ("condition", {"if": "a"}), "d": ("condition", {"if": "b"}), "x": "create_task", "y": "create_task"},
            ("c", "true", "x"),
            ("c", "false", "d"),
            ("d", "true", "x"),
            ("d", "false", "y"),
            ("x", "next", "y"),
        )

    def test_a_graph_that_is_no_tree_is_one_list_with_next(self) -> None:
        definition = build(
            {
                "s": ("branch", {"cases": [{"id": "p", "if": "1"}, {"id": "q", "if": "2"}]}),
                "x": "create_task",
                "y": "create_task",
                "z": "create_task",
            },
            ("s", "p", "x"),
            ("s", "q", "y"),
            ("s", "default", "z"),
            ("x", "next", "y"),
        )
        graph = read_data(
            {
                **to_data(definition),
                "edges": [*to_data(definition)["edges"], {"from": "z", "port": "error", "to": "x"}],
            },
            REGISTRY,
        ).definition
        steps = to_nested(graph, REGISTRY)["steps"]
        assert len(steps) == 4
        assert any("next" in step for step in steps)
        assert read_data(to_nested(graph, REGISTRY), REGISTRY).definition == graph

    def test_arms_that_share_a_step_before_they_meet_still_read_back(self) -> None:
        definition = self.crossing()
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition == definition

    def test_the_everything_sample_is_flat_because_a_fallback_jumps(self) -> None:
        definition = read_definition(EVERYTHING, REGISTRY).definition
        steps = to_nested(definition, REGISTRY)["steps"]
        assert len(steps) == len(definition.nodes)
        assert next(step for step in steps if step["id"] == "call")["next"] == {"error": "stop_here"}

    def test_a_stop_before_a_step_that_nothing_reaches_does_not_lead_there(self) -> None:
        definition = build({"s": "stop", "lost": "create_task"})
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition == definition

    def test_a_cycle_can_be_written_and_read(self) -> None:
        definition = build({"a": "create_task", "b": "create_task"}, ("a", "next", "b"), ("b", "next", "a"))
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition == definition

    def test_very_deep_arms_are_written_flat(self) -> None:
        ids = [f"c{n}" for n in range(60)]
        nodes = {id: ("condition", {"if": "x"}) for id in ids} | {"end_": "create_task"}
        edges = [(a, "true", b) for a, b in zip(ids, [*ids[1:], "end_"], strict=True)]
        edges += [(id, "false", "end_") for id in ids[1:]]
        definition = build(nodes, *edges)
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition == definition


class TestGraphFormInYaml:
    """Drafts that have no list of steps keep the graph form."""

    @pytest.mark.parametrize(
        "definition",
        [
            canonical(Definition("No entry", TriggerSpec("manual"), (Node("a", "create_task"),))),
            build({"a": ("create_task", {"name": "clash", "next": "b"})}),
            build({"a": ("condition", {"then": "x"})}),
        ],
        ids=["entry not wired", "configuration under a step's key", "configuration under an arm's key"],
    )
    def test_it_reads_back(self, definition: Definition) -> None:
        data = to_nested(definition, REGISTRY)
        assert "nodes" in data
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition == definition


class TestPlain:
    """`export --plain`: without ids and positions."""

    def test_the_quick_start_has_no_ids(self) -> None:
        text = to_yaml(read_definition(QUICK_START, REGISTRY).definition, REGISTRY, plain=True)
        assert "id:" not in text

    def test_it_is_the_quick_start_but_for_quotes(self) -> None:
        text = to_yaml(read_definition(QUICK_START, REGISTRY).definition, REGISTRY, plain=True)
        bare = [line.replace('"', "").strip() for line in QUICK_START.splitlines() if line.strip()]
        assert [line.replace('"', "").strip() for line in text.splitlines() if line.strip()] == bare

    def test_ids_that_are_spoken_of_stay(self) -> None:
        definition = build(
            {"retry_payment": "retry_payment", "condition": ("condition", {"if": "steps.retryPayment.result == 'x'"})},
            ("retry_payment", "next", "condition"),
        )
        first, second = to_nested(definition, REGISTRY, plain=True)["steps"]
        assert first["id"] == "retry_payment"
        assert "id" not in second

    def test_ids_of_ones_own_stay(self) -> None:
        definition = build({"mail": "send_email"})
        assert to_nested(definition, REGISTRY, plain=True)["steps"][0]["id"] == "mail"

    def test_a_made_id_out_of_order_stays(self) -> None:
        definition = build({"delay_2": "delay", "delay": "delay"}, ("delay_2", "next", "delay"))
        again = read_data(to_nested(definition, REGISTRY, plain=True), REGISTRY).definition
        assert again == definition

    def test_positions_are_left_out(self) -> None:
        node = Node("mail", "send_email", position=(10.0, 20.5))
        definition = Definition("P", TriggerSpec("manual"), (node,), (Edge("trigger", "next", "mail"),))
        assert "position" not in to_yaml(definition, REGISTRY, plain=True)
        assert to_nested(definition, REGISTRY)["steps"][0]["position"] == {"x": 10, "y": 20.5}


class TestGraphData:
    def test_it_has_the_shape_of_the_contract(self) -> None:
        # CONTRACTS 4, the first example
        data = {
            "version": 1,
            "key": "dunning",
            "name": "Dunning",
            "description": "",
            "trigger": {"type": "event", "event": "payment.failed"},
            "filter": "invoice.total >= 10",
            "exits": [{"event": "invoice.paid"}],
            "goal": {"event": "invoice.paid", "within": "14d"},
            "settings": {"reentry": "one_at_a_time"},
            "nodes": [
                {
                    "id": "first",
                    "type": "condition",
                    "name": "First failure?",
                    "config": {"if": "trigger.failureCount == 1"},
                    "position": {"x": 0, "y": 0},
                },
                {
                    "id": "mail",
                    "type": "send_email",
                    "config": {"template": "payment_failed_first", "to": "{{trigger.customer.email}}"},
                    "errorHandling": {"retries": 3, "retryDelay": "5m", "backoffMultiplier": 2},
                },
            ],
            "edges": [
                {"from": "trigger", "port": "next", "to": "first"},
                {"from": "first", "port": "true", "to": "mail"},
            ],
        }
        assert to_data(read_data(data, REGISTRY).definition) == data

    def test_error_handling_is_read_back_unchanged(self) -> None:
        # DEF-19
        handling = {"retries": 3, "retryDelay": "5m", "backoffMultiplier": 2}
        data = {"name": "E", "trigger": {"type": "manual"}, "settings": {"errorHandling": handling}}
        assert to_data(read_data(data, REGISTRY).definition)["settings"]["errorHandling"] == handling

    def test_numbers_with_a_point_are_json_numbers(self) -> None:
        definition = read_definition("name: N\ntrigger: {type: manual, rate: 1.5}", REGISTRY).definition
        assert to_data(definition)["trigger"]["rate"] == 1.5
        assert isinstance(to_data(definition)["trigger"]["rate"], float)


class TestYamlText:
    @pytest.mark.parametrize(
        "word", ["yes", "no", "on", "off", "true", "null", "~", "1", "1.5", "1e5", "2026-11-20", "=", ""]
    )
    def test_what_other_readers_would_take_for_a_value_stands_in_quotes(self, word: str) -> None:
        definition = build({"t": ("create_task", {"message": word})})
        assert f'message: "{word}"' in to_yaml(definition, REGISTRY)

    @pytest.mark.parametrize("word", ["3d", "payment_failed_first", "payment.failed", "One of each.", "win-back"])
    def test_plain_words_stand_bare(self, word: str) -> None:
        definition = build({"t": ("create_task", {"message": word})})
        assert f"message: {word}\n" in to_yaml(definition, REGISTRY)

    def test_texts_of_several_lines_stand_as_blocks(self) -> None:
        definition = build({"t": ("create_task", {"message": "Dear Ana,\n\nyour card failed.\n"})})
        text = to_yaml(definition, REGISTRY)
        assert "message: |\n      Dear Ana,\n\n      your card failed.\n" in text
        assert read_definition(text, REGISTRY).definition == definition

    def test_a_very_long_key_survives(self) -> None:
        definition = build({"t": ("create_task", {"fields": {"k" * 3000: 1, "n": [["a", ["b"]], [], {}]}})})
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition == definition

    @settings(max_examples=150, deadline=None)
    @given(st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))))
    def test_every_text_survives(self, text: str) -> None:
        definition = build({"t": ("create_task", {"message": text})})
        assert read_definition(to_yaml(definition, REGISTRY), REGISTRY).definition.nodes[0].config["message"] == text
