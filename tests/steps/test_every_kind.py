"""One contract for all steps and actions: whoever adds one gets these tests for nothing (DESIGN 2, CONTRACTS 6)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from accounts.models import Workspace
from automations.engine.kinds import Action, Config, ControlStep, Kind, LocalAction, OutsideAction
from automations.engine.marks import marked
from automations.engine.reading import read_definition
from automations.engine.registry import DuplicateKey, Registry, registry
from automations.engine.validation import validate
from automations.engine.writing import to_yaml
from automations.models import Automation, EmailTemplate
from automations.services.drafts import create_automation
from automations.services.known import known_for
from automations.services.testing import TrialInput, try_definition
from tests.automations import made
from tests.factories import actor_of

KINDS: dict[str, Kind] = {**registry.steps, **registry.actions}
EVERY = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
ACTIONS = pytest.mark.parametrize("action", registry.actions.values(), ids=registry.actions)
GROUPS = {"Communication", "Billing", "Records", "Workflow"}
STEP_KEYS = {"id", "name", "note", "type", "action", "next", "position", "onError", "errorHandling"}


def config_of(kind: Kind) -> dict[str, Any]:
    """The sample as it is written."""
    return kind.sample().model_dump(mode="json", by_alias=True, exclude_unset=True)


def graph_of(kind: Kind, trigger: str = "payment.failed") -> dict[str, Any]:
    """A definition with this step alone; a loop has a body."""
    nodes = [{"id": "it", "type": kind.key, "config": config_of(kind)}]
    edges = [{"from": "trigger", "port": "next", "to": "it"}]
    if kind.key == "loop":
        nodes.append({"id": "body", "type": "create_task", "config": {"message": "x"}})
        edges.append({"from": "it", "port": "each", "to": "body"})
    return {"name": "One step", "trigger": {"type": "event", "event": trigger}, "nodes": nodes, "edges": edges}


@pytest.fixture
def furnished(workspace: Workspace) -> Workspace:
    """A workspace that has what the samples name."""
    for kind in KINDS.values():
        for need in kind.needs(kind.sample()):
            if need.kind == "automation" and need.key:
                made(workspace, trigger="{type: manual}", more=f"key: {need.key}")
            if need.kind == "email_template" and need.key:
                EmailTemplate.objects.get_or_create(
                    workspace=workspace, slug=need.key, defaults={"name": "x", "subject": "x", "body": "x"}
                )
    return workspace


@EVERY
def test_it_has_a_key_a_label_and_words(kind: Kind) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kind.key)
    assert kind.label
    assert kind.help.endswith(".")
    assert kind.__class__.__doc__


@ACTIONS
def test_an_action_stands_in_one_of_four_groups(action: Action) -> None:
    # ACT-36
    assert action.group in GROUPS
    assert isinstance(action, (LocalAction, OutsideAction))
    assert action.effect == ("local" if isinstance(action, LocalAction) else "outside")


@EVERY
def test_its_configuration_is_strict_and_titled(kind: Kind) -> None:
    # CONTRACTS 6: extra="forbid", Field(title=…)
    assert issubclass(kind.Config, Config)
    assert kind.Config.model_config["extra"] == "forbid"
    for name, field in kind.Config.model_fields.items():
        assert field.title, f"{kind.key}.{name}"
        assert (field.alias or name) not in STEP_KEYS, f"{kind.key}.{name} is a key of every step"
        assert "_" not in (field.alias or name).rstrip("_"), f"{kind.key}.{name} is not written in camelCase"


@EVERY
def test_an_unknown_key_is_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        kind.Config.model_validate({**config_of(kind), "nonsense": 1})


@EVERY
def test_its_sample_is_valid_and_says_what_it_does_on_its_card(kind: Kind) -> None:
    sample = kind.sample()
    assert kind.Config.model_validate(config_of(kind)) == sample
    line = kind.summary(sample)
    assert line
    assert "\n" not in line
    assert len(line) < 200


@EVERY
def test_its_ports_have_names_of_their_own(kind: Kind) -> None:
    ports = kind.ports(kind.sample())
    assert len(ports) == len(set(ports))
    if isinstance(kind, Action):
        assert ports[:1] == ("next",) or kind.ends_run
        assert "error" in ports


@EVERY
def test_the_texts_of_its_sample_compile(kind: Kind) -> None:
    from automations.engine.durations import parse_duration
    from automations.engine.expressions import compile_expression, compile_template
    from automations.engine.plan import plan_names

    names = plan_names(read_definition(graph_of(kind), registry).definition, registry)
    for _path, text, marker in marked(kind.Config, kind.sample()):
        if marker.kind == "expression":
            assert compile_expression(text, names).source == text
        elif marker.kind == "template":
            assert compile_template(text, names, marker.place).source == text
        else:
            assert parse_duration(text, signed=True)


@EVERY
def test_its_sample_survives_yaml(kind: Kind) -> None:
    # DEF-24
    definition = read_definition(graph_of(kind), registry).definition
    again = read_definition(to_yaml(definition, registry), registry, "yaml").definition
    assert [(node.type, dict(node.config)) for node in again.nodes] == [
        (node.type, dict(node.config)) for node in definition.nodes
    ]


@pytest.mark.django_db
@EVERY
def test_its_sample_validates_where_what_it_names_exists(kind: Kind, furnished: Workspace) -> None:
    source = read_definition(graph_of(kind), registry)
    errors = [
        problem
        for problem in validate(source.definition, registry, known_for(furnished.pk), source.lines)
        if problem.severity == "error"
    ]
    assert errors == []


@pytest.mark.django_db
@EVERY
def test_its_sample_walks_without_doing_anything(kind: Kind, furnished: Workspace) -> None:
    # VER-10
    definition = read_definition(graph_of(kind), registry).definition
    before = Automation.objects.count()
    result = try_definition(actor=actor_of(furnished), definition=definition, given=TrialInput())
    assert "it" in [row.step for row in result.simulation.rows]
    assert result.simulation.run.status == "COMPLETED"
    assert Automation.objects.count() == before


@pytest.mark.django_db
@ACTIONS
def test_what_it_gives_out_is_what_it_declares(action: Action, furnished: Workspace) -> None:
    """`steps.<id>.*` offers the fields of `Output`; a simulated step may give fewer."""
    declared = {field.alias or name for name, field in action.Output.model_fields.items()}
    definition = read_definition(graph_of(action), registry).definition
    result = try_definition(actor=actor_of(furnished), definition=definition, given=TrialInput())
    [row] = [row for row in result.simulation.rows if row.step == "it"]
    assert set(row.output or {}) <= declared


@pytest.mark.django_db
@ACTIONS
def test_it_is_refused_where_its_subject_is_missing(action: Action, furnished: Workspace) -> None:
    # ACT-33: with a reason
    if not action.subjects:
        return
    graph = {**graph_of(action), "trigger": {"type": "schedule", "interval": "24h"}}
    draft = create_automation(actor=actor_of(furnished), body=graph)
    codes = {problem.code for problem in draft.problems}
    assert codes & {"subject_missing", "action_not_allowed"}


class TestRegistry:
    """Filled by walking packages; no list is edited to add one (DESIGN 2)."""

    class Juggle(LocalAction):
        """A kind of our own."""

        key = "juggle"
        label = "Juggle"
        help = "Throws balls."

    def test_adding_one_is_one_instance(self) -> None:
        own = Registry()
        own.add(self.Juggle())
        assert own.kind("juggle") is own.actions["juggle"]
        assert own.kind("nothing") is None

    def test_one_key_is_declared_once(self) -> None:
        own = Registry()
        own.add(self.Juggle())
        with pytest.raises(DuplicateKey, match="juggle"):
            own.add(self.Juggle())

    def test_the_same_instance_may_be_met_twice(self) -> None:
        own, action = Registry(), self.Juggle()
        own.add(action)
        own.add(action)
        assert list(own.actions) == ["juggle"]

    def test_walking_a_package_finds_what_its_modules_hold(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package = tmp_path / "some_actions"
        package.mkdir()
        (package / "__init__.py").write_text("")
        (package / "juggle.py").write_text(
            "from automations.engine.kinds import LocalAction\n\n\nclass Juggle(LocalAction):\n"
            "    key = 'juggle'\n    label = 'J'\n\n\naction = Juggle()\n"
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        own = Registry()
        own.walk("some_actions")
        assert list(own.actions) == ["juggle"]

    def test_keys_of_steps_and_actions_do_not_meet(self) -> None:
        assert not set(registry.steps) & set(registry.actions)

    def test_control_steps_have_no_effect_of_their_own(self) -> None:
        assert all(isinstance(step, ControlStep) and step.effect == "none" for step in registry.steps.values())
