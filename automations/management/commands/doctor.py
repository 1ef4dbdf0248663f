"""`manage.py doctor`: look for broken rules (CONTRACTS 2, INVARIANTS)."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from automations.commandline.setting import WRONG_USE, WrongUse, workspace_named
from automations.doctor.document import table
from automations.doctor.run import LAG, MOST, Finding, all_checks, examine


class Command(BaseCommand):
    """Exit codes: 0 all rules hold, 1 some are broken, 2 wrong use."""

    help = "Check every rule that must never break, each by one query over one snapshot; changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        """See `help`."""
        parser.add_argument("--json", action="store_true", help="print the findings as JSON")
        parser.add_argument("--workspace", metavar="SLUG", help="look at one workspace only (default: all)")
        parser.add_argument("--at-rest", action="store_true", help="check also what holds only when load has stopped")
        parser.add_argument(
            "--lag", type=float, metavar="SECONDS", default=LAG.total_seconds(), help="allowance at rest (default 120)"
        )
        parser.add_argument(
            "--only", action="append", default=[], metavar="ID", help="check only this rule; repeatable"
        )
        parser.add_argument("--most", type=int, default=MOST, help=f"rows shown per rule (default {MOST})")
        parser.add_argument("--table", action="store_true", help="print all rules as a table, check nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends the process with 1 when a rule is broken."""
        if options["table"]:
            self.stdout.write(table())
            return
        findings = self._examine(options)
        if options["json"]:
            self.stdout.write(json.dumps({"ok": not findings, "findings": [item.as_json() for item in findings]}))
        else:
            self._tell(findings)
        if findings:
            sys.exit(1)

    def _examine(self, options: dict[str, Any]) -> list[Finding]:
        try:
            workspace = workspace_named(options["workspace"]).pk if options["workspace"] else None
        except WrongUse as error:
            raise CommandError(str(error), returncode=WRONG_USE) from error
        unknown = sorted(set(options["only"]) - {check.id for check in all_checks()})
        if unknown:
            raise CommandError(f"There is no rule {unknown[0]}; `doctor --table` lists them.", returncode=WRONG_USE)
        rest = options["at_rest"] or any(check.at_rest for check in all_checks() if check.id in options["only"])
        lag = timedelta(seconds=options["lag"])
        return examine(workspace_id=workspace, at_rest=rest, lag=lag, most=options["most"], only=options["only"])

    def _tell(self, findings: list[Finding]) -> None:
        for finding in findings:
            self.stdout.write(f"{finding.check.id}  {finding.check.title}")
            for row in finding.rows:
                self.stdout.write(f"    {row}")
            if finding.more:
                self.stdout.write("    and more")
        broken = "1 rule is broken." if len(findings) == 1 else f"{len(findings)} rules are broken."
        self.stdout.write(broken if findings else "All rules hold.")
