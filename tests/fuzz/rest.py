"""The OpenAPI document as a machine for requests, and the judge of their answers (RELIABILITY 40, 46, 58; INVARIANTS X1).

Whatever is sent to an operation: no failure of ours, an answer that the document names, every error in the one shape, a refusal that
wrote nothing, and nothing of another workspace.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import schemathesis
from django.db import connection
from drf_spectacular.generators import SchemaGenerator
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core import NOT_SET

from accounts.models import StageEntry, Workspace
from automations.services.mail import create_sender
from automations.services.templates import create_template
from billing.services.payments import record_payment
from tests.automations import WAITING, published, queue, started
from tests.billing.helpers import make_card, make_invoice, make_price, make_subscription
from tests.factories import ApiClient, actor_of, make_api_client, make_api_key, make_customer, make_task
from tests.factories import make_workspace as workspace_of

#: What any request can meet before it reaches its operation.
ALWAYS = {400, 413, 415, 422}
_KEPT = ("accounts_ratebucket", "accounts_apikey", "automations_worker")  # written by asking, whatever the answer is


@cache
def document() -> Any:
    """The document as schemathesis sees it."""
    schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
    schema.config.phases.coverage.enabled = False  # thousands of systematic cases, for a longer run than this one
    return schema


@cache
def operations() -> dict[str, Any]:
    """Every operation under its label, `GET /api/v1/customers`."""
    found = {}
    for result in document().get_all_operations():
        operation = result.ok()
        found[operation.label] = operation
    return found


def labels() -> list[str]:
    """For parameters of tests; the same in every process of them."""
    return sorted(operations())


@dataclass
class World:
    """A workspace in which one thing of each kind exists, and `names` of parameters that take them. `foreign` are those of
    another workspace."""

    workspace: Workspace
    client: ApiClient
    names: dict[str, str]
    foreign: dict[str, str] = field(default_factory=dict)


def build() -> World:
    """The world; its key has been used once."""
    workspace = workspace_of()
    world = World(workspace, make_api_client(workspace), _things(workspace), _things(workspace_of()))
    world.foreign |= {"tag": "vip", "number": "1", "trigger": "billing.invoice_overdue"}
    world.client.raise_request_exception = False  # the judge sees what a caller sees
    world.client.get("/workspace")
    return world


def _things(workspace: Workspace) -> dict[str, str]:
    actor = actor_of(workspace)
    automation = published(workspace, WAITING)
    [run] = started(automation)
    customer = make_customer(workspace, tags=["vip"], stage="TRIAL")
    make_card(customer)
    subscription, invoice = make_subscription(customer), make_invoice(customer)
    payment = record_payment(actor=actor, invoice_id=invoice.pk, status="failed", failure_code="card_declined")
    price = make_price(workspace)
    sender = create_sender(actor=actor, address=f"news-{workspace.pk}@x.test")
    template = create_template(actor=actor, slug="hello", subject="Hi", body="<p>Hi</p>")
    stay = StageEntry.objects.get(customer=customer)
    ids = {
        "automation": automation, "customer": customer, "invoice": invoice, "payment": payment, "price": price,
        "product": price.product, "subscription": subscription, "task": make_task(workspace), "key": make_api_key(workspace)[0],
        "stage": stay.stage, "funnel": stay.stage.funnel,
    }  # fmt: skip
    return {name: thing.public_id for name, thing in ids.items()} | {
        "execution": f"exec_{run.pk}",
        "event": f"evt_{run.event_id}",
        "delivery": f"dlv_{queue(run).pk}",
        "sender": f"snd_{sender.pk}",
        "template": f"tmpl_{template.pk}",
        "trigger": "billing.invoice_overdue",
        "number": "1",
        "tag": "vip",
    }


# --- what is sent ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request: what the schema allows (`valid`), what it does not (`against`), a body broken in a few places (`broken`), or
    anything with the ids of another workspace (`foreign`)."""

    case: Any
    kind: str
    body: Any


def _nested(levels: int) -> Any:
    value: Any = {}
    for _ in range(levels):
        value = [value]
    return value


_HURTS: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**31, 2**63, -(2**63) - 1, 10**300, float("nan"), float("inf"), "", " ", "x", "0", "-1", "\x00",
    "a\x00b", "\ud800", "\udfff\ud800", "é\u202e\U0001f600", "a" * 300, "a" * 70_000, "'; drop table x; --", "{{ 7 * 7 }}", "{{",
    "cus_0", "cus_1", "cus_99999999999999999999", "auto_1", "2026-02-30", "2026-11-20T25:00:00Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+14:00", "1e999", "12.999", "-0.01", "99999999999999999999.99", "EUR", [], {}, [[]], [None] * 3, {"": ""},
    {"a": {"b": None}}, {"id": "cus_1", "email": "a@x.test"}, _nested(70), _nested(20), ["a"] * 2_000,
)  # fmt: skip


def _places(body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    items = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    for key, value in items:
        yield from _places(value, (*at, key))


def _put(body: Any, at: tuple[Any, ...], value: Any) -> Any:
    if not at:
        return value
    copy = dict(body) if isinstance(body, dict) else list(body)
    copy[at[0]] = _put(body[at[0]], at[1:], value)
    return copy


def _properties(operation: Any) -> list[str]:
    """Names of the body's top-level keys, by the document."""
    raw: dict[str, Any] = operation.definition.raw
    contents = raw["requestBody"]["content"] if "requestBody" in raw else {"": {"schema": {}}}
    schema: dict[str, Any] = next(iter(contents.values()))["schema"]
    name = schema.get("$ref", "").rpartition("/")[2]
    components = document().raw_schema["components"]["schemas"]
    return sorted(components.get(name, schema).get("properties", {}))


@st.composite
def _broken(draw: st.DrawFn, case: Any, keys: list[str]) -> Any:
    body = case.body if isinstance(case.body, (dict, list)) else {}
    for _ in range(draw(st.integers(1, 3))):
        if keys and isinstance(body, dict) and draw(st.integers(0, 3)) < 3:
            body = {**body, draw(st.sampled_from(keys)): draw(st.sampled_from(_HURTS))}
        else:
            body = _put(body, draw(st.sampled_from([*list(_places(body))[1:40], ()])), draw(st.sampled_from(_HURTS)))
    return body


@st.composite
def attempts(draw: st.DrawFn, operation: Any) -> Attempt:
    """A request to one operation."""
    has_body = bool(operation.definition.raw.get("requestBody"))
    has_ids = "{" in operation.path
    kinds = ["valid", "against", *(["broken", "broken"] if has_body else []), *(["foreign"] if has_ids else [])]
    kind = draw(st.sampled_from(kinds))
    mode = GenerationMode.NEGATIVE if kind == "against" else GenerationMode.POSITIVE
    case = draw(operation.as_strategy(generation_mode=mode))
    keys = _properties(operation)
    case.body = _sensible(case.body, keys, draw(st.integers(0, 3)))
    return Attempt(case, kind, draw(_broken(case, keys)) if kind == "broken" else case.body)


_WORDS = {
    "currency": "EUR",
    "email": "new@x.test",
    "timeZone": "Europe/Berlin",
    "locale": "en",
    "country": "DE",
    "owner": None,
}
_THINGS = {"into": "customer"}  # keys of bodies that name a thing of another kind than the key says


def _sensible(body: Any, keys: list[str], how: int) -> Any:
    """The body so that it gets past the first check, which a made-up one mostly does not: without keys that are not in the document,
    with `$kind` for `named` to fill in where it names a thing, and with words that mean something. One in four stays as it is."""
    if how == 0 or not isinstance(body, dict):
        return body
    filled = {}
    for key in sorted(set(body) & set(keys)):
        kind = _THINGS.get(key, key)
        filled[key] = f"${kind}" if kind in _KINDS else _WORDS.get(key, body[key]) if how > 1 else body[key]
    return filled


_KINDS = ("automation", "customer", "invoice", "price", "product", "subscription", "stage", "funnel")


def named(value: Any, names: dict[str, str]) -> Any:
    """A body with its `$name`s filled in."""
    if isinstance(value, dict):
        return {key: named(item, names) for key, item in value.items()}
    return names[value[1:]] if isinstance(value, str) and value[:1] == "$" and value[1:] in names else value


def address(case: Any, names: dict[str, str], keep_ids: bool = False) -> str | None:
    """The path with ids of `names` instead of made-up ones (which mostly end as a 404), `keep_ids`: unless one looks like an id.
    None where HTTP could not carry it."""
    path = case.path
    for name, value in (case.path_parameters or {}).items():
        own = keep_ids and re.fullmatch(r"[a-z]+_\d+", str(value))
        path = path.replace(f"{{{name}}}", str(value) if own else names.get(name, quote(str(value), safe="")))
    return path if path.isprintable() and path.isascii() and "{" not in path else None


def send(client: ApiClient, case: Any, path: str, body: Any) -> Any:
    """The request over the test client. Header values that HTTP itself cannot carry are left out."""
    headers = {
        name: str(value)
        for name, value in (case.headers or {}).items()
        if name.lower() in ("if-match", "idempotency-key") and str(value).isprintable() and str(value).isascii()
    }
    query = {name: _sendable(value) for name, value in (case.query or {}).items() if value is not None}
    raw: Any = b""
    if case.method.upper() != "GET" and body is not NOT_SET:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8", "surrogatepass")
    media = case.media_type or "application/json"
    return client.generic(case.method.upper(), path, raw, media, query_params=query, headers=headers)


def _sendable(value: Any) -> str:
    """Half a character cannot stand in an address."""
    return str(value).encode("utf-8", "replace").decode()


# --- what may come back ------------------------------------------------------------------------------------------------------


def judge(case: Any, answer: Any, body: Any) -> None:
    """No failure of ours, an answer that the document names, and every error in the one shape."""
    what = (case.method, case.path, str(body)[:400], answer.content[:400])
    assert answer.status_code < 500, what
    documented = {int(code) for code in case.operation.definition.raw["responses"]}
    assert answer.status_code in documented | ALWAYS, (answer.status_code, *what)
    if answer.status_code >= 400:
        error = answer.json()
        assert set(error) == {"code", "message", "details"}, what
        assert error["code"], what
        assert error["message"].strip(), what
        assert isinstance(error["details"], dict), what


@cache
def _tables() -> str:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition AND relname ~ %s"
            " AND NOT relname = ANY(%s) ORDER BY relname",
            [r"^(accounts|automations|billing)_", list(_KEPT)],
        )
        names = [row[0] for row in cursor.fetchall()]
    return " UNION ALL ".join(f"SELECT '{name}', count(*), sum(xmin::text::bigint) FROM {name}" for name in names)


def fingerprint() -> dict[str, Any]:
    """Every row of the product by the transaction that wrote it, by table: equal before and after when nothing was written in between.
    By name, since a server that reads several tables at once answers in any order."""
    with connection.cursor() as cursor:
        cursor.execute(_tables())
        return {name: found for name, *found in cursor.fetchall()}


def written(before: dict[str, Any], after: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The tables that changed."""
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


@dataclass
class Tried:
    """What was sent and what it cost, for the figures of the long form."""

    cases: int = 0
    seconds: float = 0.0
    by_status: dict[int, int] = field(default_factory=dict)

    def note(self, status: int, began: float) -> None:
        """One more."""
        self.cases += 1
        self.seconds += time.perf_counter() - began
        self.by_status[status] = self.by_status.get(status, 0) + 1


def attack(world: World, attempt: Attempt, tried: Tried) -> None:
    """Send one attempt and judge its answer, and what it left behind."""
    names = world.foreign if attempt.kind == "foreign" else world.names
    path = address(attempt.case, names)
    if path is None:
        return
    before = fingerprint()
    began = time.perf_counter()
    answer = send(world.client, attempt.case, path, named(attempt.body, world.names))
    tried.note(answer.status_code, began)
    judge(attempt.case, answer, attempt.body)
    if answer.status_code >= 400:
        wrote = written(before, fingerprint())
        assert not wrote, (attempt.case.method, path, attempt.body, "was refused and wrote", wrote)
    foreign = attempt.kind == "foreign" and not set(re.findall(r"{(\w+)}", attempt.case.path)) <= {"trigger"}
    assert not foreign or answer.status_code >= 400, (attempt.case.method, path, "reached another workspace")
