"""Waking runs that wait for an event: shared by routing and by the second look (RUN-18, C-19, C-37; W1, W2)."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from automations.engine.expressions import Expression, ExpressionError, compile_expression
from automations.engine.outcomes import Failed
from automations.services.jsontext import dumps
from automations.worker.answers import encode
from automations.worker.batch import LiveRun, Occurrence
from automations.worker.copying import array
from automations.worker.planner import without
from automations.worker.reading import Reader

SWITCHES = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
MAIL = {"email_opened", "email_clicked"}
_WAKE = """
update automations_run r set status = 'RUNNING', parked_on = null, due_at = (select onward_now()), answer = v.answer,
    wait_name = null, wait_key = null, wait_since = null
from unnest(%s::bigint[], %s::jsonb[]) v (id, answer)
where r.id = v.id and r.status = 'WAITING_FOR_EVENT'
"""


def waits_for(run: LiveRun, occurrence: Occurrence) -> bool:
    """Whether the run waits for an event of this name and object. An event never wakes a run that it started."""
    facts = occurrence.facts
    return run.wait_name == facts.name and run.wait_key in occurrence.keys and run.waiting and facts.id != run.event_id


def wait_expressions(run: LiveRun) -> tuple[Expression, ...]:
    """The filter of the wait that the run stands on, if it has one."""
    node = run.plan.nodes.get(run.step or "")
    source = getattr(node.config, "filter", None) if node is not None else None
    return (compile_expression(source, run.plan.names),) if source else ()


def wakes(run: LiveRun, occurrence: Occurrence, reader: Reader) -> bool:
    """Whether this event ends the wait."""
    if not waits_for(run, occurrence) or not _of_own_mail(run, occurrence, reader):
        return False
    filters = wait_expressions(run)
    if not filters:
        return True
    env = reader.of_run(run, occurrence)
    try:
        return all(reader.holds(expression, env) for expression in filters)
    except ExpressionError:  # a filter that cannot be worked out lets the run wait on
        return False


def _of_own_mail(run: LiveRun, occurrence: Occurrence, reader: Reader) -> bool:
    """Opens and clicks count for the run's latest e-mail, unless the step listens to any; a run that has sent none listens to any
    as well, and so does every run where the report does not say which e-mail it was (STP-14, STP-15)."""
    delivery = occurrence.facts.subjects.get("delivery")
    if run.wait_name not in MAIL or delivery is None:
        return True
    node = run.plan.nodes.get(run.step or "")
    if getattr(node and node.config, "emails", "latest") == "any":
        return True
    latest = reader.live("mail", reader.of_run(run, occurrence)) or {}
    return latest.get("id") in (None, f"dlv_{delivery}")


def expect_mail(run: LiveRun, reader: Reader) -> None:
    """Have the run's latest e-mail read with the rest."""
    if run.wait_name in MAIL:
        reader.expect_run(run, (compile_expression("mail.id", run.plan.names),))


def write_wakes(woken: Sequence[LiveRun]) -> int:
    """One guarded statement: a time-out and an event cannot both win (W2). Rows were locked before, in id order."""
    return _write([run.id for run in woken], [dumps({"event": run.woken_by}) for run in woken])


def write_failure(run_id: int, message: str) -> int:
    """Wake a run to fail at its wait, for which no event can be judged any more. By the same guard: one that has been woken or
    ended meanwhile is left alone. The row was locked before."""
    return _write([run_id], [dumps({"outcome": encode(Failed("internal", message))})])


def _write(ids: Sequence[int], answers: Sequence[str]) -> int:
    if not ids:
        return 0
    with connection.cursor() as cursor:
        # Without the switches the planner reads the whole run table for the join (PERFORMANCE, "What the design adds").
        without(cursor, SWITCHES, _WAKE, [array(ids), array(answers)])
        return int(cursor.rowcount)
