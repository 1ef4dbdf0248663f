"""The nested form: order and arms become wires (C-08, DEF-11 to DEF-18, DEF-29, CONTRACTS 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from automations.engine.definition import Edge
from automations.engine.reading import read_definition
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.reading_tools import only, source, step_problems, steps, wires

TASK = "{type: action, action: create_task, message: m}"


class TestQuickStart:
    def test_it_reads_as_its_five_steps(self) -> None:
        # DEF-20
        source = read_definition(Path("docs/samples/quick-start.yaml").read_text(), REGISTRY)
        definition = source.definition
        assert definition.name == "Payment Failed - Dunning Email"
        assert (definition.trigger.type, definition.trigger.event) == ("event", "payment.failed")
        assert [node.id for node in definition.nodes] == [
            "condition",
            "send_email",
            "delay",
            "condition_2",
            "retry_payment",
        ]
        assert definition.edges[0] == Edge("trigger", "next", "condition")
        assert wires(definition) == {
            ("condition", "true", "send_email"),
            ("condition", "false", "delay"),
            ("send_email", "next", "delay"),
            ("delay", "next", "condition_2"),
            ("condition_2", "true", "retry_payment"),
        }
        assert source.made == {node.id for node in definition.nodes}


class TestEverythingAtOnce:
    """The example of CONTRACTS 4."""

    definition = read_definition(Path("tests/engine/samples/everything.yaml").read_text(), REGISTRY).definition

    def test_its_head(self) -> None:
        definition = self.definition
        assert definition.key == "everything"
        assert definition.trigger.max_age == "3d"
        assert len(definition.filter) == 2
        assert definition.exits[1].reason == "voided"
        assert definition.goal is not None
        assert definition.goal.within == "14d"
        assert definition.settings.transactional is True
        assert definition.settings.error_handling is not None
        assert definition.settings.error_handling.retries == 2

    def test_its_arms_meet_again(self) -> None:
        found = wires(self.definition)
        assert {("mail", "next", "delay"), ("mail", "error", "create_task"), ("create_task", "next", "delay")} <= found
        assert {("update_customer", "next", "size"), ("start_automation", "next", "size")} <= found

    def test_its_wait_has_a_time_out_output(self) -> None:
        reply = next(node for node in self.definition.nodes if node.id == "reply")
        assert reply.config["branchOnTimeout"] is True
        assert ("reply", "timeout", "start_automation") in wires(self.definition)

    def test_its_branch_falls_through_by_default_and_ends_where_it_says(self) -> None:
        found = {edge for edge in wires(self.definition) if edge[0] == "size"}
        assert found == {("size", "large", "call"), ("size", "default", "split")}

    def test_its_named_targets(self) -> None:
        assert {("call", "error", "stop_here"), ("loop", "next", "stop_here")} <= wires(self.definition)

    def test_its_loops(self) -> None:
        found = wires(self.definition)
        assert {
            ("lines", "each", "create_task_3"),
            ("lines", "next", "loop"),
            ("loop", "each", "create_task_4"),
        } <= found
        assert not [edge for edge in found if edge[0] in ("create_task_3", "create_task_4")]

    def test_configuration_is_kept_as_written(self) -> None:
        call = next(node for node in self.definition.nodes if node.id == "call")
        assert call.config == {
            "url": "https://crm.example/hooks/dunning",
            "method": "POST",
            "headers": {"X-Source": "onward"},
            "body": {"invoice": "{{invoice.id}}", "total": "{{invoice.total}}"},
        }
        assert call.error_handling is not None
        assert call.error_handling.backoff_multiplier == 2


class TestOrder:
    def test_steps_follow_one_another(self) -> None:
        # DEF-11
        assert wires(steps(f"- {TASK}\n- {TASK}\n- {TASK}")) == {
            ("create_task", "next", "create_task_2"),
            ("create_task_2", "next", "create_task_3"),
        }

    def test_the_last_step_ends_the_run(self) -> None:
        assert wires(steps(f"- {TASK}")) == set()

    def test_no_steps_is_a_draft(self) -> None:
        # DEF-01
        assert steps("[]").nodes == ()

    def test_next_leads_elsewhere(self) -> None:
        found = wires(
            steps("- {id: a, type: action, action: create_task, next: c}\n- {id: b, type: stop}\n- {id: c, type: stop}")
        )
        assert ("a", "next", "c") in found

    def test_next_end_ends(self) -> None:
        assert wires(steps(f"- {{id: a, type: action, action: create_task, next: end}}\n- {TASK}")) == set()

    def test_next_maps_outputs(self) -> None:
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, next: {true: b, false: end}}
            - {id: a, type: action, action: create_task, next: {error: b}}
            - {id: b, type: stop}
            """)
        )
        assert found == {("c", "true", "b"), ("a", "next", "b"), ("a", "error", "b")}

    def test_next_of_a_split_is_where_its_arms_go_on(self) -> None:
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, then: [{id: y, type: action, action: create_task}], next: z}
            - {id: m, type: stop}
            - {id: z, type: stop}
            """)
        )
        assert {("c", "true", "y"), ("y", "next", "z"), ("c", "false", "z")} <= found


class TestArms:
    def test_a_condition_without_else_falls_through(self) -> None:
        # DEF-13
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, then: [{id: y, type: action, action: create_task}]}
            - {id: z, type: stop}
            """)
        )
        assert found == {("c", "true", "y"), ("y", "next", "z"), ("c", "false", "z")}

    def test_else_is_the_other_arm(self) -> None:
        # DEF-14
        found = wires(
            steps("""
            - id: c
              type: condition
              if: x
              then: [{id: y, type: action, action: create_task}]
              else: [{id: n, type: action, action: create_task}]
            - {id: z, type: stop}
            """)
        )
        assert found == {("c", "true", "y"), ("c", "false", "n"), ("y", "next", "z"), ("n", "next", "z")}

    @pytest.mark.parametrize("arm", ["", "[]", "null"])
    def test_an_empty_arm_falls_through(self, arm: str) -> None:
        found = wires(steps(f"- {{id: c, type: condition, if: x, then: {arm}}}\n- {{id: z, type: stop}}"))
        assert found == {("c", "true", "z"), ("c", "false", "z")}

    def test_an_arm_can_end(self) -> None:
        found = wires(steps("- {id: c, type: condition, if: x, then: end}\n- {id: z, type: stop}"))
        assert found == {("c", "false", "z")}

    def test_an_arm_can_name_a_step(self) -> None:
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, then: far}
            - {id: z, type: action, action: create_task}
            - {id: far, type: stop}
            """)
        )
        assert found == {("c", "true", "far"), ("c", "false", "z"), ("z", "next", "far")}

    def test_arms_within_arms_fall_through_to_what_follows_the_outer_split(self) -> None:
        found = wires(
            steps("""
            - id: c
              type: condition
              if: x
              then:
                - {id: d, type: condition, if: y, then: [{id: t, type: action, action: create_task}]}
            - {id: z, type: stop}
            """)
        )
        assert {("t", "next", "z"), ("d", "false", "z"), ("c", "false", "z")} <= found

    def test_a_branch_has_one_output_for_each_case_and_a_default(self) -> None:
        # STP-06
        definition = steps("""
            - id: b
              type: branch
              cases:
                - {id: big, if: x, label: Big, then: [{id: y, type: action, action: create_task}]}
                - {if: w}
                - {id: small, if: v, then: end}
              default: [{id: n, type: action, action: create_task}]
            - {id: z, type: stop}
            """)
        branch = next(node for node in definition.nodes if node.id == "b")
        assert branch.config == {
            "cases": [
                {"id": "big", "if": "x", "label": "Big"},
                {"id": "case_2", "if": "w"},
                {"id": "small", "if": "v"},
            ]
        }
        assert {edge for edge in wires(definition) if edge[0] == "b"} == {
            ("b", "big", "y"),
            ("b", "case_2", "z"),
            ("b", "default", "n"),
        }

    def test_a_percentage_split_has_a_and_b(self) -> None:
        found = wires(
            steps("""
            - {id: s, type: percentage_split, percent: 30, a: [{id: x, type: action, action: create_task}]}
            - {id: z, type: stop}
            """)
        )
        assert found == {("s", "a", "x"), ("x", "next", "z"), ("s", "b", "z")}

    def test_a_wait_without_a_time_out_arm_has_one_output(self) -> None:
        # C-18
        definition = steps("- {id: w, type: wait_until, event: e, timeout: 7d, onEvent: [{id: x, type: stop}]}")
        assert wires(definition) == {("w", "next", "x")}
        assert "branchOnTimeout" not in definition.nodes[0].config

    def test_an_empty_time_out_arm_switches_the_output_on(self) -> None:
        definition = steps("- {id: w, type: wait_until, event: e, onTimeout: []}\n- {id: z, type: stop}")
        assert definition.nodes[0].config["branchOnTimeout"] is True
        assert wires(definition) == {("w", "next", "z"), ("w", "timeout", "z")}

    def test_a_fallback_goes_on_behind_its_action(self) -> None:
        # DEF-18, C-38
        found = wires(
            steps("""
            - {id: m, type: action, action: send_email, onError: [{id: f, type: action, action: create_task}]}
            - {id: z, type: stop}
            """)
        )
        assert found == {("m", "next", "z"), ("m", "error", "f"), ("f", "next", "z")}

    def test_an_empty_fallback_means_that_errors_do_not_matter(self) -> None:
        found = wires(steps("- {id: m, type: action, action: send_email, onError: []}\n- {id: z, type: stop}"))
        assert found == {("m", "next", "z"), ("m", "error", "z")}

    def test_a_loop_body_ends_by_itself(self) -> None:
        # DEF-17, DEF-29
        definition = steps("""
            - id: l
              type: loop
              over: "{{invoice.lines}}"
              as: line
              steps:
                - {id: x, type: action, action: create_task, message: "{{line.description}}"}
                - {id: y, type: condition, if: a, then: [{id: t, type: action, action: create_task}]}
            - {id: z, type: stop}
            """)
        assert definition.nodes[0].config == {"over": "{{invoice.lines}}", "as": "line"}
        assert wires(definition) == {("l", "each", "x"), ("x", "next", "y"), ("y", "true", "t"), ("l", "next", "z")}

    def test_a_loop_without_steps_only_goes_on(self) -> None:
        assert wires(steps("- {id: l, type: loop, over: x}\n- {id: z, type: stop}")) == {("l", "next", "z")}


class TestStop:
    def test_a_stop_in_an_arm_does_not_fall_through(self) -> None:
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, then: [{id: s, type: stop}]}
            - {id: z, type: action, action: create_task}
            """)
        )
        assert found == {("c", "true", "s"), ("c", "false", "z")}

    def test_a_step_behind_a_stop_is_wired_so_that_it_is_told_as_dead(self) -> None:
        # STP-08
        assert wires(steps(f"- {{id: s, type: stop}}\n- {TASK}")) == {("s", "next", "create_task")}

    def test_unless_something_else_leads_there(self) -> None:
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, then: z}
            - {id: s, type: stop}
            - {id: z, type: action, action: create_task}
            """)
        )
        assert found == {("c", "true", "z"), ("c", "false", "s")}

    def test_an_action_that_ends_the_run_is_like_it(self) -> None:
        # C-12
        found = wires(
            steps("""
            - {id: c, type: condition, if: x, then: [{id: s, type: action, action: cancel_subscription}]}
            - {id: z, type: action, action: create_task}
            """)
        )
        assert ("s", "next", "z") not in found


class TestIds:
    def test_made_ids_are_the_type_or_action_with_numbers_in_order_of_reading(self) -> None:
        definition = steps(f"""
            - {{type: condition, if: x, then: [{TASK}], else: [{TASK}]}}
            - {TASK}
            - {{type: condition, if: y}}
            """)
        assert [node.id for node in definition.nodes] == [
            "condition",
            "create_task",
            "create_task_2",
            "create_task_3",
            "condition_2",
        ]

    def test_they_step_around_given_ones(self) -> None:
        definition = steps(f"- {TASK}\n- {{id: create_task, type: stop}}\n")
        assert {node.id for node in definition.nodes} == {"create_task", "create_task_2"}

    def test_the_source_tells_which_were_made(self) -> None:
        read = source(f"- {TASK}\n- {{id: z, type: stop}}")
        assert read.made == {"create_task"}
        assert [node.made for node in read.definition.nodes] == [True, False]

    def test_a_number_is_an_id_in_text(self) -> None:
        assert only("- {id: 7, type: stop}").id == "7"

    @pytest.mark.parametrize("id", ["trigger", "end"])
    def test_words_with_a_meaning_are_no_ids(self, id: str) -> None:
        (problem,) = step_problems(f"- {{id: {id}, type: stop}}")
        assert (problem.path, problem.line) == ("steps[0].id", 4)

    def test_a_doubled_id_is_refused_with_both_places(self) -> None:
        (problem,) = step_problems("- {id: a, type: stop}\n- {id: a, type: stop}")
        assert problem.line == 5
        assert "steps[0]" in problem.message
        assert "steps[1]" in problem.message


class TestStepKeys:
    def test_name_note_position_and_error_handling(self) -> None:
        node = only("""
            - type: action
              action: create_task
              name: Call
              note: By hand
              position: {x: 10, y: -2.5}
              errorHandling: {retries: 1}
            """)
        assert (node.name, node.note, node.position, dict(node.config)) == ("Call", "By hand", (10.0, -2.5), {})
        assert node.error_handling is not None
        assert (node.error_handling.retries, node.error_handling.retry_delay) == (1, "5m")

    def test_an_actions_key_may_stand_as_the_type(self) -> None:
        assert only("- {type: create_task, message: m}").type == "create_task"

    def test_an_unknown_action_is_kept_for_validation(self) -> None:
        # DEF-25
        assert only("- {type: action, action: send_emial}").type == "send_emial"

    def test_an_unknown_type_is_refused_with_the_nearest(self) -> None:
        # DEF-08
        (problem,) = step_problems("- {type: conditon, if: x}")
        assert (problem.code, problem.help) == ("unknown_action", "Did you mean condition?")

    @pytest.mark.parametrize(
        ("text", "path"),
        [
            ("- {if: x}", "steps[0].type"),
            ("- {type: action}", "steps[0].action"),
            ("- {type: 5}", "steps[0].type"),
            ("- {type: delay, action: create_task}", "steps[0].action"),
            ("- text", "steps[0]"),
            ("- {type: stop, name: [a]}", "steps[0].name"),
            ("- {type: stop, position: 5}", "steps[0].position"),
            ("- {type: stop, position: {x: a, y: 1}}", "steps[0].position.x"),
            ("- {type: stop, errorHandling: 5}", "steps[0].errorHandling"),
            ("- {type: stop, errorHandling: {retries: many}}", "steps[0].errorHandling.retries"),
            ("- {type: stop, errorHandling: {tries: 1}}", "steps[0].errorHandling.tries"),
            ("- {type: condition, then: 2.5}", "steps[0].then"),
            ("- {type: condition, then: {type: stop}}", "steps[0].then"),
            ("- {type: condition, then: nowhere}", "steps[0].then"),
            ("- {type: stop, next: nowhere}", "steps[0].next"),
            ("- {type: condition, next: {true: nowhere}}", "steps[0].next.true"),
            ("- {type: action, action: create_task, onError: end}", "steps[0].onError"),
            ("- {type: action, action: create_task, next: {error: end}}", "steps[0].next.error"),
            ("- {type: condition, then: [], a: []}", "steps[0].a"),
            (f"- {{type: stop, id: {'x' * 101}}}", "steps[0].id"),
        ],
    )
    def test_a_step_without_shape_is_refused_where_it_stands(self, text: str, path: str) -> None:
        assert path in [problem.path for problem in step_problems(text)]

    def test_steps_must_be_a_list(self) -> None:
        (problem,) = step_problems("a: {type: stop}")
        assert problem.path == "steps"

    def test_all_shape_errors_come_at_once_with_their_lines(self) -> None:
        # DEF-25
        problems = step_problems("""
            - {type: conditon}
            - {type: stop, next: nowhere}
            - {id: end, type: stop}
            """)
        assert sorted((problem.line, problem.path) for problem in problems if problem.line) == [
            (4, "steps[0].type"),
            (5, "steps[1].next"),
            (6, "steps[2].id"),
        ]

    def test_more_than_five_hundred_steps_are_refused(self) -> None:
        problems = step_problems("- {type: stop}\n" * 501)
        assert problems[-1].code == "limit_exceeded"

    def test_five_hundred_steps_are_read(self) -> None:
        assert len(steps(f"- {TASK}\n" * 500).nodes) == 500

    def test_a_hundred_shape_errors_are_enough(self) -> None:
        assert len(step_problems("- {type: nothing}\n" * 400)) == 100
