"""Writing many events by COPY: the same rows as one by one, once each, whoever else writes them (E1, E2, E5; TRG-50)."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import UTC, datetime

import pytest
from django.db import DataError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.clock import evaluation_now
from accounts.errors import Refusal
from automations.models import Event, EventContent
from automations.services import shapes
from automations.services.event_rows import FEW
from automations.services.events import NewEvent, load_events, record_events
from tests.factories import make_customer, make_workspace
from tests.worker.racing import Racer, until_a_row_is_waited_for

MANY = FEW + 5
ODD = 'tab\there, line\nbreak, back\\slash, "quotes", \\N, {braces}, é, 漢'


@pytest.fixture
def customer():
    shapes.forget()
    return make_customer(make_workspace(), name=ODD)


def new(customer, key="k", **parts):
    """An event of a customer."""
    fields = {"name": "purchase", "payload": {"key": key}, "subjects": {"customer": customer.pk}, **parts}
    return NewEvent(customer.workspace_id, source="api", key=key, **fields)


def many(customer, prefix="k", **parts):
    """Enough events to be copied."""
    return [new(customer, f"{prefix}{number}", **parts) for number in range(MANY)]


def columns(key):
    """All that is stored of an event but its id, key, hash and times of recording."""
    [row] = Event.objects.filter(key=key).values()
    [content] = EventContent.objects.filter(event_id=row["id"]).values()
    assert content.pop("event_id") == row.pop("id")
    assert content.pop("recorded_at") == row.pop("recorded_at")  # E5: the content is found by it
    return {name: value for name, value in {**row, **content}.items() if name not in ("key", "body_sha256", "payload")}


@pytest.mark.django_db
class TestCopying:
    @pytest.mark.parametrize(
        "parts",
        [
            {},
            {"name": ODD[:90], "payload": {"text": ODD, "deep": [{"a": ODD}]}},
            {"subjects": {}},
            {"occurred_at": datetime(2026, 3, 4, 5, 6, 7, 891_234, tzinfo=UTC)},
            {"origin": "backfill", "only_automation": 7, "cause_run": 999_999},
            {"snapshot": {"mine": ODD, "amount": 1}},
        ],
    )
    def test_one_event_and_one_of_many_are_stored_alike(self, customer, parts):
        """Within one transaction, so that the evaluation clock stands still."""
        parts = {"occurred_at": evaluation_now(), **parts}
        with transaction.atomic():
            record_events([new(customer, "alone", **parts)])
            record_events(many(customer, **parts))
        assert columns("alone") == columns("k0") == columns(f"k{MANY - 1}")

    def test_what_is_written_is_what_is_read(self, customer):
        recorded = record_events(many(customer, payload={"text": ODD, "nothing": None, "nul": "a\0b"}))
        facts = load_events([item.id for item in recorded])
        assert {one.payload["text"] for one in facts.values()} == {ODD}
        assert {one.payload["nul"] for one in facts.values()} == {"a�b"}
        assert {one.trigger["customer"]["name"] for one in facts.values()} == {ODD}

    def test_odd_keys_are_stored_as_they_are_and_known_again(self, customer):
        events = [new(customer, f"{ODD}{number}") for number in range(MANY)]
        first = record_events(events)
        assert [item.status for item in first] == ["accepted"] * MANY
        again = record_events(events)
        assert [(item.id, item.status) for item in again] == [(item.id, "duplicate") for item in first]

    def test_ids_follow_the_order_of_the_call(self, customer):  # a customer's events are routed in their order
        ids = [item.id for item in record_events(many(customer))]
        assert ids == sorted(ids)
        assert list(Event.objects.filter(pk__in=ids).order_by("pk").values_list("key", flat=True)) == [
            f"k{number}" for number in range(MANY)
        ]

    def test_without_a_time_it_happens_now(self, customer):
        before = evaluation_now()
        ids = [item.id for item in record_events(many(customer))]
        for row in Event.objects.filter(pk__in=ids):
            assert before <= row.occurred_at <= evaluation_now()
            assert row.recorded_at <= datetime.now(UTC)

    def test_one_that_is_there_does_not_keep_the_others_out(self, customer):  # TRG-50
        [there] = record_events([new(customer, "k3")])
        recorded = record_events(many(customer))
        assert Counter(item.status for item in recorded) == {"accepted": MANY - 1, "duplicate": 1}
        assert recorded[3].id == there.id
        stored = Event.objects.filter(workspace_id=customer.workspace_id, source="api")
        assert stored.count() == MANY
        assert EventContent.objects.filter(event_id__in=stored.values("pk")).count() == MANY

    def test_the_callers_own_rows_survive_the_second_way(self, customer):
        """The copy that fails takes back itself alone."""
        with transaction.atomic():
            record_events([new(customer, "k3")])
            record_events(many(customer))
        assert Event.objects.filter(source="api").count() == MANY

    def test_another_body_among_many_is_refused(self, customer):  # event_conflict
        record_events([new(customer, "k3", payload={"other": 1})])
        with pytest.raises(Refusal) as refused, transaction.atomic():
            record_events(many(customer))
        assert (refused.value.code, refused.value.details) == ("event_conflict", {"index": 3, "id": "k3"})
        assert Event.objects.filter(source="api").count() == 1

    def test_doubles_within_one_call_are_one_event(self, customer):
        recorded = record_events([*many(customer), *many(customer)])
        assert [item.status for item in recorded] == ["accepted"] * MANY + ["duplicate"] * MANY
        with pytest.raises(Refusal), transaction.atomic():
            record_events([*many(customer, "x"), new(customer, "x0", payload={"other": 1})])

    def test_what_does_not_fit_is_an_error_of_the_database(self, customer):
        with pytest.raises(DataError), transaction.atomic():
            record_events([*many(customer), new(customer, "x" * 256)])
        assert not Event.objects.filter(source="api").exists()

    def test_fresh_events_are_not_asked_for_first(self, customer):
        with CaptureQueriesContext(connection) as queries:
            record_events(many(customer))
        assert not any("on conflict (workspace_id, source, key)" in query["sql"] for query in queries)


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_fifty_copies_of_one_batch_are_recorded_once(self, customer):  # TRG-50
        """All at once, each in its own transaction."""
        ready, answers = threading.Barrier(50), []

        def post():
            ready.wait(30)
            answers.append(record_events(many(customer)))

        for racer in [Racer(post) for _ in range(50)]:
            racer.result(60)
        found = Event.objects.filter(workspace_id=customer.workspace_id, source="api")
        assert found.count() == MANY
        assert EventContent.objects.filter(event_id__in=found.values("pk")).count() == MANY
        statuses = Counter(item.status for answer in answers for item in answer)
        assert statuses == {"accepted": MANY, "duplicate": 49 * MANY}
        assert {tuple(item.id for item in answer) for answer in answers} == {
            tuple(found.order_by("pk").values_list("pk", flat=True))
        }

    @pytest.mark.parametrize("commits", [True, False])
    def test_it_waits_for_another_that_is_writing_one_of_them(self, customer, commits):
        with transaction.atomic():
            [mine] = record_events([new(customer, "k3")])
            racer = Racer(lambda: record_events(many(customer)))
            until_a_row_is_waited_for(racer)
            transaction.set_rollback(not commits)
        recorded = racer.result()
        assert recorded[3].status == ("duplicate" if commits else "accepted")
        assert (recorded[3].id == mine.id) == commits
        assert Event.objects.filter(source="api").count() == MANY
