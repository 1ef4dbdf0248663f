"""One run harms the process that walks it: it is found and ends in `poison`, and everybody else's goes on (RELIABILITY 9, 26)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection

from automations.doctor.run import examine
from automations.engine.registry import registry
from automations.models import Automation, Run
from tests.factories import make_customer, make_workspace
from tests.isolation.hosts import Host, until
from tests.isolation.misbehaving import action
from tests.worker.living import happen, live

pytestmark = pytest.mark.django_db(transaction=True)
ORDINARY = "steps:\n- {id: tag, type: action, action: add_tag, tag: seen}\n- {type: stop}\n"
NEIGHBOURS = 40
MEMORY = 3 << 30  # bytes of address space for each worker, as `ulimit -v` sets it


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """The action is known here too while automations with it are made."""
    registry.add(action)
    yield
    del registry.actions[action.key]


def harmful(how: str) -> Automation:
    workspace = make_workspace()
    return live(workspace, f"steps:\n- {{id: harm, type: action, action: misbehave, how: {how}}}\n- {{type: stop}}\n")


def ended(automations: list[Automation], count: int) -> bool:
    found = Run.objects.filter(automation__in=automations, ended_at__isnull=False).count()
    connection.close_if_unusable_or_obsolete()
    return found == count


@pytest.mark.parametrize("ways", [["crash", "hang", "grind", "eat"]], ids="-".join)
def test_a_harmful_run_ends_in_poison_and_no_other_with_it(database_url: str, ways: list[str]) -> None:
    bad = [harmful(how) for how in ways]
    beside = live(make_workspace(), ORDINARY)
    for automation in bad:
        happen(make_customer(automation.workspace))
    customers = [make_customer(beside.workspace) for _ in range(5)]
    for number in range(NEIGHBOURS):
        happen(customers[number % 5])
    with Host(database_url, memory=MEMORY) as host:
        until(lambda: ended([beside], NEIGHBOURS), 300, [host])
        until(lambda: ended(bad, len(bad)), 300, [host])
        happen(customers[0])
        until(lambda: ended([beside], NEIGHBOURS + 1), 300, [host])
        assert host.end() == 0, host.said()
    assert set(Run.objects.filter(automation__in=bad).values_list("status", "end_reason")) == {("FAILED", "poison")}
    assert set(Run.objects.filter(automation=beside).values_list("status", "end_reason")) == {("COMPLETED", "stopped")}
    assert examine() == []
