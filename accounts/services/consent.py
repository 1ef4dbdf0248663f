"""Who may be mailed (SUP-01 to SUP-10). Consent belongs to an address and counts for the whole workspace."""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection, transaction

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce
from accounts.errors import Refusal
from accounts.ids import public_id
from accounts.models import Consent, Contact, Customer
from accounts.repeating import repeated
from accounts.services.erasure import hashed_address
from accounts.services.fields import Wrong, clean_email, clean_text, refused_fields
from accounts.services.known import owners_of
from accounts.services.locking import lock_addresses, lock_customers

# Answers only when something changed; `at` is the moment under the address's lock (DESIGN 5.4: real time).
WRITE = """
insert into accounts_consent (workspace_id, customer_id, address, topic, state, reason, at, created_at)
values (%s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp())
on conflict (workspace_id, address, topic) do update set state = excluded.state, reason = excluded.reason,
    at = excluded.at, customer_id = coalesce(excluded.customer_id, accounts_consent.customer_id)
where accounts_consent.state <> excluded.state
returning id
"""


@repeated
def record_consent(
    *,
    actor: Actor,
    address: str,
    state: str,
    topic: str = "",
    reason: str = "",
    customer_id: int | None = None,
    cause: int | None = None,
) -> bool:
    """Write down that an address was subscribed or unsubscribed, for a topic or ("") for everything. Whether it changed
    anything is the answer; a change is announced, and `main` says whether it is the customer's own address (SUP-04).
    The customer and the address are locked first: a mail being claimed, to whomever its run belongs, sees this or comes before
    it (SUP-07)."""
    address, topic, reason = _clean(address, topic, reason)
    if state not in (Consent.SUBSCRIBED, Consent.UNSUBSCRIBED):
        raise refused_fields({"state": ["must be subscribed or unsubscribed"]})
    with transaction.atomic():
        customer = _customer(actor.workspace_id, address, customer_id)
        own = None if customer is None else customer.pk
        lock_addresses(actor.workspace_id, [address])
        with connection.cursor() as cursor:
            cursor.execute(WRITE, [actor.workspace_id, own, address, topic, state, reason])
            changed = cursor.fetchone() is not None
        if state == Consent.SUBSCRIBED:  # the explicit act that SUP-10 asks for, also for what an erasure left
            left = Consent.objects.filter(workspace_id=actor.workspace_id, address=hashed_address(address), topic=topic)
            changed = bool(left.delete()[0]) or changed
        if changed:
            name = "workspace" if own is None else public_id("cus", own)
            audit.record(actor, "consent.change", name, after={"state": state, "topic": topic, "reason": reason})
            main = customer is not None and customer.email.lower() == address
            data = {"address": address, "topic": topic, "state": state, "reason": reason, "main": main}
            announce(Announcement("consent.changed", actor.workspace_id, own, data, cause))
    return changed


def _clean(address: str, topic: str, reason: str) -> tuple[str, str, str]:
    try:
        clean = clean_email(address).lower()
        if not clean:
            raise Wrong("must not be empty")
        return clean, clean_text(topic, 100), clean_text(reason, 40)
    except Wrong as wrong:
        raise refused_fields({"address": [str(wrong)]}) from None


def _customer(workspace_id: int, address: str, customer_id: int | None) -> Customer | None:
    if customer_id is None:
        owners = owners_of([workspace_id], [("email", address)])
        own = owners.get((workspace_id, ("email", address)))
        contacts = Contact.objects.filter(workspace_id=workspace_id, email__iexact=address)
        customer_id = own or contacts.order_by("id").values_list("customer_id", flat=True).first()
    if customer_id is None:
        return None
    customer = lock_customers([customer_id], workspace_id).get(customer_id)
    if customer is None:
        raise Refusal("unknown_reference", f"There is no customer {public_id('cus', customer_id)} in this workspace.")
    return customer


# One text in place of an array: some thousand elements are not to be quoted one by one. No address holds a line break.
_SUPPRESSED = """
select address from accounts_consent
where workspace_id = %s and address = any(string_to_array(%s, E'\\n')) and topic in ('', %s) and state = %s
"""


def suppressed(workspace_id: int, addresses: Collection[str], topic: str = "") -> set[str]:
    """Those of the addresses (answered in lower case) that must not be mailed: unsubscribed from everything, or from
    the topic. Addresses of erased people are still known, by their hash. One query; checked when queuing and when
    sending (SUP-09)."""
    wanted = {address.strip().lower() for address in addresses if address}
    if not wanted:
        return set()
    names = {name: address for address in wanted for name in (address, hashed_address(address))}
    with connection.cursor() as cursor:
        cursor.execute(_SUPPRESSED, [workspace_id, "\n".join(names), topic, Consent.UNSUBSCRIBED])
        return {names[name] for (name,) in cursor.fetchall() if name in names}
