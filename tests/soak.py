"""`python -m tests.soak --minutes 120 --seed N`: mixed load and random faults for hours, on a server of its own with its own settings.

Workers, the queue and the web server run as an operator starts them. Events come in, some twice; runs wait, time out, mail and call;
meanwhile workers are killed and frozen, the queue's tables are emptied, the server is restarted. Each look prints the memory of the
processes, the sizes of the tables, dead rows and what the doctor finds. In the end all has to be level and the doctor silent, also at
rest, and no event lost. Rows RELIABILITY 62.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from typing import Any

import psutil

from tests.chaos.server import Server, own_server
from tests.isolation.hosts import Host, until, work_beside
from tests.isolation.watching import TABLES, Sample, complaints, memory_of, tables_of

FLOW = """
settings: {errorHandling: {retries: 20, retryDelay: 1s}}
steps:
  - {id: tag, type: action, action: add_tag, tag: "odd"}
  - {id: mail, type: action, action: send_email, subject: "Hello {{trigger.number}}", body: "<p>{{customer.name}}</p>"}
  - id: answer
    type: wait_until
    event: answered
    timeout: 5s
    onEvent:
      - {id: thanks, type: action, action: create_task, message: "Thank {{trigger.number}}"}
    onTimeout:
      - {id: remind, type: action, action: create_task, message: "Remind {{trigger.number}}"}
  - id: hook
    type: action
    action: send_webhook
    url: "RECEIVER"
    body: {number: "{{trigger.number}}"}
    onError: [{id: unheard, type: stop}]
"""
CUSTOMERS = 200
BATCH = 20  # events that one caller records at once
FREEZE = 3.0  # seconds, longer than the lease


def main() -> int:
    """0 when everything stayed level and nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--rate", type=float, default=20, help="events a second (20)")
    parser.add_argument("--every", type=float, default=10, help="seconds between two faults, on average (10)")
    parser.add_argument("--look", type=float, default=30, help="seconds between two looks (30)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with ExitStack() as stack:
        server = stack.enter_context(own_server("soak", as_users_run_it=True))
        work_beside(server.url)
        found = Soak(options, server).go(stack)
    for sentence in found:
        print(sentence)
    print("Not level." if found else "All level; the doctor is silent.")
    return 1 if found else 0


class Soak:
    """One soak: what was recorded is kept here, and not read from the product."""

    def __init__(self, options: argparse.Namespace, server: Server) -> None:
        self.options, self.server = options, server
        self.chance = random.Random(options.seed)
        self.recorded: dict[int, int] = {}  # number -> id, for every answer that a caller got
        self.samples: list[Sample] = []
        self.faults: Counter[str] = Counter()
        self.frozen: list[tuple[float, psutil.Process]] = []

    def go(self, stack: ExitStack) -> list[str]:
        """All of it; answers what is wrong."""
        from tests.chaos.peers import Mailbox, Receiver
        from tests.factories import make_customer, make_workspace
        from tests.worker.living import live

        mail = stack.enter_context(Mailbox(random.Random(self.options.seed + 1)))
        hook = stack.enter_context(Receiver(random.Random(self.options.seed + 2)))
        workspaces = [make_workspace() for _ in range(3)]
        self.automations = [live(workspace, FLOW.replace("RECEIVER", hook.url)) for workspace in workspaces]
        self.customers = [make_customer(workspaces[n % 3]) for n in range(CUSTOMERS)]
        variables = {"ONWARD_SMTP_URL": mail.url, "ONWARD_PASS_MINUTES": "1", "ONWARD_LOG": "error"}
        self.workers = stack.enter_context(Host(self.server.url, **variables))
        self.queue = stack.enter_context(Host(self.server.url, ("qcluster",), **variables))
        until(lambda: len(self.workers.processes()) >= 3, 180, [self.workers])
        self.began = time.monotonic()
        self._soak()
        return self._end(mail.record.acts)

    def _soak(self) -> None:
        end = self.began + self.options.minutes * 60
        load = fault = look = self.began
        while (now := time.monotonic()) < end:
            if now >= load:
                load = max(load + BATCH / self.options.rate, now - 5)
                self._again(self._load)
            if now >= fault:
                fault = now + self.chance.expovariate(1 / self.options.every)
                self._fault()
            if now >= look:
                look = now + self.options.look
                self._again(self._look)
            self._thaw(now)
            time.sleep(max(0.0, min(load, fault, look, now + 0.5) - time.monotonic()))
        self._thaw(float("inf"))

    def _again(self, work: Any) -> None:
        """A caller whose server went away asks again a little later; it never takes a lost answer for a yes."""
        from django.db import Error, connection

        try:
            work()
        except Error:
            self.faults["callers cut off"] += 1
            connection.close()
            time.sleep(0.5)

    def _load(self) -> None:
        from automations.services.events import NewEvent, record_events

        first = len(self.recorded)
        numbers = [*range(first, first + BATCH), *self.chance.sample(sorted(self.recorded), min(2, first))]
        events = [self._event(NewEvent, "sign", n) for n in numbers]
        events += [self._event(NewEvent, "answered", n) for n in numbers if n % 3 == 0]
        for number, answer in zip(numbers, record_events(events), strict=False):
            assert self.recorded.setdefault(number, answer.id) == answer.id

    def _event(self, make: Any, name: str, number: int) -> Any:
        customer = self.customers[number % CUSTOMERS]
        key = f"{name}-{number}"
        return make(customer.workspace_id, name, "api", key, {"customer": customer.pk}, {"number": number})

    def _fault(self) -> None:
        kind = self.chance.choices(["kill", "freeze", "empty the queue", "restart", "crash"], [8, 4, 2, 1, 1])[0]
        self.faults[kind] += 1
        children = self.workers.processes()[1:]
        if kind in ("restart", "crash"):
            self.server.restart("fast" if kind == "restart" else "immediate")
        elif kind == "empty the queue":
            with suppress(Exception):  # the server may be on its way up; then the queue is not emptied this time
                self.server.ask("DELETE FROM django_q_ormq")
        elif children:
            victim = self.chance.choice(children)
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
                self.frozen += [(time.monotonic() + FREEZE, victim)] if kind == "freeze" else []

    def _thaw(self, now: float) -> None:
        for at, process in list(self.frozen):
            if at <= now:
                self.frozen.remove((at, process))
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    def _look(self, at_rest: bool = False) -> None:
        from automations.doctor.run import examine
        from automations.models import Run

        roles = {"worker": self.workers.processes(), "queue": self.queue.processes(), "soak": [psutil.Process()]}
        sample = Sample(
            time.monotonic() - self.began,
            memory_of(roles),
            tables_of(self.server.ask(TABLES)),
            Run.objects.filter(ended_at__isnull=False).count(),
            [f"{one.check.id} ({one.rows[0]})" for one in examine(at_rest=at_rest)],
        )
        self.samples.append(sample)
        print(sample.line(), flush=True)

    def _end(self, mails: Counter[str]) -> list[str]:
        """Let all come to rest, look for the last time, and count."""
        from automations.models import Delivery, DeliveryAttempt, Event, Run, SecondLook, Unrouted

        def left() -> int:
            open_ones = Delivery.objects.filter(state__in=("QUEUED", "SENDING", "UNKNOWN")).count()
            runs = Run.objects.filter(ended_at=None).count()
            return open_ones + runs + Unrouted.objects.count() + SecondLook.objects.count()

        until(lambda: left() == 0, 600, [self.workers], pause=1)
        self._look(at_rest=True)
        found = complaints(self.samples[:-1])
        found += [f"At rest the doctor found {name}." for name in self.samples[-1].findings]
        runs = Counter(Run.objects.filter(event__name="sign").values_list("event_id", flat=True))
        ends = Counter(Run.objects.values_list("status", "end_reason"))
        lost = Counter(DeliveryAttempt.objects.filter(outcome="lost").values_list("delivery__key", flat=True))
        print(f"faults {dict(self.faults)}  runs {dict(ends)}  lost attempts {lost.total()}", flush=True)
        if set(runs) != set(Event.objects.filter(name="sign").values_list("pk", flat=True)) or set(runs.values()) != {
            1
        }:
            found.append("Runs and recorded events do not agree.")
        missing = set(self.recorded.values()) - set(runs)
        found += [f"{len(missing)} events that were acknowledged have no run."] if missing else []
        found += [f"{key} was mailed {count} times." for key, count in mails.items() if count > 1 + lost[key]]
        if sum(count for (_, reason), count in ends.items() if reason == "poison") > 1 + len(runs) // 100:
            found.append("Too many runs ended in poison.")
        found += [f"A host ended: {host.said()}" for host in (self.workers, self.queue) if host.end() != 0]
        return found


if __name__ == "__main__":
    sys.exit(main())
