"""Services against each other: no deadlock, nothing lost, nothing doubled (DESIGN 5.2, lock order; RELIABILITY)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection, connections

from accounts.actor import Actor, system_actor
from accounts.errors import Refusal
from accounts.models import Audit, Consent, Customer, CustomerTag, Stage, StageEntry, Task, Workspace
from accounts.services.consent import record_consent
from accounts.services.customers import CustomerChange, count_pageviews, merge_facts, update_customers
from accounts.services.erasure import PLACEHOLDER, erase_customer
from accounts.services.lifecycle import identify_customer, merge_customers
from accounts.services.resolving import CustomerRef, resolve_customers
from accounts.services.stages import create_stage, enter_stage, find_stage
from accounts.services.tags import TagRequest, add_tags, remove_tag
from accounts.services.tasks import finish_task
from tests.factories import make_customer, make_task, make_visitor, make_workspace

pytestmark = pytest.mark.django_db(transaction=True)
Act = Callable[[], Any]


def together(acts: Sequence[Act]) -> list[Any]:
    """All acts at once, each on a connection of its own; answers or refusals in order. Anything else is raised."""
    start = Barrier(len(acts))

    def one(act: Act) -> Any:
        try:
            connection.ensure_connection()
            start.wait(timeout=60)
            return act()
        except Refusal as refusal:
            return refusal
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(one, acts))


def codes(answers: Sequence[Any]) -> Counter[str]:
    """How often each refusal came; "" is a success."""
    return Counter(answer.code if isinstance(answer, Refusal) else "" for answer in answers)


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


@pytest.fixture
def actor(workspace: Workspace) -> Actor:
    return system_actor(workspace.pk)


def test_batches_in_opposite_order_do_not_deadlock(workspace: Workspace) -> None:
    # ordered SELECT ... FOR NO KEY UPDATE before the update
    customers = [make_customer(workspace).pk for _ in range(12)]

    def batch(turn: int) -> Act:
        order = random.Random(turn).sample(customers, len(customers))
        changes = [
            CustomerChange(workspace.pk, n, {"segment": f"s{turn}", "metadata": {f"k{turn}": "x"}}) for n in order
        ]
        return lambda: update_customers(changes)

    for answers in together([batch(turn) for turn in range(6)]):
        assert all(isinstance(answer, Customer) for answer in answers)
    for customer in Customer.objects.all():
        assert set(customer.metadata) == {f"k{turn}" for turn in range(6)}, "no change was lost"


def test_relative_changes_are_never_lost(workspace: Workspace) -> None:
    # written relative to the locked row, never from what was read before
    customers = [make_customer(workspace).pk for _ in range(3)]

    def look(turn: int) -> None:
        order = customers if turn % 2 else customers[::-1]
        for _ in range(5):
            count_pageviews(workspace_id=workspace.pk, views=dict.fromkeys(order, 1))
            merge_facts(workspace_id=workspace.pk, facts={n: {f"fact{turn}": turn} for n in order})

    together([lambda turn=turn: look(turn) for turn in range(6)])
    for customer in Customer.objects.all():
        assert customer.facts["pageviewCount"] == 30
        assert {f"fact{turn}" for turn in range(6)} <= set(customer.facts)


def test_two_merges_of_one_record_are_one(workspace: Workspace, actor: Actor) -> None:
    source, first, second = (make_customer(workspace).pk for _ in range(3))
    answers = together(
        [lambda into=into: merge_customers(actor=actor, source_id=source, into_id=into) for into in (first, second)]
    )
    assert codes(answers) == {"": 1, "wrong_state": 1}
    assert Customer.objects.get(pk=source).merged_into_id in (first, second)


def test_two_records_merged_into_each_other_leave_one(workspace: Workspace, actor: Actor) -> None:
    for _ in range(5):
        one, two = make_customer(workspace).pk, make_customer(workspace).pk
        pairs = [(one, two), (two, one)]
        answers = together([partial(merge_customers, actor=actor, source_id=a, into_id=b) for a, b in pairs])
        assert codes(answers) == {"": 1, "wrong_state": 1}
        assert Customer.objects.filter(pk__in=[one, two], merged_into=None).count() == 1


def test_visitors_that_name_themselves_alike_become_one(workspace: Workspace, actor: Actor) -> None:
    # TRG-11: announced once
    visitors = [make_visitor(workspace).pk for _ in range(5)]
    answers = together(
        [
            lambda n=n: identify_customer(actor=actor, customer_id=n, fields={"email": "Ana@example.com"})
            for n in visitors
        ]
    )
    assert set(codes(answers)) <= {"", "customer_conflict"}
    holders = Customer.objects.filter(email__iexact="ana@example.com", merged_into=None)
    assert holders.count() == 1


def change_metadata(workspace: Workspace, customer: int) -> Any:
    """One change; a refusal is its answer."""
    return update_customers([CustomerChange(workspace.pk, customer, {"metadata": {"k": "personal"}})])[0]


def test_an_erasure_wins_or_loses_as_a_whole(workspace: Workspace, actor: Actor) -> None:
    # SUP-06: a change that came later finds the record closed; one that came before is erased with it
    for _ in range(5):
        customer = make_customer(workspace, name="Ana").pk

        change = partial(change_metadata, workspace, customer)
        erase = partial(erase_customer, actor=actor, customer_id=customer)
        answers = together([change, change, erase, change])
        assert set(codes(answers)) <= {"", "wrong_state"}
        row = Customer.objects.get(pk=customer)
        assert (row.name, row.metadata) == (PLACEHOLDER, {})


def test_tags_added_and_taken_at_once_end_in_one_state(workspace: Workspace, actor: Actor) -> None:
    customer = make_customer(workspace).pk
    acts: list[Act] = [lambda: add_tags([TagRequest(workspace.pk, customer, "vip")])[0].added for _ in range(3)]
    acts += [lambda: remove_tag(actor=actor, customer_id=customer, tag="vip") for _ in range(3)]
    answers = together(acts)
    added, removed = sum(answers[:3]), sum(answers[3:])
    assert added - removed == CustomerTag.objects.count()
    assert added - removed in (0, 1)


def test_stages_made_at_once_have_places_of_their_own(workspace: Workspace, actor: Actor) -> None:
    funnel = find_stage(workspace.pk, "TRIAL").funnel
    answers = together([lambda i=i: create_stage(actor=actor, funnel=funnel, slug=f"S{i % 4}") for i in range(8)])
    assert codes(answers) == {"": 4, "conflict": 4}
    orders = list(Stage.objects.filter(funnel=funnel).order_by("order").values_list("order", flat=True))
    assert orders == list(range(1, 9))


def test_a_customer_pushed_two_ways_stands_in_one_stage(workspace: Workspace, actor: Actor) -> None:
    # BIL-16: one open entry per customer and funnel
    customer = make_customer(workspace).pk
    together(
        [
            lambda name=name: enter_stage(actor=actor, customer_id=customer, stage=name)
            for name in ("TRIAL", "CUSTOMER", "AWARENESS", "CONSIDERATION", "TRIAL", "CUSTOMER")
        ]
    )
    stays = list(StageEntry.objects.filter(customer=customer).order_by("at", "id"))
    assert [stay.left_at is None for stay in stays].count(True) == 1
    stage = Customer.objects.get(pk=customer).facts["stage"]
    assert StageEntry.objects.get(customer=customer, left_at=None).stage.slug == stage


def test_a_task_is_finished_once(workspace: Workspace, actor: Actor) -> None:
    task = make_task(workspace).pk
    together([lambda: finish_task(actor=actor, task_id=task) for _ in range(6)])
    assert Audit.objects.filter(action="task.done").count() == 1
    assert Task.objects.get().state == "done"


def test_everything_against_everything_for_a_while(workspace: Workspace, actor: Actor) -> None:
    # "all services against each other counts none": no deadlock reaches a caller
    customers = [make_customer(workspace, email=f"c{i}@x.test").pk for i in range(5)]
    refs = [CustomerRef(email=f"c{i}@x.test") for i in range(8)]

    def acts(rng: random.Random) -> list[Act]:
        one, two = rng.sample(customers, 2)
        email = f"c{rng.randrange(8)}@x.test"
        return [
            lambda: update_customers([CustomerChange(workspace.pk, n, {"segment": "x"}) for n in (two, one)]),
            lambda: add_tags([TagRequest(workspace.pk, n, f"t{rng.randrange(3)}") for n in (one, two)]),
            lambda: enter_stage(actor=actor, customer_id=one, stage=rng.choice(["TRIAL", "CUSTOMER"])),
            lambda: record_consent(actor=actor, address=email, state=rng.choice(["subscribed", "unsubscribed"])),
            lambda: resolve_customers(workspace_id=workspace.pk, refs=rng.sample(refs, len(refs))),
            lambda: count_pageviews(workspace_id=workspace.pk, views={two: 1, one: 1}),
            lambda: merge_customers(actor=actor, source_id=one, into_id=two) if rng.random() < 0.1 else None,
            lambda: erase_customer(actor=actor, customer_id=one) if rng.random() < 0.05 else None,
        ]

    def worker(seed: int) -> int:
        rng, lost = random.Random(seed), 0
        for _ in range(25):
            try:
                rng.choice(acts(rng))()
            except Refusal:
                continue
            except OperationalError as error:
                lost += "deadlock" in str(error)
        return lost

    assert sum(together([lambda seed=seed: worker(seed) for seed in range(5)])) == 0
    live = Customer.objects.filter(workspace=workspace, merged_into=None, erased_at=None)
    emails = [customer.email.lower() for customer in live if customer.email]
    assert len(emails) == len(set(emails))
    assert not CustomerTag.objects.exclude(customer__in=live).exists()
    assert Consent.objects.filter(workspace=workspace).count() <= 16
