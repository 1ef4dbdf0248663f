"""The graph of a definition (DEF-23, CNV-11, CNV-12, LIM-10, LIM-11, C-16, C-33, ERR-08)."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automations.engine.definition import Definition, Edge, Node, TriggerSpec
from automations.engine.graph import (
    border_crossings,
    canonical,
    cycles,
    depth,
    fallback_steps,
    leaf_ports,
    loop_bodies,
    unreachable,
)
from automations.engine.validation import Known, validate
from tests.engine.definitions import definitions
from tests.engine.kinds_for_tests import REGISTRY

Wire = tuple[str, str, str]
TYPES = {"c": "condition", "l": "loop", "s": "percentage_split", "w": "delay", "b": "branch", "u": "wait_until"}


def build(*wires: Wire, more: tuple[str, ...] = (), types: dict[str, str] | None = None) -> Definition:
    """Steps are named by the wires; the first letter of an id says its type, other letters are tasks."""
    ids = dict.fromkeys([id for source, _, target in wires for id in (source, target) if id != "trigger"] + list(more))
    kinds = {id: (types or {}).get(id) or TYPES.get(id[0], "create_task") for id in ids}
    nodes = tuple(Node(id, kind) for id, kind in kinds.items())
    return Definition("X", TriggerSpec("manual"), nodes, tuple(Edge(*wire) for wire in wires))


def line(*ids: str) -> list[Wire]:
    """A straight line from the trigger."""
    return [(a, "next", b) for a, b in zip(("trigger", *ids), ids, strict=False)]


class TestOrder:
    def test_arms_stand_before_the_step_at_which_they_meet(self) -> None:
        definition = build(
            *line("c"), ("c", "false", "n"), ("c", "true", "y"), ("y", "next", "z"), ("n", "next", "z"), more=("lost",)
        )
        assert [node.id for node in canonical(definition).nodes] == ["c", "y", "n", "z", "lost"]

    def test_a_fallback_stands_before_what_follows(self) -> None:
        definition = build(*line("m", "z"), ("m", "error", "f"), ("f", "next", "z"))
        assert [node.id for node in canonical(definition).nodes] == ["m", "f", "z"]

    def test_a_loop_body_stands_before_what_follows(self) -> None:
        definition = build(*line("l", "z"), ("l", "each", "i"))
        assert [node.id for node in canonical(definition).nodes] == ["l", "i", "z"]

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(definitions(), st.randoms(use_true_random=False))
    def test_the_order_given_does_not_matter(self, definition: Definition, chance: random.Random) -> None:
        nodes, edges = list(definition.nodes), list(definition.edges)
        chance.shuffle(nodes)
        chance.shuffle(edges)
        shuffled = Definition(definition.name, definition.trigger, tuple(nodes), tuple(edges))
        plain = Definition(definition.name, definition.trigger, definition.nodes, definition.edges)
        assert canonical(shuffled) == canonical(plain)

    @settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
    @given(definitions())
    def test_every_wire_leads_forward_where_there_is_no_cycle(self, definition: Definition) -> None:
        place = {node.id: index for index, node in enumerate(definition.nodes)} | {"trigger": -1}
        assert all(place[edge.source] < place[edge.target] for edge in definition.edges)

    def test_a_line_of_five_hundred_steps_needs_no_recursion(self) -> None:
        ids = [f"t{n}" for n in range(500)]
        definition = canonical(build(*line(*ids)))
        assert [node.id for node in definition.nodes] == ids
        assert depth(definition, REGISTRY) == 500
        assert cycles(definition) == ()


class TestCycles:
    def test_a_cycle_is_named(self) -> None:
        # CNV-12
        assert cycles(build(*line("a", "x"), ("x", "next", "a"))) == (("a", "x"),)

    def test_a_step_wired_to_itself(self) -> None:
        assert cycles(build(*line("a"), ("a", "next", "a"))) == (("a",),)

    def test_only_the_steps_on_it_are_named(self) -> None:
        definition = build(*line("a", "d", "e", "f"), ("e", "error", "d"))
        assert cycles(definition) == (("d", "e"),)

    def test_each_knot_is_named_once(self) -> None:
        definition = build(
            *line("c"),
            ("c", "true", "d"),
            ("d", "next", "d"),
            ("c", "false", "e"),
            ("e", "next", "g"),
            ("g", "next", "e"),
        )
        assert cycles(definition) == (("d",), ("e", "g"))

    def test_a_cycle_out_of_reach_is_found_too(self) -> None:
        assert cycles(build(*line("a"), ("x", "next", "y"), ("y", "next", "x"))) == (("x", "y"),)

    def test_a_body_that_leads_back_to_its_loop_is_one(self) -> None:
        # C-33: back edges stay forbidden
        assert cycles(build(*line("l"), ("l", "each", "i"), ("i", "next", "l"))) == (("l", "i"),)

    def test_arms_that_meet_are_none(self) -> None:
        # STP-25
        assert cycles(build(*line("c"), ("c", "true", "z"), ("c", "false", "z"))) == ()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(definitions(), st.data())
    def test_a_definition_is_accepted_only_while_acyclic_and_connected(
        self, definition: Definition, data: st.DataObject
    ) -> None:
        # P5, DEF-23
        graph_codes = {"cycle", "disconnected", "loop_border"}

        def found(candidate: Definition) -> set[str]:
            problems = validate(candidate, REGISTRY, Known())
            return {problem.code for problem in problems if problem.severity == "error"} & graph_codes

        assert found(definition) == set()
        if not definition.nodes:
            return
        edge = data.draw(st.sampled_from(list(definition.edges)))
        if edge.source != "trigger":
            back = Edge(edge.target, "back", edge.source)
            turned = Definition(definition.name, definition.trigger, definition.nodes, (*definition.edges, back))
            assert "cycle" in found(turned)
        lost = Definition(
            definition.name, definition.trigger, (*definition.nodes, Node("lost", "stop")), definition.edges
        )
        assert "disconnected" in found(lost)


class TestReach:
    def test_steps_without_a_path_from_the_trigger(self) -> None:
        # CNV-11
        assert unreachable(build(*line("a"), ("x", "next", "y"))) == ("x", "y")

    def test_all_are_unreachable_without_an_entry(self) -> None:
        assert unreachable(build(("x", "next", "y"))) == ("x", "y")

    def test_fallback_steps_are_those_behind_error_outputs_only(self) -> None:
        definition = build(
            *line("m", "z"), ("m", "error", "f"), ("f", "next", "g"), ("g", "next", "z"), ("f", "error", "h")
        )
        assert fallback_steps(definition) == {"f", "g", "h"}

    def test_leaf_ports(self) -> None:
        definition = build(*line("c"), ("c", "true", "y"))
        ports = {"c": ("true", "false"), "y": ("next",)}
        assert leaf_ports(definition, ports) == (("c", "false"), ("y", "next"))


class TestLoops:
    def test_a_body_is_what_is_reached_by_each_only(self) -> None:
        definition = build(*line("l", "z"), ("l", "each", "i"), ("i", "next", "j"))
        assert loop_bodies(definition) == {"l": {"i", "j"}}
        assert border_crossings(definition) == ()

    def test_loops_within_loops(self) -> None:
        definition = build(*line("l"), ("l", "each", "l2"), ("l2", "each", "i"), ("l2", "next", "j"))
        assert loop_bodies(definition) == {"l": {"l2", "i", "j"}, "l2": {"i"}}
        assert border_crossings(definition) == ()

    @pytest.mark.parametrize(
        ("wires", "crossing"),
        [
            ([*line("l", "z"), ("l", "each", "i"), ("i", "next", "z")], ("i", "z")),
            ([*line("c"), ("c", "true", "l"), ("l", "each", "i"), ("c", "false", "i")], ("l", "i")),
            ([*line("l", "z"), ("l", "each", "i"), ("i", "next", "j"), ("z", "next", "j")], ("i", "j")),
            ([*line("l", "z"), ("l", "each", "z")], ("l", "z")),
        ],
        ids=["out of the body", "into its first step", "into its midst", "no body of its own"],
    )
    def test_a_wire_across_the_border_is_found(self, wires: list[Wire], crossing: tuple[str, str]) -> None:
        found = [(edge.source, edge.target) for loop, edge in border_crossings(build(*wires)) if loop == "l"]
        assert found == [crossing]

    def test_a_loop_without_a_body_has_none(self) -> None:
        assert loop_bodies(build(*line("l", "z"))) == {"l": frozenset()}

    def test_bodies_of_loops_that_nothing_reaches(self) -> None:
        definition = build(*line("a"), ("l", "each", "i"), ("l", "next", "z"))
        assert loop_bodies(definition) == {"l": {"i"}}
        assert border_crossings(definition) == ()


class TestDepth:
    def test_the_longer_arm_counts(self) -> None:
        # LIM-10: arms of 2 and 4 steps
        definition = build(
            *line("c"),
            ("c", "true", "a"),
            ("a", "next", "d"),
            ("c", "false", "e"),
            ("e", "next", "f"),
            ("f", "next", "g"),
            ("g", "next", "h"),
        )
        assert depth(definition, REGISTRY) == 4

    def test_a_split_weighs_nothing(self) -> None:
        # LIM-11: SEND, WAIT, split, SEND | SEND is 3
        definition = build(*line("m1", "w", "s"), ("s", "a", "m2"), ("s", "b", "m3"))
        assert depth(definition, REGISTRY) == 3

    def test_the_trial_examples_are_five(self) -> None:
        # LIM-12: mail, wait, mail, wait, split, mail
        definition = build(*line("m1", "w1", "m2", "w2", "c"), ("c", "true", "m3"), ("c", "false", "m4"))
        assert depth(definition, REGISTRY) == 5

    def test_a_branch_weighs_nothing_a_wait_weighs_one(self) -> None:
        assert depth(build(*line("b")), REGISTRY) == 0
        assert depth(build(*line("u", "w")), REGISTRY) == 2

    def test_steps_shared_by_two_ways_count_once_on_each(self) -> None:
        definition = build(*line("c"), ("c", "true", "a"), ("a", "next", "z"), ("c", "false", "z"))
        assert depth(definition, REGISTRY) == 2

    def test_steps_out_of_reach_do_not_count(self) -> None:
        assert depth(build(*line("a"), ("x", "next", "y"), ("y", "next", "z")), REGISTRY) == 1

    def test_an_empty_graph_has_none(self) -> None:
        assert depth(build(), REGISTRY) == 0

    def test_a_cycle_does_not_hang(self) -> None:
        assert depth(build(*line("a", "d"), ("d", "next", "a")), REGISTRY) == 2

    def test_an_unknown_type_weighs_one(self) -> None:
        assert depth(build(*line("a"), types={"a": "gone"}), REGISTRY) == 1
