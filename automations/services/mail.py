"""Senders, what a new workspace gets for its mail, and what an unsubscribe does to mail that waits (EML-05, TPL-11,
SUP-07)."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from accounts.actor import Actor
from accounts.audit import record
from accounts.clock import real_now
from accounts.errors import Refusal, invalid, not_found
from accounts.ids import public_id
from accounts.models import Membership, Workspace
from automations.channels.email import BadAddress, check_address
from automations.channels.email import header as checked_header
from automations.models import EmailTemplate, Sender
from automations.services.mail_texts import DEFAULTS


def ensure_workspace_mail(workspace: Workspace | int) -> None:
    """Give a workspace its verified sender, which is its owner's address, and the shipped texts; what is there stays.
    Called in the transaction that makes the workspace (DESIGN 6)."""
    pk = workspace if isinstance(workspace, int) else workspace.pk
    EmailTemplate.objects.bulk_create(
        [
            EmailTemplate(
                workspace_id=pk, slug=text.slug, name=text.name, subject=text.subject, body=text.body, kind=text.kind
            )
            for text in DEFAULTS
        ],
        ignore_conflicts=True,
    )
    owner = Membership.objects.select_related("user").filter(workspace_id=pk, role="owner").order_by("id").first()
    if owner is not None and not Sender.objects.filter(workspace_id=pk, default=True).exists():
        Sender.objects.bulk_create(
            [
                Sender(
                    workspace_id=pk,
                    name=str(getattr(owner.user, "name", "") or ""),
                    address=owner.user.email,
                    verified_at=real_now(),
                    default=True,
                )
            ],
            ignore_conflicts=True,
        )


def suppress_queued(workspace_id: int, address: str, customer_id: int | None = None) -> int:
    """Suppress the customer mails to this address that nobody has begun to send, in the transaction of the consent (SUP-07). Where
    the address is a customer's they are looked for in that customer's runs: a queue may be long, and many leave at once just then.
    What other runs send there is left to its claim, which sees the consent, and so are runs that wait for their mail, for the claim
    tells them. An address of nobody is looked for in the queue of the workspace; what is held is judged when it is released."""
    names: dict[str, Any] = {"workspace": workspace_id, "address": address.strip().lower(), "customer": customer_id}
    with connection.cursor() as cursor:
        cursor.execute(_SUPPRESS.format(_IN_QUEUE if customer_id is None else _OF_CUSTOMER), names)
        return int(cursor.rowcount)


_IN_QUEUE = "due_at IS NOT NULL"  # the index `delivery_due`
_OF_CUSTOMER = "run_id IN (SELECT id FROM automations_run WHERE customer_id = %(customer)s)"
_SUPPRESS = """
WITH queued AS (
    SELECT id FROM automations_delivery WHERE workspace_id = %(workspace)s AND {} AND state = 'QUEUED' AND customer_mail
        AND lower("to") = %(address)s
    ORDER BY id FOR NO KEY UPDATE
)
UPDATE automations_delivery d SET state = CASE WHEN d.waits THEN 'QUEUED' ELSE 'SUPPRESSED' END,
    due_at = CASE WHEN d.waits THEN d.due_at END,
    error = CASE WHEN d.waits THEN d.error ELSE
        '{{"code": "unsubscribed", "message": "The address is unsubscribed.", "temporary": false, "details": {{}}}}'::jsonb END
FROM queued WHERE d.id = queued.id
"""


def senders(actor: Actor, *, verified: bool | None = None) -> QuerySet[Sender]:
    """Senders of the workspace; with `verified` only those that mail may come from (EML-05)."""
    rows = Sender.objects.filter(workspace_id=actor.workspace_id)
    return rows if verified is None else rows.filter(verified_at__isnull=not verified)


def find_sender(actor: Actor, sender_id: int) -> Sender:
    """One of the workspace, else `not_found`."""
    found = senders(actor).filter(pk=sender_id).first()
    if found is None:
        raise not_found("sender", public_id("snd", sender_id))
    return found


def create_sender(*, actor: Actor, address: str, name: str = "") -> Sender:
    """A new address. That of a member is verified at once, any other has to be (EML-05)."""
    actor.require("edit")
    clean, name = _address(address), _name(name)
    member = Membership.objects.filter(workspace_id=actor.workspace_id, user__email__iexact=clean).exists()
    try:
        with transaction.atomic():
            made = Sender.objects.create(
                workspace_id=actor.workspace_id, address=clean, name=name, verified_at=real_now() if member else None
            )
            record(actor, "sender.create", public_id("snd", made.pk), None, {"verified": member})
    except IntegrityError:
        raise Refusal("conflict", f"There is a sender {clean} already.", {"address": clean}) from None
    return made


@transaction.atomic
def verify_sender(*, actor: Actor, sender_id: int) -> Sender:
    """Somebody with the right to administer the workspace vouches for the address. The first verified one is the
    default."""
    actor.require("admin")
    found = find_sender(actor, sender_id)
    if found.verified_at is None:
        found.verified_at = real_now()
        found.default = not senders(actor).filter(default=True).exists()
        found.save(update_fields=["verified_at", "default"])
        record(actor, "sender.verify", public_id("snd", sender_id), None, {"default": found.default})
    return found


@transaction.atomic
def update_sender(*, actor: Actor, sender_id: int, changes: dict[str, Any]) -> Sender:
    """Change the name, or make a verified sender the default one. An unverified one cannot be picked: `wrong_state`
    (EML-05)."""
    actor.require("edit")
    rows = list(senders(actor).order_by("pk").select_for_update(no_key=True))
    found = next((row for row in rows if row.pk == sender_id), None) or find_sender(actor, sender_id)
    if changes.get("default") is False and found.default:
        raise Refusal("wrong_state", "One sender is the default; make another one the default instead.")
    if changes.get("default"):
        if found.verified_at is None:
            raise Refusal("wrong_state", f"{found.address} is not verified; only a verified sender can be the default.")
        Sender.objects.filter(workspace_id=actor.workspace_id, default=True).exclude(pk=found.pk).update(default=False)
        found.default = True
    if "name" in changes:
        found.name = _name(changes["name"])
    found.save(update_fields=["name", "default"])
    record(actor, "sender.update", public_id("snd", sender_id), None, {"changed": sorted(changes)})
    return found


@transaction.atomic
def delete_sender(*, actor: Actor, sender_id: int) -> None:
    """Delete a sender that is not the default. Mails already queued keep the address they were queued with."""
    actor.require("edit")
    found = find_sender(actor, sender_id)
    if found.default:
        raise Refusal("wrong_state", f"{found.address} is the default sender; make another one the default first.")
    found.delete()
    record(actor, "sender.delete", public_id("snd", sender_id), {"address": found.address}, None)


def _address(address: str) -> str:
    try:
        return check_address(address)
    except BadAddress as error:
        raise invalid("address", str(error)) from None


def _name(name: str) -> str:
    try:
        clean = checked_header(name.strip())
    except ValueError as error:
        raise invalid("name", str(error)) from None
    if len(clean) > 200:
        raise invalid("name", "must have at most 200 characters")
    return clean
