"""Step ids stay across versions that are written without ids (DESIGN 4, C-20)."""

from __future__ import annotations

import textwrap
from pathlib import Path

from hypothesis import HealthCheck, given, settings

from automations.engine.align import align
from automations.engine.definition import Definition
from automations.engine.reading import read_definition
from automations.engine.writing import to_yaml
from tests.engine.definitions import definitions
from tests.engine.kinds_for_tests import REGISTRY

HEAD = "name: X\ntrigger: {type: event, event: payment.failed}\nsteps:\n"
QUICK_START = Path("docs/samples/quick-start.yaml").read_text()


def read(steps: str) -> Definition:
    return read_definition(HEAD + textwrap.indent(textwrap.dedent(steps), "  "), REGISTRY).definition


def ids(definition: Definition) -> list[str]:
    return [node.id for node in definition.nodes]


def test_an_unchanged_text_keeps_all_ids() -> None:
    old = read("- {id: mail, type: action, action: send_email}\n- {id: w, type: delay, duration: 3d}")
    new = read("- {type: action, action: send_email}\n- {type: delay, duration: 3d}")
    assert align(new, old) == old


def test_a_step_put_in_between_gets_an_id_of_its_own() -> None:
    old = read_definition(QUICK_START, REGISTRY).definition
    text = QUICK_START.replace(
        '  - type: delay\n    duration: "3d"', "  - {type: delay, duration: 1d}\n  - {type: delay, duration: 3d}"
    )
    new = align(read_definition(text, REGISTRY).definition, old)
    assert ids(new) == ["condition", "send_email", "delay_2", "delay", "condition_2", "retry_payment"]
    assert new.nodes[3].config == {"duration": "3d"}


def test_a_changed_step_keeps_its_id_by_its_place() -> None:
    old = read("- {id: w, type: delay, duration: 3d}\n- {id: t, type: action, action: create_task}")
    new = read("- {type: delay, duration: 5d}\n- {type: action, action: create_task}")
    assert ids(align(new, old)) == ["w", "t"]


def test_same_configuration_wins_over_same_place() -> None:
    old = read("- {id: one, type: delay, duration: 1d}\n- {id: two, type: delay, duration: 2d}")
    new = read("- {type: delay, duration: 2d}\n- {type: delay, duration: 1d}")
    assert ids(align(new, old)) == ["two", "one"]


def test_among_equal_steps_the_place_decides() -> None:
    task = "{type: action, action: create_task, message: m}"
    old = read(f"- {{id: c, type: condition, if: x, then: [{task[:-1]}, id: y}}], else: [{task[:-1]}, id: n}}]}}")
    new = read(f"- {{type: condition, if: x, else: [{task}]}}")
    assert ids(align(new, old)) == ["c", "n"]


def test_a_given_id_is_never_changed() -> None:
    old = read("- {id: w, type: delay, duration: 3d}")
    new = read("- {id: mine, type: delay, duration: 3d}")
    assert align(new, old) == new


def test_an_id_that_was_given_again_is_not_given_to_another() -> None:
    old = read("- {id: w, type: delay, duration: 3d}\n- {id: v, type: delay, duration: 3d}")
    new = read("- {type: delay, duration: 3d}\n- {id: w, type: delay, duration: 3d}")
    assert ids(align(new, old)) == ["v", "w"]


def test_a_new_step_never_takes_the_id_of_one_that_is_gone() -> None:
    old = read("- {id: send_email, type: action, action: send_email, template: a}\n- {id: z, type: stop}")
    new = read("- {type: stop}\n- {type: action, action: send_email, template: b}")
    assert ids(align(new, old)) == ["z", "send_email_2"]


def test_an_id_that_an_expression_speaks_of_stays() -> None:
    old = read("- {id: again, type: action, action: retry_payment}")
    new = read("- {type: action, action: retry_payment}\n- {type: condition, if: steps.retry_payment.result == 'paid'}")
    assert ids(align(new, old)) == ["retry_payment", "condition"]


def test_another_type_is_another_step() -> None:
    old = read("- {id: a, type: delay, duration: 3d}")
    new = read("- {type: action, action: create_task}")
    assert ids(align(new, old)) == ["create_task"]


def test_wires_follow_their_steps() -> None:
    old = read("- {id: a, type: delay, duration: 3d}\n- {id: b, type: stop}")
    new = read("- {type: delay, duration: 3d}\n- {type: stop}")
    assert align(new, old).edges == old.edges


def test_alignment_with_itself_changes_nothing() -> None:
    definition = read_definition(QUICK_START, REGISTRY).definition
    assert align(definition, definition) == definition


def test_names_and_positions_of_the_new_text_are_kept() -> None:
    old = read("- {id: a, type: delay, duration: 3d, name: Old, position: {x: 1, y: 2}}")
    new = read("- {type: delay, duration: 3d, name: New}")
    (node,) = align(new, old).nodes
    assert (node.id, node.name, node.position) == ("a", "New", None)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(definitions())
def test_a_text_without_ids_finds_all_of_its_ids_again(definition: Definition) -> None:
    text = to_yaml(definition, REGISTRY, plain=True)
    again = align(read_definition(text, REGISTRY, "yaml").definition, definition)
    assert {node.id for node in again.nodes} == {node.id for node in definition.nodes}
    assert len(again.edges) == len(definition.edges)
