"""`manage.py restored`: whether these data are a restored backup, what would go out, and the word of a person (RELIABILITY 36)."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts import provenance
from automations.services.outgoing import SHOWN, outgoing

SEEN = 1.0  # seconds more than a worker lets pass between two looks: for what it has at hand


class Command(BaseCommand):
    """Exit codes: 0 workers may work, or are held as was asked; 1 they are held."""

    help = "Say whether these data are a restored backup or a copy, and what would go out; changes nothing without --hold or --go."

    def add_arguments(self, parser: CommandParser) -> None:
        """See `help`."""
        parser.add_argument("--json", action="store_true", help="print it as JSON")
        parser.add_argument("--most", type=int, default=SHOWN, help=f"rows shown of each kind (default {SHOWN})")
        decision = parser.add_mutually_exclusive_group()
        decision.add_argument("--hold", metavar="WHY", help="let no worker do anything, as on a copy that was noticed")
        decision.add_argument("--go", action="store_true", help="set these data to work: they are the installation now")
        parser.add_argument("--workspace", help="accepted for uniformity; an installation is held as a whole")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends the process with 1 while workers are held, unless it was asked to hold them. Then it answers when all that run have
        heard of it, and take nothing up any more."""
        if options["hold"] is not None:
            provenance.hold(options["hold"].strip() or "Held by hand.")
            time.sleep(provenance.EVERY + SEEN)  # by then every process has looked
        if options["go"]:
            provenance.confirm()
        why, found = provenance.why_held(), outgoing(options["most"])
        if options["json"]:
            self.stdout.write(json.dumps({"held": bool(why), "why": why, "outgoing": found.as_json()}, default=str))
        else:
            self._tell(why, found.lines())
        if why and options["hold"] is None:
            sys.exit(1)

    def _tell(self, why: str, lines: list[str]) -> None:
        head = f"Workers are held. {why}" if why else "Workers may work: these data are the installation."
        self.stdout.write("\n".join([head, *lines]))
        if why:
            self.stdout.write(
                "What the original did since is not known here. Cancel what must not go out twice, stop the original, then say"
                " `manage.py restored --go`."
            )
