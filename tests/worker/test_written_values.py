"""How values of ours are written: in the log, the state of runs and beside deliveries as in snapshots and answers (DESIGN 3)."""

from __future__ import annotations

import importlib.util
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from django.db import connection

from automations.models import Delivery, Run
from automations.services.events import NewEvent, record_events
from automations.services.jsontext import plain_text_or_none
from tests.billing.helpers import make_invoice
from tests.factories import make_customer, make_workspace, unique
from tests.worker.living import log_of, settle
from tests.worker.routing import on

ROOT = Path(__file__).resolve().parents[2]
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
PAYLOAD = (
    'payload: {total: "{{invoice.total}}", status: "{{invoice.status}}", at: "{{now}}", seats: "{{trigger.seats}}", '
    'price: "{{trigger.price}}"}'
)


@pytest.fixture
def run(transactional_db: None) -> Run:
    """A run that passed on an amount, a status, a time and two numbers of its event."""
    workspace = make_workspace()
    on(workspace, "type: manual", "key: target")
    step = f"{{id: go, type: action, action: start_automation, automation: target, {PAYLOAD}}}"
    automation = on(workspace, "type: event, event: sign", steps=f"steps: [{step}]")
    invoice = make_invoice(make_customer(workspace), "129.00")
    subjects = {"customer": invoice.customer_id, "invoice": invoice.pk}
    payload = {"seats": 7, "price": Decimal("10.50")}
    record_events([NewEvent(workspace.pk, "sign", "api", unique("event"), subjects, payload)])
    settle()
    return Run.objects.get(automation=automation)


def test_the_log_shows_what_the_api_shows_of_the_same_objects(run: Run) -> None:  # CONTRACTS 1 and 9
    [row] = log_of(run)
    written = row.input["payload"]
    assert (written["total"], written["status"], written["seats"]) == ("129.00", "open", 7)
    assert MOMENT.fullmatch(written["at"])
    assert written["price"] == "10.50"  # a number of a payload is a Decimal as well: no reader makes a float of it


def test_a_payload_keeps_its_numbers_as_they_were_posted(run: Run) -> None:  # CONTRACTS 7, DESIGN 4
    with connection.cursor() as cursor:
        cursor.execute("SELECT payload::text FROM automations_event_content WHERE event_id = %s", [run.event_id])
        text = cursor.fetchone()[0]
    assert json.loads(text, parse_float=Decimal) == {"seats": 7, "price": Decimal("10.50")}
    assert re.search(r'"price": ?10\.50', text)


def test_a_text_that_names_nul_goes_through_event_log_and_delivery(transactional_db: None) -> None:  # E1, DESIGN 4
    """A path or a regular expression may hold it; as broken JSON it stopped every event of a customer of that name."""
    text = r"C:\u0000 and \\u0000"
    customer = make_customer(make_workspace(), name=text)
    send = '{id: go, type: action, action: send_email, subject: "{{customer.name}}", body: "{{trigger.path}}"}'
    automation = on(customer.workspace, "type: event, event: sign", steps=f"steps: [{send}]")
    subjects = {"customer": customer.pk}
    record_events([NewEvent(customer.workspace_id, "sign", "api", unique("event"), subjects, {"path": text})])
    settle()
    run = Run.objects.get(automation=automation)
    assert (run.status, log_of(run)[0].output["subject"]) == ("COMPLETED", text)
    assert Delivery.objects.get(run=run).envelope["body"]["values"]["trigger"]["path"] == text


def test_a_number_far_out_is_not_written_in_a_million_digits() -> None:  # RELIABILITY 38
    assert plain_text_or_none({"n": Decimal("1e999999")}) == '{"n":"1E+999999"}'
    assert plain_text_or_none({}) is None


def test_one_place_writes_json_for_the_database() -> None:
    """Beside it, only envelopes, which mark what JSON has no type for, have a writer of their own; and answers of the interface, which
    are stored by the database's."""
    assert importlib.util.find_spec("automations.worker.jsons") is None
    writers = {
        path.relative_to(ROOT).as_posix()
        for folder in ("automations", "billing", "accounts")
        for path in (ROOT / folder).rglob("*.py")
        if "orjson.dumps(" in path.read_text(encoding="utf-8")
    }
    assert writers == {
        "automations/services/jsontext.py",
        "automations/worker/envelopes.py",
        "accounts/api/rendering.py",
    }
