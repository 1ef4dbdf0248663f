"""The root `mail`: facts of the run's latest e-mail to its customer, also under the bare names `email_opened` and
`email_clicked` (CONTRACTS 5, RUN-22)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from django.db import connection
from pydantic import Field

from automations.engine.kinds import Config, Root

# Mails that never went out cannot be opened: a suppressed one does not hide the one before it.
_LATEST = """
select distinct on (r.id) r.id, d.id, d.subject, d.opened_at is not null, d.clicked_at is not null, d.sent_at
from automations_run r
join automations_delivery d on d.workspace_id = r.workspace_id and d.run_id = r.id
where r.id = any(%s) and d.kind = 'email' and d.customer_mail and d.state in ('QUEUED', 'SENDING', 'SENT', 'UNKNOWN', 'REVIEW')
order by r.id, d.visit desc, d.effect desc
"""


class MailFields(Config):
    """What is known of the latest e-mail of the run."""

    id: str | None = Field(None, title="Delivery")
    subject: str | None = Field(None, title="Subject")
    opened: bool = Field(False, title="Was opened")
    clicked: bool = Field(False, title="A link was clicked")
    sent_at: datetime | None = Field(None, alias="sentAt", title="Sent at")


class MailRoot(Root):
    """Loaded by run id. A run that has sent none has an e-mail that nobody opened."""

    name = "mail"
    label = "Latest e-mail"
    prefix = "dlv"
    subject = "run"
    Fields = MailFields
    bare = {"email_opened": "opened", "email_clicked": "clicked"}

    def load(self, ids: Collection[int]) -> Mapping[int, Mapping[str, Any]]:
        """One query."""
        found: dict[int, Mapping[str, Any]] = {id: {"id": None, "opened": False, "clicked": False} for id in ids}
        with connection.cursor() as cursor:
            cursor.execute(_LATEST, [sorted(ids)])
            for run, delivery, subject, opened, clicked, sent_at in cursor.fetchall():
                found[run] = {
                    "id": f"dlv_{delivery}",
                    "subject": subject,
                    "opened": opened,
                    "clicked": clicked,
                    "sentAt": sent_at,
                }
        return found


mail = MailRoot()
