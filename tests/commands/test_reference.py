"""The reference page says what the code declares."""

from __future__ import annotations

import io
from pathlib import Path

from django.core.management import call_command

from automations.commandline.reference import page
from automations.engine.registry import registry
from automations.engine.states import TRANSITIONS

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_the_committed_page_is_what_the_declarations_give() -> None:  # DESIGN 2
    assert (DOCS / "reference.md").read_text(encoding="utf-8") == page()


def test_the_command_prints_the_page() -> None:
    out = io.StringIO()
    call_command("automations", "reference", stdout=out)
    assert out.getvalue() == page()


def test_everything_registered_has_a_heading() -> None:
    text = page()
    for key in (*registry.triggers, *registry.steps, *registry.actions):
        assert f"### `{key}`: " in text


def test_the_transition_table_of_the_docs_is_that_of_the_engine() -> None:  # DESIGN 5, engine/states.py
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for origin, targets in TRANSITIONS.items():
        assert f"| {origin} | {', '.join(sorted(targets)) or 'nothing'} |" in text
