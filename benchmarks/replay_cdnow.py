"""Replay of real purchases: `python -m benchmarks.replay_cdnow PATH [--customers N] [--deliver]`.

Reads the CDNOW purchase file (69,659 purchases of 23,570 customers, 1997-98: customer, date, number of CDs, dollars), posts each
purchase through the events API with its own date, and runs a win-back automation over the eighteen months on the moved clock: 60 days
without a purchase bring one mail, a purchase within the 90 days after it counts as won back. At the end the counts are compared with
an independent calculation over the file.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

QUIET, RETURN = timedelta(days=60), timedelta(days=90)
NOON = 12  # every purchase of a day happens at noon; timers due at that moment fire before it
END = date(1998, 10, 31)  # the last day that is walked; the file ends on 1998-06-30
WIN_BACK = """
name: Win-back
key: win-back
trigger: {type: event, event: purchase}
exits:
  - {event: purchase, reason: bought_again}
settings: {reentry: one_at_a_time, transactional: true}
steps:
  - {id: quiet, type: delay, until: '{{trigger.boughtAt | plus("60d")}}'}
  - {id: mail, type: action, action: send_email, to: "{{customer.email}}", subject: "We miss you, {{customer.name}}",
     body: "<p>Your last order was {{trigger.amount}} dollars.</p>"}
  - {id: hope, type: delay, until: '{{trigger.boughtAt | plus("150d")}}'}
"""


@dataclass(frozen=True)
class Purchase:
    """One line of the file."""

    line: int
    customer: str
    day: date
    cds: int
    dollars: str

    def event(self) -> dict[str, Any]:
        """As it is posted to `/api/v1/events`. `boughtAt` makes the delays exact: a timer of the day of a purchase fires before it."""
        moment = noon(self.day).isoformat().replace("+00:00", "Z")
        return {
            "id": f"cdnow-{self.line}",
            "name": "purchase",
            "customer": {
                "externalId": self.customer,
                "email": f"{self.customer}@cdnow.example.com",
                "name": f"Customer {self.customer}",
            },
            "payload": {"amount": self.dollars, "cds": self.cds, "boughtAt": moment},
            "occurredAt": moment,
        }


@dataclass(frozen=True)
class Counts:
    """What the automation came to, and what the file says it must come to."""

    entered: int
    mailed: int
    won_back: int


def noon(day: date) -> datetime:
    """When the purchases of a day happen."""
    return datetime(day.year, day.month, day.day, NOON, tzinfo=UTC)


def read(lines: Iterable[str], customers: int | None = None) -> list[Purchase]:
    """Purchases in the order of their dates (those of one day in the order of the file), of the first `customers` ids only."""
    found = []
    for number, line in enumerate(lines):
        parts = line.split()
        if len(parts) == 4 and parts[0].isdigit() and (customers is None or int(parts[0]) <= customers):
            day = datetime.strptime(parts[1], "%Y%m%d").replace(tzinfo=UTC).date()
            found.append(Purchase(number, parts[0], day, int(parts[2]), parts[3]))
    return sorted(found, key=lambda purchase: (purchase.day, purchase.line))


def expected(purchases: Iterable[Purchase], end: date = END) -> Counts:
    """The independent calculation: gaps between the purchases of each customer, nothing else."""
    days: dict[str, list[date]] = defaultdict(list)
    for purchase in purchases:
        days[purchase.customer].append(purchase.day)
    entered = mailed = won = 0
    for dates in days.values():
        entered += len(dates)
        for this, following in zip(dates, [*dates[1:], None], strict=True):
            gap = (following or end) - this
            if gap >= QUIET:
                mailed += 1
                won += following is not None and gap < QUIET + RETURN
    return Counts(entered, mailed, won)


def replay(client: Any, purchases: list[Purchase], end: date = END, deliver: bool = False) -> Counts:
    """Walk the calendar: to each day's noon from due time to due time, then post the purchases of that day. Answers the counts."""
    from accounts.clock import set_clock
    from automations.worker.run import walk_through

    set_clock(noon(purchases[0].day - timedelta(days=1)).isoformat())
    for day, bought in groupby(purchases, key=lambda purchase: purchase.day):
        _go_to(day, deliver)
        for chunk in _chunks([purchase.event() for purchase in bought], 1_000):
            answer = client.post("/api/v1/events", data=json.dumps({"events": chunk}), content_type="application/json")
            if answer.status_code != 202:
                raise RuntimeError(f"the events of {day} were refused: {answer.content[:500]!r}")
    _go_to(end, deliver)
    walk_through("+1m")
    return counted()


def _go_to(day: date, deliver: bool) -> None:
    """To the noon of a day, a day at a time: timers of one day are of one moment, since all purchases are at noon."""
    from accounts.clock import evaluation_now, set_clock
    from automations.worker.loop import drain

    while evaluation_now() < noon(day):
        drain(deliver)
        set_clock(min(noon(day), _next_noon(evaluation_now())).isoformat())
    drain(deliver)


def _next_noon(now: datetime) -> datetime:
    today = noon(now.date())
    return today if today > now else today + timedelta(days=1)


def _chunks(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def counted() -> Counts:
    """What the product recorded: runs, mails, and runs that a purchase ended after their mail."""
    from automations.models import Delivery, Run

    runs = Run.objects.filter(automation__key="win-back")
    mailed = Delivery.objects.filter(step="mail", kind="email")
    won = runs.filter(end_reason="bought_again", deliveries__step="mail")
    return Counts(runs.count(), mailed.count(), won.count())


def install(workspace: Any) -> None:
    """Make the automation live in the workspace."""
    from accounts.actor import system_actor
    from automations.services.drafts import create_automation
    from automations.services.publish import activate

    actor = system_actor(workspace.pk)
    draft = create_automation(actor=actor, body=WIN_BACK, fmt="yaml")
    activate(actor=actor, automation_id=draft.automation.pk)


def main() -> int:
    """Replay on a database of its own and report; exit 1 when product and calculation differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--customers", type=int, help="only the first N customers")
    parser.add_argument("--deliver", action="store_true", help="hand the mails over to ONWARD_SMTP_URL as well")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    os.environ["ONWARD_ALLOW_CLOCK"] = "1"
    purchases = read(options.path.read_text().splitlines(), options.customers)
    from benchmarks.database import database

    with database():
        import django

        django.setup()
        client = _client()
        started = time.monotonic()
        found = replay(client, purchases, deliver=options.deliver)
        seconds = time.monotonic() - started
    return _report(purchases, found, seconds)


def _client() -> Any:
    from django.core.management import call_command
    from django.test import Client

    from accounts.actor import system_actor
    from accounts.models import User
    from accounts.services.keys import create_api_key
    from accounts.services.workspaces import create_workspace

    call_command("migrate", verbosity=0)
    workspace = create_workspace(name="CDNOW", owner=User.objects.create_user("owner@cdnow.example.com", None))
    install(workspace)
    key = create_api_key(actor=system_actor(workspace.pk), name="replay", scopes=["events"])[1]
    return Client(headers={"Authorization": f"Bearer {key}"}, SERVER_NAME="127.0.0.1")


def _report(purchases: list[Purchase], found: Counts, seconds: float) -> int:
    wanted = expected(purchases)
    print(
        f"{len(purchases):,} purchases of {len({purchase.customer for purchase in purchases}):,} customers in {seconds:.1f} s"
    )
    print(f"  {'':10}{'entered':>9}{'mailed':>9}{'won back':>9}")
    for name, counts in (("product", found), ("file", wanted)):
        print(f"  {name:10}" + "".join(f"{value:9,}" for value in asdict(counts).values()))
    print(f"  {found.entered / seconds:,.0f} runs per second; {'equal' if found == wanted else 'DIFFERENT'}")
    return 0 if found == wanted else 1


if __name__ == "__main__":
    sys.exit(main())
