"""Loops over queries on the database: in pages, whatever they find, without holding a batch for long."""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.models import Task
from automations.worker import advance, context
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, live, log_of, settle, the_run

pytestmark = pytest.mark.django_db(transaction=True)

LOOP = """
steps:
  - type: loop
    over: {query: customers, where: 'customer.segment == "rare"'}
    as: one
    steps:
      - {type: action, action: create_task, message: "{{one.name}}"}
"""


@pytest.fixture
def crowd():
    """350 customers of whom the first, one in the middle and the last are rare."""
    workspace = make_workspace()
    customers = [make_customer(workspace, name="Rare 1", segment="rare")]
    customers += many(workspace, 200)
    customers.append(make_customer(workspace, name="Rare 2", segment="rare"))
    many(workspace, 148)
    make_customer(workspace, name="Rare 3", segment="rare")
    return customers[0]


def many(workspace, count):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, "
            "metadata, facts, created_at, updated_at, identified_at) SELECT %s, 'x' || g || random(), 'Plain', '', 'smb', '', '', '', '', "
            "'{}', '{}', now(), now(), now() FROM generate_series(1, %s) g",
            [workspace.pk, count],
        )
    return []


def names():
    return sorted(Task.objects.values_list("message", flat=True))


def test_the_records_that_match_are_found_on_whatever_page_they_stand(crowd):  # STP-24
    automation = live(crowd.workspace, LOOP)
    happen(crowd)
    settle()
    assert names() == ["Rare 1", "Rare 2", "Rare 3"]
    assert log_of(the_run(automation))[0].output == {"count": 3}  # the visit of the loop came first


@pytest.mark.parametrize("pages", [1, 2])
def test_looking_goes_on_where_it_stopped_when_a_turn_ends_in_the_middle(crowd, monkeypatch, pages):
    monkeypatch.setattr(context, "PAGES", pages)
    monkeypatch.setattr(advance, "ROUNDS", 1)
    automation = live(crowd.workspace, LOOP)
    happen(crowd)
    settle()
    run = the_run(automation)
    assert run.status == "COMPLETED"
    assert names() == ["Rare 1", "Rare 2", "Rare 3"]
    assert not (run.state or {}).get("scan")


def test_a_query_that_finds_nobody_ends_the_loop(crowd, monkeypatch):
    monkeypatch.setattr(context, "PAGES", 1)
    monkeypatch.setattr(advance, "ROUNDS", 2)
    automation = live(crowd.workspace, LOOP.replace("rare", "nobody"))
    happen(crowd)
    settle()
    assert the_run(automation).status == "COMPLETED"
    assert log_of(the_run(automation))[0].output == {"count": 0}


def test_a_page_is_judged_with_a_fixed_number_of_reads(crowd, django_assert_max_num_queries):
    live(crowd.workspace, LOOP.replace("rare", "nobody"))
    happen(crowd)
    with django_assert_max_num_queries(120):
        settle()


def test_a_record_that_cannot_be_judged_is_passed_over(crowd):  # ERR-11
    hard = 'customer.segment == "rare" AND customer.tags | join("x") != "y"'
    automation = live(crowd.workspace, LOOP.replace('customer.segment == "rare"', hard))
    happen(crowd)
    settle()
    assert the_run(automation).status == "COMPLETED"
