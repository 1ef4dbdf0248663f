"""`python -m tests.isolation.several --hosts 3 --runs 1000 --broker orm --cut --seed N`: several hosts on one server over TCP.

Each host has its own network (`network.py`), its own environment, its own workers and qcluster. With `--cut` the cable of one is pulled
in the middle, for good or for `--back` seconds: nothing may be lost or doubled, and the server has to give up its sessions by itself.
`--wait-for-ever` takes our keepalives away, and must fail. Needs root and `ip`; with `--broker redis` also `redis-server` and the package
`redis` (`--redis-package DIR` where it lies elsewhere).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tests.isolation import network
from tests.isolation.hosts import Host, until, work_beside

if TYPE_CHECKING:
    from automations.models import Automation

FLOW = """
steps:
  - {id: tag, type: action, action: add_tag, tag: seen}
  - {id: mail, type: action, action: send_email, subject: "Hello {{trigger.number}}", body: "<p>Number {{trigger.number}}</p>"}
  - {id: rest, type: delay, duration: 2s}
  - {id: note, type: action, action: create_task, message: "Call {{trigger.number}}"}
"""
NOTICED = 75.0  # seconds within which the server has to end the sessions of a host that was cut off; it takes about 35
FOR_EVER = "&keepalives=0&options=-c%20tcp_keepalives_idle%3D7200%20-c%20tcp_user_timeout%3D0"


def main() -> int:
    """0 when everything held."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation.several", description=__doc__)
    parser.add_argument("--hosts", type=int, default=3)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--broker", choices=["orm", "redis"], default="orm")
    parser.add_argument("--redis-package", metavar="DIR", default="")
    parser.add_argument("--cut", action="store_true", help="pull the cable of one host in the middle")
    parser.add_argument(
        "--back", type=float, metavar="SECONDS", help="plug it in again after so long (default: when noticed)"
    )
    parser.add_argument("--alone", action="store_true", help="nothing but the queue works: all goes through the broker")
    parser.add_argument("--wait-for-ever", action="store_true", help="without keepalives: must fail")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    why = network.cannot() or _no_broker(options)
    if why:
        print(f"Cannot be done on this machine: {why}.")
        return 2
    print(f"seed {options.seed}", flush=True)
    with ExitStack() as stack:
        cables = stack.enter_context(network.cables(options.hosts))
        server, url = stack.enter_context(network.server_on_tcp("several"))
        work_beside(server.url)
        print(json.dumps(Trial(options, cables, server, url).go(stack)), flush=True)
    return 0


def _no_broker(options: argparse.Namespace) -> str:
    if options.broker == "orm":
        return ""
    if shutil.which("redis-server") is None:
        return "the broker needs `redis-server` (Debian: redis-server)"
    sys.path += [options.redis_package] if options.redis_package else []
    try:
        __import__("redis")
    except ImportError:
        return "the broker needs the Python package `redis`"
    return ""


@contextmanager
def _redis() -> Iterator[str]:
    """A Redis server on the bridge, kept in memory."""
    command = ["redis-server", "--bind", network.HERE, "--port", "6379", "--save", "", "--protected-mode", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://{network.HERE}:6379/0"
    finally:
        process.kill()
        process.wait()


class Trial:
    """One trial: what is done to the hosts, and what has to be true afterwards."""

    def __init__(
        self, options: argparse.Namespace, cables: list[network.Cable], server: network.Server, url: str
    ) -> None:
        self.options, self.cables, self.server = options, cables, server
        self.url = url + (FOR_EVER if options.wait_for_ever else "")
        self.mail = network.NearMailbox(random.Random(options.seed))
        self.figures: dict[str, Any] = {"seed": options.seed, "hosts": options.hosts, "broker": options.broker}

    def go(self, stack: ExitStack) -> dict[str, Any]:
        """All of it; answers the figures. Raises AssertionError at the first that does not hold."""
        from tests.factories import make_customer, make_workspace
        from tests.worker.living import live

        stack.enter_context(self.mail)
        variables = self._variables(stack)
        automation = live(make_workspace(), FLOW)
        self.customers = [make_customer(automation.workspace) for _ in range(50)]
        hosts: list[Host] = []
        for cable in self.cables:
            for command in [("qcluster",)] if self.options.alone else [("work", "--processes", "2"), ("qcluster",)]:
                hosts.append(stack.enter_context(Host(self.url, command, enter=cable.enter, **variables)))
        until(lambda: self._sessions(self.cables[-1]) > 0, 180, hosts)
        began = time.monotonic()
        self._happen(automation, 0, self.options.runs // 2)
        if self.options.cut:
            self._cut(hosts)
        self._happen(automation, self.options.runs // 2, self.options.runs)
        until(lambda: self._done(automation) == self.options.runs, 600, pause=0.5)
        self.figures["seconds"] = round(time.monotonic() - began, 1)
        self._end(hosts)
        self._judge(automation)
        return self.figures

    def _variables(self, stack: ExitStack) -> dict[str, str]:
        found = {"ONWARD_SMTP_URL": self.mail.url, "ONWARD_PASS_MINUTES": "1"}
        if self.options.alone:
            found |= {"ONWARD_TICKER": "0", "ONWARD_WAKE": "0"}
        if self.options.broker == "redis":
            found["ONWARD_BROKER_URL"] = stack.enter_context(_redis())
            from tests.isolation.hosts import ROOT

            found["PYTHONPATH"] = os.pathsep.join([str(ROOT), self.options.redis_package])
        return found

    def _happen(self, automation: Automation, first: int, last: int) -> None:
        from automations.services.events import NewEvent, record_events

        for start in range(first, last, 50):
            record_events(
                [
                    NewEvent(
                        automation.workspace_id, "sign", "api", f"number-{n}",
                        {"customer": self.customers[n % 50].pk}, {"number": n},
                    )
                    for n in range(start, min(last, start + 50))
                ]
            )  # fmt: skip

    def _sessions(self, cable: network.Cable) -> int:
        rows = self.server.ask(f"SELECT count(*) FROM pg_stat_activity WHERE client_addr = '{cable.address}'")
        return int(str(rows[0][0]))

    def _cut(self, hosts: list[Host]) -> None:
        """One host vanishes while it is at work, with no word to the server."""
        cable = self.cables[-1]
        until(lambda: self._sent() > self.options.runs // 20, 180, hosts)
        cable.pull()
        began = time.monotonic()
        self.figures["sessions cut"] = self._sessions(cable)
        if self.options.back is not None:
            time.sleep(self.options.back)  # the length of the outage, which is what is tried
        else:
            until(lambda: self._sessions(cable) == 0, NOTICED, pause=0.25)
            self.figures["noticed after"] = round(time.monotonic() - began, 1)
        cable.plug_in()

    def _sent(self) -> int:
        return len(self.mail.record.acts)

    @staticmethod
    def _done(automation: Automation) -> int:
        from automations.models import Run

        return Run.objects.filter(automation=automation, ended_at__isnull=False).count()

    def _end(self, hosts: list[Host]) -> None:
        """The host that was cut off works again, and all end in order."""
        if self.options.cut:
            until(lambda: self._sessions(self.cables[-1]) > 0, 180)
        until(self._at_rest, 180, pause=0.5)
        for host in hosts:
            assert host.end() == 0, host.said()

    @staticmethod
    def _at_rest() -> bool:
        from automations.models import Delivery, SecondLook, Unrouted

        open_ones = Delivery.objects.filter(state__in=("QUEUED", "SENDING", "UNKNOWN"))
        return not (Unrouted.objects.exists() or open_ones.exists() or SecondLook.objects.exists())

    def _judge(self, automation: Automation) -> None:

        from accounts.models import Task
        from automations.doctor.run import examine
        from automations.models import Delivery, DeliveryAttempt, Run

        runs = self.options.runs
        ends = Counter(Run.objects.filter(automation=automation).values_list("status", "end_reason"))
        states = Counter(Delivery.objects.values_list("state", flat=True))
        lost = Counter(DeliveryAttempt.objects.filter(outcome="lost").values_list("delivery__key", flat=True))
        acts = self.mail.record.acts
        tasks = Counter(Task.objects.filter(message__startswith="Call").values_list("message", flat=True))
        self.figures |= {
            "runs": {f"{status} {reason}": count for (status, reason), count in ends.items()},
            "deliveries": dict(states), "mails": acts.total(), "repeated": acts.total() - len(acts),
            "lost attempts": lost.total(), "alone": self.options.alone,
        }  # fmt: skip
        print(json.dumps(self.figures), flush=True)
        assert ends == {("COMPLETED", "completed"): runs}, ends
        assert len(tasks) == runs, "a step was lost"
        assert set(tasks.values()) == {1}, "a step was done twice"
        assert set(states) <= {"SENT", "REVIEW"}, states
        assert states.total() == runs
        for key, count in acts.items():
            assert count <= 1 + lost[key], f"{key} was sent {count} times"
            assert len(self.mail.record.bytes[key]) == 1, f"{key} was sent with other bytes"
        assert len(acts) >= states["SENT"]
        assert examine(at_rest=True) == []


if __name__ == "__main__":
    sys.exit(main())
