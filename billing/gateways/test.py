"""The test gateway: a stand-in for a payment provider, plainly marked as one. No money moves.

It keeps books of its own, like a provider outside: written on a separate connection, committed at once, whatever becomes of our
transaction. The same key is answered the same for ever, and `find` reads back what became of a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from django.db import connection
from psycopg.types.json import Jsonb

from automations.engine.kinds import Charge, Gateway
from automations.engine.outcomes import Done, Failed, Outcome, Unknown

PAID: Mapping[str, Any] = {"result": "paid"}
SOFT: Mapping[str, Any] = {
    "result": "declined",
    "failureCode": "insufficient_funds",
    "failureReason": "Insufficient funds",
}
HARD: Mapping[str, Any] = {"result": "declined", "failureCode": "stolen_card", "failureReason": "Stolen card"}

CARDS: Mapping[str, str] = {
    "card_ok": "every charge is paid",
    "card_decline_soft": "every charge is declined for insufficient funds",
    "card_decline_hard": "every charge is declined as stolen",
    "card_soft_then_ok": "the first charge of an invoice is declined for insufficient funds, later ones are paid",
    "card_unreachable": "the gateway cannot be reached and charges nothing",
    "card_timeout_after_charge": "the gateway charges, but its answer is lost",
}

_OF_DJANGO = frozenset({"context", "cursor_factory", "prepare_threshold", "connect_timeout", "server_side_binding"})
_LOCK = "select pg_advisory_xact_lock(hashtextextended(%s, 0))"
_FIND = "select result from billing_test_charge where key = %s"
_EARLIER = "select count(*) from billing_test_charge where reference = %s and invoice = %s"
_WRITE = """
insert into billing_test_charge (key, reference, invoice, amount, currency, result) values (%s, %s, %s, %s, %s, %s)
"""


class TestGateway(Gateway):
    """`cards` says which references it knows, and what each does."""

    __test__ = False  # pytest: not a test class

    key = "test"
    label = "Test gateway"
    test = True
    cards = CARDS

    def charge(self, charge: Charge, key: str) -> Outcome:
        """See `CARDS`. A key that was charged before is answered from the books."""
        if charge.reference not in CARDS:
            return Failed("unknown_card", f"The test gateway knows no card “{charge.reference}”.")
        if charge.reference == "card_unreachable":
            return Failed("gateway_unreachable", "The test gateway cannot be reached.", temporary=True)
        try:
            own = open_books()
        except psycopg.OperationalError as error:  # nothing was asked yet, so nothing was charged
            return Failed("gateway_unreachable", f"The test gateway cannot be reached: {error}", temporary=True)
        with own, own.cursor() as cursor:
            result, again = _book(cursor, charge, key)
        if charge.reference == "card_timeout_after_charge" and not again:
            return Unknown("The test gateway did not answer in time; it may have charged.")
        return Done({**result, "reference": f"test_{key}"})

    def find(self, key: str) -> Outcome | None:
        """What became of a key, None when it is not in the books (it may be charged under the same key then)."""
        with open_books() as own, own.cursor() as cursor:
            found = cursor.execute(_FIND, [key]).fetchone()
        return Done({**found[0], "reference": f"test_{key}"}) if found else None


def _book(cursor: psycopg.Cursor[Any], charge: Charge, key: str) -> tuple[Mapping[str, Any], bool]:
    """The result in the books, and whether it was there before. Charges of one card for one invoice come one by one."""
    cursor.execute(_LOCK, [f"{charge.reference}:{charge.invoice}"])
    found = cursor.execute(_FIND, [key]).fetchone()
    if found is not None:
        return found[0], True
    earlier = cursor.execute(_EARLIER, [charge.reference, charge.invoice]).fetchone()
    result = _result(charge.reference, int(earlier[0]) if earlier else 0)
    values = [key, charge.reference, charge.invoice, charge.amount, charge.currency, Jsonb(dict(result))]
    cursor.execute(_WRITE, values)
    return result, False


def _result(card: str, earlier: int) -> Mapping[str, Any]:
    if card == "card_decline_hard":
        return HARD
    if card == "card_decline_soft" or (card == "card_soft_then_ok" and earlier == 0):
        return SOFT
    return PAID


def open_books() -> psycopg.Connection[Any]:
    """A connection of its own; used as a context it commits and closes at the end. The driver's adapters belong to Django's
    connection and stay there."""
    known = connection.get_connection_params()
    ours = {name: value for name, value in known.items() if name not in _OF_DJANGO}
    return psycopg.connect(**ours, connect_timeout=10)


gateway = TestGateway()
