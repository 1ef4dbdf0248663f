"""docs/contracts.md says what the code does: its example, codes, names, commands and variables are compared with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.core.management import get_commands

from accounts.errors import STATUS
from accounts.permissions import SCOPES
from automations.engine.event_names import is_known
from automations.engine.expressions.filtering import FILTERS
from automations.engine.kinds import ControlStep
from automations.engine.plan import compile_plan
from automations.engine.reading import read_definition
from automations.engine.registry import registry
from automations.models import Delivery, Run
from config.environment import Environment

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def line(start: str) -> str:
    """The paragraph that begins with a text, up to the next bullet or empty line."""
    begin = PAGE.index(start)
    return re.split(r"\n(?:\n|- \*\*|#)", PAGE[begin:], maxsplit=1)[0]


class TestDefinitions:
    def test_the_yaml_example_is_read_compiled_and_means_what_it_says(self) -> None:  # CONTRACTS 4, DEF-08, DEF-29
        definition = read_definition(blocks("yaml")[0], registry, fmt="yaml").definition
        plan = compile_plan(definition, registry)
        assert plan.trigger.key == "payment.failed"
        assert {node.kind.key for node in plan.nodes.values()} >= {
            "condition", "send_email", "create_task", "add_tag", "delay", "wait_until", "update_customer", "start_automation", "branch",
            "send_webhook", "percentage_split", "void_invoice", "retry_payment", "loop", "stop",
        }  # fmt: skip
        assert plan.nodes["mail"].targets["error"] in plan.nodes
        assert plan.nodes["stop_here"].kind.key == "stop"

    def test_the_graph_example_is_read_and_compiled(self) -> None:
        example = next(block for block in blocks("json") if '"nodes"' in block)
        plan = compile_plan(read_definition(example, registry, fmt="json").definition, registry)
        assert plan.first == "first"
        assert plan.nodes["mail"].policy.retries == 3

    def test_every_control_step_is_in_the_example(self) -> None:
        example = blocks("yaml")[0]
        assert all(f"type: {key}" in example for key in registry.steps)
        assert all(isinstance(step, ControlStep) for step in registry.steps.values())

    def test_every_problem_code_of_the_page_is_reported_somewhere(self) -> None:  # CONTRACTS 4
        found = re.search(r"Codes: `(unknown_event.*?)`", PAGE, re.DOTALL)
        assert found
        source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "automations").rglob("*.py"))
        assert [code for code in found[1].split() if f'"{code}"' not in source] == []


class TestErrors:
    def test_every_code_has_the_status_that_the_page_gives_it(self) -> None:  # CONTRACTS 1
        documented = {}
        for names, status in re.findall(r"((?:`[a-z_]+` )+)\((\d{3})\)", " ".join(line("- **Codes**").split())):
            documented |= {name: int(status) for name in re.findall(r"`([a-z_]+)`", names)}
        assert len(documented) > 30
        assert documented == STATUS


class TestEvents:
    def test_every_event_name_of_the_page_is_in_the_catalogue(self) -> None:  # CONTRACTS 7
        text = line("- **Names now**")
        names: list[str] = []
        group = ""
        for token in re.findall(r"`([^`]+)`", text.split("Triggers on them now")[0]):
            for name in token.split():
                group = name.split(".")[0] if not name.startswith(".") else group
                names.append(name if not name.startswith(".") else f"{group}{name}")
        assert "invoice.overdue" in names
        assert {name for name in names if not is_known(name, registry)} == set()
        heard = {name for trigger in registry.triggers.values() for name in trigger.listens}
        assert set(names) - {"updated", "paid"} <= heard | {"pageview", "email_opened", "email_clicked", "stage_enter"}

    def test_the_sample_of_a_failed_payment_is_that_of_the_trigger(self) -> None:
        sample = json.loads(next(block for block in blocks("json") if "pay_31" in block))
        assert set(sample) <= set(registry.triggers["payment.failed"].sample)


class TestLanguage:
    def test_the_filters_of_the_page_are_those_of_the_language(self) -> None:  # CONTRACTS 5
        listed = set(re.findall(r"`([^`]+)`", line("- **Filters**"))[0].split())
        assert listed == set(FILTERS)


class TestRunning:
    def test_every_variable_of_the_table_is_read(self) -> None:  # CONTRACTS 2
        table = PAGE[PAGE.index("| Environment | Default") : PAGE.index("All wrong or missing variables")]
        listed = set(re.findall(r"`((?:ONWARD_[A-Z_]+)|PORT|DATABASE_URL)`", table))
        fields = {name.upper() for name in Environment.model_fields}
        assert listed - fields == set()

    def test_every_command_of_the_page_exists(self) -> None:
        text = line("**Commands**")
        named = {
            name
            for name in ("work", "automations", "doctor", "demo", "mailbox", "up")
            if f"`{name}" in text or name in text
        }
        assert len(named) == 6
        assert named <= set(get_commands())

    def test_every_scope_of_the_page_exists(self) -> None:  # CONTRACTS 8
        text = PAGE[PAGE.index("An API key has any of the scopes") :]
        listed = set(re.findall(r"`([^`]+)`", text)[0].split())
        assert listed == set(SCOPES)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (
            Run,
            "automation version event customer mode status parked_on due_at step seq state wait_name wait_key end_reason error",
        ),
        (Delivery, "run visit effect key kind state due_at lease_until fence request_sha256 provider_ref"),
    ],
)
def test_the_columns_that_the_page_names_exist(model: Any, columns: str) -> None:  # CONTRACTS 3
    assert set(columns.split()) <= {field.name for field in model._meta.get_fields()}
