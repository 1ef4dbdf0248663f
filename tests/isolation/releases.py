"""`python -m tests.isolation.releases --old COMMIT --seconds 6 --seed N`: two releases at work on one database (RELIABILITY 25).

Web and workers of an older commit take events and walk runs, in a code tree of their own. Then, under load: the newer release migrates, its
workers and its web come up beside the older ones, both work for some seconds, the older ones are asked to end, and the newer ones finish.
What was acknowledged must be there and have been routed, every run must have ended well and once, every act outside happened once, and the
doctor must be silent. It needs the history of the repository.

Without `--old` it is the last commit before the migration `automations.0009`, whose workers have to end before it (docs/operations.md,
"Upgrading"), which `--workers-first` says for others; its web goes on. `--beside` keeps them, and must be found broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from tests.chaos import fleet
from tests.chaos.clients import Caller, Crowd, Sign, Told
from tests.chaos.fleet import ROOT, Host, Web
from tests.chaos.flow import ORDERS, WAIT
from tests.chaos.peers import Mailbox, Payments, Receiver
from tests.chaos.server import Server, own_server

MIGRATION = "automations/migrations/0009_routing_queue.py"
PATIENCE = 300.0  # seconds in which all must have come to rest; strays are looked for once a minute
CUSTOMERS = 50
BATCH, PAUSE = 4, 0.4  # numbers that each caller says at once, and seconds between
FLOW = """
name: Both releases
trigger: {type: event, event: sign}
settings: {transactional: true, errorHandling: {retries: 20, retryDelay: 1s}}
steps:
  - {id: hello, type: action, action: send_email, subject: "Hello {{trigger.number}}", body: "<p>Hello</p>"}
  - {id: hook, type: action, action: send_webhook, url: "RECEIVER", body: {number: "{{trigger.number}}"}}
  - {id: rest, type: delay, duration: 2s}
  - {id: note, type: action, action: create_task, message: "Call number {{trigger.number}}"}
"""
STEPS = ["hello", "hook", "rest", "note"]
#: Made by the older release itself, for its tables are the ones that are there. Words on the command line: the two definitions.
INSTALL = """
import json, sys
import django
django.setup()
from tests.factories import make_api_key, make_customer, make_workspace
from tests.worker.living import live
workspace = make_workspace()
flow, wait = (live(workspace, text).pk for text in sys.argv[1:3])
customers = [make_customer(workspace).pk for _ in range(int(sys.argv[3]))]
print(json.dumps({"workspace": workspace.pk, "flow": flow, "wait": wait, "customers": customers, "key": make_api_key(workspace)[1]}))
"""


class NoHistory(Exception):
    """The older commit is not to be had; the text says why."""


def git(*words: str, repository: Path = ROOT) -> bytes:
    """What git answers. Raises NoHistory with its complaint."""
    done = subprocess.run(["git", "-C", str(repository), *words], capture_output=True, check=False)
    if done.returncode:
        raise NoHistory(done.stderr.decode(errors="replace").strip() or f"git {words[0]} failed")
    return done.stdout


def before(file: str, repository: Path = ROOT) -> str:
    """The last commit without this file."""
    shallow = git("rev-parse", "--is-shallow-repository", repository=repository).strip() == b"true"
    found = git("log", "--diff-filter=A", "--format=%H", "--", file, repository=repository).decode().split()
    try:
        if not found:
            raise NoHistory(f"no commit that adds {file} is known")
        return git("rev-parse", "--verify", "--quiet", f"{found[-1]}^", repository=repository).decode().strip()
    except NoHistory as error:
        if shallow:
            raise NoHistory(
                f"The history is shallow and ends after {file} was added; get it by `git fetch --unshallow`."
            ) from error
        raise NoHistory(f"There is no commit before {file}; name one by --old.") from error


@contextmanager
def tree_of(commit: str, repository: Path = ROOT) -> Iterator[Path]:
    """The files of a commit in a folder of their own, gone afterwards. The repository is only read."""
    packed = git("archive", "--format=tar", commit, repository=repository)
    with tempfile.TemporaryDirectory(prefix="onward-release-") as folder:
        with tarfile.open(fileobj=BytesIO(packed)) as files:
            files.extractall(folder, filter="data")
        yield Path(folder)


@dataclass
class Known:
    """What the older release installed, by ids, and the key that callers send."""

    workspace: int
    flow: int
    wait: int
    customers: list[int]
    key: str


@dataclass
class Trial:
    """One upgrade and its judgement. `figures` says afterwards what was done and what came of it."""

    seed: int
    seconds: float
    workers_first: bool = False
    told: Told = field(default_factory=Told)
    figures: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.mail = Mailbox(random.Random(self.seed + 1))
        self.hook = Receiver(random.Random(self.seed + 2))
        self.numbers = 0
        self._later: list[Sign] = []  # payments that come after their order, often by the other release
        self._hosts: list[Host] = []
        self._over = threading.Event()

    def go(self, server: Server, old: Path) -> None:
        """Upgrade under load, drain, judge. Raises AssertionError with what is wrong."""
        with self.mail, self.hook:
            known = self._install(server, old)
            try:
                self._upgrade(server, old, known)
                self._drain()
                self.figures["new ended"] = self._end(self._hosts)
            except BaseException:
                print("\n".join(f"--- {host.kind}: {host.said()}" for host in self._hosts), flush=True)
                raise
            finally:
                self.told.over.set()
                for host in self._hosts:
                    host.destroy()
        self.judge(known)

    def _install(self, server: Server, old: Path) -> Known:
        """In the older release, through its services."""
        texts = [FLOW.replace("RECEIVER", self.hook.url), WAIT.replace("NAME", "both").replace("TIMEOUT", "20s")]
        command = [sys.executable, "-c", INSTALL, *texts, str(CUSTOMERS)]
        done = subprocess.run(
            command, cwd=old, env=self._variables(server, old), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"the older release could not be prepared: {done.stderr[-2000:]}"
        return Known(**json.loads(done.stdout.splitlines()[-1]))

    def _variables(self, server: Server, tree: Path) -> dict[str, str]:
        more = {"DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONPATH": str(tree), "ONWARD_SMTP_URL": self.mail.url}
        return fleet.environment(server.url, ONWARD_DATA=str(server.cluster.folder.with_name("releases-data")), **more)

    def _start(self, server: Server, tree: Path) -> tuple[list[Host], Web]:
        variables = self._variables(server, tree)
        del variables["DATABASE_URL"]
        web = Web(server.url, tree, **variables)
        hosts = [web, fleet.workers(server.url, 2, tree, **variables)]
        self._hosts += hosts
        return hosts, web

    def _upgrade(self, server: Server, old: Path, known: Known) -> None:
        """As docs/operations.md has it: migrate, start the newer beside, end the older."""
        numbers = {number: known.customers[number % CUSTOMERS] for number in range(1_000_000)}
        old_hosts, old_web = self._start(server, old)
        callers = [Caller(old_web.port, known.key, self.told) for _ in range(2)]
        crowds = [Crowd({known.workspace: caller}, numbers) for caller in callers]
        talking = threading.Thread(target=self._talk, args=[crowds, known.workspace])
        talking.start()
        try:
            self._until(lambda: self._acknowledged() >= 50)
            self._pass("before", lambda: None)
            codes = self._end(old_hosts[1:]) if self.workers_first else []
            self._pass("migrated", server.migrate)
            _, new_web = self._start(server, ROOT)
            callers[1].move(new_web.port)
            self._pass("both", lambda: self._until_served(callers[1]))
            callers[0].move(new_web.port)
            self._pass("old ended", lambda: codes.extend(self._end(old_hosts)))
            self.figures["old ended"] = codes
        finally:
            self._over.set()
            talking.join()
        for crowd in crowds:
            crowd.finish(PATIENCE)

    def _pass(self, name: str, act: Any) -> None:
        """Do this under load, and let some seconds pass after it."""
        act()
        time.sleep(self.seconds)  # the length of the phase, which is what is tried
        self.figures[f"acknowledged until {name}"] = self._acknowledged()

    def _acknowledged(self) -> int:
        return len(self.told.events)

    def _until_served(self, caller: Caller) -> None:
        self._until(lambda: caller.call("GET", "/events?limit=1", {}) is not None)

    @staticmethod
    def _until(holds: Any) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.1)

    def _talk(self, crowds: list[Crowd], workspace: int) -> None:
        """Signs, orders and payments, in no order, by both crowds in turn."""
        while not self._over.wait(PAUSE):
            for crowd in crowds:
                crowd.say(workspace, self._signs(), self.chance)
        crowds[1].say(workspace, self._later, self.chance, doubled=0)

    def _signs(self) -> list[Sign]:
        signs, self._later = self._later, []
        for number in range(self.numbers, self.numbers + BATCH):
            signs.append(("sign", number))
            if number % ORDERS == 0:
                signs.append(("order", number))
                self._later.append(("paid", number))
        self.numbers += BATCH
        self.chance.shuffle(signs)
        return signs

    def _end(self, hosts: list[Host]) -> list[int]:
        """Ask for an orderly end, one host after the other; answers the exit codes."""
        return [host.end() for host in hosts if host.parent.poll() is None]

    def _drain(self) -> None:
        from tests.chaos.storm import remains

        end = time.monotonic() + PATIENCE
        while left := remains():
            assert time.monotonic() < end, f"the drain does not come to an end: {left}"
            time.sleep(0.2)

    # --- judging

    def judge(self, known: Known) -> None:
        """All that clients were told and the peers saw against what is stored."""
        from automations.doctor.run import examine
        from tests.chaos.judge import Judge

        judge_events(self.told)
        runs = judge_runs(self.told, {known.flow: "sign", known.wait: "order"})
        self.figures |= {"acknowledged": self._acknowledged(), "said again": self.told.repeated, "runs": len(runs)}
        self.figures["answers"] = dict(self.told.answers)
        judge_steps({run for run, automation in runs.items() if automation == known.flow})
        judge_acts(self.mail, self.hook)
        peers = (self.mail, self.hook, Payments(self.chance))
        waits = Judge(self.told, *peers, [known.flow], [known.wait], [], 0, figures=self.figures, older=True)
        waits.judge_waits()
        findings = [finding.as_json() for finding in examine(at_rest=True)]
        assert findings == [], findings
        assert self.figures.get("old ended", [0, 0]) == [0, 0], "the older release did not end in order"


def judge_events(told: Told) -> None:
    """Each acknowledged event is there under its id, was routed, and no other is there."""
    from automations.models import Event

    assert not told.wrong, told.wrong[:5]
    stored = {
        (name, int(key.rpartition("-")[2])): id
        for name, key, id in Event.objects.filter(source="api").values_list("name", "key", "pk")
    }
    assert stored == told.events, f"{len(told.events)} were acknowledged, {len(stored)} are stored"
    left = Event.objects.filter(routed=None).count()
    assert left == 0, f"{left} events were never routed"


def judge_runs(told: Told, starts: dict[int, str]) -> dict[int, int]:
    """Each event that starts an automation has its one run, which ended well; answers the automation of each run."""
    from automations.models import Run

    runs = list(
        Run.objects.filter(automation__in=starts).values_list("pk", "automation_id", "event_id", "status", "end_reason")
    )
    ends = Counter((status, reason) for *_, status, reason in runs)
    errors = Run.objects.filter(automation__in=starts, status="FAILED").values_list("pk", "step", "error")
    assert set(ends) <= {("COMPLETED", "completed")}, (ends, list(errors[:5]))
    for automation, name in starts.items():
        wanted = Counter(id for (said, _), id in told.events.items() if said == name)
        found = Counter(event for _, of, event, *_ in runs if of == automation)
        assert found == wanted, f"{len(wanted - found)} runs are missing, {len(found - wanted)} are too many"
    return {run: automation for run, automation, *_ in runs}


def judge_steps(runs: set[int]) -> None:
    """Each step of each run once and in its order, and each task once."""
    from accounts.models import Task
    from automations.models import StepLog

    logs: defaultdict[int, list[str]] = defaultdict(list)
    for run, step in (
        StepLog.objects.filter(run_id__in=runs, status="succeeded")
        .order_by("run_id", "seq")
        .values_list("run_id", "step")
    ):
        logs[run].append(step)
    assert {run for run in runs if logs[run] != STEPS} == set()
    tasks = Counter(Task.objects.filter(run_id__in=runs).values_list("run_id", flat=True))
    assert tasks == Counter(runs), "a task was made twice or not at all"


def judge_acts(mail: Mailbox, hook: Receiver) -> None:
    """Each delivery was sent, once, as the peers saw it: nobody died, so there is nothing to repeat."""
    from automations.models import Delivery, DeliveryAttempt

    assert set(Delivery.objects.values_list("state", flat=True)) <= {"SENT"}
    acts = mail.record.acts + hook.record.acts
    assert acts == Counter(Delivery.objects.values_list("key", flat=True)), "an act was repeated, or is missing"
    assert set(DeliveryAttempt.objects.values_list("outcome", flat=True)) <= {"ok"}


def main(arguments: list[str] | None = None) -> int:
    """0 when everything held, 1 when not, 2 when the older commit is not to be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation.releases", description=__doc__)
    parser.add_argument("--old", metavar="COMMIT", help="default: the last one before the migration automations.0009")
    parser.add_argument("--workers-first", action="store_true", help="end the older workers before the migration")
    parser.add_argument("--beside", action="store_true", help="keep them also where that is known to fail runs")
    parser.add_argument("--seconds", type=float, default=6.0, help="the length of each phase")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    try:
        commit = options.old or before(MIGRATION)
        with tree_of(commit) as old, own_server("releases", tree=old) as server:
            return _try(server, old, commit, options)
    except NoHistory as error:
        print(f"Cannot be done here: {error}")
        return 2


def _try(server: Server, old: Path, commit: str, options: argparse.Namespace) -> int:
    import django

    os.environ |= fleet.environment(server.url)
    django.setup()
    first = options.workers_first or (not options.old and not options.beside)
    trial = Trial(options.seed, options.seconds, first)
    trial.figures |= {"old": commit[:10], "workers first": first}
    try:
        trial.go(server, old)
    except AssertionError as error:
        print(json.dumps(trial.figures), flush=True)
        print(f"broken: {error}", file=sys.stderr, flush=True)
        return 1
    print(json.dumps(trial.figures), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
