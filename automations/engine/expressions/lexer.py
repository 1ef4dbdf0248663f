"""From text to Jinja tokens.

The tokens are those of Jinja's parser, but made here, for two reasons: they know the place of every character (Jinja keeps the line
only; a token's `lineno` is its offset in the source, turned into line and column when an error is reported), and they say what the
three dialects of C-09 have in common: `=` is `==`, AND OR NOT in any case, `{{x}}` inside an expression is `(x)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from jinja2.lexer import Token, TokenStream

from automations.engine.expressions.errors import ExpressionError

MAX_NESTING: Final = 24
MAX_DIGITS: Final = 30

_KEYWORDS: Final = frozenset({"and", "or", "not", "in", "is", "contains"})
_CONSTANTS: Final = {"true": "true", "false": "false", "null": "none", "none": "none"}
_OPERATORS: Final = {
    "==": "eq", "=": "eq", "!=": "ne", ">": "gt", ">=": "gteq", "<": "lt", "<=": "lteq", "+": "add", "-": "sub", "*": "mul",
    "/": "div", "%": "mod", "|": "pipe", ",": "comma", ".": "dot", "[": "lbracket", "]": "rbracket", "(": "lparen", ")": "rparen",
    "{{": "lparen", "}}": "rparen",
}  # fmt: skip
_HINTS: Final = {
    "&&": "Write AND in place of “&&”.",
    "||": "Write OR in place of “||”.",
    "!": "Write NOT in place of “!”.",
    "<>": "Write != in place of “<>”.",
    "**": "Powers (“**”) are not allowed.",
    "//": "“//” is not allowed; use / and the filter round.",
    "~": "“~” is not allowed; put two {{ }} side by side.",
    "{": "Objects in braces are not allowed.",
    "}": "A closing brace without an opening one.",
    ":": "“:” is not allowed here.",
    ";": "“;” is not allowed here.",
    "?": "“?” is not allowed here.",
}
_CLOSERS: Final = {"(": ")", "[": "]", "{{": "}}"}

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[0-9]+(?:\.[0-9]+)?)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<name>[^\W\d]\w*)
    |(?P<operator>\{\{|\}\}|==|!=|>=|<=|<>|&&|\|\||\*\*|//|[-=<>+*/%|,.\[\]()!~{}:;?])""",
    re.VERBOSE | re.DOTALL,
)
_INDEX = re.compile(r"[0-9]+")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


class Place:
    """Where the parts of a text are, for errors."""

    __slots__ = ("source",)

    def __init__(self, source: str) -> None:
        self.source = source

    def error(self, message: str, offset: int) -> ExpressionError:
        """An error at that offset, as line and column."""
        before = self.source[: max(0, offset)]
        return ExpressionError(message, before.count("\n") + 1, len(before) - before.rfind("\n"))


class Brackets:
    """The brackets that are open: they must match and may not be nested without end."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.open: list[tuple[str, int]] = []

    def see(self, sign: str, offset: int) -> None:
        """Follow one operator. Raises `ExpressionError`."""
        if sign in _CLOSERS:
            self.open.append((sign, offset))
            if len(self.open) > MAX_NESTING:
                raise self.place.error(f"Brackets are nested more than {MAX_NESTING} deep.", offset)
        elif sign in _CLOSERS.values() and not (self.open and _CLOSERS[self.open.pop()[0]] == sign):
            raise self.place.error(f"“{sign}” closes nothing that is open.", offset)

    def finish(self) -> None:
        """All must be closed by now."""
        if self.open:
            sign, offset = self.open[-1]
            raise self.place.error(f"“{sign}” is never closed.", offset)


def expression_tokens(place: Place, start: int, end: int, closer: str = "") -> Iterator[Token]:
    """The tokens between two offsets. With `closer` (`}}` or `%}`) they end at the first one outside all brackets, and a last
    token of type `closer` gives the offset behind it."""
    source, brackets, after_dot, at = place.source, Brackets(place), False, start
    while at < end:
        if closer and source[at] in "-%}" and not brackets.open and (size := _closes(source, at, closer)):
            yield Token(at + size, "closer", source[at : at + size])
            return
        match = _INDEX.match(source, at, end) if after_dot else None
        match = match or _TOKEN.match(source, at, end)
        if match is None:
            raise place.error(_unreadable(source[at]), at)
        kind, word = match.lastgroup or "number", match.group()
        if kind == "operator":
            brackets.see(word, at)
        if kind != "space":
            yield _token(place, kind, word, at, after_dot)
            after_dot = word == "." and kind == "operator"
        at = match.end()
    brackets.finish()
    if closer:
        raise place.error(f"“{'{{' if closer == '}}' else '{%'}” is never closed by “{closer}”.", max(0, start - 2))


def _closes(source: str, at: int, closer: str) -> int:
    if source.startswith(closer, at):
        return 2
    return 3 if source.startswith("-" + closer, at) else 0


def _unreadable(sign: str) -> str:
    if sign in "'\"":
        return "This text has no closing quotation mark."
    if sign in "“”„‘’":
        return f"Write straight quotation marks (' or \") in place of {sign}."
    return (
        f"The character “{sign}” is not allowed here."
        if sign.isprintable()
        else "An unprintable character is not allowed."
    )


def _token(place: Place, kind: str, word: str, at: int, after_dot: bool) -> Token:
    if kind == "operator":
        if word not in _OPERATORS:
            raise place.error(_HINTS[word], at)
        return Token(at, _OPERATORS[word], word)
    if kind == "number":
        return _number(place, word, at)
    if kind == "text":
        return Token(at, "string", _ESCAPE.sub(_unescape, word[1:-1]))
    lower = word.lower()
    if not after_dot and (lower in _KEYWORDS or lower in _CONSTANTS):
        word = _CONSTANTS.get(lower, lower)
    return Token(at, "name", word)


def _number(place: Place, word: str, at: int) -> Token:
    following = place.source[at + len(word) : at + len(word) + 1]
    if following.isalnum() or following == "_":
        raise place.error(
            f"“{word}{following}” is neither a number nor a name; durations and text stand in quotes.", at
        )
    if len(word) > MAX_DIGITS:
        raise place.error(f"A number has at most {MAX_DIGITS} digits.", at)
    # Jinja types the value of a token as text; its parser only hands it on into a Const node.
    value: object = Decimal(word) if "." in word else int(word)
    return Token(at, "float" if "." in word else "integer", value)  # type: ignore[arg-type]


def _unescape(match: re.Match[str]) -> str:
    sign = match.group(1)
    if len(sign) == 5:
        code = int(sign[1:], 16)
        # Neither NUL nor half of a pair can be stored or sent.
        return "\ufffd" if code == 0 or 0xD800 <= code <= 0xDFFF else chr(code)
    return _ESCAPES.get(sign, sign)


def expression_stream(place: Place) -> TokenStream:
    """The stream for one expression."""
    tokens = list(expression_tokens(place, 0, len(place.source)))
    return TokenStream([*tokens, Token(len(place.source), "eof", "")], None, None)


_OPENERS = re.compile(r"\{\{|\{%|\{#")


def template_stream(place: Place) -> TokenStream:
    """The stream for a template: literal text, `{{ }}`, `{% %}`, and comments `{# #}` left out."""
    return TokenStream([*_template_tokens(place), Token(len(place.source), "eof", "")], None, None)


def _template_tokens(place: Place) -> Iterator[Token]:
    source, at, strip = place.source, 0, False
    while at < len(source):
        match = _OPENERS.search(source, at)
        end = match.start() if match else len(source)
        trims = match is not None and source.startswith("-", match.end())
        yield from _data(source[at:end], at, strip, trims)
        if match is None:
            return
        inner = match.end() + (1 if trims else 0)
        if match.group() == "{#":
            at, strip = _comment(place, match.start())
            continue
        kind, closer = ("variable", "}}") if match.group() == "{{" else ("block", "%}")
        yield Token(match.start(), f"{kind}_begin", match.group())
        for token in expression_tokens(place, inner, len(source), closer):
            if token.type == "closer":
                at, strip = token.lineno, token.value.startswith("-")
                yield Token(at - 2, f"{kind}_end", closer)
            else:
                yield token


def _data(text: str, at: int, strip_left: bool, strip_right: bool) -> Iterator[Token]:
    if strip_left:
        text = text.lstrip()
    if strip_right:
        text = text.rstrip()
    if text:
        yield Token(at, "data", text)


def _comment(place: Place, start: int) -> tuple[int, bool]:
    end = place.source.find("#}", start + 2)
    if end < 0:
        raise place.error("“{#” is never closed by “#}”.", start)
    return end + 2, place.source[end - 1] == "-"
