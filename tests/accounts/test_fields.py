"""What may stand in a customer's fields (CONTRACTS 8; REQUIREMENTS 4.2)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import Refusal
from accounts.services.fields import (
    CLEANERS,
    LENGTHS,
    Wrong,
    clean_country,
    clean_email,
    clean_fields,
    clean_locale,
    clean_metadata,
    clean_slug,
    clean_text,
    clean_zone,
    refused_fields,
    zones,
)


@pytest.mark.parametrize(
    ("value", "clean"),
    [("ana@example.com", "ana@example.com"), (" Ana@Example.com ", "Ana@Example.com"), (None, ""), ("", "")],
)
def test_an_address_stays_as_written(value: Any, clean: str) -> None:
    assert clean_email(value) == clean


@pytest.mark.parametrize(
    "value", ["ana", "ana@", "@example.com", "a b@example.com", "a@b@c.test", "x" * 250 + "@a.test", 7]
)
def test_what_is_no_address_is_wrong(value: Any) -> None:
    with pytest.raises(Wrong):
        clean_email(value)


@pytest.mark.parametrize(("value", "clean"), [("de", "DE"), (" us ", "US"), ("", ""), (None, "")])
def test_a_country_is_two_letters(value: Any, clean: str) -> None:
    assert clean_country(value) == clean


@pytest.mark.parametrize("value", ["D", "DEU", "D1", "ÄÖ", "Germany", 49])
def test_what_is_no_country_is_wrong(value: Any) -> None:
    with pytest.raises(Wrong):
        clean_country(value)


@pytest.mark.parametrize("value", ["Europe/Berlin", "UTC", "America/Argentina/Buenos_Aires", ""])
def test_a_zone_is_one_of_the_machines(value: str) -> None:
    assert clean_zone(value) == value


@pytest.mark.parametrize("value", ["europe/berlin", "Mars/Olympus", "../../etc/passwd", "Europe", "+01:00", 1])
def test_what_is_no_zone_is_wrong(value: Any) -> None:
    with pytest.raises(Wrong):
        clean_zone(value)


def test_zones_are_many() -> None:
    assert len(zones()) > 300


@pytest.mark.parametrize("value", ["en", "de-AT", "pt_BR", "zh-Hans-CN", ""])
def test_a_locale_is_a_language_tag(value: str) -> None:
    assert clean_locale(value) == value


@pytest.mark.parametrize("value", ["e", "EN", "en-", "en AT", "en-AT!", "x" * 21])
def test_what_is_no_locale_is_wrong(value: str) -> None:
    with pytest.raises(Wrong):
        clean_locale(value)


@given(st.text(max_size=12), st.integers(0, 10))
def test_text_is_trimmed_and_limited(value: str, longest: int) -> None:
    fine = len(value) <= longest and "\x00" not in value
    if fine:
        assert clean_text(value, longest) == value.strip()
    else:
        with pytest.raises(Wrong):
            clean_text(value, longest)


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}, b"x"])
def test_text_is_text(value: Any) -> None:
    with pytest.raises(Wrong):
        clean_text(value, 100)


@pytest.mark.parametrize("name", LENGTHS)
def test_a_text_field_takes_its_length_and_no_more(name: str) -> None:
    longest = LENGTHS[name]
    assert clean_fields({name: "x" * longest}) == {name: "x" * longest}
    with pytest.raises(Refusal) as refused:
        clean_fields({name: "x" * (longest + 1)})
    assert str(longest) in refused.value.message


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(Refusal) as refused:
        clean_fields({"email": "x", "country": "x", "time_zone": "x", "name": "fine", "owner_id": "x", "facts": {}})
    assert refused.value.code == "invalid"
    assert list(refused.value.details["fields"]) == ["email", "country", "timeZone", "ownerId", "facts"]


def test_absent_fields_stay_absent() -> None:
    assert clean_fields({}) == {}
    assert clean_fields({"owner_id": None, "email": None}) == {"owner_id": None, "email": ""}


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        ({}, {}),
        (None, {}),
        (
            {"a": "x", "b": 7, "c": 1.5, "d": True, "e": False},
            {"a": "x", "b": "7", "c": "1.5", "d": "true", "e": "false"},
        ),
        ({"a": None}, {"a": None}),
        ({"with space": "x", "ünïcode": "ß"}, {"with space": "x", "ünïcode": "ß"}),
    ],
)
def test_metadata_becomes_text(value: Any, clean: dict[str, str | None]) -> None:
    # BIL-10: stored as text pairs
    assert clean_metadata(value) == clean


@pytest.mark.parametrize("value", ["text", 7, [], [("a", "b")]])
def test_metadata_is_an_object(value: Any) -> None:
    with pytest.raises(Wrong):
        clean_metadata(value)


@pytest.mark.parametrize("value", [{"k": "\x00"}, {"\x00": "v"}])
def test_metadata_takes_no_nul(value: dict[str, str]) -> None:
    with pytest.raises(Wrong):
        clean_metadata(value)


@pytest.mark.parametrize(
    ("value", "slug"),
    [("At Risk!", "at-risk"), ("  a  b ", "a-b"), ("Über", "uber"), ("x_y", "x_y"), ("2nd try", "2nd-try")],
)
def test_a_slug_is_made_of_a_name(value: str, slug: str) -> None:
    # ACT-10
    assert clean_slug(value, "tag") == slug
    assert clean_slug(slug, "tag") == slug, "a slug stays itself"


@pytest.mark.parametrize("value", ["", "!!!", "日本", "x" * 61, None, 7])
def test_what_gives_no_slug_is_refused(value: Any) -> None:
    with pytest.raises(Refusal) as refused:
        clean_slug(value, "tag")
    assert refused.value.code == "invalid"


def test_a_refusal_says_the_first_and_lists_all() -> None:
    refusal = refused_fields({"a": ["is wrong"], "b": ["is missing"]})
    assert refusal.message == "a is wrong."
    assert refusal.details == {"fields": {"a": ["is wrong"], "b": ["is missing"]}}


def test_every_field_has_a_cleaner() -> None:
    from accounts.services.customers import FIELDS

    assert set(FIELDS) == {*CLEANERS, "owner_id"}
