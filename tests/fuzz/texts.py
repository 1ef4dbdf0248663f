"""Texts for Hypothesis: words of a language in any order, and texts that mean something, hurt in a few places."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import strategies as st

from automations.engine.writing import to_yaml
from tests.engine.definitions import definitions
from tests.engine.kinds_for_tests import REGISTRY
from tests.engine.test_expressions_properties import trees, written
from tests.fuzz.spelling import EXPRESSION_WORDS, ODD
from tests.fuzz.targets import TARGETS

_SIGNS = st.characters(codec="ascii", categories=("L", "N", "P", "S", "Zs"))


_ROOTS = ("trigger", "trigger", "trigger", "customer", "invoice", "payment", "steps", "run", "now", "country", "nope")
_SEGMENTS = tuple(word for word in EXPRESSION_WORDS if word.startswith((".", "[0", "[-", "['")) and len(word) > 1)
_FIELDS = (".name", ".amount", ".items", ".many", ".texts", ".long", ".deep", ".vault", ".vaults", ".person")
_OPERATORS = tuple(word for word in EXPRESSION_WORDS if word.startswith(" ") and len(word) > 2 and word != " | ")
_FILTERS = (
    "length",
    "json",
    "join(', ')",
    "first",
    "sort",
    "unique",
    "upper",
    "date",
    "default('x')",
    "replace('a', 'bb')",
)

#: What means something to YAML wherever it stands.
_MARKS = ("!!int ", "!x ", "&a ", "*a ", "<<: ", "- ", ": ", "'", '"', "{", "[", "#", "? ", "| ")


def pieces(name: str) -> st.SearchStrategy[str]:
    """One word, sign or odd character of a target's language; mostly a word."""
    words = st.sampled_from(TARGETS[name].words)
    more = st.sampled_from(_MARKS) if name == "yaml" else words
    return st.one_of(words, more, st.one_of(st.sampled_from(ODD), _SIGNS))


@st.composite
def _path(draw: st.DrawFn) -> str:
    """A path into the data, through filters."""
    more = draw(st.lists(st.sampled_from(_SEGMENTS), max_size=2)) if draw(st.integers(0, 3)) == 0 else []
    path = draw(st.sampled_from(_ROOTS)) + "".join([draw(st.sampled_from(_FIELDS)), *more])
    return " | ".join([path, *draw(st.lists(st.sampled_from(_FILTERS), max_size=2))])


@st.composite
def _expression(draw: st.DrawFn) -> str:
    """An expression that mostly can be read."""
    if draw(st.integers(0, 2)) == 0:
        return written(draw(trees), lambda spellings: draw(st.sampled_from(spellings)))
    parts = draw(st.lists(_path(), min_size=1, max_size=3))
    return draw(st.sampled_from(_OPERATORS)).join(f"({part})" if len(parts) > 1 else part for part in parts)


@st.composite
def _whole(draw: st.DrawFn, name: str) -> str:
    """A text that means something: one of the seeds, or a generated one."""
    rare = 1 if name == "yaml" else 3  # a generated definition costs as much as twenty texts
    if draw(st.integers(0, 4)) >= rare:
        return draw(st.sampled_from(TARGETS[name].seeds))
    if name == "yaml":
        return to_yaml(draw(definitions(4)), REGISTRY)
    if name == "expressions":
        return draw(_expression())
    text = f"Hi {{{{ {draw(_expression())} }}}}"
    return text if draw(st.booleans()) else f"{{% for i in {draw(_path())} %}}{text} {{{{ i }}}}{{% endfor %}}"


@st.composite
def _hurt(draw: st.DrawFn, name: str) -> str:
    """The same with up to four places, mostly between two words, cut out or filled."""
    text = draw(_whole(name))
    for _ in range(draw(st.sampled_from((0, 0, 0, 1, 1, 2, 4)))):
        borders = [found.start() for found in re.finditer(r"\b|$", text)]
        start = draw(st.sampled_from(borders))
        end = start if draw(st.booleans()) else min([*(border for border in borders if border > start), len(text)])
        text = text[:start] + draw(pieces(name)) + text[end:]
    return text


def texts(name: str) -> st.SearchStrategy[Any]:
    """Texts for a target."""
    return st.one_of(st.lists(pieces(name), max_size=25).map("".join), _hurt(name), _hurt(name))
