"""What one posted event costs in statements, and that nothing is lost or doubled by costing so few (PERFORMANCE W6, TRG-50)."""

from __future__ import annotations

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.errors import Refusal
from accounts.models import Customer
from accounts.services.lifecycle import merge_customers
from automations.models import Event, EventContent
from automations.services import intake, shapes
from automations.services.intake import post_events
from automations.services.intake_customers import find_customers
from automations.services.snapshots import load_subjects
from tests.factories import actor_of, make_api_client, make_customer, make_user, make_workspace, owner_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace():
    return make_workspace()


@pytest.fixture
def actor(workspace):
    return actor_of(workspace)


@pytest.fixture
def customer(workspace):
    return make_customer(workspace, email="ana@example.com", external_id="00042", tags=["vip", "new"])


def body(key, customer="", **parts):
    return {
        "id": key,
        "name": "thing_happened",
        "payload": {"amount": 12},
        **({"customer": customer} if customer else {}),
        **parts,
    }


def statements(work):
    """Those that `work` makes, apart from the bell, which rings for many at once."""
    with CaptureQueriesContext(connection) as queries:
        work()
    return [query["sql"] for query in queries if not query["sql"].startswith("NOTIFY")]


@pytest.mark.parametrize("by", ["id", "externalId", "email"])
def test_one_event_of_a_known_customer_is_read_and_written_in_two_statements(actor, customer, by):
    ref = {"id": f"cus_{customer.pk}", "externalId": {"externalId": "00042"}, "email": {"email": "ANA@example.com"}}[by]
    post_events(actor=actor, body=body("first", ref))
    made = statements(lambda: post_events(actor=actor, body=body("second", ref)))
    assert len(made) == 2, made
    assert Event.objects.filter(workspace_id=actor.workspace_id, source="api", customer_id=customer.pk).count() == 2


@pytest.mark.parametrize("others", [0, 3_000])
def test_whatever_is_asked_for_the_statements_are_planned_once(actor, workspace, others):
    """Also in a small workspace beside a large one, for which the planner would plan otherwise if it saw which is asked for."""
    large, now = make_workspace(), timezone.now()
    Customer.objects.bulk_create(
        [Customer(workspace=large, email=f"{n}@large.test", created_at=now, identified_at=now) for n in range(others)]
    )
    people = [make_customer(workspace, external_id=f"own-{number}") for number in range(54)]
    with connection.cursor() as cursor:
        cursor.execute("analyze accounts_customer")
    for place, person in enumerate(people):
        refs = [f"cus_{person.pk}", {"externalId": f"own-{place}"}, {"email": person.email}]
        post_events(actor=actor, body=body(f"k{place}", refs[place % 3]))
    client = make_api_client(workspace, ["events"])
    for place, person in enumerate(people):
        refs = [f"cus_{person.pk}", {"externalId": f"own-{place}"}, {"email": person.email}]
        assert client.post("/events", body(f"n{place}", refs[place % 3])).status_code == 202
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_prepared_statements where generic_plans >= 4 and custom_plans <= 5"
            " and (statement like '%%customertag%%accounts_membership%%' or statement like '%%automations_unrouted%%')"
        )
        # One for each way to name a customer, the same in the round trip that admits the key, and the one that writes.
        assert cursor.fetchone() == (7,)


def test_what_has_more_to_write_is_one_transaction(actor, customer):
    shapes.forget()
    made = statements(lambda: post_events(actor=actor, body=body("a", f"cus_{customer.pk}")))
    assert (made[1], made[-1], len(made)) == ("BEGIN", "COMMIT", 5)  # read; write and learn the shape
    made = statements(lambda: post_events(actor=actor, body=body("b", f"cus_{customer.pk}", name="pageview")))
    assert (made[1], made[-1]) == ("BEGIN", "COMMIT")


def test_the_same_event_again_and_another_under_its_id(actor, customer):
    first, again = (post_events(actor=actor, body=body("a", f"cus_{customer.pk}"))[0] for _ in range(2))
    assert (first.status, again.status, again.id) == ("accepted", "duplicate", first.id)
    with pytest.raises(Refusal) as refused:
        post_events(actor=actor, body=body("a", f"cus_{customer.pk}", payload={"amount": 13}))
    assert (refused.value.code, refused.value.details) == ("event_conflict", {"index": 0, "id": "a"})
    assert Event.objects.filter(workspace_id=actor.workspace_id, source="api").count() == 1


def test_a_refusal_leaves_the_callers_transaction_usable(actor, customer):
    with transaction.atomic():
        post_events(actor=actor, body=body("a"))
        with pytest.raises(Refusal):
            post_events(actor=actor, body=body("a", payload={}))
        post_events(actor=actor, body=body("b"))
    assert set(Event.objects.filter(source="api").values_list("key", flat=True)) == {"a", "b"}


@pytest.mark.parametrize("key", [None, "mine"])
def test_an_event_whose_answer_was_lost_is_not_recorded_twice(actor, customer, monkeypatch, key):
    """The connection dies when all is written and nothing answered. It is tried again, with the key of before also where the caller
    gave none."""
    record, lost = intake.record_events, []

    def lossy(*arguments):
        answer = record(*arguments)
        if not lost:
            lost.append(answer)
            raise OperationalError("the connection was lost")
        return answer

    monkeypatch.setattr(intake, "record_events", lossy)
    [recorded] = post_events(actor=actor, body=body(key, f"cus_{customer.pk}"))
    assert [recorded.id] == [item.id for item in lost[0]]
    assert Event.objects.filter(workspace_id=actor.workspace_id, source="api").count() == 1


class TestFinding:
    def test_it_knows_what_the_roots_would_load(self, workspace, customer):
        customer.owner = make_user("hers@onward.example")
        customer.metadata, customer.facts = {"a": "1"}, {"stage": "TRIAL", "pageviewCount": 3}
        customer.save()
        [subjects], known = find_customers(workspace.pk, [customer.pk])
        assert subjects == {"customer": customer.pk}
        assert known.records == load_subjects([subjects])
        assert known.records["customer"][customer.pk]["tags"] == ["new", "vip"]
        assert known.owners == {workspace.pk: owner_of(workspace).email}

    def test_strangers_are_neither_found_nor_known(self, workspace, customer):
        other = make_workspace()
        answers, known = find_customers(other.pk, [customer.pk, {"email": "ana@example.com"}, {"externalId": "00042"}])
        assert (answers, known.records, known.owners) == ([None] * 3, {"customer": {}}, {})

    def test_an_event_of_a_merged_customer_tells_of_the_one_it_lives_on_in(self, workspace, actor, customer):
        into = make_customer(workspace, name="Ana Maria")
        merge_customers(actor=actor, source_id=customer.pk, into_id=into.pk)
        [recorded] = post_events(actor=actor, body=body("a", f"cus_{customer.pk}"))
        content = EventContent.objects.get(event_id=recorded.id)
        assert content.snapshot["customer"]["id"] == f"cus_{into.pk}"
        assert content.snapshot["customer"]["name"] == "Ana Maria"
        assert content.snapshot["accountOwner"] == owner_of(workspace).email
