"""Public ids: a prefix and the number, `cus_7` (CONTRACTS 1)."""

from __future__ import annotations

import re

from accounts.errors import Refusal

PREFIXES = {
    "ws": "workspace",
    "usr": "user",
    "key": "API key",
    "cus": "customer",
    "stg": "stage",
    "fun": "funnel",
    "task": "task",
    "auto": "automation",
    "evt": "event",
    "exec": "execution",
    "dlv": "delivery",
    "tmpl": "e-mail template",
    "snd": "sender",
    "prod": "product",
    "price": "price",
    "sub": "subscription",
    "inv": "invoice",
    "pay": "payment",
    "pm": "payment method",
    "cn": "credit note",
}
_ID = re.compile(r"([a-z]+)_([1-9][0-9]{0,18})", re.ASCII)
_GREATEST = 2**63 - 1


def public_id(prefix: str, number: int) -> str:
    """`public_id("cus", 7)` is `cus_7`."""
    return f"{prefix}_{number}"


def optional_id(prefix: str, number: int | None) -> str | None:
    """As `public_id`; None stays None."""
    return None if number is None else f"{prefix}_{number}"


def read_id(prefix: str, text: str) -> int | None:
    """The number of a well-formed id with that prefix, else None (the text may be a slug or an external id)."""
    match = _ID.fullmatch(text)
    if match is None or match[1] != prefix or int(match[2]) > _GREATEST:
        return None
    return int(match[2])


def parse_id(prefix: str, text: str) -> int:
    """The number of an id. Anything else is `not_found`, as an unknown number would be."""
    number = read_id(prefix, text)
    if number is None:
        what = PREFIXES.get(prefix, "object")
        raise Refusal(
            "not_found", f"There is no {what} “{text[:80]}”; its id looks like {prefix}_7.", {"id": text[:80]}
        )
    return number
