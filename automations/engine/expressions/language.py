"""What callers use: compiled expressions and templates, kept in caches."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from jinja2 import nodes

from automations.engine.expressions.compiler import Compiler, Found
from automations.engine.expressions.environment import Environment, Names
from automations.engine.expressions.errors import ExpressionError
from automations.engine.expressions.lexer import Place
from automations.engine.expressions.parser import parse_expression, parse_template
from automations.engine.expressions.paths import Code
from automations.engine.expressions.render import PLACES, shown
from automations.engine.expressions.semantics import truth
from automations.engine.expressions.templates import Output, TemplateCompiler, Writer, finish
from automations.engine.values import MISSING

_TOO_DEEP = "The data is nested too deep to be worked with."


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    `paths`: what it reads, as camelCase segments (`("trigger", "failureCount")`; the id of a step stays as written); `roots`:
    their first segments; `words`: bare words on the right of a comparison, which are text unless the trigger's data has them;
    `reads`: the paths and all others that an evaluation may look at, for callers who keep the data for later.
    """

    source: str
    paths: frozenset[tuple[str, ...]]
    roots: frozenset[str]
    words: frozenset[str]
    reads: frozenset[tuple[str, ...]]
    labelled: tuple[tuple[str, tuple[str, ...]], ...] = field(
        repr=False, compare=False
    )  # the paths in order, each with its text
    _code: Code = field(repr=False, compare=False)
    _cost: int = field(repr=False, compare=False)

    def value(self, env: Environment) -> Any:
        """Its typed value, `MISSING` where there is none. Raises `BudgetExceeded`."""
        env.start(self._cost)
        try:
            return self._code(env)
        except RecursionError:
            raise ExpressionError(_TOO_DEEP, code="too_deep") from None

    def test(self, env: Environment) -> bool:
        """Whether it holds. A missing value does not."""
        return truth(self.value(env))


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `literal` is its text when it has no variables at all, else None; the rest as for `Expression`."""

    source: str
    place: str
    paths: frozenset[tuple[str, ...]]
    roots: frozenset[str]
    words: frozenset[str]
    reads: frozenset[tuple[str, ...]]
    literal: str | None
    _write: Writer = field(repr=False, compare=False)
    _alone: Expression | None = field(repr=False, compare=False)
    _data: Writer | None = field(repr=False, compare=False)
    _cost: int = field(repr=False, compare=False)

    def render(self, env: Environment) -> str:
        """The text, escaped for its place. Raises `BudgetExceeded`, and `ExpressionError` (`header_injection`) for a header that
        would get a second line."""
        return self._render(env, self._write)

    def value(self, env: Environment) -> Any:
        """What belongs into data: the typed value when the source is one `{{ }}` alone (None, with a warning, where it has none);
        otherwise the text. JSON data needs no escaping, so for `json` that is the plain text; elsewhere it is `render`."""
        if self._alone is None or self.place not in ("text", "json"):
            return self._render(env, self._data or self._write)
        value = self._alone.value(env)
        if value is MISSING:
            shown(env, value, self.source.strip(" {}"), lambda env, value: "")
            return None
        return value

    def _render(self, env: Environment, write: Writer) -> str:
        env.start(self._cost)
        env.locals.clear()
        output = Output()
        try:
            write(env, output)
        except RecursionError:
            raise ExpressionError(_TOO_DEEP, code="too_deep") from None
        return finish(self.place, output)


_Paths = frozenset[tuple[str, ...]]


def _found(found: Found) -> tuple[_Paths, frozenset[str], frozenset[str], _Paths]:
    return frozenset(found.paths), frozenset(found.roots), frozenset(found.words), frozenset(found.reads)


@lru_cache(maxsize=8192)
def compile_expression(source: str, names: Names) -> Expression:
    """Read one expression. Raises `ExpressionError` with line and column."""
    return _expression(source, parse_expression(source), names)


def _expression(source: str, node: nodes.Expr, names: Names) -> Expression:
    compiler = Compiler(Place(source), names)
    part, cost = compiler.cost(node)
    labelled = tuple((".".join(path), path) for path in sorted(compiler.found.paths))
    return Expression(source, *_found(compiler.found), labelled, part.code, cost)


@lru_cache(maxsize=2048)
def compile_template(source: str, names: Names, place: str = "text") -> Template:
    """Read one template for a place (`text`, `html`, `header`, `url`, `json`). Raises `ExpressionError` with line and column."""
    if place not in PLACES:
        raise ValueError(f"There is no place “{place}”; places are {', '.join(sorted(PLACES))}.")
    # The line break at the end of a YAML text does not make a second line.
    tree = parse_template(source.rstrip() if place == "header" else source)
    compiler = TemplateCompiler(Place(source), names, place)
    write = compiler.block(tree.body)
    found = compiler.expressions.found
    data = TemplateCompiler(Place(source), names, "text").block(tree.body) if place == "json" else None
    return Template(
        source, place, *_found(found), _literal(tree), write, _alone(source, tree, names), data, compiler.cost
    )


def _literal(tree: nodes.Template) -> str | None:
    pieces = [piece for node in tree.body if isinstance(node, nodes.Output) for piece in node.nodes]
    is_plain = all(isinstance(node, nodes.Output) for node in tree.body)
    if not is_plain or not all(isinstance(piece, nodes.TemplateData) for piece in pieces):
        return None
    return "".join(str(piece.data) for piece in pieces if isinstance(piece, nodes.TemplateData))


def _alone(source: str, tree: nodes.Template, names: Names) -> Expression | None:
    """The one expression of a template that is nothing else; blanks around it do not count."""
    pieces: list[nodes.Expr] = []
    for node in tree.body:
        if not isinstance(node, nodes.Output):
            return None
        pieces += [piece for piece in node.nodes if not _is_blank(piece)]
    if len(pieces) != 1 or isinstance(pieces[0], nodes.TemplateData):
        return None
    return _expression(source, pieces[0], names)


def _is_blank(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.TemplateData) and not str(node.data).strip()
