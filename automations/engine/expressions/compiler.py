"""From the tree to closures. Only the node classes in the table are accepted; each becomes a function of the environment.

Chains (`a AND b AND c`, `a + b - c`, `a.b.c`, `x | f | g`) become one closure each, so that depth counts real nesting only. The
number of nodes is the cost that an evaluation pays before it starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final, NoReturn

from jinja2 import nodes

from automations.engine.expressions import comparing, semantics
from automations.engine.expressions.environment import Environment, Names
from automations.engine.expressions.filtering import FILTERS
from automations.engine.expressions.lexer import MAX_NESTING, Place
from automations.engine.expressions.part import NOTHING, Part
from automations.engine.expressions.paths import (
    TRIGGER,
    Code,
    Segment,
    first_of,
    local_walker,
    place_in_list,
    resolve,
    segment,
    walker,
)
from automations.engine.expressions.printer import expression_text
from automations.engine.values import as_number

MAX_NODES: Final = 400

_DIGITS = re.compile("[0-9]{1,9}")
_REFUSALS: Final[dict[type[nodes.Node], str]] = {
    nodes.Call: "Calls are not allowed; use a filter: write value | filter.",
    nodes.Tuple: "Write a list in square brackets: [1, 2].",
    nodes.Slice: "Only a number or a text may stand in square brackets behind a name.",
    nodes.Pos: "A plus sign stands between two values only.",
}
_SUMS: Final = {nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Div: "/", nodes.Mod: "%"}
_SIGNS: Final = {"eq": "==", "ne": "!=", "gt": ">", "gteq": ">=", "lt": "<", "lteq": "<="}


@dataclass
class Found:
    """What a source mentions, gathered while it is compiled. `reads` are all paths that an evaluation may look at: those
    mentioned, and those looked at besides, as the trigger's data for a bare word or the currency beside an amount."""

    paths: set[tuple[str, ...]] = field(default_factory=set)
    reads: set[tuple[str, ...]] = field(default_factory=set)
    roots: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)


class Compiler:
    """Compiles the expressions of one source. `locals` maps the variables of open `for` loops to their slots and to the path of
    the list they run over, if it is one."""

    def __init__(self, place: Place, names: Names) -> None:
        self.place = place
        self.names = names
        self.found = Found()
        self.count = 0
        self.locals: dict[str, tuple[str, tuple[str, ...]]] = {}

    def refuse(self, message: str, node: nodes.Node) -> NoReturn:
        """Stop with a sentence, at the place of the node."""
        raise self.place.error(message, node.lineno)

    def cost(self, node: nodes.Expr, depth: int = 0) -> tuple[Part, int]:
        """One whole expression and its number of nodes."""
        before, self.count = self.count, 0
        part = self.compile(node, depth)
        counted, self.count = self.count, before
        return part, counted

    def compile(self, node: nodes.Node, depth: int = 0, on_right: bool = False) -> Part:
        """The closure of a node. `on_right`: an unknown bare word is text here (CND-28)."""
        self.visit(node)
        if depth > MAX_NESTING:
            self.refuse(f"This is nested more than {MAX_NESTING} deep.", node)
        rule = _RULES.get(type(node))
        if rule is None:
            self.refuse(_REFUSALS.get(type(node), "This is not part of the language of expressions."), node)
        return rule(self, node, depth + 1, on_right)

    def visit(self, node: nodes.Node) -> None:
        """Count a node."""
        self.count += 1
        if self.count > MAX_NODES:
            self.refuse(f"An expression has at most {MAX_NODES} parts.", node)

    # Values

    def constant(self, node: nodes.Const, depth: int, on_right: bool) -> Part:
        value = node.value
        return Part(lambda env: value, "the value", value)

    def list_(self, node: nodes.List, depth: int, on_right: bool) -> Part:
        parts = [self.compile(item, depth, on_right) for item in node.items]
        if all(part.is_constant for part in parts):
            values = [part.constant for part in parts]
            return Part(lambda env: values[:], "the list", values)
        codes = [part.code for part in parts]
        return Part(lambda env: [code(env) for code in codes], "the list")

    def path(self, node: nodes.Node, depth: int, on_right: bool) -> Part:
        segments: list[Segment] = []
        whole = node
        while not isinstance(node, nodes.Name):
            self.visit(node)
            if isinstance(node, nodes.Getattr):
                segments.append(self.field(node.attr, node))
            elif isinstance(node, nodes.Getitem):
                segments.append(self.subscript(node))
            else:
                self.refuse(_REFUSALS.get(type(node), "Only a name can be followed by “.” or “[”."), node)
            node = node.node
        segments.reverse()
        return self.named(node, tuple(segments), expression_text(whole), on_right)

    def subscript(self, node: nodes.Getitem) -> Segment:
        value = node.arg.value if isinstance(node.arg, nodes.Const) else None
        if type(value) is int:
            return place_in_list(value)
        if not isinstance(value, str):
            self.refuse("Only a number or a text in quotes may stand in square brackets behind a name.", node)
        return self.field(value, node)

    def field(self, name: str, node: nodes.Node) -> Segment:
        """A segment of a path. Data has no such names; who writes one tries to get at the machine, so say it at once (CND-26)."""
        if name.startswith("__") and name.endswith("__"):
            self.refuse("No field has a name between double underscores; only data can be read here.", node)
        return segment(name)

    def named(self, node: nodes.Name, rest: tuple[Segment, ...], label: str, on_right: bool) -> Part:
        if node.name in self.locals:
            slot, over = self.locals[node.name]
            return Part(local_walker(slot, rest), label, path=(*over, *(part.name for part in rest)), local=slot)
        resolved = resolve(self.names, node.name)
        if resolved.bare and on_right and not rest:
            return self.word(node.name)
        segments = (*map(segment, resolved.before), *rest)
        path = (resolved.root, *_listed(resolved.root, segments))
        self.found.paths.add(path)
        self.found.reads.add(path)
        self.found.roots.add(resolved.root)
        code = walker(resolved.root, segments)
        if resolved.alias:  # a bare fact that is unknown may still be a field of the trigger's data (C-09)
            fallback = (segment(node.name), *rest)
            self.found.reads.add((TRIGGER, *(part.name for part in fallback)))
            code = first_of(code, walker(TRIGGER, fallback))
        return Part(code, label, path=path)

    def word(self, word: str) -> Part:
        """A bare word on the right: a field of the trigger's data if it is there, else the word itself as text."""
        self.found.words.add(word)
        self.found.reads.add((TRIGGER, segment(word).name))
        self.found.roots.add(TRIGGER)
        return Part(first_of(walker(TRIGGER, (segment(word),)), lambda env: word), word)

    # Operators

    def both(self, node: nodes.And | nodes.Or, depth: int, on_right: bool) -> Part:
        codes = [self.compile(item, depth).code for item in self.chain(node, type(node))]
        return Part(
            comparing.all_of(codes) if isinstance(node, nodes.And) else comparing.any_of(codes), "the condition"
        )

    def chain(self, node: Any, kind: type[nodes.BinExpr]) -> list[nodes.Expr]:
        """The operands of a chain of one operator, from left to right."""
        items: list[nodes.Expr] = []
        while type(node) is kind:
            self.visit(node)
            items.append(node.right)
            node = node.left
        return [node, *reversed(items)]

    def not_(self, node: nodes.Not, depth: int, on_right: bool) -> Part:
        code = self.compile(node.node, depth).code
        return Part(lambda env: not code(env), "the condition")

    def sum(self, node: Any, depth: int, on_right: bool) -> Part:
        terms: list[tuple[str, nodes.Expr]] = []
        while type(node) in _SUMS:
            self.visit(node)
            terms.append((_SUMS[type(node)], node.right))
            node = node.left
        first = self.compile(node, depth).code
        steps = [(sign, self.compile(term, depth).code) for sign, term in reversed(terms)]
        return Part(_calculation(first, steps), "the calculation")

    def negative(self, node: nodes.Neg, depth: int, on_right: bool) -> Part:
        part = self.compile(node.node, depth)
        number = as_number(part.constant) if part.is_constant and not isinstance(part.constant, str) else None
        if number is not None:
            negative = number.copy_negate() if isinstance(number, Decimal) else -number
            return Part(lambda env: negative, "the value", negative)
        return Part(lambda env: semantics.negate(part.code(env), env), part.label)

    def compare(self, node: nodes.Compare, depth: int, on_right: bool) -> Part:
        operand = node.ops[0]
        left = self.compile(node.expr, depth)
        right = self.compile(operand.expr, depth, on_right=True)
        op = str(operand.op)
        return Part(comparing.comparison(_SIGNS.get(op, op), left, right), "the comparison")

    def state(self, node: nodes.Test, depth: int, on_right: bool) -> Part:
        code = self.compile(node.node, depth).code
        check = semantics.is_empty if node.name == "empty" else semantics.is_defined
        return Part(lambda env: check(code(env)), "the condition")

    # Filters

    def filter(self, node: Any, depth: int, on_right: bool) -> Part:
        chain: list[nodes.Filter] = []
        while isinstance(node, nodes.Filter):
            self.visit(node)
            chain.append(node)
            node = node.node
        part = self.compile(node, depth)
        for one in reversed(chain):
            part = Part(self.filtered(one, part), part.label)
        return part

    def filtered(self, node: nodes.Filter, part: Part) -> Code:
        kind = FILTERS.get(node.name)
        if kind is None:
            near = get_close_matches(node.name, FILTERS, n=1)
            self.refuse(f"There is no filter “{node.name}”." + (f" Did you mean {near[0]}?" if near else ""), node)
        if node.kwargs or node.dyn_args or node.dyn_kwargs:
            self.refuse("The values of a filter are written one after another, without names and stars.", node)
        values = [self.literal(argument) for argument in node.args]
        try:
            arguments = kind.read_arguments(values)
        except ValueError as problem:
            self.refuse(f"{problem} (filter {node.name})" if "filter" not in str(problem) else str(problem), node)
        if node.name == "money" and not arguments and part.path is not None:
            return comparing.with_currency(part, kind.apply, self.currencies(part))
        return comparing.filtered(part.code, kind, arguments)

    def literal(self, node: nodes.Expr) -> Any:
        part = self.compile(node, 1) if isinstance(node, (nodes.Const, nodes.Neg)) else NOTHING
        if not part.is_constant:
            self.refuse("A filter takes literal values only: numbers, or texts in quotes.", node)
        return part.constant

    def currencies(self, part: Part) -> list[Code]:
        """Where the currency of an amount may stand: beside it, or beside what it is part of (`invoice.lines[0].amount`)."""
        path = part.path or ()
        codes: list[Code] = []
        if part.local:
            codes.append(local_walker(part.local, (segment("currency"),)))
        for size in range(len(path) - 1, 0, -1):
            steps = [place_in_list(int(name)) if _DIGITS.fullmatch(name) else segment(name) for name in path[1:size]]
            self.found.reads.add((*path[:size], "currency"))
            codes.append(walker(path[0], (*steps, segment("currency"))))
        return codes


def _listed(root: str, segments: tuple[Segment, ...]) -> Iterator[str]:
    """Names as `paths` lists them: camelCase, but the id of a step as it is written."""
    for number, part in enumerate(segments):
        yield part.written if root == "steps" and number == 0 else part.name


def _calculation(first: Code, steps: list[tuple[str, Code]]) -> Code:
    def run(env: Environment) -> Any:
        value = first(env)
        for sign, code in steps:
            value = semantics.calculate(sign, value, code(env), env)
        return value

    return run


_Rule = Callable[[Compiler, Any, int, bool], Part]
_RULES: Final[dict[type[nodes.Node], _Rule]] = {
    nodes.Const: Compiler.constant,
    nodes.List: Compiler.list_,
    nodes.Name: Compiler.path,
    nodes.Getattr: Compiler.path,
    nodes.Getitem: Compiler.path,
    nodes.And: Compiler.both,
    nodes.Or: Compiler.both,
    nodes.Not: Compiler.not_,
    nodes.Neg: Compiler.negative,
    nodes.Compare: Compiler.compare,
    nodes.Test: Compiler.state,
    nodes.Filter: Compiler.filter,
    **dict.fromkeys(_SUMS, Compiler.sum),
}
