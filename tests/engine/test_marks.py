"""Marked texts of a configuration are found wherever they stand (CONTRACTS 5, DESIGN 2: one declaration serves all)."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, RootModel

from automations.engine.kinds import (
    Config,
    DurationText,
    Expression,
    HeaderText,
    Marker,
    TemplateData,
    TemplateText,
    UrlText,
)
from automations.engine.marks import marked


class Case(Config):
    id: str
    if_: Expression = Field(alias="if")


class Records(Config):
    query: str
    where: Expression | None = None


class Sample(Config):
    plain: str = ""
    url: UrlText = ""
    maybe: TemplateText | None = None
    wait: DurationText | None = None
    cases: list[Case] = []
    headers: dict[str, HeaderText] = {}
    body: TemplateData = None
    over: Expression | Records | None = None
    pair: tuple[Expression, str] | None = None
    lines: tuple[TemplateText, ...] = ()


class Texts(RootModel[list[TemplateText]]):
    pass


def found(model: type[BaseModel], **data: Any) -> list[tuple[tuple[str | int, ...], str, str, str]]:
    config = model.model_validate(data)
    return [(path, text, mark.kind, mark.place) for path, text, mark in marked(model, config)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"plain": "{{x}}"}, []),
        ({"maybe": "hi {{x}}"}, [(("maybe",), "hi {{x}}", "template", "text")]),
        ({"wait": "3d"}, [(("wait",), "3d", "duration", "text")]),
        ({"cases": [{"id": "a", "if": "x == 1"}]}, [(("cases", 0, "if"), "x == 1", "expression", "text")]),
        ({"headers": {"X-A": "{{a}}"}}, [(("headers", "X-A"), "{{a}}", "template", "header")]),
        ({"over": "{{lines}}"}, [(("over",), "{{lines}}", "expression", "text")]),
        ({"over": {"query": "q", "where": "a > 1"}}, [(("over", "where"), "a > 1", "expression", "text")]),
        ({"pair": ["a", "b"]}, [(("pair", 0), "a", "expression", "text")]),
        ({"lines": ["a", "b"]}, [(("lines", 0), "a", "template", "text"), (("lines", 1), "b", "template", "text")]),
    ],
)
def test_each_marked_text_is_found_with_its_written_path(data: dict[str, Any], expected: list[Any]) -> None:
    texts = [item for item in found(Sample, **data) if item[0] != ("url",)]
    assert texts == expected


def test_every_text_inside_marked_nested_data_is_a_template() -> None:
    body = {"a": "{{x}}", "b": [1, "two", {"c": "three"}], "d": None, "e": True}
    assert [item[:2] for item in found(Sample, body=body) if item[0][0] == "body"] == [
        (("body", "a"), "{{x}}"),
        (("body", "b", 1), "two"),
        (("body", "b", 2, "c"), "three"),
    ]


def test_a_text_that_is_the_whole_of_marked_data_is_found() -> None:
    assert ((("body",), "{{ trigger }}", "template", "json")) in found(Sample, body="{{ trigger }}")


def test_a_root_model_adds_no_key_to_the_path() -> None:
    class Outer(Config):
        texts: Texts

    assert [item[0] for item in found(Outer, texts=["a", "b"])] == [("texts", 0), ("texts", 1)]


def test_the_place_of_a_mark_given_beside_a_field_is_kept() -> None:
    class Html(Config):
        html: Annotated[str, Marker("template", "html"), Field(title="Body")] = ""

    assert found(Html, html="<p>{{x}}</p>") == [(("html",), "<p>{{x}}</p>", "template", "html")]
