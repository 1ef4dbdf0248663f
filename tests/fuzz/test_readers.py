"""The readers of definitions, expressions and templates under any text: a value, or a problem with its place (RELIABILITY 37 to 39;
INVARIANTS P4, P5). The long form is `python -m tests.fuzz.guided`, which calls the same targets."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, seed

from automations.engine.expressions import budget, language, paths
from automations.engine.expressions import render as rendering
from automations.engine.reading import yaml_text
from tests.fuzz.seeded import SEED, number, rules
from tests.fuzz.targets import TARGETS, Fault, Reached
from tests.fuzz.texts import texts

EXAMPLES = number("EXAMPLES", 250)


def attack(name: str, start: int, examples: int = EXAMPLES, shrink: bool = True) -> Counter[str]:
    """Run a target over that many texts; answers how they ended."""
    ended: Counter[str] = Counter()

    @seed(start)
    @rules(examples, shrink)
    @given(text=texts(name))
    def run(text: str) -> None:
        ended[TARGETS[name].run(text)] += 1

    run()
    return ended


@pytest.mark.parametrize("name", list(TARGETS))
def test_every_text_ends_in_a_value_or_a_problem_with_its_place(name: str) -> None:
    print(f"start value {SEED}")
    ended = attack(name, SEED)
    assert any("value" in key for key in ended), ended
    assert any("value" not in key for key in ended), ended


class TestPlanted:
    """Each judge is seen to bite: a fault is put into the product, and the same run finds it from any of three start values."""

    def found(self, name: str, kind: type[BaseException]) -> None:
        for start in (1, 2, 3):
            with pytest.raises(kind):
                attack(name, start, 1_500, shrink=False)

    def test_a_tag_at_which_the_yaml_reader_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = yaml_text._refuse_marks

        def failing(builder: Any, event: Any, line: int) -> None:
            if event.tag == "tag:yaml.org,2002:int":
                raise KeyError(event.tag)
            plain(builder, event, line)

        monkeypatch.setattr(yaml_text, "_refuse_marks", failing)
        self.found("yaml", KeyError)

    def test_a_problem_that_does_not_say_where(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nowhere(error: Any, text: str) -> Any:
            return yaml_text.refusal("malformed", "This is not YAML.")

        monkeypatch.setattr(yaml_text, "_malformed", nowhere)
        self.found("yaml", Fault)

    def test_an_expression_without_an_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def go_on(self: budget.Budget, steps: int) -> None:
            self.steps -= steps

        monkeypatch.setattr(budget.Budget, "spend", go_on)
        self.found("expressions", Fault)
        self.found("templates", Fault)

    def test_text_that_is_not_paid_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(budget.Budget, "make", lambda self, characters: None)
        self.found("templates", Fault)

    def test_a_reach_for_attributes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = paths.look

        def reaching(env: Any, value: Any, wanted: paths.Segment) -> Any:
            found = plain(env, value, wanted)
            return getattr(value, wanted.written, found) if found is paths.MISSING else found

        monkeypatch.setattr(paths, "look", reaching)
        for name in ("expressions", "templates"):
            self.found(name, Reached)

    def test_an_error_of_python_behind_an_expression(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = language.truth

        def truth(value: Any) -> bool:
            if isinstance(value, list) and not value:
                raise ZeroDivisionError
            return plain(value)

        monkeypatch.setattr(language, "truth", truth)
        self.found("expressions", ZeroDivisionError)

    def test_a_second_line_in_a_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(language, "finish", lambda place, output: "".join(output.pieces))
        monkeypatch.setattr(rendering, "check_header", lambda text: text)
        self.found("templates", Fault)
