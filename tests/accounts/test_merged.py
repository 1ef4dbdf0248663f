"""Chains of merges: where they lead, whom they took in, and that they end (C-31, DESIGN 5.5)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.actor import Actor
from accounts.errors import Refusal
from accounts.models import Customer, Workspace
from accounts.services.erasure import erase_customer
from accounts.services.lifecycle import merge_customers
from accounts.services.merged import LONGEST, merged_into, survivors_of
from accounts.services.resolving import CustomerRef, resolve_customers
from automations.doctor.run import examine
from automations.engine.registry import registry
from tests.factories import make_customer
from tests.worker.living import happen
from tests.worker.routing import on, route_all, runs

pytestmark = pytest.mark.django_db


@pytest.fixture
def chain(workspace: Workspace, system: Actor) -> list[int]:
    """Four records, each merged into the next."""
    ids = [make_customer(workspace).pk for _ in range(4)]
    for source, into in pairwise(ids):
        merge_customers(actor=system, source_id=source, into_id=into)
    return ids


def test_a_chain_leads_to_its_last_record(workspace: Workspace, chain: list[int]) -> None:
    alone = make_customer(workspace).pk
    assert survivors_of([*chain, alone]) == dict.fromkeys(chain[:3], chain[3])


def test_a_record_took_in_all_that_went_into_it_through_others(workspace: Workspace, chain: list[int]) -> None:
    alone = make_customer(workspace).pk
    assert merged_into([chain[3], chain[1], alone]) == {chain[3]: chain[:3], chain[1]: chain[:1]}


@pytest.mark.parametrize("ask", [survivors_of, merged_into])
def test_one_query_however_many_and_however_long(workspace: Workspace, chain: list[int], ask: object) -> None:
    assert callable(ask)
    for ids, queries in (([], 0), (chain[:1], 1), (chain * 50, 1)):
        with CaptureQueriesContext(connection) as seen:
            ask(ids)
        assert len(seen) == queries


def test_events_of_all_of_them_are_about_the_survivor(
    workspace: Workspace, chain: list[int]
) -> None:  # DESIGN 5.1, 5.5
    automation = on(workspace, "type: event, event: sign")
    for id in chain:
        happen(Customer.objects.get(pk=id))
    route_all()
    assert [(run.customer_id, run.subjects) for run in runs(automation)] == [(chain[3], {"customer": chain[3]})] * 4


def test_references_to_any_of_them_lead_to_the_survivor(workspace: Workspace, chain: list[int]) -> None:  # CONTRACTS 7
    refs = [CustomerRef(id=id) for id in chain]
    assert resolve_customers(workspace_id=workspace.pk, refs=refs) == [chain[3]] * 4
    assert registry.roots["customer"].resolve(workspace.pk, chain) == [{"customer": chain[3]}] * 4


def test_an_erased_survivor_is_nobody(workspace: Workspace, system: Actor, chain: list[int]) -> None:
    erase_customer(actor=system, customer_id=chain[3])
    assert Customer.objects.filter(pk__in=chain, erased_at=None).count() == 0
    [answer] = resolve_customers(workspace_id=workspace.pk, refs=[CustomerRef(id=chain[0])])
    assert isinstance(answer, Refusal)
    assert answer.code == "unknown_reference"


@pytest.mark.parametrize(("source", "into"), [(3, 0), (3, 2), (0, 2), (2, 0)])
def test_the_database_refuses_a_merge_into_a_merged_record(chain: list[int], source: int, into: int) -> None:
    with pytest.raises(IntegrityError, match="merged itself"), transaction.atomic():
        Customer.objects.filter(pk=chain[source]).update(merged_into_id=chain[into])


def test_the_database_refuses_a_merge_into_another_workspace(workspace: Workspace, other: Workspace) -> None:
    mine, theirs = make_customer(workspace), make_customer(other)
    with pytest.raises(IntegrityError, match="of another workspace"), transaction.atomic():
        Customer.objects.filter(pk=mine.pk).update(merged_into_id=theirs.pk)


def test_a_circle_that_somebody_forced_is_no_endless_loop(chain: list[int]) -> None:  # doctor finds it: K2
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")
        cursor.execute("alter table accounts_customer disable trigger accounts_merges_end")
        cursor.execute("update accounts_customer set merged_into_id = %s where id = %s", [chain[0], chain[3]])
        cursor.execute("alter table accounts_customer enable trigger accounts_merges_end")
    assert set(survivors_of(chain)) == set(chain)
    assert len(merged_into([chain[0]])[chain[0]]) == LONGEST


def test_a_chain_longer_than_any_is_followed_to_its_end(workspace: Workspace) -> None:
    began = make_customer(workspace).created_at
    made = [
        row.pk
        for row in Customer.objects.bulk_create(Customer(workspace=workspace, created_at=began) for _ in range(150))
    ]
    for source, into in pairwise(made):
        Customer.objects.filter(pk=source).update(merged_into_id=into)
    assert survivors_of(made[:1]) == {made[0]: made[-1]}
    assert merged_into(made[-1:]) == {made[-1]: made[:-1]}
    assert [finding.check.id for finding in examine(only=["K2"])] == []
