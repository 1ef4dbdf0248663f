"""One planted breach, or several, of each rule: SQL that a program with a defect might have come to. Constraints and triggers that
forbid it are taken away first, in the test's own transaction. Names in braces are ids of the world."""

from __future__ import annotations

from typing import Any

from django.db import connection

from automations.doctor.references import Reference
from tests.doctor.world import World

NOWHERE = 999_999_999
FRESH = 900_000_001


def again(table: str, where: str, **changes: Any) -> str:
    """A second copy of a row with some values changed."""
    parts = [part for name, value in changes.items() for part in (f"'{name}'", f"'{value}'")]
    change = f"jsonb_build_object({', '.join(parts)})"
    return (
        f"INSERT INTO {table} SELECT (jsonb_populate_record(NULL::{table}, to_jsonb(x) || {change})).* "
        f"FROM {table} x WHERE {where} LIMIT 1"
    )


def drop(table: str, constraint: str) -> str:
    """The database no longer forbids it."""
    return f"ALTER TABLE {table} DROP CONSTRAINT {constraint}"


EVENT, RUN, LOG, DELIVERY = "automations_event", "automations_run", "automations_step_log", "automations_delivery"
AUTOMATION, VERSION, TRY = "automations_automation", "automations_version", "automations_deliveryattempt"

UNGUARDED = "ALTER TABLE automations_version DISABLE TRIGGER version_immutable_once_activated"
UNREADABLE = """UPDATE automations_version SET definition = jsonb_set(definition, '{{nodes,0,type}}', '"gone"')"""


def _try_of(name: str) -> str:
    return f"delivery_id IN (SELECT id FROM automations_delivery WHERE run_id = {{{name}}})"


Plant = list[str]
BREACHES: dict[str, list[Plant]] = {
    "E2": [[drop(EVENT, "event_recorded_once"), again(EVENT, "true", id=FRESH)]],
    "E3": [
        [drop(RUN, "run_once_per_event"), again(RUN, "id = {timer}", id=FRESH)],
        ["UPDATE automations_event SET only_automation = {auto_held} WHERE id = {event_timer}"],
    ],
    "E4": [
        [
            "DELETE FROM automations_routed WHERE event_id = {event_timer}",
            "INSERT INTO automations_unrouted (shard, event_id, workspace_id) SELECT shard, id, workspace_id FROM automations_event "
            "WHERE id = {event_timer}",
            "UPDATE automations_event SET recorded_at = now() - interval '1 hour' WHERE id = {event_timer}",
        ]
    ],
    "E5": [["DELETE FROM automations_event_content WHERE event_id = {event_timer}"]],
    "E6": [[again("automations_evaluation", "true", recorded_at="{later}")]],
    "E7": [
        ["DELETE FROM automations_routed WHERE event_id = {event_timer}"],
        [f"INSERT INTO automations_unrouted SELECT shard, id, workspace_id FROM {EVENT} WHERE id = {{event_timer}}"],
        ["DELETE FROM automations_unrouted"],
        ["UPDATE automations_unrouted SET shard = shard + 1"],
    ],
    "R1": [
        ["DELETE FROM automations_delivery WHERE run_id = {delivery}"],
        [drop(RUN, "run_parking_agrees"), "UPDATE automations_run SET due_at = NULL WHERE id = {timer}"],
        ["UPDATE automations_run SET wait_key = NULL WHERE id = {released}"],
        ["UPDATE automations_automation SET hold_mark = NULL WHERE id = {auto_held}"],
    ],
    "R2": [
        [drop(RUN, "run_end_agrees_with_status"), "UPDATE automations_run SET due_at = now() WHERE id = {completed}"],
        ["UPDATE automations_delivery SET state = 'QUEUED' WHERE run_id = {cancelled}"],
    ],
    "R3": [
        [drop(RUN, "run_end_agrees_with_status"), "UPDATE automations_run SET ended_at = NULL WHERE id = {completed}"],
        [
            drop(RUN, "run_ends_after_start"),
            "UPDATE automations_run SET ended_at = started_at - interval '1 second' WHERE id = {completed}",
        ],
    ],
    "R4": [
        ["UPDATE automations_step_log SET step = 'nowhere' WHERE run_id = {completed} AND seq = 2"],
        ["UPDATE automations_run SET step = 'nowhere' WHERE id = {timer}"],
        [
            "UPDATE automations_run SET version_id = (SELECT version_id FROM automations_run WHERE id = {held}) WHERE id = {timer}"
        ],
    ],
    "R6": [
        ["UPDATE automations_run SET held = NULL WHERE id = {held}"],
        ["""UPDATE automations_run SET held = '{{"by": "pause"}}' WHERE id = {timer}"""],
    ],
    "R7": [
        ["UPDATE automations_entry SET once = false"],
        ["UPDATE automations_entry SET once = false, run_id = 999999999"],
    ],
    "X3": [["UPDATE automations_run SET seq = 10002 WHERE id = {timer}"]],
    "S1": [[again(LOG, "run_id = {completed} AND seq = 1", recorded_at="{later}")]],
    "L1": [
        ["DELETE FROM automations_step_log WHERE run_id = {completed} AND seq = 2"],
        ["UPDATE automations_run SET seq = seq - 1 WHERE id = {completed}"],
        ["UPDATE automations_run SET seq = seq + 1 WHERE id = {completed}"],
        ["UPDATE automations_run SET seq = seq + 1 WHERE id = {timer}"],
    ],
    "L2": [["UPDATE automations_run SET steps_executed = steps_executed + 1 WHERE id = {looped}"]],
    "T1": [
        [
            "UPDATE automations_step_log SET ended_at = ended_at - interval '1 day' WHERE run_id = {rested} AND type = 'delay'"
        ]
    ],
    "T1.rest": [["UPDATE automations_run SET due_at = onward_now() - interval '1 hour' WHERE id = {timer}"]],
    "T2.rest": [
        [
            "UPDATE automations_automation SET next_fire_at = onward_now() - interval '1 hour' WHERE id = {auto_scheduled}"
        ]
    ],
    "T3": [["UPDATE automations_automation SET next_fire_at = NULL WHERE id = {auto_scheduled}"]],
    "W1": [
        [
            again(EVENT, "id = {event_released}", id=FRESH, key="late", name="reply"),
            again("automations_routed", "event_id = {event_released}", event_id=FRESH, number=FRESH),
        ],
        [
            again(EVENT, "id = {event_released}", id=FRESH, key="late", name="reply"),
            again("automations_routed", "event_id = {event_released}", event_id=FRESH, routed_at="{later}", number=0),
            f"UPDATE {RUN} SET wait_since = NULL",  # of the release before
        ],
    ],
    "W2": [
        [
            """UPDATE automations_step_log SET output = output || '{{"outcome": "timeout"}}' WHERE run_id = {woken} AND step = 'wait'"""
        ],
        [
            """UPDATE automations_step_log SET output = output || '{{"event": "evt_999999999"}}' WHERE run_id = {woken} AND step = 'wait'"""
        ],
    ],
    "W3.rest": [["UPDATE automations_secondlook SET created_at = now() - interval '1 hour'"]],
    "S2": [
        [again(TRY, _try_of("completed"), id=FRESH, number=7, fence=7)],
        [f"DELETE FROM automations_deliveryattempt WHERE {_try_of('completed')}"],
        [f"UPDATE automations_deliveryattempt SET outcome = 'ok' WHERE {_try_of('failed')}"],
    ],
    "S3": [
        [f"UPDATE automations_deliveryattempt SET fence = 7 WHERE {_try_of('completed')}"],
        ["UPDATE automations_delivery SET fence = 7 WHERE run_id = {completed}"],
        [drop(TRY, "attempt_fence_once"), again(TRY, _try_of("failed"), id=FRESH, number=7)],
    ],
    "S4": [
        [
            drop(DELIVERY, "delivery_sending_has_lease"),
            "UPDATE automations_delivery SET lease_until = now() WHERE run_id = {completed}",
        ],
        [
            drop(DELIVERY, "delivery_sending_has_lease"),
            "UPDATE automations_delivery SET state = 'SENDING' WHERE run_id = {delivery}",
        ],
    ],
    "S4.rest": [
        [
            "UPDATE automations_delivery SET state = 'SENDING', fence = 1, lease_until = now() - interval '1 hour' "
            "WHERE run_id = {delivery}"
        ]
    ],
    "S5": [
        ["UPDATE automations_delivery SET attempts = 9 WHERE run_id = {completed}"],
        [
            "UPDATE automations_delivery SET retries = 0, attempts = 2, fence = 2 WHERE run_id = {failed}",
            again(TRY, _try_of("failed"), id=FRESH, number=2, fence=2),
        ],
    ],
    "O1": [
        ["UPDATE automations_delivery SET visit = 99 WHERE run_id = {delivery}"],
        ["DELETE FROM automations_step_log WHERE run_id = {completed} AND step = 'mail'"],
        ["DELETE FROM automations_delivery WHERE run_id = {completed}"],
    ],
    "O2": [
        ["UPDATE automations_delivery SET key = 'anything' WHERE run_id = {delivery}"],
        [drop(DELIVERY, "delivery_once"), again(DELIVERY, "run_id = {delivery}", id=FRESH, key="anything")],
    ],
    "O3": [
        [f"UPDATE automations_deliveryattempt SET request_sha256 = 'other' WHERE {_try_of('completed')}"],
        [
            "INSERT INTO automations_delivery_body (delivery_id, workspace_id, body) "
            "SELECT id, workspace_id, 'other' FROM automations_delivery WHERE run_id = {delivery}"
        ],
    ],
    "O5": [["UPDATE automations_delivery SET due_at = onward_now() - interval '1 hour' WHERE run_id = {delivery}"]],
    "O6": [["UPDATE automations_delivery SET due_at = NULL WHERE run_id = {delivery}"]],
    "M2": [[again(TRY, _try_of("card_ok"), id=FRESH, number=2, fence=2, started_at="{later}")]],
    "C1": [["UPDATE automations_delivery SET sending_at = now() + interval '1 day' WHERE customer_mail"]],
    "C2": [
        ["UPDATE automations_delivery SET sending_at = now() + interval '1 day' WHERE run_id = {cancelled}"],
        [again(LOG, "run_id = {completed} AND seq = 1", run_id="{cancelled}", started_at="{later}")],
    ],
    "C3": [[again(DELIVERY, "run_id = {delivery}", id=FRESH, key="held", run_id="{held}", sending_at="{later}")]],
    "A1": [["UPDATE automations_automation SET trigger_key = 'other' WHERE id = {auto_scheduled}"]],
    "A2": [
        ["UPDATE automations_automation SET listens = array_remove(listens, 'order') WHERE id = {auto_completed}"],
        ["UPDATE automations_automation SET listens = '{{}}' WHERE id = {auto_timer}"],
    ],
    "A3": [
        ["UPDATE automations_automation SET stages = '{{}}' WHERE id = {auto_staged}"],
        ["UPDATE automations_automation SET stages = '{{999999999}}' WHERE id = {auto_staged}"],
    ],
    "A4": [
        ["UPDATE automations_version SET state = 'inactive' WHERE automation_id = {auto_timer}"],
        [
            "UPDATE automations_automation SET active_version_id = (SELECT version_id FROM automations_run WHERE id = {held}) "
            "WHERE id = {auto_timer}"
        ],
    ],
    "A5": [
        ["UPDATE automations_automation SET cancel_mark = 1 WHERE id = {auto_timer}"],
        ["UPDATE automations_automation SET hold_mark = 1 WHERE id = {auto_timer}"],
    ],
    "A6.rest": [
        [
            "UPDATE automations_automation SET cancel_mark = {timer}, sweep = true, updated_at = now() - interval '1 hour' "
            "WHERE id = {auto_timer}"
        ]
    ],
    "A7": [
        ["UPDATE automations_automation SET priority = NULL WHERE exclusive"],
        [drop(AUTOMATION, "automation_priority_unique"), again(AUTOMATION, "exclusive", id=FRESH)],
    ],
    "A8": [
        ["UPDATE automations_run SET started_at = now() + interval '1 day' WHERE id = {held}"],
        [
            drop(AUTOMATION, "automation_state_agrees_with_version"),
            "UPDATE automations_automation SET state = 'DRAFT' WHERE id = {auto_timer}",
        ],
    ],
    "A9": [
        [UNGUARDED, f"{UNREADABLE} WHERE automation_id = {{auto_timer}}"],
        [UNGUARDED, f"{UNREADABLE}, state = 'inactive' WHERE automation_id = {{auto_timer}}"],  # a run is still on it
    ],
    "D1": [
        [
            "DO $$ BEGIN EXECUTE 'DROP TABLE automations_evaluation' "
            """|| to_char(now() + interval '1 month', '"_y"YYYY"m"MM'); END $$"""
        ]
    ],
    "D2": [[UNGUARDED]],
    "X2": [
        [drop("accounts_idempotency", "idempotency_key_unique"), again("accounts_idempotency", "true", id=FRESH)],
    ],
    "X4": [
        ["ALTER TABLE accounts_audit DISABLE TRIGGER accounts_audit_is_append_only"],
        ["DROP TRIGGER accounts_audit_is_append_only ON accounts_audit"],
    ],
    "K1": [["DELETE FROM accounts_installation"]],
    "K2": [
        ["UPDATE accounts_customer c SET merged_into_id = m.id FROM accounts_customer m WHERE m.merged_into_id = c.id"]
    ],
    "K3": [
        ["UPDATE accounts_stageentry SET funnel_id = (SELECT max(id) FROM accounts_funnel) WHERE workspace_id = {here}"]
    ],
    "K4": [
        [
            "UPDATE accounts_contact SET customer_id = (SELECT max(id) FROM accounts_customer WHERE erased_at IS NOT NULL)"
        ]
    ],
    "M1": [
        ["UPDATE billing_test_charge SET amount = amount + 1"],
        ["""UPDATE billing_test_charge SET result = '{{"result": "unheard"}}'"""],
        ["DELETE FROM billing_payment WHERE gateway_reference <> ''"],
    ],
    "M3": [
        [
            drop("billing_invoice", "invoice_status_agrees_with_paid"),
            "UPDATE billing_invoice SET amount_paid = amount_paid - 1 WHERE status = 'paid'",
        ],
        ["UPDATE billing_payment SET currency = 'USD'"],
    ],
    "M4": [
        ["UPDATE billing_invoice SET failed_count = failed_count - 1 WHERE failed_count > 0"],
        ["UPDATE billing_invoice SET attempt_count = attempt_count + 1"],
    ],
    "M5": [["UPDATE billing_payment SET settles = false WHERE settles"]],
    "M6": [["UPDATE billing_invoiceline SET amount = amount + 1"]],
    "M7": [["UPDATE billing_payment SET key = 'gone' WHERE key = (SELECT max(key) FROM billing_payment)"]],
}


def plant(world: World, statements: Plant) -> None:
    """Do it, with foreign keys, ordinary triggers and the check on delivery keys out of force."""
    names = _names(world)
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(f"ALTER TABLE {DELIVERY} DROP CONSTRAINT IF EXISTS delivery_key_names_it")
        for statement in statements:
            cursor.execute(statement.format(**names) if "$$" not in statement else statement)
        cursor.execute("SET LOCAL session_replication_role = origin")


def _names(world: World) -> dict[str, Any]:
    """`{timer}` is a run, `{auto_timer}` its automation, `{event_timer}` its event; `{here}` and `{there}` are the workspaces."""
    names: dict[str, Any] = {"here": world.workspace.pk, "there": world.other.pk}
    for name, run in world.runs.items():
        names |= {name: run.pk, f"event_{name}": run.event_id}
    with connection.cursor() as cursor:
        cursor.execute("SELECT now() + interval '25 hours'")
        names["later"] = cursor.fetchone()[0].isoformat()
    return names | {f"auto_{name}": automation.pk for name, automation in world.automations.items()}


def dangle(reference: Reference) -> Plant:
    """One row that names nothing."""
    return [_one(reference, f"{reference.column} = {NOWHERE}")]


def cross(reference: Reference) -> Plant:
    """One row that is in another workspace than what it names."""
    return [_one(reference, "workspace_id = {there}")]


def _one(reference: Reference, change: str) -> str:
    return (
        f"UPDATE {reference.child} c SET {change} WHERE (c.tableoid, c.ctid) = (SELECT c.tableoid, c.ctid FROM {reference.child} c "
        f"JOIN {reference.parent} p ON p.id = c.{reference.column} "
        f"WHERE c.workspace_id = {{here}} AND {reference.only} LIMIT 1)"
    )
