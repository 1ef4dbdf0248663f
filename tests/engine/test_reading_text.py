"""Texts of unknown origin: one clear error with its line, no hang, no crash (RELIABILITY 39, DEF-25)."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from automations.engine.problems import DefinitionError
from automations.engine.reading import read_data, read_definition
from automations.engine.reading.json_text import parse_json
from automations.engine.reading.parsed import MAX_BYTES, MAX_DEPTH, MAX_VALUES
from automations.engine.reading.yaml_text import parse_yaml
from tests.engine.kinds_for_tests import REGISTRY

BOMB = "\n".join(
    ["a: &a [x, x, x, x, x, x, x, x, x]"]
    + [f"{key}: &{key} [{', '.join(['*' + before] * 9)}]" for before, key in zip("abcdefgh", "bcdefghi", strict=True)]
)
HEAD = "name: X\ntrigger: {type: manual}\n"


def refused(text: str | bytes, fmt: str | None = None) -> DefinitionError:
    """The refusal of a text, which must come soon."""
    began = time.monotonic()
    with pytest.raises(DefinitionError) as caught:
        read_definition(text, REGISTRY, fmt)  # type: ignore[arg-type]  # parametrised by plain texts
    assert time.monotonic() - began < 20
    assert caught.value.problems
    return caught.value


YAML_CORPUS = [
    ("alias bomb", BOMB, "alias_refused", 1),
    ("cyclic", "a: &a\n  b: *a", "alias_refused", 1),
    ("self-containing list", "&x [*x]", "alias_refused", 1),
    ("anchor alone", "name: &n X", "alias_refused", 1),
    ("alias as a key", "{*a : 1}", "alias_refused", 1),
    ("merge key", "a: {b: 1}\nc:\n  <<: {b: 2}", "alias_refused", 3),
    ("doubled key", "name: A\nname: B", "duplicate_key", 2),
    ("doubled key in a flow", "a: {b: 1, b: 2}", "duplicate_key", 1),
    ("tabs", "a:\n\tb: 1", "malformed", 2),
    ("unclosed quote", 'a: "b', "malformed", 1),
    ("unclosed bracket", "a: [1, 2", "malformed", 1),
    ("colon in a plain text", "a: b: c", "malformed", 1),
    ("bad indentation", "a:\n    b: 1\n  c: 2", "malformed", 3),
    ("two documents", "a: 1\n---\nb: 2", "malformed", 2),
    ("a list as a key", "? [a]\n: 1", "malformed", 1),
    ("a mapping as a key", "? {a: 1}\n: 1", "malformed", 1),
    ("a foreign tag", "a: !!python/object/apply:os.system [x]", "malformed", 1),
    ("a tag on a text", "a: !secret x", "malformed", 1),
    ("not a number", "a: .nan", "malformed", 1),
    ("infinity", "a: -.inf", "malformed", 1),
    ("huge integer", f"a: {'9' * 5000}", "malformed", 1),
    ("huge exponent", "a: 1e999", "malformed", 1),
    ("absurd exponent", "a: 1e99999999999999999999", "malformed", 1),
    ("more digits than a number keeps", "a: 0.12345678901234567890123", "malformed", 1),
    ("NUL in quotes", 'a: "x\\0y"', "malformed", 1),
    ("half a pair in quotes", 'a: "\\ud800"', "malformed", 1),
    ("deep flow lists", "[" * 100_000, "too_deep", 1),
    ("deep flow mappings", "{a: " * 20_000, "too_deep", 1),
    ("deep blocks", "\n".join(" " * n + "a:" for n in range(300)), "too_deep", 101),
    ("deep dashes", "- " * 20_000, "too_deep", 1),
    ("deep question marks", "? " * 20_000, "malformed", 1),
    ("many values", "[" + "a," * (MAX_VALUES + 10) + "a]", "too_large", 1),
    ("many anchors", "a: " + "&a " * 50_000, "malformed", 1),
]


class TestYamlCorpus:
    @pytest.mark.parametrize(("name", "text", "code", "line"), YAML_CORPUS, ids=[case[0] for case in YAML_CORPUS])
    def test_it_is_refused_with_its_line(self, name: str, text: str, code: str, line: int) -> None:
        error = refused(text, "yaml")
        assert error.code == code
        assert error.problems[0].line == line
        assert error.problems[0].message.endswith((".", "”"))

    @pytest.mark.parametrize(
        "text", ["'" * 400_000, "#" * 400_000, "\n" * 400_000, "a" * 400_000, "# x\n" * 100_000], ids=range(5)
    )
    def test_large_texts_of_one_kind_do_not_hang(self, text: str) -> None:
        refused(text, "yaml")

    def test_a_control_character_is_refused_without_a_crash(self) -> None:
        error = refused("a: 1\nb: \x01", "yaml")
        assert (error.code, error.problems[0].line) == ("malformed", 2)

    def test_all_doubled_keys_are_told_at_once(self) -> None:
        error = refused("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n", "yaml")
        assert [(problem.path, problem.line) for problem in error.problems] == [("a", 2), ("b.c", 5)]

    def test_after_twenty_problems_it_gives_up(self) -> None:
        assert len(refused("a: 1\n" * 100, "yaml").problems) == 20


JSON_CORPUS = [
    ("deep lists", "[" * 100_000 + "]" * 100_000, "too_deep"),
    ("deep mappings", '{"a":' * 100_000, "too_deep"),
    ("NaN", '{"a": NaN}', "malformed"),
    ("Infinity", '{"a": Infinity}', "malformed"),
    ("minus Infinity", '{"a": -Infinity}', "malformed"),
    ("huge exponent", '{"a": 1e999}', "malformed"),
    ("huge integer", '{"a": ' + "9" * 5000 + "}", "malformed"),
    ("doubled key", '{"a": 1, "a": 2}', "duplicate_key"),
    ("doubled key deep inside", '{"a": [{"b": 1, "b": 2}]}', "duplicate_key"),
    ("trailing comma", '{"a": 1,}', "malformed"),
    ("trailing comma in a list", "[1, ]", "malformed"),
    ("single quotes", "{'a': 1}", "malformed"),
    ("comment", '{"a": 1} // x', "malformed"),
    ("two values", "{} {}", "malformed"),
    ("leading zero", '{"a": 01}', "malformed"),
    ("bare word", '{"a": tru}', "malformed"),
    ("a number with a tail", '{"a": 1.}', "malformed"),
    ("no colon", '{"a" 1}', "malformed"),
    ("no comma", '{"a": 1 "b": 2}', "malformed"),
    ("number as a key", "{1: 2}", "malformed"),
    ("unclosed text", '{"a": "b', "malformed"),
    ("long unclosed text", '{"a": "' + "b" * 400_000, "malformed"),
    ("raw line break in a text", '{"a": "b\nc"}', "malformed"),
    ("bad escape", '{"a": "\\x"}', "malformed"),
    ("NUL", '{"a": "\\u0000"}', "malformed"),
    ("half a pair", '{"a": "\\ud800"}', "malformed"),
    ("half a pair in a key", '{"\\udc00": 1}', "malformed"),
    ("wrong bracket", '{"a": [1}', "malformed"),
    ("empty", "", "malformed"),
    ("many values", "[" + "1," * (MAX_VALUES + 10) + "1]", "too_large"),
]


class TestJsonCorpus:
    @pytest.mark.parametrize(("name", "text", "code"), JSON_CORPUS, ids=[case[0] for case in JSON_CORPUS])
    def test_it_is_refused(self, name: str, text: str, code: str) -> None:
        assert refused(text, "json").code == code

    def test_the_line_is_told(self) -> None:
        assert refused('{\n "a": 1,\n "b": oops\n}', "json").problems[0].line == 3

    @settings(max_examples=150, deadline=None)
    @given(
        st.recursive(
            st.one_of(
                st.none(),
                st.booleans(),
                st.integers(-(2**63), 2**63 - 1),
                st.floats(allow_nan=False, allow_infinity=False, min_value=-1e200, max_value=1e200),
                st.text(st.characters(exclude_characters="\x00", exclude_categories=("Cs",))),
            ),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        ),
        st.sampled_from([None, 2]),
        st.booleans(),
    )
    def test_it_reads_what_every_reader_reads(self, value: Any, indent: int | None, ascii_only: bool) -> None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
        if "\\u0000" in text or abs(_smallest(value)) < 1e-290:
            return
        assert parse_json(text).data == json.loads(text, parse_float=Decimal)

    @settings(max_examples=300, deadline=None)
    @given(st.text(alphabet='{}[]",:0123456789.eE-+ truefalsn\\/u\n', max_size=30))
    def test_it_accepts_nothing_that_python_refuses(self, text: str) -> None:
        try:
            parse_json(text)
        except DefinitionError:
            return
        json.loads(text)


def _smallest(value: Any) -> float:
    """The float of a structure that is nearest to zero without being it."""
    if isinstance(value, dict):
        return min([_smallest(item) for item in value.values()], default=1.0)
    if isinstance(value, list):
        return min([_smallest(item) for item in value], default=1.0)
    return abs(value) if isinstance(value, float) and value else 1.0


class TestYamlValues:
    """YAML 1.2 values; DESIGN 4: `no` and `1:30` stay text, numbers with a point are Decimals."""

    @pytest.mark.parametrize(
        ("written", "value"),
        [
            ("no", "no"),
            ("yes", "yes"),
            ("on", "on"),
            ("off", "off"),
            ("1:30", "1:30"),
            ("2026-11-20", "2026-11-20"),
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("007", "007"),
            ("+49170", "+49170"),
            ("0x1F", "0x1F"),
            ("1_000", "1_000"),
            ("=", "="),
            ("true", True),
            ("False", False),
            ("~", None),
            ("null", None),
            ("", None),
            ("12", 12),
            ("-3", -3),
            ("0", 0),
            ("1.50", Decimal("1.50")),
            ("-0.1", Decimal("-0.1")),
            (".5", Decimal("0.5")),
            ("1e3", Decimal(1000)),
            ("'12'", "12"),
            ('"true"', "true"),
            ('"a\\nb"', "a\nb"),
        ],
    )
    def test_value(self, written: str, value: Any) -> None:
        read = parse_yaml(f"a: {written}").data["a"]
        assert read == value
        assert type(read) is type(value)

    def test_keys_are_texts_as_written(self) -> None:
        assert list(parse_yaml("{true: 1, 1.0: 2, null: 3, no: 4}").data) == ["true", "1.0", "null", "no"]

    def test_blocks_keep_their_lines(self) -> None:
        assert parse_yaml("a: |\n  x\n  y\nb: >\n  x\n  y\n").data == {"a": "x\ny\n", "b": "x y\n"}

    def test_every_value_knows_its_line(self) -> None:
        parsed = parse_yaml("a: 1\nb:\n  - c: 2\n    d: [3,\n      4]\n")
        assert parsed.lines["b", 0, "c"] == 3
        assert parsed.lines["b", 0, "d", 1] == 5

    def test_json_is_read_with_lines_too(self) -> None:
        assert parse_json('{"a": 1,\n "b": [1,\n  2]}').lines["b", 1] == 3


class TestDecoding:
    def test_more_than_512_kb_is_too_large(self) -> None:
        assert refused(HEAD + "#" * MAX_BYTES).code == "too_large"

    def test_bytes_count_not_characters(self) -> None:
        assert refused(HEAD + "#" + "é" * (MAX_BYTES // 2)).code == "too_large"

    def test_what_is_not_utf8_is_malformed(self) -> None:
        error = refused(b"# one\nname: \xff\xfe")
        assert (error.code, error.problems[0].line) == ("malformed", 2)

    def test_a_byte_order_mark_is_ignored(self) -> None:
        assert read_definition(("\ufeff" + HEAD).encode(), REGISTRY).definition.name == "X"

    def test_windows_line_ends_are_read(self) -> None:
        assert read_definition(HEAD.replace("\n", "\r\n"), REGISTRY).definition.name == "X"

    def test_json_is_told_by_its_brace(self) -> None:
        source = read_definition('{"name": "X", "trigger": {"type": "manual"}}', REGISTRY)
        assert source.format == "json"

    def test_yaml_in_braces_is_yaml(self) -> None:
        source = read_definition("{name: X, trigger: {type: manual}}", REGISTRY)
        assert source.format == "yaml"
        assert source.definition.name == "X"

    @pytest.mark.parametrize("text", ["", "# nothing", "just text", "- a\n- b", "12"])
    def test_what_is_no_mapping_is_no_definition(self, text: str) -> None:
        error = refused(text, "yaml")
        assert error.code == "invalid_definition"
        assert "mapping" in error.problems[0].message
        assert error.problems[0].line == 1


class TestData:
    """Data that was parsed elsewhere meets the same limits."""

    def read(self, value: Any) -> Any:
        data = {"name": "X", "trigger": {"type": "manual", "value": value}}
        return read_data(data, REGISTRY).definition.trigger.parameters["value"]

    def test_floats_become_decimals(self) -> None:
        assert self.read(0.1) == Decimal("0.1")
        assert isinstance(self.read({"a": [0.5]})["a"][0], Decimal)

    def test_tuples_become_lists(self) -> None:
        assert self.read((1, "a")) == [1, "a"]

    @pytest.mark.parametrize(
        ("value", "code"),
        [
            (float("nan"), "malformed"),
            (float("inf"), "malformed"),
            (2**64, "malformed"),
            (10**4000, "malformed"),
            (Decimal("NaN"), "malformed"),
            ("a\x00b", "malformed"),
            ("\ud800", "malformed"),
            ({1: 2}, "malformed"),
            ({"a\x00": 1}, "malformed"),
            (object(), "malformed"),
            (b"bytes", "malformed"),
            (["x"] * (MAX_VALUES + 1), "too_large"),
            (["x" * 300_000, "y" * 300_000, "z"], "too_large"),
        ],
        ids=range(13),
    )
    def test_it_is_refused_with_its_path(self, value: Any, code: str) -> None:
        with pytest.raises(DefinitionError) as caught:
            self.read(value)
        assert caught.value.code == code

    def test_depth_is_bounded(self) -> None:
        value: Any = 1
        for _ in range(MAX_DEPTH + 5):
            value = [value]
        with pytest.raises(DefinitionError) as caught:
            self.read(value)
        assert caught.value.code == "too_deep"

    def test_the_path_of_what_cannot_be_stored_is_told(self) -> None:
        with pytest.raises(DefinitionError) as caught:
            self.read({"a": ["ok", "\x00"]})
        assert caught.value.problems[0].path == "trigger.value.a[1]"
