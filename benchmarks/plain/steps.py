"""One step of the drip with the ORM: a log row, perhaps a mail, and the run saved."""

from __future__ import annotations

from django.utils import timezone

from benchmarks.plain.models import Mail, Run, StepLog

CONDITIONS, MAILS, DELAY, END = (0, 3), (1, 4), 2, 5


def take(run: Run) -> None:
    """Take the step that the run stands on. The caller's transaction holds its row."""
    result = "past"
    if run.node in CONDITIONS:
        result = "true" if run.ctx["failureCount"] == 1 else "false"
    elif run.node in MAILS:
        result = "queued"
        subject = f"Payment failed {run.ctx['failureCount']}"
        Mail.objects.create(run=run, recipient=f"customer-{run.subject_id}@example.com", subject=subject)
    elif run.node == END:
        result = "end"
    StepLog.objects.create(run=run, node=run.node, result=result)
    if run.node == END:
        run.status, run.due_at = "done", None
    else:
        run.node, run.due_at = run.node + 1, timezone.now()
    run.save()
