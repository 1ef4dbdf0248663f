"""What validation promises as a whole: everything told, nothing raised, and what it lets through can be run (CNV-15, P5)."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from automations.engine.definition import Definition
from automations.engine.plan import compile_plan
from automations.engine.problems import DefinitionError, Problem
from automations.engine.reading import read_data, read_definition
from automations.engine.validation import Known, validate
from automations.engine.validation.context import typed_config
from automations.engine.writing import to_data
from tests.engine.definitions import DATA, definitions
from tests.engine.kinds_for_tests import REGISTRY

FEW = settings(max_examples=75, deadline=None, suppress_health_check=list(HealthCheck))
EVERYTHING = Path("tests/engine/samples/everything.yaml").read_text()

#: CONTRACTS 4.
CODES = {
    *("unknown_event", "unknown_action", "unknown_template", "unknown_tag", "unknown_stage", "unknown_variable"),
    *("unknown_step_reference", "unknown_automation", "missing_config", "bad_config", "bad_duration", "bad_expression"),
    *(
        "bad_template",
        "bad_cron",
        "impossible_schedule",
        "no_steps",
        "disconnected",
        "cycle",
        "loop_border",
        "wait_zero",
    ),
    *("unreachable_port", "action_not_allowed", "subject_missing", "no_sender", "unseen_field", "learned_field"),
    *("bare_word", "plan_limit", "slow_loop", "steps_after_end", "duplicate_exit", "size_warning"),
}

_NAMES = ["event", "type", "if", "as", "over", "name", "message", "to", "reason"]
_STEP_KEYS = [
    "cases",
    "percent",
    "duration",
    "filter",
    "timeout",
    "template",
    "url",
    "headers",
    "body",
    "fields",
    "tag",
    "odd",
]
_SHAPE = [
    "trigger",
    "steps",
    "nodes",
    "edges",
    "action",
    "then",
    "else",
    "cases",
    "next",
    "id",
    "from",
    "port",
    "onError",
]
PARAMETERS = st.sampled_from(["event", "where", "maxAge", "cron", "interval", "calendar", "at", "timeZone", "forEach"])
SETTINGS = st.sampled_from([*_NAMES, *_STEP_KEYS])
SHAPE_KEYS = st.sampled_from([*_NAMES, *_SHAPE, "settings", "exits", "goal"])
SHAPE_WORDS = st.sampled_from(["condition", "action", "branch", "loop", "event", "end"])


def errors(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


@FEW
@given(definitions())
def test_every_problem_has_the_shape_of_the_contract(definition: Definition) -> None:
    ids = {node.id for node in definition.nodes}
    data = to_data(definition)
    for problem in validate(definition, REGISTRY, Known()):
        assert problem.code in CODES
        assert problem.severity in ("error", "warning", "info")
        assert problem.step is None or problem.step in ids
        assert problem.message
        assert len(problem.message) < 2_000
        if problem.step is not None and problem.pointer:
            index = int(problem.pointer.split("/")[2])
            assert data["nodes"][index]["id"] == problem.step


@FEW
@given(definitions())
def test_what_has_no_errors_can_be_run(definition: Definition) -> None:
    if errors(validate(definition, REGISTRY, Known())):
        return
    assert len(compile_plan(definition, REGISTRY).nodes) == len(definition.nodes)


def test_the_samples_can_be_run() -> None:
    definition = read_definition(EVERYTHING, REGISTRY).definition
    assert errors(validate(definition, REGISTRY, Known())) == []
    assert len(compile_plan(definition, REGISTRY).nodes) == len(definition.nodes)


@FEW
@given(st.dictionaries(PARAMETERS, DATA, max_size=4), st.sampled_from(["event", "schedule", "manual"]))
def test_no_trigger_makes_it_raise(parameters: dict[str, Any], type_: str) -> None:
    try:
        read = read_data({"name": "X", "trigger": {**parameters, "type": type_}}, REGISTRY)
    except DefinitionError:
        return
    assert [problem.code for problem in validate(read.definition, REGISTRY, Known())].count("no_steps") == 1


@FEW
@given(st.sampled_from([*REGISTRY.steps, *REGISTRY.actions]), st.dictionaries(SETTINGS, DATA, max_size=4))
def test_no_configuration_makes_it_raise(type_: str, config: dict[str, Any]) -> None:
    node = {"id": "a", "type": type_, "config": config}
    data = {"name": "X", "trigger": {"type": "manual"}, "nodes": [node], "edges": [{"from": "trigger", "to": "a"}]}
    definition = read_data(data, REGISTRY).definition
    problems = validate(definition, REGISTRY, Known())
    kind = REGISTRY.kind(definition.nodes[0].type)
    assert kind is not None
    _, wrong = typed_config(kind.Config, definition.nodes[0].config)
    assert not wrong or errors(problems)


@FEW
@given(
    st.recursive(
        DATA,
        lambda inner: st.dictionaries(SHAPE_KEYS, inner | st.lists(inner, max_size=2) | SHAPE_WORDS, max_size=5),
        max_leaves=15,
    )
)
def test_reading_refuses_or_reads_whatever_comes(data: Any) -> None:
    try:
        source = read_definition(data if isinstance(data, dict) else {"name": data}, REGISTRY)
    except DefinitionError as error:
        told: list[Problem] | None = error.problems
    else:
        told = None
        assert read_data(to_data(source.definition), REGISTRY).definition == source.definition
    assert told is None or (told and all(problem.message for problem in told))


class TestSentences:
    """One sentence for people: what, where, how to mend."""

    def problems(self) -> list[Problem]:
        text = """
name: X
key: no slug
trigger: {type: event, event: payment.faild, stge: x, maxAge: old}
filter: [customer.nope == 1, "("]
exits: [{event: invoice.payd}]
goal: {event: invoice.paid}
settings: {maxRunAge: long, scope: [nowhere], errorHandling: {retries: -1}}
steps:
  - {type: action, action: send_emial}
  - {type: delay, duration: 3x}
  - {type: WAIT, days: 0}
  - {type: condition}
  - {type: branch, cases: [{id: a, if: x =}]}
  - {type: loop, over: {query: invoices}, steps: [{type: delay, duration: 1d}]}
  - {type: action, action: send_email, template: nope, tempalte: x}
  - {type: action, action: retry_payment}
  - {type: action, action: create_task, message: "{{steps.nope.x}}"}
  - {type: stop}
  - {type: stop}
"""
        read = read_definition(text, REGISTRY)
        known = Known(templates=set(), stages=set(), has_sender=False, plan="HOBBY", stage_depth=3)
        return validate(read.definition, REGISTRY, known, read.lines)

    def test_they_are_all_told_at_once(self) -> None:
        assert {problem.code for problem in self.problems()} >= {
            "unknown_event",
            "bad_config",
            "bad_duration",
            "unknown_variable",
            "bad_expression",
            "missing_config",
            "unknown_stage",
            "unknown_action",
            "wait_zero",
            "slow_loop",
            "unknown_template",
            "no_sender",
            "action_not_allowed",
            "unknown_step_reference",
            "steps_after_end",
            "plan_limit",
        }

    def test_each_says_where(self) -> None:
        for problem in self.problems():
            assert problem.line is not None, problem
            assert problem.path, problem
            assert problem.pointer.startswith("/"), problem

    def test_each_is_a_sentence(self) -> None:
        for problem in self.problems():
            assert re.match(r"[A-Z“`]", problem.message), problem.message
            assert problem.message.rstrip().endswith((".", "”", ")")), problem.message

    def test_none_is_told_twice(self) -> None:
        told = [(problem.code, problem.path, problem.message) for problem in self.problems()]
        assert len(told) == len(set(told))


@pytest.mark.parametrize("count", [100, 500])
def test_large_definitions_are_validated_in_reasonable_time(count: int) -> None:
    task = {"type": "create_task", "config": {"message": "{{customer.name}} {{invoice.number}}"}}
    nodes = [{"id": f"t{n}", **task} for n in range(count)]
    edges = [{"from": f"t{n - 1}" if n else "trigger", "to": f"t{n}"} for n in range(count)]
    data = {"name": "X", "trigger": {"type": "manual"}, "nodes": nodes, "edges": edges}
    began = time.monotonic()
    problems = validate(read_data(data, REGISTRY).definition, REGISTRY, Known())
    assert time.monotonic() - began < 5
    assert errors(problems) == []
