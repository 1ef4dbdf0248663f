"""How the project is cut (DESIGN 2) and how large its parts may be (DESIGN 11), read from the source itself."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APPS = ("accounts", "automations", "billing")
CODE = (*APPS, "config", "benchmarks")

# What the engine may never use: it gets clock, database, network and randomness as arguments.
FRAMEWORKS = {
    "django",
    "rest_framework",
    "django_q",
    "drf_spectacular",
    "psycopg",
    "config",
    "accounts",
    "billing",
    "tests",
}
IMPURE = {
    "time",
    "random",
    "secrets",
    "uuid",
    "socket",
    "os",
    "subprocess",
    "threading",
    "httpx",
    "httpcore",
    "smtplib",
}
CLOCKS = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}


@cache
def sources(*folders: str) -> tuple[Path, ...]:
    """Python files of these folders; generated migrations are nobody's writing."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(path for path in found if not ("migrations" in path.parts and path.name.startswith("0001_")))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> Iterator[str]:
    """Full names of what a file imports, also inside functions."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def breaches(folder: str, forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imports(path)
        if name.split(".")[0] in forbidden
    ]


class TestLayers:
    """billing -> automations -> accounts, and the engine under all of them (DESIGN 2)."""

    @pytest.mark.parametrize(
        ("folder", "above"),
        [("accounts", {"automations", "billing"}), ("automations", {"billing"}), ("billing", set())],
    )
    def test_imports_point_one_way(self, folder: str, above: set[str]) -> None:
        assert breaches(folder, above | {"tests", "benchmarks"}) == []

    def test_no_app_reaches_up_into_the_configuration(self) -> None:
        """Settings come through Django; what starts the installation is not the apps' business, save of their commands."""
        found = [line for app in APPS for line in breaches(app, {"config"})]
        assert [line for line in found if "/management/commands/" not in line] == []

    def test_the_engine_imports_no_framework_and_nothing_of_the_project(self) -> None:
        assert breaches("automations/engine", FRAMEWORKS) == []
        outside = [
            f"{path.relative_to(ROOT)} imports {name}"
            for path in sources("automations/engine")
            for name in imports(path)
            if name.startswith("automations.") and not name.startswith("automations.engine")
        ]
        assert outside == []

    def test_the_engine_reads_no_clock_no_network_no_chance(self) -> None:
        assert breaches("automations/engine", IMPURE) == []
        calls = [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.func.value.id}.{node.func.attr}()"
            for path in sources("automations/engine")
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and isinstance(node.func.value, ast.Name)
            and (node.func.value.id, node.func.attr) in CLOCKS
        ]
        assert calls == []

    def test_the_engine_loads_without_django(self) -> None:
        import subprocess
        import sys

        modules = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources("automations/engine")]
        names = [name.removesuffix(".__init__") for name in modules]
        check = f"import importlib, sys\nfor name in {names!r}: importlib.import_module(name)\nsys.exit('django' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def test_a_planted_breach_is_found(self, tmp_path: Path) -> None:
        planted = tmp_path / "planted.py"
        planted.write_text("def f():\n    from billing.models import Invoice\n    import os.path\n")
        assert [name.split(".")[0] for name in imports(planted)] == ["billing", "os"]


@dataclass(frozen=True)
class Function:
    place: str
    lines: int


def functions() -> list[Function]:
    """All functions with their length, from the first decorator's `def` to the last line, nested ones too."""
    return [
        Function(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in sources(*CODE)
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@cache
def words_of(path: Path) -> set[int]:
    """The lines of its docstrings."""
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    firsts = [node.body[0] for node in ast.walk(tree(path)) if isinstance(node, scopes) and ast.get_docstring(node)]
    return {line for first in firsts for line in range(first.lineno, (first.end_lineno or 0) + 1)}


def written(*folders: str) -> int:
    """Lines of code: neither empty nor words alone (comments, docstrings)."""
    return sum(
        1
        for path in sources(*folders)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip() and not line.strip().startswith("#") and number not in words_of(path)
    )


class TestBudgets:
    """DESIGN 11."""

    def test_no_function_is_longer_than_60_lines(self) -> None:
        assert [f"{found.place}: {found.lines}" for found in functions() if found.lines > 60] == []

    def test_half_of_the_functions_have_at_most_9_lines_and_nine_of_ten_at_most_30(self) -> None:
        lengths = sorted(found.lines for found in functions())
        assert statistics.median(lengths) <= 9
        assert lengths[int(len(lengths) * 0.9)] <= 30

    def test_no_file_is_longer_than_500_lines_and_nine_of_ten_have_at_most_300(self) -> None:
        files = {path: length(path) for path in sources(*CODE, "tests")}
        assert {str(path.relative_to(ROOT)): lines for path, lines in files.items() if lines > 500} == {}
        lengths = sorted(lines for path, lines in files.items() if lines)
        assert lengths[int(len(lengths) * 0.9)] <= 300

    def test_there_are_1_3_lines_of_test_for_each_line_of_code(self) -> None:
        code, tests = written(*CODE), written("tests")
        assert tests >= 1.3 * code, f"{tests} lines of tests for {code} of code: {tests / code:.2f}, wanted 1.30"

    def test_every_function_says_what_it_answers(self) -> None:
        silent = [
            f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
            for path in sources(*CODE)
            if "migrations" not in path.parts
            for node in ast.walk(tree(path))
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is None
        ]
        assert silent == []
