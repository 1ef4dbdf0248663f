"""`manage.py automations`: definitions from the command line (CONTRACTS 2)."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.errors import Refusal
from automations.commandline import files, reference, showing
from automations.commandline.setting import WRONG_USE, WrongUse, actor_in, workspace_named


class Command(BaseCommand):
    """Exit codes: 0 done, 1 problems found, 2 wrong use."""

    help = "Validate, apply, export, compare and simulate definitions of automations."

    def add_arguments(self, parser: CommandParser) -> None:
        """One sub-command each; all take `--workspace`."""
        commands = parser.add_subparsers(dest="act", required=True, metavar="COMMAND")
        validate = commands.add_parser("validate", help="list all problems of definitions in files")
        validate.add_argument("files", nargs="+", metavar="FILE")
        apply = commands.add_parser("apply", help="store files as drafts, by key or name; makes what is not there")
        apply.add_argument("files", nargs="+", metavar="FILE")
        apply.add_argument("--activate", action="store_true", help="activate them as well")
        export = commands.add_parser("export", help="print an automation as YAML")
        export.add_argument("automation", metavar="auto_1")
        export.add_argument("--plain", action="store_true", help="without ids and positions")
        diff = commands.add_parser("diff", help="show what applying a file would change")
        diff.add_argument("file", metavar="FILE")
        simulate = commands.add_parser("simulate", help="walk a definition in simulated time; does nothing")
        simulate.add_argument("what", metavar="FILE|auto_1")
        data = simulate.add_mutually_exclusive_group()
        data.add_argument("--sample", action="store_true", help="on the sample of its trigger (the default)")
        data.add_argument("--event", metavar="evt_1", help="on a recorded event")
        data.add_argument("--customer", metavar="cus_1", help="on a customer of the workspace")
        simulate.add_argument("--at", metavar="TIME", help="as if it began then")
        commands.add_parser("reference", help="print the reference page made from the declarations in the code")
        for sub in (validate, apply, export, diff, simulate):
            sub.add_argument("--workspace", metavar="SLUG", help="default: ONWARD_WORKSPACE, else the only workspace")

    def handle(self, *args: Any, **options: Any) -> None:
        """Ends the process with 1 when problems were found."""
        try:
            code = self._act(options)
        except WrongUse as error:
            raise CommandError(str(error), returncode=WRONG_USE) from error
        except Refusal as refusal:
            raise CommandError(refusal.message, returncode=WRONG_USE) from refusal
        if code:
            sys.exit(code)

    def _act(self, options: dict[str, Any]) -> int:
        say = self.stdout.write
        if options["act"] == "reference":
            say(reference.page(), ending="")
            return 0
        actor = actor_in(workspace_named(options["workspace"]))
        if options["act"] == "validate":
            return files.validate_files(actor, options["files"], say)
        if options["act"] == "apply":
            return files.apply_files(actor, options["files"], say, activating=options["activate"])
        if options["act"] == "export":
            return showing.export(actor, options["automation"], say, plain=options["plain"])
        if options["act"] == "diff":
            return files.diff_file(actor, options["file"], say)
        return showing.simulate(actor, options["what"], say, options)
