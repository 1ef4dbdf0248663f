"""The graph form and what stands around the steps: what is read, and which shape is refused (CONTRACTS 4)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from automations.engine.definition import ErrorHandling, ExitSpec, GoalSpec, Settings, TriggerSpec
from automations.engine.problems import DefinitionError
from automations.engine.reading import read_data, read_definition
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.reading_tools import data_problems, graph, shape_problems, wires


class TestNodesAndEdges:
    def test_they_are_put_into_reading_order(self) -> None:
        definition = graph(
            [{"id": "z", "type": "stop"}, {"id": "a", "type": "create_task"}, {"id": "c", "type": "condition"}],
            [
                {"from": "a", "port": "next", "to": "z"},
                {"from": "c", "port": "false", "to": "z"},
                {"from": "c", "port": "true", "to": "a"},
                {"from": "trigger", "to": "c"},
            ],
        )
        assert [node.id for node in definition.nodes] == ["c", "a", "z"]
        assert [(edge.source, edge.port) for edge in definition.edges] == [
            ("trigger", "next"),
            ("c", "true"),
            ("c", "false"),
            ("a", "next"),
        ]

    def test_a_draft_may_be_in_pieces(self) -> None:
        definition = graph([{"id": "a", "type": "stop"}, {"id": "b", "type": "stop"}])
        assert [node.id for node in definition.nodes] == ["a", "b"]

    def test_a_node_without_an_id_gets_one(self) -> None:
        definition = graph([{"type": "create_task"}, {"type": "create_task"}])
        assert [node.id for node in definition.nodes] == ["create_task", "create_task_2"]

    def test_a_doubled_wire_is_one(self) -> None:
        edge = {"from": "a", "port": "next", "to": "b"}
        definition = graph([{"id": "a", "type": "create_task"}, {"id": "b", "type": "stop"}], [edge, edge])
        assert wires(definition) == {("a", "next", "b")}

    def test_configuration_is_kept_as_written(self) -> None:
        config = {"url": "{{x}}", "dueDate": None, "deep": [{"a_b": 1, "cD": [True, 0.5]}]}
        assert graph([{"id": "a", "type": "send_webhook", "config": config}]).nodes[0].config == {
            **config,
            "deep": [{"a_b": 1, "cD": [True, Decimal("0.5")]}],
        }

    @pytest.mark.parametrize(
        ("nodes", "edges", "path"),
        [
            ([{"id": "a", "type": "stop"}, {"id": "a", "type": "stop"}], [], "nodes[1].id"),
            ([{"id": "a", "type": "nope"}], [], "nodes[0].type"),
            ([{"id": "a"}], [], "nodes[0].type"),
            ([{"id": "trigger", "type": "stop"}], [], "nodes[0].id"),
            ([{"id": "a", "type": "stop", "colour": 1}], [], "nodes[0].colour"),
            ([{"id": "a", "type": "stop", "config": []}], [], "nodes[0].config"),
            ([{"id": ["a"], "type": "stop"}], [], "nodes[0].id"),
            (["a"], [], "nodes[0]"),
            ({"id": "a"}, [], "nodes"),
            ([], {"from": "a"}, "edges"),
            ([], ["a"], "edges[0].to"),
            ([{"id": "a", "type": "stop"}], [{"from": "a", "port": "next", "to": "b"}], "edges[0].to"),
            ([{"id": "a", "type": "stop"}], [{"from": "b", "port": "next", "to": "a"}], "edges[0].from"),
            ([{"id": "a", "type": "stop"}], [{"from": "a", "port": "next", "to": "trigger"}], "edges[0].to"),
            ([{"id": "a", "type": "stop"}], [{"from": "trigger", "port": "true", "to": "a"}], "edges[0].port"),
            ([{"id": "a", "type": "stop"}], [{"from": "trigger", "to": "a", "colour": 1}], "edges[0].colour"),
            ([{"id": "a", "type": "stop"}], [{"to": "a"}], "edges[0].from"),
            (
                [{"id": id, "type": "create_task"} for id in "abc"],
                [{"from": "a", "port": "next", "to": "b"}, {"from": "a", "port": "next", "to": "c"}],
                "edges[1]",
            ),
        ],
    )
    def test_what_has_no_shape_is_refused(self, nodes: Any, edges: Any, path: str) -> None:
        assert path in [problem.path for problem in data_problems(nodes=nodes, edges=edges)]

    def test_a_wire_to_nothing_names_the_nearest_step(self) -> None:
        nodes = [{"id": "send_mail", "type": "stop"}]
        (problem,) = data_problems(nodes=nodes, edges=[{"from": "trigger", "to": "send_mial"}])
        assert (problem.code, problem.help) == ("unknown_step_reference", "Did you mean send_mail?")

    def test_too_many_wires_are_refused(self) -> None:
        nodes = [{"id": f"n{n}", "type": "create_task"} for n in range(400)]
        edges = [{"from": f"n{n}", "port": f"p{k}", "to": "n0"} for n in range(1, 400) for k in range(3)]
        assert data_problems(nodes=nodes, edges=edges)[-1].code == "limit_exceeded"

    def test_too_many_steps_are_refused(self) -> None:
        assert data_problems(nodes=[{"type": "stop"}] * 501)[-1].code == "limit_exceeded"

    def test_both_forms_at_once_are_refused(self) -> None:
        assert [problem.path for problem in data_problems(nodes=[], steps=[])] == ["steps"]

    def test_a_stored_version_with_an_unknown_type_can_still_be_read(self) -> None:
        data = {"name": "X", "trigger": {"type": "manual"}, "nodes": [{"id": "a", "type": "gone"}]}
        assert read_data(data, REGISTRY).definition.nodes[0].type == "gone"
        with pytest.raises(DefinitionError):
            read_definition(data, REGISTRY)

    def test_the_place_of_a_step_is_that_of_its_node_as_written(self) -> None:
        text = (
            '{"name": "X", "trigger": {"type": "manual"},\n "nodes": [\n{"id": "b", "type": "stop"},\n'
            '{"id": "a", "type": "create_task",\n "config": {"message": ""}}],\n'
            '"edges": [{"from": "trigger", "to": "a"}, {"from": "a", "to": "b"}]}'
        )
        place = read_definition(text, REGISTRY, "json").lines.step(0, "config", "message")
        assert (place.path, place.pointer, place.line) == ("nodes[1].config.message", "/nodes/0/config/message", 5)


class TestTop:
    def test_name_and_trigger_are_needed(self) -> None:
        # DEF-01
        problems = shape_problems("description: nothing else")
        assert {problem.path for problem in problems} == {"name", "trigger"}

    @pytest.mark.parametrize(
        ("top", "path"),
        [
            ({"name": ""}, "name"),
            ({"name": "   "}, "name"),
            ({"name": ["X"]}, "name"),
            ({"name": "x" * 201}, "name"),
            ({"version": 2}, "version"),
            ({"version": "one"}, "version"),
            ({"version": True}, "version"),
            ({"key": {}}, "key"),
            ({"key": "k" * 101}, "key"),
            ({"description": []}, "description"),
            ({"state": "ACTIVE"}, "state"),
            ({"trigers": {}}, "trigers"),
            ({"filter": {"a": 1}}, "filter"),
            ({"filter": ["a", 5]}, "filter[1]"),
            ({"exits": "invoice.paid"}, "exits"),
            ({"exits": [{"event": "invoice.paid", "when": "x"}]}, "exits[0].when"),
            ({"exits": [{"event": ["a", "b"]}]}, "exits[0].event"),
            ({"exits": [{"event": "x", "reason": "r" * 41}]}, "exits[0].reason"),
            ({"goal": "invoice.paid"}, "goal"),
            ({"goal": {"event": "x", "within": "1d", "ends": True}}, "goal.ends"),
            ({"goal": {"event": "x", "within": "1d", "endsRun": "maybe"}}, "goal.endsRun"),
            ({"settings": []}, "settings"),
            ({"settings": {"pace": "tick"}}, "settings.pace"),
            ({"settings": {"pacing": "slow"}}, "settings.pacing"),
            ({"settings": {"reentry": True}}, "settings.reentry"),
            ({"settings": {"scope": 5}}, "settings.scope"),
            ({"settings": {"scope": ["a/b", 5]}}, "settings.scope"),
            ({"settings": {"transactional": "yes"}}, "settings.transactional"),
            ({"settings": {"errorHandling": {"retries": 1.5}}}, "settings.errorHandling.retries"),
            ({"settings": {"errorHandling": {"retryDelay": []}}}, "settings.errorHandling.retryDelay"),
            ({"settings": {"maxRunAge": []}}, "settings.maxRunAge"),
            ({"trigger": None}, "trigger"),
            ({"trigger": "payment.failed"}, "trigger"),
            ({"trigger": {}}, "trigger.type"),
            ({"trigger": {"type": "webhook"}}, "trigger.type"),
            ({"trigger": {"type": ["event"]}}, "trigger.type"),
            ({"trigger": {"type": "event", "event": 1.5}}, "trigger.event"),
            ({"trigger": {"type": "event", "event": "x", "where": {}}}, "trigger.where"),
            ({"trigger": {"type": "event", "event": "x", "maxAge": {}}}, "trigger.maxAge"),
        ],
    )
    def test_what_has_no_shape_is_refused_with_its_path(self, top: dict[str, Any], path: str) -> None:
        assert path in [problem.path for problem in data_problems(**top)]

    def test_an_unknown_key_gets_the_nearest(self) -> None:
        (problem,) = data_problems(filtre="x")
        assert problem.help == "Did you mean filter?"

    @pytest.mark.parametrize(
        "trigger",
        [
            [{"type": "event", "event": "a"}, {"type": "event", "event": "b"}],
            {"type": "event", "event": ["subscription_trial", "subscription_paid"]},
        ],
    )
    def test_two_triggers_are_refused_with_the_advice_to_make_two_automations(self, trigger: Any) -> None:
        # DEF-27
        (problem,) = data_problems(trigger=trigger)
        assert "one automation for each event" in problem.message

    def test_all_shape_errors_come_at_once_with_lines(self) -> None:
        # DEF-25
        problems = shape_problems("""\
            version: 3
            trigger:
              type: hook
            settings:
              pacing: slow
            steps:
              - {type: nothing}
            """)
        assert sorted((problem.line, problem.path) for problem in problems) == [
            (1, "name"),
            (1, "version"),
            (3, "trigger.type"),
            (5, "settings.pacing"),
            (7, "steps[0].type"),
        ]


class TestTriggers:
    def trigger(self, **data: Any) -> TriggerSpec:
        return read_data({"name": "X", "trigger": data}, REGISTRY).definition.trigger

    def test_an_event_with_its_parameters(self) -> None:
        # DEF-10
        spec = self.trigger(type="event", event="stage_enter", stage="TRIAL", where="a == 1", maxAge="3d")
        assert spec == TriggerSpec("event", "stage_enter", ("a == 1",), "3d", {"stage": "TRIAL"})

    def test_a_schedule(self) -> None:
        # DEF-21
        assert self.trigger(type="schedule", cron="0 9 * * 1") == TriggerSpec(
            "schedule", parameters={"cron": "0 9 * * 1"}
        )

    def test_manual(self) -> None:
        # DEF-22
        assert self.trigger(type="manual") == TriggerSpec("manual")

    def test_where_may_be_a_list(self) -> None:
        assert self.trigger(type="event", event="x", where=["a", "b"]).where == ("a", "b")

    def test_an_event_without_a_name_is_a_draft(self) -> None:
        assert self.trigger(type="event").event == ""


class TestHead:
    def read(self, **top: Any) -> Any:
        return read_data({"name": "X", "trigger": {"type": "manual"}, **top}, REGISTRY).definition

    @pytest.mark.parametrize(
        ("written", "read"),
        [
            (None, ()),
            ("", ()),
            ("a", ("a",)),
            (["a", "b"], ("a", "b")),
            ([], ()),
            ([""], ("",)),
            (True, ("true",)),
            ([False], ("false",)),
        ],
    )
    def test_filter(self, written: Any, read: tuple[str, ...]) -> None:
        # C-35
        assert self.read(filter=written).filter == read

    def test_exits_and_goal(self) -> None:
        exits = [{"event": "invoice.paid"}, {"event": "x", "where": ["a", "b"], "reason": "r"}]
        definition = self.read(exits=exits, goal={"event": "x", "within": "14d", "where": "a", "endsRun": True})
        assert definition.exits == (ExitSpec("invoice.paid"), ExitSpec("x", ("a", "b"), "r"))
        assert definition.goal == GoalSpec("x", "14d", ("a",), True)

    def test_settings_have_defaults(self) -> None:
        assert self.read().settings == Settings()
        assert self.read(settings=None).settings == Settings()

    @pytest.mark.parametrize(
        ("scope", "read"),
        [("global", ()), ([], ()), ("default/TRIAL", ("default/TRIAL",)), (["a/b", "c/d"], ("a/b", "c/d"))],
    )
    def test_scope(self, scope: Any, read: tuple[str, ...]) -> None:
        assert self.read(settings={"scope": scope}).settings.scope == read

    def test_every_setting(self) -> None:
        settings = {
            "pacing": "tick",
            "reentry": "once",
            "transactional": False,
            "restartOnOwnEffects": True,
            "errorHandling": {"retries": 3, "retryDelay": "1m", "backoffMultiplier": 1.5},
            "maxRunAge": "90d",
        }
        handling = ErrorHandling(3, "1m", 1.5)
        assert self.read(settings=settings).settings == Settings((), "tick", "once", False, True, handling, "90d")

    def test_error_handling_at_the_top_is_that_of_the_automation(self) -> None:
        # DEF-19: the object of the source merged into a definition
        handling = {"retries": 3, "retryDelay": "5m", "backoffMultiplier": 2}
        assert self.read(errorHandling=handling).settings.error_handling == ErrorHandling(3, "5m", 2)

    def test_twice_is_too_often(self) -> None:
        handling = {"retries": 3}
        problems = data_problems(errorHandling=handling, settings={"errorHandling": handling})
        assert [problem.path for problem in problems] == ["errorHandling"]

    def test_a_name_may_be_a_number(self) -> None:
        assert read_definition("name: 2024\ntrigger: {type: manual}", REGISTRY).definition.name == "2024"
