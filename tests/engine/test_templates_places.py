"""Values are escaped for where they are put, and nowhere else (VAR-22, VAR-27)."""

from __future__ import annotations

import json
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.engine.expressions import ExpressionError, compile_template
from automations.engine.values import invoice_status
from tests.engine.language import NAMES, codes, environment, render

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NASTY = [
    "<b>x</b>",
    '"',
    "'",
    "&",
    "&amp;",
    "</script>",
    "a\\b",
    "{{x}}",
    "{% if %}",
    "a b",
    "?&=#/",
    "%41",
    "ä漢🎉",
    "\u2028",
    "\t",
]


def with_x(x: Any) -> Any:
    return environment({"trigger": {"x": x}})


# HTML


def test_a_name_with_tags_appears_as_text_in_html() -> None:
    # VAR-27
    assert render("<p>{{x}}</p>", "html", with_x("<b>x</b>")) == "<p>&lt;b&gt;x&lt;/b&gt;</p>"


def test_literal_html_stays_html() -> None:
    assert render('<p class="a">&amp; {{x}}</p>', "html", with_x(1)) == '<p class="a">&amp; 1</p>'


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.titles: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.titles += [content for name, content in attrs if name == "title"]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@given(any_text)
def test_no_text_breaks_out_of_html(x: str) -> None:
    reader = Reader()
    reader.feed(render("<i title=\"{{x}}\">{{x}}</i><u title='{{x}}'></u>", "html", with_x(x)))
    reader.close()
    assert reader.tags == ["i", "u"]
    assert len(reader.titles) == 2
    if "\r" not in x and "\0" not in x:
        assert "".join(reader.texts) == x


def test_filters_work_before_the_escaping() -> None:
    assert render("{{x | upper}}", "html", with_x("<a>")) == "&lt;A&gt;"
    assert (
        render("{{x | json}}", "html", with_x("<a>")) == "&#34;&lt;a&gt;&#34;"
        or render("{{x | json}}", "html", with_x("<a>")) == "&quot;&lt;a&gt;&quot;"
    )
    assert render("{{x | join('<br>')}}", "html", with_x(["a", "b"])) == "a&lt;br&gt;b"


# Text


@pytest.mark.parametrize("x", NASTY)
def test_text_is_not_escaped_at_all(x: str) -> None:
    assert render("{{x}}!", "text", with_x(x)) == x + "!"


def test_a_value_that_looks_like_a_template_stays_a_value() -> None:
    env = environment({"trigger": {"x": "{{secret}}{% for a in b %}", "secret": "s"}})
    for place in ("text", "html", "header"):
        assert "s" not in render("{{x}}", place, env).replace("secret", "")


# Headers


@pytest.mark.parametrize("sign", ["\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_a_value_with_a_line_break_is_refused_in_a_header(sign: str) -> None:
    # CONTRACTS 5
    for source in ("{{x}}", "Hi {{x}}", "{{x}}{{x}}"):
        with pytest.raises(ExpressionError) as caught:
            render(source, "header", with_x(f"a{sign}Bcc: all@example.com"))
        assert caught.value.code == "header_injection"


def test_a_line_break_made_inside_the_expression_is_refused_too() -> None:
    with pytest.raises(ExpressionError) as caught:
        render(r"{{ 'a\r\nBcc: x' }}", "header")
    assert caught.value.code == "header_injection"


def test_a_header_written_over_two_lines_is_refused_when_read() -> None:
    with pytest.raises(ExpressionError, match="one line"):
        compile_template("Hi {{x}}\nBcc: all@example.com", NAMES, "header")


def test_the_line_break_at_the_end_of_a_yaml_text_is_dropped() -> None:
    assert render("Hi {{x}}\n", "header", with_x("Ana")) == "Hi Ana"
    assert render("Hi\n", "header") == "Hi"


@given(any_text)
def test_a_header_is_one_line_or_refused(x: str) -> None:
    env = with_x(x)
    if len(f"{x}.".splitlines()) > 1 or "\0" in x:
        with pytest.raises(ExpressionError, match="line break or NUL"):
            render("To: {{x}}.", "header", env)
    else:
        assert render("To: {{x}}.", "header", env) == f"To: {x}."


# Addresses


def test_a_value_in_an_address_is_one_part_of_it() -> None:
    found = render("https://crm.example/c/{{x}}?q={{x}}#{{x}}", "url", with_x("a/b?c=d&e#f g"))
    assert (
        found == "https://crm.example/c/a%2Fb%3Fc%3Dd%26e%23f%20g?q=a%2Fb%3Fc%3Dd%26e%23f%20g#a%2Fb%3Fc%3Dd%26e%23f%20g"
    )


@given(any_text)
def test_no_text_changes_the_shape_of_an_address(x: str) -> None:
    parts = urlsplit(render("https://crm.example/c/{{x}}/d?q={{x}}&z=1", "url", with_x(x)))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "crm.example", "")
    assert unquote(parts.path) == f"/c/{x}/d"
    assert parse_qs(parts.query, keep_blank_values=True)["q"] == [x]


@pytest.mark.parametrize("x", ["@evil.example", "a:b@evil.example/", "/", "\\", "evil.example#", "127.0.0.1"])
def test_a_value_in_the_host_cannot_end_it(x: str) -> None:
    parts = urlsplit(render("https://{{x}}.crm.example/", "url", with_x(x)))
    assert parts.netloc.endswith(".crm.example")


def test_a_value_that_is_the_whole_address_stays_one() -> None:
    address = "https://crm.example/a?b=c&d=%20e#f"
    assert render("{{x}}", "url", with_x(address)) == address
    assert compile_template("{{x}}", NAMES, "url").value(with_x(address)) == address
    assert render("{{x}}/orders/{{y}}", "url", environment({"trigger": {"x": "https://crm.example", "y": "a/b"}})) == (
        "https://crm.example/orders/a%2Fb"
    )


def test_blanks_and_line_breaks_never_get_into_an_address() -> None:
    assert render("{{x}}", "url", with_x("https://a.example/\r\nX: y z")) == "https://a.example/%0D%0AX:%20y%20z"


# JSON


@given(any_text)
def test_no_text_breaks_out_of_a_json_text(x: str) -> None:
    found = json.loads(
        render('{"a": "{{x}}", "b": "<{{x}}>", "c": {{x}}, "d": [{{x}}, "\\"{{x}}"]}', "json", with_x(x))
    )
    assert found == {"a": x, "b": f"<{x}>", "c": x, "d": [x, f'"{x}']}


@pytest.mark.parametrize(
    ("x", "outside", "inside"),
    [
        (1, 1, "1"),
        (Decimal("129.00"), "129.00", "129.00"),
        (True, True, "true"),
        (None, None, ""),
        (["a", 1], ["a", 1], "a, 1"),
        ({"k": "v"}, {"k": "v"}, '{"k": "v"}'),
        (invoice_status("open"), "unpaid", "unpaid"),
        ([invoice_status("open")], ["open"], "unpaid"),
    ],
)
def test_values_in_json_keep_their_type_outside_of_texts(x: Any, outside: Any, inside: str) -> None:
    found = json.loads(render('{"outside": {{x}}, "inside": "{{x}}"}', "json", with_x(x)))
    assert found == {"outside": outside, "inside": inside}


def test_a_missing_value_in_json_is_null_with_a_warning() -> None:
    env = environment({})
    assert json.loads(render('{"a": {{x}}, "b": "{{x}}"}', "json", env)) == {"a": None, "b": ""}
    assert codes(env) == ["missing_value"]


def test_json_can_be_made_by_a_loop() -> None:
    source = '[{% for l in invoice.lines %}{"d": "{{l.description}}"}{% if not loop.last %},{% endif %}{% endfor %}]'
    assert json.loads(render(source, "json")) == [{"d": "Seat <b>"}, {"d": "Storage"}]


def test_a_leaf_of_nested_data_is_not_escaped_since_it_is_written_as_json_later() -> None:
    leaf = compile_template('He said "{{x}}"', NAMES, "json")
    assert leaf.value(with_x('a"b')) == 'He said "a"b"'
    assert json.dumps(leaf.value(with_x('a"b'))) == '"He said \\"a\\"b\\""'
    assert compile_template("{{x}}", NAMES, "json").value(with_x(Decimal("1.50"))) == Decimal("1.50")
