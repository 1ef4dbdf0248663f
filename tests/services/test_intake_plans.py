"""Customers that events name are looked up one by one, however many the workspace has and whatever the statistics say (PERFORMANCE W6,
DESIGN 6: each hot index names its query)."""

from __future__ import annotations

import re
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from accounts.api import authentication
from accounts.models import Customer
from accounts.prepared import prepared
from accounts.services.keys import secret_hash
from automations.roots import customer as root
from automations.services import intake_customers
from automations.worker import knowing
from automations.worker.copying import array
from tests.factories import make_api_key, make_workspace

pytestmark = pytest.mark.django_db(transaction=True)
MANY = 1_000
STATEMENTS = {"find": intake_customers._FIND, "resolve": root._RESOLVE, "load": root._LOAD}
STATISTICS = ["none", "of now", "of an empty table"]
_CROWD = """
insert into accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, metadata, facts,
    identified_at, created_at, updated_at)
select %s, g::text, '', g || '@crowd.test', '', '', '', '', '', '{}', '{}', now(), now(), now() from generate_series(1, %s) g
"""


def crowd(statistics, first="select"):
    """A workspace of many customers. `first` is done while there is none."""
    workspace = make_workspace()
    with connection.cursor() as cursor:
        cursor.execute("truncate accounts_customer cascade")
        cursor.execute("delete from pg_statistic where starelid = 'accounts_customer'::regclass")  # of earlier tests
        cursor.execute(first)
        if statistics == "of an empty table":
            cursor.execute("analyze accounts_customer")
        cursor.execute(_CROWD, [workspace.pk, MANY])
        if statistics == "of now":
            cursor.execute("analyze accounts_customer")
    return workspace


def wanted(workspace, refs):
    """With `ids` for the statement that reads records by their ids."""
    named = root.wanted(workspace.pk, refs)
    return {**named, "ids": named["id"]}


def three_ways():
    some = Customer.objects.order_by("-pk")[:20]
    refs = [
        [one.pk, {"email": one.email}, {"externalId": one.external_id}][place % 3] for place, one in enumerate(some)
    ]
    return [refs, refs[:1], refs[1:2], refs[2:3]]


def rows_read_in_vain(statement, parameters):
    """By the plan that is kept for all parameters."""
    with transaction.atomic(), prepared() as cursor:
        cursor.execute("set local plan_cache_mode = force_generic_plan")
        cursor.execute(f"explain (analyze, costs off) {statement}", parameters)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    on_customers = re.findall(r"accounts_customer\b.*?\n\s+(.*?)(?=\n\s+->|\Z)", plan, re.DOTALL)
    assert on_customers, plan
    return sum(int(count) for part in on_customers for count in re.findall(r"Rows Removed by Filter: (\d+)", part))


@pytest.mark.parametrize("statistics", STATISTICS)
@pytest.mark.parametrize("name", STATEMENTS)
def test_a_customer_is_read_without_the_others_of_the_workspace(name, statistics):
    workspace = crowd(statistics)
    for refs in three_ways():
        assert rows_read_in_vain(STATEMENTS[name], wanted(workspace, refs)) == 0, refs


@pytest.mark.parametrize("statistics", STATISTICS)
def test_so_is_the_one_that_a_single_event_names(statistics):
    workspace = crowd(statistics)
    prefix, secret = make_api_key(workspace, ["events"])[1].removeprefix("ow_").split("_", 1)
    for refs in three_ways()[1:]:
        how, key = root.said(refs[0])
        assert rows_read_in_vain(intake_customers._ONE[how], {"workspace": workspace.pk, "key": key}) == 0, how
        reading = intake_customers.alongside(refs[0])
        admitted = f"select * from {authentication._ADMITTED} left join lateral ({reading.statement}) found on true"
        who = {"prefix": prefix, "secret": secret_hash(secret), "per_second": 1.0, "burst": 9.0, "key": key}
        assert rows_read_in_vain(admitted, who) == 0, how


@pytest.mark.parametrize("statistics", STATISTICS)
def test_so_are_those_of_a_batch_of_events(statistics):
    """A router asks who of them was merged or erased."""
    crowd(statistics)
    some = Customer.objects.order_by("-pk").values_list("pk", flat=True)[:100]
    assert rows_read_in_vain(knowing._GONE, [array(list(some))]) <= 100  # those that live, and nobody else


@contextmanager
def undone():
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def test_an_index_that_had_the_customers_that_live_as_well_would_be_read_from_end_to_end():
    """Why `customer_merged` has none but merged ones. Where it happens to be the smaller index the planner took it, without statistics."""
    with undone():
        workspace = crowd("none", "create index every_customer on accounts_customer (merged_into_id)")
        assert (
            max(rows_read_in_vain(STATEMENTS["find"], root.wanted(workspace.pk, refs)) for refs in three_ways())
            > MANY / 2
        )


def test_a_condition_on_the_whole_list_would_read_the_workspace():
    """Why the keys of a list are looked up one after the other."""
    workspace = crowd("none")
    whole = f"""select c.id from accounts_customer c where c.workspace_id = %(workspace)s and (
        c.id = any((select %(id)s::bigint[])::bigint[]) or lower(c.email) = any((select %(email)s::text[])::text[]) and {root.CURRENT}
        or c.external_id = any((select %(externalId)s::text[])::text[]) and {root.CURRENT})"""
    assert max(rows_read_in_vain(whole, root.wanted(workspace.pk, refs)) for refs in three_ways()) > MANY / 2
