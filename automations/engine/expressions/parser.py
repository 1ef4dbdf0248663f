"""Jinja2's parser, narrowed to the grammar of CONTRACTS 5: comparisons do not chain, `is` binds like a comparison, `contains` and
`not contains` are operators, statements are `if` and `for` only, and nothing can be nested without end."""

from __future__ import annotations

from typing import Final, NoReturn

from jinja2 import Environment as JinjaEnvironment
from jinja2 import nodes
from jinja2.exceptions import TemplateSyntaxError
from jinja2.lexer import TokenStream
from jinja2.parser import Parser

from automations.engine.expressions.lexer import MAX_NESTING, Place, expression_stream, template_stream

MAX_SOURCE: Final = 4_000
MAX_TEMPLATE: Final = 64 * 1024

_COMPARISONS: Final = frozenset({"eq", "ne", "lt", "lteq", "gt", "gteq"})
_STATEMENTS: Final = frozenset({"if", "for"})
_PARTS: Final = frozenset({"elif", "else", "endif", "endfor"})

# Only asked for extensions and handed to the root node; nothing is compiled or rendered by it.
_NO_ENVIRONMENT = JinjaEnvironment()


class GrammarParser(Parser):
    """Reads our tokens. Offsets stand where Jinja expects line numbers (see `lexer`)."""

    def __init__(self, place: Place, stream: TokenStream) -> None:
        self.place = place
        self.environment = _NO_ENVIRONMENT
        self.stream = stream
        self.name = self.filename = None
        self.closed = False
        self.extensions = {}
        self._last_identifier = 0
        self._tag_stack: list[str] = []
        self._end_token_stack: list[tuple[str, ...]] = []
        self._nesting = 0

    def refuse(self, message: str, offset: int | None = None) -> NoReturn:
        """Stop with a sentence of our own."""
        raise self.place.error(message, self.stream.current.lineno if offset is None else offset)

    def refuse_token(self) -> NoReturn:
        """Stop at the present token, which fits nothing."""
        token = self.stream.current
        if token.type == "eof":
            self.refuse("Something is missing at the end.")
        if token.type in ("variable_end", "block_end"):
            self.refuse("Something is missing before the closing braces.")
        self.refuse(f"“{str(token.value)[:40]}” is not expected here.")

    def _fail_ut_eof(self, name: object, end_token_stack: object, lineno: int | None) -> NoReturn:
        self.refuse(f"“{{% {self._tag_stack[-1]} %}}” is never closed by “{{% end{self._tag_stack[-1]} %}}”.", lineno)

    def deeper(self, steps: int = 1) -> None:
        """Count nesting that brackets do not show: NOT NOT, minus signs, blocks in blocks."""
        self._nesting += steps
        if self._nesting > MAX_NESTING:
            self.refuse(f"This is nested more than {MAX_NESTING} deep.")

    # Expressions

    def parse_condexpr(self) -> nodes.Expr:
        """No inline `if`."""
        return self.parse_or()

    def parse_not(self) -> nodes.Expr:
        """NOT binds weaker than comparisons."""
        if not self.stream.current.test("name:not"):
            return self.parse_compare()
        offset = next(self.stream).lineno
        self.deeper()
        node = nodes.Not(self.parse_not(), lineno=offset)
        self._nesting -= 1
        return node

    def parse_compare(self) -> nodes.Expr:
        """One comparison at most."""
        left = self.parse_math1()
        offset = self.stream.current.lineno
        if self.stream.skip_if("name:is"):
            node: nodes.Expr = self._state(left, offset)
        elif operator := self._operator():
            node = nodes.Compare(left, [nodes.Operand(operator, self.parse_math1())], lineno=offset)
        else:
            return left
        token = self.stream.current
        if token.type in _COMPARISONS or token.test_any("name:in", "name:is", "name:contains"):
            self.refuse("Comparisons do not chain; combine two of them with AND.")
        return node

    def _operator(self) -> str:
        token = self.stream.current
        if token.type in _COMPARISONS:
            return next(self.stream).type
        if token.test_any("name:in", "name:contains"):
            return str(next(self.stream).value)
        if token.test("name:not"):
            following = self.stream.look()
            if following.test_any("name:in", "name:contains"):
                self.stream.skip(2)
                return f"not{following.value}"
        return ""

    def _state(self, left: nodes.Expr, offset: int) -> nodes.Expr:
        negated = self.stream.skip_if("name:not")
        token = self.stream.current
        word = str(token.value).lower()
        if token.type != "name" or word not in ("empty", "defined"):
            self.refuse("After “is” stands empty, not empty, defined or not defined.")
        next(self.stream)
        node = nodes.Test(left, word, [], [], None, None, lineno=offset)
        return nodes.Not(node, lineno=offset) if negated else node

    def parse_unary(self, with_filter: bool = True) -> nodes.Expr:
        """Minus signs may repeat, not without end."""
        self.deeper(0 if with_filter else 1)
        node = super().parse_unary(with_filter)
        self._nesting -= 0 if with_filter else 1
        return node

    def parse_primary(self, with_namespace: bool = False) -> nodes.Expr:
        """A value; an operator's word cannot be one."""
        token = self.stream.current
        if token.type == "name" and token.value in ("and", "or", "in", "is", "contains", "not"):
            self.refuse(f"“{token.value}” is not expected here.")
        if token.type not in ("name", "string", "integer", "float", "lparen", "lbracket"):
            self.refuse_token()
        return super().parse_primary(with_namespace)

    def parse_subscript(self, node: nodes.Expr) -> nodes.Getattr | nodes.Getitem:
        """`.name`, `.0`, `[0]` or `["text"]`."""
        if self.stream.current.type == "dot":
            following = self.stream.look()
            if following.type not in ("name", "integer"):
                self.refuse("Behind a “.” stands a name.", following.lineno)
        return super().parse_subscript(node)

    def parse_filter_expr(self, node: nodes.Expr) -> nodes.Expr:
        """Filters only; `is` is read by `parse_compare`."""
        while self.stream.current.type in ("pipe", "lparen"):
            is_filter = self.stream.current.type == "pipe"
            node = self.parse_filter(node) if is_filter else self.parse_call(node)  # type: ignore[assignment]
        return node

    # Statements

    def parse_statement(self) -> nodes.Node | list[nodes.Node]:
        """`if` and `for`, nested with a limit."""
        token = self.stream.current
        word = str(token.value)
        if token.type == "name" and word in _PARTS:
            self.refuse(f"“{{% {word} %}}” stands alone: nothing that it could belong to is open.")
        if token.type != "name" or word not in _STATEMENTS:
            self.refuse(f"“{{% {word[:40]} %}}” is not allowed: templates know if, elif, else and for only.")
        self.deeper()
        node = super().parse_statement()
        self._nesting -= 1
        return node


def _run(parser: GrammarParser, is_template: bool) -> nodes.Node:
    try:
        if is_template:
            return parser.parse()
        node = parser.parse_expression()
        if parser.stream.current.type != "eof":
            parser.refuse_token()
        return node
    except TemplateSyntaxError:  # its words are about Jinja; ours are about the token it stopped at
        parser.refuse_token()
    except RecursionError:  # cannot happen within the limits above, unless the caller's own stack is nearly full
        parser.refuse("This is nested too deep.", 0)


def parse_expression(source: str) -> nodes.Expr:
    """The tree of an expression. Raises `ExpressionError`."""
    place = Place(source)
    if len(source) > MAX_SOURCE:
        raise place.error(f"An expression has at most {MAX_SOURCE} characters; this one has {len(source)}.", 0)
    if not source.strip():
        raise place.error("The expression is empty.", 0)
    return _run(GrammarParser(place, expression_stream(place)), is_template=False)  # type: ignore[return-value]


def parse_template(source: str) -> nodes.Template:
    """The tree of a template. Raises `ExpressionError`."""
    place = Place(source)
    if len(source.encode("utf-8", "surrogatepass")) > MAX_TEMPLATE:
        raise place.error("A template has at most 64 kB.", 0)
    return _run(GrammarParser(place, template_stream(place)), is_template=True)  # type: ignore[return-value]
