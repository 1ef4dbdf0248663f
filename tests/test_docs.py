"""What the README says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config.environment import Environment, variable_names

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text below a heading, up to the next of its level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def table(text: str) -> dict[str, list[str]]:
    """Rows of the first table: first cell without its code marks -> the other cells."""
    rows = [line.strip().strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0].strip().strip("`"): [cell.strip() for cell in cells[1:]] for cells in rows[2:]}


class TestEnvironment:
    def test_the_table_has_every_variable_and_no_other(self) -> None:
        assert list(table(section("Environment"))) == variable_names()

    @pytest.mark.parametrize(
        ("name", "field"),
        [
            (name.upper(), field)
            for name, field in Environment.model_fields.items()
            if isinstance(field.default, (int, str))
        ],
    )
    def test_plain_defaults_are_those_of_the_code(self, name: str, field: object) -> None:
        default = Environment.model_fields[name.lower()].default
        shown = table(section("Environment"))[name][0]
        if isinstance(default, bool):
            expected = str(int(default))
            assert shown == expected or f"else {expected}" in shown, name
        elif default:
            assert shown == str(default), name

    def test_every_row_says_what_it_means(self) -> None:
        assert [name for name, cells in table(section("Environment")).items() if len(cells[1]) < 8] == []


class TestCommands:
    def test_every_make_target_of_the_readme_exists(self) -> None:
        targets = {command.removeprefix("make ") for command in table(section("Start"))}
        assert targets <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))
        assert {"up", "test", "bench", "lock", "clean"} <= targets

    def test_folders_of_the_map_exist(self) -> None:
        for cell in table(section("Where things are")):
            first = cell.split("`")[0].rstrip("/")
            assert (ROOT / first).is_dir(), first
