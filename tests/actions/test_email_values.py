"""A mail rendered later from what was kept reads as it would have read at once (DESIGN 5.3, VAR-24, VAR-27, C-10, C-14)."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automations.actions.send_email import picked, reading_of, send_email
from automations.engine.expressions import Environment, compile_template
from automations.engine.kinds import Envelope
from automations.engine.plan import BUILT_IN, aliases
from automations.engine.registry import registry
from automations.engine.scope import Names, Records, Scope
from automations.engine.values import StatusText, invoice_status
from automations.worker.envelopes import envelope_json, freeze, from_json, thaw

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Berlin")
DATA: dict[str, Any] = {
    "customer": {
        "name": "Ana <b>Ruiz</b>",
        "email": "ana@example.com",
        "country": "DE",
        "metadata": {"seats": Decimal("3"), "$": "x"},
    },
    "invoice": {
        "number": "INV-0008",
        "status": invoice_status("open", late=True),
        "total": Decimal("1129.00"),
        "currency": "EUR",
        "dueDate": date(2026, 3, 31),
        "lines": [
            {"description": "Seats", "amount": Decimal("99.50")},
            {"description": "Use & more", "amount": Decimal("0.10")},
        ],
        "customer": {"name": "Ana"},
    },
    "subscription": {"currentPeriodEnd": datetime(2026, 4, 1, 22, 30, tzinfo=UTC)},
    "trigger": {
        "failureCount": 2,
        "failureReason": "insufficient_funds",
        "list": [1, 2, 3],
        "deep": {"a": {"b": [{"c": "d"}]}},
    },
    "steps": {"my_step": {"result": "declined"}},
    "workspace": {"name": "Northwind"},
    "now": NOW,
}


def names() -> Names:
    """Those of every version."""
    return Names(frozenset(registry.roots) | BUILT_IN, aliases(registry))


def scope(data: dict[str, Any]) -> Scope:
    """What a step would read at this moment."""
    env = Environment(data, NOW, ZONE)
    return Scope(names(), env, Records(), 1, {}, {}, {})


def at_once(source: str, data: dict[str, Any]) -> str:
    """Rendered while the step is prepared."""
    return compile_template(source, names(), "html").render(Environment(data, NOW, ZONE))


def later(source: str, data: dict[str, Any]) -> str:
    """Rendered by the delivery worker from what the database kept."""
    reading, roots = reading_of(source, names())
    body = {
        "source": source,
        "values": picked(scope(data), reading),
        "roots": roots,
        "now": NOW.isoformat(),
        "zone": str(ZONE),
        "locale": "en",
    }
    stored = json.loads(envelope_json(Envelope(kind="email", body=body)))
    read = from_json(stored, kind="email", to="", subject="", customer_mail=True, waits=False, money=False)
    return send_email.html(read)


TEXTS = [
    "Hello {{ customer.name }}",
    "{{ profile.name }} {{ country }} {{ customer.metadata.seats * 2 }}",
    "{{ invoice.total | money }} {{ invoice.currency }} {{ invoice.total | round(1) }}",
    "{{ invoice.due_date | date }} {{ invoice.dueDate }}",
    "{% for line in invoice.lines %}{{ loop.index }}. {{ line.description }} {{ line.amount }};{% endfor %}",
    "{{ invoice.lines[1].description }} {{ invoice.lines | length }}",
    "{% if invoice.status == 'open' %}open{% elif invoice.status == 'paid' %}paid{% endif %} {{ invoice.status }}",
    "{% if invoice.status = 'overdue' AND invoice.total > 1000 %}large and late{% endif %}",
    "{{ failureCount }} {{ failure_reason }} {{ trigger.failureReason | upper }}",
    "{{ trigger.deep.a.b[0].c }} {{ trigger.list | join('-') }} {{ trigger }}",
    "{{ steps.my_step.result }} {{ workspace.name }}",
    "{{ subscription.currentPeriodEnd | date }} {{ now | date }} {{ now | plus('1d') | date }}",
    "{{ customer.nothing }}{{ nowhere.at.all }}{{ customer.name.first }}",
    "{{ customer }} {{ invoice.customer }}",
    "{% for a in trigger.list %}{% for b in invoice.lines %}{{ a }}{{ b.amount }} {% endfor %}{% endfor %}",
    "{{ customer.metadata['$'] }}",
    "{% if trigger.null is defined %}there{% endif %} {% if trigger.null == null %}null{% endif %}",
    "{% if trigger.absent is defined %}there{% endif %} {% if trigger.absent != 1 %}other{% endif %}",
    "{% if trigger.null.deeper is defined %}there{% endif %}{{ trigger.null }}",
    "nothing of anybody",
]


@pytest.mark.parametrize("source", TEXTS)
def test_a_mail_reads_later_as_it_reads_at_once(source: str) -> None:
    assert later(source, DATA) == at_once(source, DATA)


ATOMS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**6), 10**6), st.decimals(-1000, 1000, places=2), st.text(max_size=6),
    st.dates(date(2000, 1, 1), date(2100, 1, 1)),
    st.just(StatusText("unpaid", "open", frozenset({"issued"}))),
)  # fmt: skip
TREES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "due_date"]), inner, max_size=3)
    ),
    max_leaves=8,
)
PATHS = st.lists(st.sampled_from(["a", "b", "c", "dueDate", "due_date"]), min_size=0, max_size=3).map(
    lambda names: ".".join(["trigger", *names])
)


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c", "due_date"]), TREES, max_size=4),
    st.lists(PATHS, min_size=1, max_size=4),
)
def test_whatever_the_data_and_the_paths(data: dict[str, Any], paths: list[str]) -> None:
    clean = json.loads(json.dumps(freeze(data)).replace("\\u0000", ""))
    source = " ".join(f"{{{{ {path} }}}}{{% for x in {path} %}}{{{{ x }}}},{{% endfor %}}" for path in paths)
    value = {"trigger": thaw(clean), "now": NOW}
    assert later(source, value) == at_once(source, value)


def test_only_what_is_named_is_kept() -> None:
    reading, _roots = reading_of("{{ customer.name }} {{ trigger.deep.a }} {{ invoice.lines }}", names())
    kept = picked(scope(DATA), reading)
    assert kept == {
        "customer": {"name": DATA["customer"]["name"]},
        "trigger": {"deep": {"a": DATA["trigger"]["deep"]["a"]}},
        "invoice": {"lines": DATA["invoice"]["lines"]},
    }


def test_picking_changes_nothing_of_what_it_reads() -> None:
    before = repr(DATA)
    reading, _roots = reading_of("{{ trigger }} {{ trigger.deep.a }} {{ trigger.list }}", names())
    picked(scope(DATA), reading)
    assert repr(DATA) == before


def test_what_has_no_value_is_a_warning() -> None:  # VAR-26
    found = scope(DATA)
    picked(found, reading_of("{{ customer.nothing }} {{ customer.name }}", names())[0])
    assert [warning.message for warning in found.env.warnings] == ["customer.nothing has no value."]


def test_a_text_that_is_gone_says_so() -> None:
    with pytest.raises(LookupError):
        send_email.html(
            Envelope(kind="email", body={"source": None, "values": {}, "roots": [], "now": NOW.isoformat()})
        )
