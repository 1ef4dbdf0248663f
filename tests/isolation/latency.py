"""`python -m tests.isolation.latency --seconds 60`: whether a neighbour's runs slow down while others' harm their workers (RELIABILITY 26).

The server of a user's own settings and four workers. One workspace starts a run three times a second, first in peace, then while another
one starts runs that crash, hang and eat memory. Prints the median and the 95th percentile of both, and how the harmful ones ended.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from statistics import median
from typing import Any

from tests.chaos.server import own_server
from tests.isolation.hosts import Host, until, work_beside
from tests.isolation.misbehaving import WAYS
from tests.isolation.storm import _p95

ORDINARY = (
    "settings: {reentry: always}\nsteps:\n- {id: tag, type: action, action: add_tag, tag: seen}\n- {type: stop}\n"
)
HARMFUL = """
settings: {reentry: always}
trigger: {type: event, event: HOW}
steps:
- {type: action, action: misbehave, how: HOW}
"""
MEMORY = 3 << 30  # bytes of address space for each worker


def main() -> int:
    """0 when every harmful run ended in poison and no other run failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.isolation.latency")
    parser.add_argument("--seconds", type=float, default=60, help="of peace, and of harm (60)")
    parser.add_argument("--harmful", type=int, default=8, help="runs that harm, spread over that time (8)")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with ExitStack() as stack:
        server = stack.enter_context(own_server("latency", as_users_run_it=True))
        work_beside(server.url)
        host = Host(server.url, ("work", "--processes", str(options.processes)), memory=MEMORY)
        stack.enter_context(host)
        until(lambda: len(host.processes()) > options.processes, 300, [host])
        figures = Trial(options).go()
    print(json.dumps(figures, indent=1))
    return 0 if set(figures["harmful"]) == {"FAILED poison"} and set(figures["others"]) == {"COMPLETED stopped"} else 1


class Trial:
    """One trial on the server of this process's settings."""

    def __init__(self, options: argparse.Namespace) -> None:
        from tests.factories import make_customer, make_workspace
        from tests.worker.living import live

        self.options, self.chance = options, random.Random(options.seed)
        self.beside = live(make_workspace(), ORDINARY)
        self.neighbour = make_customer(self.beside.workspace)
        place = make_workspace()
        self.victim = make_customer(place)
        self.bad = [live(place, HARMFUL.replace("HOW", how)) for how in WAYS]

    def go(self) -> dict[str, Any]:
        """Peace, harm, rest."""
        peace = self._measure([])
        ways = [self.chance.choice(sorted(WAYS)) for _ in range(self.options.harmful)]
        harm = self._measure(ways)
        until(lambda: self._open() == 0, 600, pause=0.5)
        return {
            "ways": dict(Counter(ways)),
            "peace": {"median": round(median(peace), 3), "p95": _p95(peace), "runs": len(peace)},
            "harm": {"median": round(median(harm), 3), "p95": _p95(harm), "runs": len(harm)},
            "harmful": self._ends(self.bad),
            "others": self._ends([self.beside]),
        }

    def _measure(self, ways: list[str]) -> list[float]:
        """Seconds from event to end of each of the neighbour's runs; meanwhile the harmful ones begin one after the other."""
        from automations.models import Run
        from tests.worker.living import happen

        found, began = [], time.monotonic()
        left = list(ways)
        while (elapsed := time.monotonic() - began) < self.options.seconds:
            if left and elapsed >= self.options.seconds * (len(ways) - len(left)) / len(ways):
                happen(self.victim, left.pop())
            asked = time.monotonic()
            event = happen(self.neighbour)
            until(
                lambda event=event: Run.objects.filter(event_id=event, ended_at__isnull=False).exists(), 300, pause=0.01
            )  # type: ignore[misc]
            found.append(time.monotonic() - asked)
            time.sleep(0.3)  # the pace of the neighbour
        return found

    def _open(self) -> int:
        from automations.models import Run, Unrouted

        return Run.objects.filter(ended_at=None).count() + Unrouted.objects.count()

    @staticmethod
    def _ends(automations: list[Any]) -> dict[str, int]:
        from automations.models import Run

        rows = Run.objects.filter(automation__in=automations).values_list("status", "end_reason")
        return {f"{status} {reason}": count for (status, reason), count in Counter(rows).items()}


if __name__ == "__main__":
    sys.exit(main())
