"""Emptying what automations wrote of a person (SUP-06, DESIGN 5.5): contents of events, evaluations, logs, inputs and mails. Keys,
times, names of steps and outcomes stay, so that counts still agree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connection

_EVENTS = "select id, recorded_at from automations_event where workspace_id = %(workspace)s and customer_id = any(%(customers)s)"
_RUNS = "select id from automations_run where customer_id = any(%(customers)s)"
#: Errors keep their code; their words may name an address, or what a receiver answered.
WORDLESS = """error || '{"message": "", "details": {}}'::jsonb"""
_STATEMENTS = (
    f"""with queued as (select id from automations_delivery where run_id in ({_RUNS}) and state = 'QUEUED'
            order by id for no key update)
        update automations_delivery d set state = 'CANCELLED', due_at = null from queued q where d.id = q.id""",
    f"""update automations_event_content c set payload = '{{}}', snapshot = '{{}}' from ({_EVENTS}) e
        where c.event_id = e.id and c.recorded_at = e.recorded_at""",
    f"""update automations_evaluation v set values = '{{}}' from ({_EVENTS}) e
        where v.event_id = e.id and v.recorded_at = e.recorded_at""",
    f"update automations_runinput set items = '{{}}', snapshot = null where run_id in ({_RUNS})",
    f"""update automations_run set state = null, error = {WORDLESS}
        where customer_id = any(%(customers)s) and ended_at is not null""",
    f"""update automations_step_log set input = null, output = null, warnings = null, error = {WORDLESS}
        where run_id in ({_RUNS})""",
    f"""update automations_delivery set "to" = '', subject = '', envelope = '{{}}', outcome = null, error = {WORDLESS}
        where run_id in ({_RUNS}) and state not in ('QUEUED', 'SENDING', 'UNKNOWN')""",
    f"""update automations_deliveryattempt set error = {WORDLESS} where error is not null and delivery_id in (
        select id from automations_delivery where run_id in ({_RUNS}))""",
    f"""delete from automations_delivery_body where delivery_id in (
        select id from automations_delivery where run_id in ({_RUNS}) and state not in ('QUEUED', 'SENDING', 'UNKNOWN'))""",
)


def empty_records(workspace_id: int, customers: Sequence[int]) -> None:
    """Empty them in the caller's transaction. What nobody has begun to send is cancelled, whatever became of its run; a delivery
    that is under way keeps its bytes until it is settled: the same key goes with the same bytes (DESIGN 5.3)."""
    names: dict[str, Any] = {"workspace": workspace_id, "customers": list(customers)}
    with connection.cursor() as cursor:
        for statement in _STATEMENTS:
            cursor.execute(statement, names)


# Rows that are empty already are left alone: housekeeping comes by more than once.
_DELIVERIES = (
    f"""update automations_delivery set "to" = '', subject = '', envelope = '{{}}', outcome = null, error = {WORDLESS}
        where id = any(%(ids)s) and ("to" <> '' or subject <> '' or envelope <> '{{}}' or outcome is not null
            or error <> {WORDLESS})""",
    "delete from automations_delivery_body where delivery_id = any(%(ids)s)",
    f"""update automations_deliveryattempt set error = {WORDLESS}
        where delivery_id = any(%(ids)s) and error <> {WORDLESS}""",
    f"""update automations_step_log l set input = null, output = null, warnings = null, error = l.{WORDLESS}
        from automations_delivery d where d.id = any(%(ids)s) and l.run_id = d.run_id and l.seq = d.visit
            and (num_nonnulls(l.input, l.output, l.warnings) > 0 or l.error <> l.{WORDLESS})""",
)


def empty_deliveries(ids: Sequence[int]) -> None:
    """Empty these settled deliveries and what the log says of their visits, in the caller's transaction. A loop over a query mails
    people whose run it is not, so they are found by the delivery."""
    if ids:
        with connection.cursor() as cursor:
            for statement in _DELIVERIES:
                cursor.execute(statement, {"ids": list(ids)})
