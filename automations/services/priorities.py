"""The order in which automations of an exclusive trigger are asked (PRI-06 to 10): per trigger and workspace, without ties."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection, transaction
from django.db.models import F, Max

from accounts.actor import Actor
from accounts.audit import record
from accounts.errors import Refusal, not_found
from accounts.ids import public_id
from automations.engine.registry import registry
from automations.models import Automation
from automations.worker.locks import lock_exclusively


def in_order(actor: Actor, trigger: str) -> list[Automation]:
    """The automations of an exclusive trigger, the first asked first; PAUSED and DRAFT ones keep their place (PRI-10)."""
    actor.require("read")
    return _rows(actor.workspace_id, trigger)


def _rows(workspace_id: int, trigger: str) -> list[Automation]:
    _exclusive(trigger)
    return list(
        Automation.objects.filter(workspace_id=workspace_id, trigger_key=trigger, exclusive=True)
        .select_related("active_version")
        .order_by(F("priority").asc(nulls_last=True), "pk")
    )


def _exclusive(trigger: str) -> None:
    known = registry.triggers.get(trigger)
    if known is None:
        raise not_found("trigger", trigger)
    if known.dispatch != "exclusive":
        raise Refusal(
            "not_found",
            f"“{trigger}” starts every automation that matches; only exclusive triggers have an order.",
            {"trigger": trigger},
        )


@transaction.atomic
def reorder(*, actor: Actor, trigger: str, order: Sequence[int]) -> list[Automation]:
    """Put all automations of a trigger into this order. `order` names each of them once, otherwise `invalid`: half an order
    would leave the others' places to chance."""
    actor.require("publish")
    present = _rows(actor.workspace_id, trigger)
    before = [automation.public_id for automation in present]
    if sorted(order) != sorted(automation.pk for automation in present):
        raise Refusal(
            "invalid",
            f"The order must name each of the {len(present)} automations of “{trigger}” once.",
            {"fields": {"order": [f"expected each of {', '.join(before) or 'none'} once"]}},
        )
    lock_exclusively([automation.pk for automation in present])
    _write(actor.workspace_id, trigger, order)
    record(actor, "priorities.set", trigger, {"order": before}, {"order": [public_id("auto", pk) for pk in order]})
    return _rows(actor.workspace_id, trigger)


def _write(workspace_id: int, trigger: str, order: Sequence[int]) -> None:
    """One statement: the unique rule on places is checked when it ends. Rows that are none of the trigger's stay."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE automations_automation AS automation
            SET priority = place.number, updated_at = statement_timestamp()
            FROM unnest(%s::bigint[]) WITH ORDINALITY AS place (id, number)
            WHERE automation.id = place.id AND automation.workspace_id = %s AND automation.trigger_key = %s
            """,
            [list(order), workspace_id, trigger],
        )


def last_place(workspace_id: int, trigger: str) -> int:
    """The place behind all others: where a new automation stands (PRI-09). Concurrent callers follow one another."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtext('automation_priority'), hashtext(%s))", [f"{workspace_id}{trigger}"]
        )
    present = Automation.objects.filter(workspace_id=workspace_id, trigger_key=trigger).aggregate(last=Max("priority"))
    return int(present["last"] or 0) + 1


def move_to(*, actor: Actor, automation: Automation, place: int) -> None:
    """Put one automation at `place` (1 is first) and let the others close up (PATCH `priority`)."""
    if not automation.exclusive:
        raise Refusal(
            "invalid",
            f"“{automation.name}” has no priority: every automation on its trigger runs.",
            {"fields": {"priority": ["only for automations with an exclusive trigger"]}},
        )
    order = [other.pk for other in _rows(actor.workspace_id, automation.trigger_key) if other.pk != automation.pk]
    order.insert(max(place, 1) - 1, automation.pk)
    reorder(actor=actor, trigger=automation.trigger_key, order=order)
