"""Templates: literal text, variables, `if` and `for`, compiled into closures that add to a list of texts (CONTRACTS 5)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from jinja2 import nodes

from automations.engine.expressions.compiler import Compiler
from automations.engine.expressions.environment import Environment, Names
from automations.engine.expressions.errors import BudgetExceeded
from automations.engine.expressions.lexer import Place
from automations.engine.expressions.part import Part
from automations.engine.expressions.render import SHOWS, JsonState, Show, as_url, check_header, in_json_text, shown
from automations.engine.values import MISSING, kind_of, normalise

MAX_OUTPUT: Final = 256 * 1024
MAX_LOOPS: Final = 2
MAX_PIECES: Final = 10_000


class Output:
    """The text made so far, in pieces, and its size in bytes."""

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.size = 0

    def add(self, text: str) -> None:
        """Add a piece. Raises `BudgetExceeded`."""
        self.size += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if self.size > MAX_OUTPUT:
            raise BudgetExceeded("The rendered text is longer than 256 kB.")
        self.pieces.append(text)


Writer = Callable[[Environment, Output], None]


class TemplateCompiler:
    """Compiles the statements of one template; its expressions are compiled by `Compiler`."""

    def __init__(self, place: Place, names: Names, where: str) -> None:
        self.expressions = Compiler(place, names)
        self.where = where
        self.json = JsonState()
        self.loops = 0
        self.pieces = 0
        self.cost = 0
        self.begun = (
            False  # whether anything stands before; a value at the very beginning of an address may be its host
        )

    def block(self, body: Sequence[nodes.Node]) -> Writer:
        """A body as one writer."""
        writers = [writer for node in body for writer in self.statement(node)]
        if len(writers) == 1:
            return writers[0]

        def write(env: Environment, output: Output) -> None:
            for writer in writers:
                writer(env, output)

        return write

    def statement(self, node: nodes.Node) -> list[Writer]:
        if isinstance(node, nodes.Output):
            return [self.piece(part) for part in node.nodes]
        if isinstance(node, nodes.If):
            return [self.if_(node)]
        if not isinstance(node, nodes.For):
            self.expressions.refuse("Templates know if, elif, else and for only.", node)
        return [self.for_(node)]

    def piece(self, node: nodes.Node) -> Writer:
        self.pieces += 1
        if self.pieces > MAX_PIECES:
            self.expressions.refuse(f"A template has at most {MAX_PIECES} pieces.", node)
        if isinstance(node, nodes.TemplateData):
            text = self.literal(node)
            return lambda env, output: output.add(text)
        part = self.expression(node)
        return _variable(part, self.show())

    def literal(self, node: nodes.TemplateData) -> str:
        text = str(node.data)
        if self.where == "json":
            self.json.feed(text)
        if self.where == "header":
            text = text if self.begun else text.lstrip()
            if _breaks(text):
                self.expressions.refuse("A header is one line: take the line break out.", node)
        self.begun = self.begun or bool(text)
        return text

    def show(self) -> Show:
        """How a variable is written at this point."""
        begun, self.begun = self.begun, True
        if self.where == "json" and self.json.in_text:
            return in_json_text
        return as_url if self.where == "url" and not begun else SHOWS[self.where]

    def expression(self, node: Any) -> Part:
        part, count = self.expressions.cost(node)
        self.cost += count
        return part

    def if_(self, node: nodes.If) -> Writer:
        arms = [(self.expression(arm.test).code, self.block(arm.body)) for arm in (node, *node.elif_)]
        otherwise = self.block(node.else_)

        def write(env: Environment, output: Output) -> None:
            for test, body in arms:
                if test(env):
                    return body(env, output)
            return otherwise(env, output)

        return write

    def for_(self, node: nodes.For) -> Writer:
        if not isinstance(node.target, nodes.Name):
            self.expressions.refuse("A loop has one variable: {% for line in invoice.lines %}.", node)
        if node.test is not None or node.recursive:
            self.expressions.refuse("Put the condition of a loop inside it, as {% if %}.", node)
        if self.loops == MAX_LOOPS:
            self.expressions.refuse(f"Loops are nested at most {MAX_LOOPS} deep.", node)
        over = self.expression(node.iter)
        outer, before, self.cost = self.expressions.locals, self.cost, 0
        self.loops += 1
        slot, loop_slot = f"item{self.loops}", f"loop{self.loops}"
        self.expressions.locals = {**outer, node.target.name: (slot, over.path or ()), "loop": (loop_slot, ())}
        body, cost = self.block(node.body), self.cost + 1
        self.expressions.locals, self.cost = outer, before
        self.loops -= 1
        return _loop(over, (slot, loop_slot), body, self.block(node.else_), cost)


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text or "\0" in text


def _variable(part: Part, show: Show) -> Writer:
    code, label = part.code, part.label

    def write(env: Environment, output: Output) -> None:
        value = code(env)
        output.add(shown(env, value, label, show) if value is MISSING else show(env, value))

    return write


def _loop(over: Part, slots: tuple[str, str], body: Writer, otherwise: Writer, cost: int) -> Writer:
    """A loop pays for its body at every turn, so its length is bounded by the budget."""

    def write(env: Environment, output: Output) -> None:
        items = over.code(env)
        if not isinstance(items, list):
            _not_a_list(env, over, items)
            items = []
        for index, item in enumerate(items):
            env.budget.spend(cost)
            env.locals[slots[0]] = normalise(item)
            env.locals[slots[1]] = {
                "index": index + 1,
                "first": index == 0,
                "last": index + 1 == len(items),
                "length": len(items),
            }
            body(env, output)
        if not items:
            otherwise(env, output)

    return write


def _not_a_list(env: Environment, over: Part, value: Any) -> None:
    if value is None or value is MISSING:
        env.warn("missing_value", f"“{over.label}” has no value, so there is nothing to repeat.")
    else:
        env.warn("unlike_types", f"“{over.label}” is {kind_of(value)} and no list, so there is nothing to repeat.")


def finish(where: str, output: Output) -> str:
    """The whole text, checked once more where a line must stay one line."""
    text = "".join(output.pieces)
    return check_header(text) if where == "header" else text
