"""From bytes to text for the readers of definitions and expressions: words of the language, plain signs and odd characters.

One byte is one word, so that a tool that changes bytes at random moves between texts that nearly mean something.
"""

from __future__ import annotations

from typing import Final

#: What makes readers stumble: controls, line ends of other worlds, halves of pairs, marks of order, digits that are none.
ODD: Final = (
    *("\x00", "\t", "\r", "\x0b", "\x1b", "\x7f", "\x85", "\xa0", "\xad", "é", "\u0130", "\u0660", "²", "\u2028"),
    *("\u202e", "\ufeff", "\ufffe", "\uff11", "漢", "\U0001f600", "\ud800", "\udfff"),
)
YAML_WORDS: Final = (
    *(
        "name: X\n",
        "trigger: {type: event, event: sign}\n",
        "trigger: manual\n",
        "steps:\n",
        "steps: []\n",
        "  - ",
        "    ",
    ),
    *(
        "type: action\n",
        "action: add_tag\n",
        "tag: a\n",
        "type: delay\n",
        "duration: 1d\n",
        "type: condition\n",
        "if: a > 1\n",
    ),
    *(
        "then:\n",
        "else:\n",
        "type: loop\n",
        "over: trigger.items\n",
        "as: item\n",
        "type: branch\n",
        "cases:\n",
        "id: a\n",
    ),
    *(
        "next: a\n",
        "type: stop\n",
        "filter: a == 1\n",
        "exits: [{event: paid}]\n",
        "goal: {event: paid}\n",
        "settings: {}\n",
    ),
    *(
        "version: 1\n",
        "nodes: []\n",
        "edges: []\n",
        "nodes:\n",
        "edges:\n",
        "errorHandling: {retries: 3}\n",
        "onError:\n",
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "- ",
        "? ",
        "| \n",
        "> \n",
        "'",
        '"',
        "&a ",
        "*a ",
        "<<: ",
        "!",
        "!!int ",
        "!!python/x ",
    ),
    *(
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "#",
        "\n",
        "\n  ",
        "\n    ",
        "\\u0000",
        "\\ud800",
        "1e999",
        "0x1F",
        "0o7",
        "1:30",
        "~",
    ),
    *("true", "null", ".inf", ".nan", "-0", "1_000", "9" * 30, "2026-11-20", "=", "no"),
)
EXPRESSION_WORDS: Final = (
    *("trigger", "customer", "invoice", "payment", "steps", "run", "now", "profile", "country", "item", "nope"),
    *(
        ".name",
        ".amount",
        ".items",
        ".many",
        ".texts",
        ".long",
        ".deep",
        ".vault",
        ".secret",
        ".__class__",
        ".get",
        "['name']",
        "[0]",
        "[-1]",
    ),
    *("(", ")", "[", "]", "{", "}", ", ", ": ", " | ", "{{", "}}", "{%", "%}", "{#", "#}", "'", '"', "\\", "$", "."),
    *(
        " AND ",
        " or ",
        " NOT ",
        " in ",
        " not in ",
        " is ",
        " contains ",
        " = ",
        " == ",
        " != ",
        " < ",
        " >= ",
        " if ",
        " else ",
    ),
    *(
        " + ",
        " - ",
        " * ",
        " / ",
        " // ",
        " % ",
        " ** ",
        " ~ ",
        "empty",
        "defined",
        "true",
        "none",
        "0",
        "1",
        "1.5",
        "1e400",
    ),
    *(
        "9" * 40,
        "'a'",
        "'2026-11-20'",
        "length",
        "json",
        "join",
        "join(', ')",
        "default('x')",
        "date",
        "money('EUR')",
        "first",
    ),
    *(
        "sort",
        "unique",
        "upper",
        "replace('a', 'bb')",
        "plus('1mo')",
        "round(2)",
        "truncate(3)",
        "range(9)",
        "lambda",
        "self",
    ),
)
TEMPLATE_WORDS: Final = (
    *("{{ trigger.name }}", "{{ trigger.items }}", "{% for i in trigger.items %}", "{% for j in i %}", "{% endfor %}"),
    *(
        "{% if trigger.amount > 1 %}",
        "{% elif customer.vip %}",
        "{% else %}",
        "{% endif %}",
        "{{ i }}",
        "{{ loop.index }}",
    ),
    *("{% set x = 1 %}", "{% raw %}", "{% endraw %}", "{% macro m() %}", "{% include 'x' %}", "{% import 'os' as o %}"),
    *(
        "{%- ",
        " -%}",
        "{{- ",
        " -}}",
        "<b>",
        "&",
        '{"a": "',
        '"}',
        "https://x.test/?q=",
        "\r\n",
        "\n",
        "{# x #}",
        "{{ ''.__class__ }}",
    ),
    *EXPRESSION_WORDS,
)


def spell(data: bytes, words: tuple[str, ...]) -> str:
    """The text of these bytes: printable ASCII and line ends stand for themselves, the upper half for words, the rest for odd
    characters. Every word is reached, a table longer than the upper half by a second byte."""
    pieces: list[str] = []
    bytes_left = iter(data)
    for byte in bytes_left:
        if byte >= 0x80:
            pieces.append(words[(byte - 0x80 + 0x80 * (next(bytes_left, 0) & 1)) % len(words)])
        elif byte == 0x0A or 0x20 <= byte < 0x7F:
            pieces.append(chr(byte))
        else:
            pieces.append(ODD[byte % len(ODD)])
    return "".join(pieces)
