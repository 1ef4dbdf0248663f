"""Request bodies and their errors (CONTRACTS 1; DESIGN 6: 8 MB)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.api import bodies
from accounts.api.bodies import DEEPEST, read_json
from accounts.errors import Refusal
from accounts.models import Customer, Workspace
from tests.factories import ApiClient

TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=20)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES)
def test_what_is_sent_is_what_is_read(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_numbers_with_a_point_are_exact() -> None:
    # DESIGN 4
    data = read_json(b'{"amount": 0.10, "big": 1E2}')
    assert data["amount"] == Decimal("0.10")
    assert isinstance(data["amount"], Decimal)
    assert str(data["amount"]) == "0.10"


def code_of(raw: bytes) -> str:
    with pytest.raises(Refusal) as refused:
        read_json(raw)
    return refused.value.code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"{", "malformed"),
        (b"{'a': 1}", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": -Infinity}', "malformed"),
        (b'{"a": "\\u0000"}', "malformed"),
        (b'{"\\u0000": 1}', "malformed"),
        (b'{"a": "\\ud800"}', "malformed"),
        (b'{"a": 1e400000000}', "malformed"),
        (b'{"a": ' + b"9" * 65 + b"}", "malformed"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"x": [{"a": 1, "b": 2, "a": 1}]}', "duplicate_key"),
        (b"[" * 65 + b"]" * 65, "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
        (b'{"a":' * 70 + b"1" + b"}" * 70, "too_deep"),
    ],
)
def test_what_cannot_be_kept_is_refused(raw: bytes, code: str) -> None:
    # CONTRACTS 1, RELIABILITY 2: never a 500
    assert code_of(raw) == code


def test_the_allowed_depth_is_read() -> None:
    nested = b"[" * DEEPEST + b"]" * DEEPEST
    assert read_json(nested) is not None
    assert code_of(b"[" + nested + b"]") == "too_deep"


def test_many_brackets_side_by_side_are_not_deep() -> None:
    assert len(read_json(json.dumps([[] for _ in range(500)]).encode())) == 500


def test_a_whole_pair_of_surrogates_is_a_character() -> None:
    assert read_json(b'{"a": "\\ud83d\\ude00"}') == {"a": "\U0001f600"}


def test_a_byte_order_mark_is_skipped() -> None:
    assert read_json(b"\xef\xbb\xbf{}") == {}


def test_an_error_names_its_place() -> None:
    with pytest.raises(Refusal) as refused:
        read_json(b'{"a": 1,\n "b" 2}')
    assert refused.value.details == {"line": 2, "column": 6}


@pytest.mark.parametrize("raw", [b"{", b'{"a":1,"a":2}', b"\xff"])
def test_the_endpoint_answers_400(api: ApiClient, raw: bytes) -> None:
    answer = api.generic("POST", "/customers", raw)
    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "message", "details"}


@pytest.mark.parametrize("raw", [b"[]", b'"text"', b"7", b"null"])
def test_a_body_that_is_no_object_is_422(api: ApiClient, raw: bytes) -> None:
    answer = api.generic("POST", "/customers", raw)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


def test_a_body_over_the_limit_is_413(api: ApiClient) -> None:
    # DESIGN 6
    raw = b'{"name": "' + b"x" * bodies.MOST_BYTES + b'"}'
    answer = api.generic("POST", "/customers", raw)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    again = api.generic("POST", "/customers", raw, HTTP_IDEMPOTENCY_KEY="k")
    assert (again.status_code, again.json()["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/xml", "multipart/form-data; boundary=x", "application/yaml"]
)
def test_another_media_type_is_415(api: ApiClient, kind: str) -> None:
    answer = api.generic("POST", "/customers", b"{}", kind)
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/merge-patch+json", "text/json"])
def test_other_names_of_json_are_read(api: ApiClient, kind: str) -> None:
    assert api.generic("POST", "/customers", b'{"email": "a@x.test"}', kind).status_code == 201


def test_an_unknown_address_is_404_in_the_one_shape(api: ApiClient) -> None:
    # CONTRACTS 1
    answer = api.get("/no/such/thing")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "TRACE"])
def test_a_method_not_offered_is_405_in_the_one_shape(api: ApiClient, method: str) -> None:
    answer = api.generic(method, "/customers")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


def test_head_is_answered_as_get_without_a_body(api: ApiClient) -> None:
    answer = api.head("/api/v1/customers")
    assert answer.status_code == 200
    assert answer.content == b""


def test_nested_errors_name_their_path(api: ApiClient) -> None:
    answer = api.post("/stages", {"funnel": "default", "slug": "X", "buckets": ["fine", "x" * 61]})
    assert answer.status_code == 422
    assert any(name.startswith("buckets") for name in answer.json()["details"]["fields"])


@pytest.mark.parametrize("text", ["%00", "a%00b"])
def test_a_nul_in_the_address_is_no_500(api: ApiClient, customer: Customer, text: str) -> None:
    assert api.get(f"/customers?email={text}").status_code == 422
    assert api.get(f"/customers/{text}").status_code == 404
    assert api.post(f"/customers/{customer.public_id}/tags/{text}").status_code in (404, 422, 200)


def test_our_own_fault_is_logged_and_says_nothing(
    api: ApiClient, monkeypatch: pytest.MonkeyPatch, workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    # CONTRACTS 1: the one shape, without internals
    from accounts.api import workspace as views

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(views, "limits_of", broken)
    api.raise_request_exception = False
    answer = api.get("/limits")
    assert (answer.status_code, answer.json()["code"]) == (500, "server_error")
    assert "secret of the house" not in answer.content.decode()
    assert "secret of the house" in caplog.text


def test_many_plain_values_are_deep_or_not_by_their_nesting_alone() -> None:
    # a list of events has more brackets than the depth allowed
    assert len(read_json(b'{"events": [' + b",".join([b'{"a": [1]}'] * 500) + b"]}")["events"]) == 500
    deep = b"[" * bodies.DEEPEST + b"]" * bodies.DEEPEST
    assert read_json(deep) is not None
    with pytest.raises(Refusal) as refused:
        read_json(b"[" + deep + b"]")
    assert refused.value.code == "too_deep"


@pytest.mark.parametrize("text", [b'"\\u0000"', b'"\\ud800"', b'{"\\u0000": 1}', b'{"a": {"\\udfff": 1}}'])
def test_a_bad_character_among_many_values_is_found(text: bytes) -> None:
    with pytest.raises(Refusal) as refused:
        read_json(b"[" + b",".join([b"{}"] * 100 + [text]) + b"]")
    assert refused.value.code == "malformed"
