"""Runs walk while everything round them is killed, frozen and cut; afterwards all is held against records kept outside of the product.

The short form is a test (`test_storm.py`), the long one a command (`python -m tests.chaos.long`); both do this, in a process of
their own with a PostgreSQL of its own.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from django.db import connection

from accounts.clock import set_clock
from accounts.models import Customer
from automations.models import Automation, Delivery, Event, Run, SecondLook
from tests.chaos import fleet as fleets
from tests.chaos.clients import Caller, Crowd, Sign, Told
from tests.chaos.fleet import Fleet
from tests.chaos.flow import ORDERS, QUICK, WAIT, flow
from tests.chaos.judge import Judge
from tests.chaos.nemesis import Plan, World, schedule
from tests.chaos.peers import Mailbox, Payments, Receiver
from tests.chaos.proxy import Link
from tests.chaos.server import Server
from tests.factories import make_api_key, make_customer, make_workspace, unique
from tests.worker.living import live

CUSTOMERS = 100
LEAVER = 9  # customers with this last digit may unsubscribe
BATCH = 20  # events that one caller says in one request


class Storm:
    """One storm from its seed. `figures` says afterwards what was done and what came of it."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.chance = random.Random(plan.seed)
        self.mail = Mailbox(random.Random(plan.seed + 1), hang_up=0.02)
        self.hook = Receiver(random.Random(plan.seed + 2), hang_up=0.1)
        self.payments = Payments(random.Random(plan.seed + 3), hang_up=0.05)
        for peer in (self.mail, self.hook, self.payments):
            peer.record.hang = plan.hang
        self.told = Told()
        self.figures: dict[str, Any] = {"seed": plan.seed}
        self.flows: list[Automation] = []
        self.waits: list[Automation] = []
        self.quick: list[Automation] = []
        self.customers: list[Customer] = []
        self._calm = threading.Event()
        self._later: dict[int, list[Sign]] = {}  # payments that come after their order, by workspace

    def rage(self, server: Server) -> None:
        """All of it: install, strike, drain, judge."""
        began = time.monotonic()
        with self.mail, self.hook, self.payments, Link(server.socket, random.Random(self.plan.seed + 4)) as link:
            self.install()
            server.ask("CHECKPOINT")  # whatever is lost later, these rows are not
            fleet, web = self._start(server.through(link.port))
            world = World(fleet, server, link, self.chance)
            try:
                self._strike(world, web.port)
                self._drain()
                codes = fleet.end()
            except BaseException:
                print(fleet.said(), flush=True)
                raise
            finally:
                self._calm.set()
                self.told.over.set()
                fleet.destroy()
            self._sum_up(world, time.monotonic() - began)
        assert codes == {"work": 0, "queue": 0, "web": 0}, codes
        self.judge().judge()

    def install(self) -> None:
        """Two workspaces with all flows each, and their customers."""
        workspaces = [make_workspace() for _ in range(2)]
        for workspace in workspaces:
            self.flows.append(live(workspace, flow(unique("F"), 1, self.hook.url, self.payments.url)))
            for kind, text in ((self.waits, WAIT), (self.quick, QUICK)):
                text = text.replace("NAME", unique("W")).replace("TIMEOUT", self.plan.waits)
                kind.append(live(workspace, text))
        self.customers = [make_customer(workspaces[n % 2]) for n in range(CUSTOMERS)]

    def judge(self) -> Judge:
        """What is to be held against what."""
        flows, waits, quick = ([flow.pk for flow in flows] for flows in (self.flows, self.waits, self.quick))
        leavers = frozenset(customer.pk for customer in self.customers[LEAVER::10])
        peers = (self.mail, self.hook, self.payments)
        return Judge(self.told, *peers, flows, waits, quick, self.plan.runs, leavers, figures=self.figures)

    def _start(self, url: str) -> tuple[Fleet, fleets.Web]:
        """Workers on a host with the right time and on others with a wrong one, a queue, a web server."""
        mail = {"ONWARD_SMTP_URL": self.mail.url}
        web = fleets.Web(url, **mail)
        hosts = [fleets.workers(url, **mail), fleets.queue(url, **mail), web]
        hosts += [fleets.workers(url, 2, CHAOS_CLOCK=str(off), **mail) for off in self.plan.clocks]
        return Fleet(hosts, self.chance), web

    def _strike(self, world: World, port: int) -> None:
        """Strokes and new events in turn, so that processes die over recording, routing, advancing and delivering alike."""
        callers = {flow.workspace_id: Caller(port, make_api_key(flow.workspace)[1], self.told) for flow in self.flows}
        numbers = {number: self.customers[number % CUSTOMERS].pk for number in range(self.plan.runs)}
        crowd = Crowd(callers, numbers)
        publisher = threading.Thread(target=self._publish, args=[callers])
        publisher.start()
        strokes = schedule(self.plan, self.chance)
        leaving = set(self.chance.sample(range(len(strokes)), min(self.plan.leavers, len(strokes))))
        share = -(-self.plan.runs // max(1, len(strokes)))
        leavers = self.customers[LEAVER::10]
        first = self._say(crowd, 0, BATCH)
        self._wait_for_runs()  # of the first versions: the strokes may leave nobody the time to route before there are others
        for place, stroke in enumerate(strokes):
            first = self._say(crowd, first, min(first + share, self.plan.runs - BATCH))
            time.sleep(self.chance.uniform(0, 2 * self.plan.pause))
            stroke.strike(world)
            if place in leaving and leavers:
                customer = leavers.pop()
                threading.Thread(target=callers[customer.workspace_id].leave, args=[customer.pk], daemon=True).start()
        self._wait_for_versions()  # which nobody may have heard of while the server was down most of the time
        first = self._say(crowd, first, self.plan.runs)
        self._say(crowd, first, first)  # what came later than the rest
        self._calm.set()
        world.link.delay = 0.0
        publisher.join()
        crowd.finish(self.plan.patience)
        self.figures["striking ended"] = time.time()

    def _say(self, crowd: Crowd, first: int, end: int) -> int:
        """The numbers up to `end`, by workspace, in batches and in any order. Some payments come after their
        orders, some before or with them."""
        numbers = range(first, min(end, self.plan.runs))
        signs, self._later = self._later, {}
        for number in numbers:
            workspace = self.customers[number % CUSTOMERS].workspace_id
            mine = signs.setdefault(workspace, [])
            mine.append(("sign", number))
            if number % ORDERS == 0:
                mine.append(("order", number))
                (mine if self.chance.random() < 0.3 else self._later.setdefault(workspace, [])).append(("paid", number))
        for workspace, mine in signs.items():
            self.chance.shuffle(mine)
            for start in range(0, len(mine), BATCH):
                crowd.say(workspace, mine[start : start + BATCH], self.chance)
        return max(first, numbers.stop)

    def _publish(self, callers: dict[int, Caller]) -> None:
        """A new version of each flow every second."""
        number = 1
        while not self._calm.wait(self.plan.published_every):
            number += 1
            for mine in self.flows:
                text = flow(mine.name.partition(" ")[2], number, self.hook.url, self.payments.url)
                callers[mine.workspace_id].publish(mine.pk, text)

    def _drain(self) -> None:
        """Until nothing moves any more, with processes that nobody harms. What is to be read back later is brought near by the clock."""
        connection.close()  # ours did not survive the restarts either
        end = time.monotonic() + self.plan.patience
        while left := remains():
            assert time.monotonic() < end, f"the drain does not come to an end: {left}"
            if set(left) == {"unknown"}:
                set_clock("+61s")
            time.sleep(0.2)

    def _wait_for_runs(self) -> None:
        """Until the first has begun."""
        self._wait(Run.objects.filter(automation__in=self.flows).exists, "nothing is routed")

    def _wait_for_versions(self) -> None:
        """Until each flow has a second one, so that what is said now walks it."""
        self._wait(lambda: all(self.told.published[mine.pk] for mine in self.flows), "no version can be put in force")

    def _wait(self, done: Callable[[], bool], complaint: str) -> None:
        end = time.monotonic() + self.plan.patience
        while not done():
            assert time.monotonic() < end, f"{complaint}: {dict(self.told.answers)}"
            time.sleep(0.05)

    def _sum_up(self, world: World, seconds: float) -> None:
        acts = [
            at for peer in (self.mail, self.hook, self.payments) for all in peer.record.moments.values() for at in all
        ]
        beats = sorted([*self.told.moments, *acts])
        ended = self.figures.pop("striking ended")
        striking = [at for at in beats if at < ended]
        self.figures |= {
            "seconds": round(seconds, 1), "done": dict(world.fleet.counts + world.counts + cut_counts(world.link)),
            "first acknowledgement after a restart": first_after(self.told.moments, world.again),
            "first act after a restart": first_after(acts, world.again),
            "longest stall": round(max((b - a for a, b in pairwise(striking)), default=0.0), 2),
        }  # fmt: skip


def cut_counts(link: Link) -> Counter[str]:
    """What the line did."""
    return Counter({"cut commits": link.counts["cuts"], "commits passed": link.counts["commits"] - link.counts["cuts"]})


def first_after(beats: list[float], moments: list[float]) -> dict[str, float]:
    """Seconds from each moment to the first beat after it: the median and the longest."""
    found = sorted(min((beat - moment for beat in beats if beat > moment), default=0.0) for moment in moments)
    return {"median": round(found[len(found) // 2], 2), "longest": round(found[-1], 2)} if found else {}


def remains() -> dict[str, int]:
    """What is still to be done, by kind."""
    counts = {
        "events": Event.objects.filter(routed=None).count(),
        "runs": Run.objects.filter(ended_at=None).exclude(deliveries__state="UNKNOWN").count(),
        "deliveries": Delivery.objects.filter(state__in=("QUEUED", "SENDING")).count(),
        "unknown": Delivery.objects.filter(state="UNKNOWN").count(),
        "looks": SecondLook.objects.count(),
    }
    connection.close_if_unusable_or_obsolete()
    return {name: count for name, count in counts.items() if count}
