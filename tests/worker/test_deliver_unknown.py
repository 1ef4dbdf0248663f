"""Money, leases, fences and what nobody can tell (DESIGN 5.3, RELIABILITY 1, 3, 27, INVARIANTS O3, O4, M2)."""

from __future__ import annotations

import pytest
from django.db import connection

from accounts.models import Task
from automations.engine.outcomes import Done, Failed, Refused, Unknown
from automations.models import Delivery, DeliveryAttempt
from automations.worker import deliver, delivery_claim
from automations.worker.deliver import deliver_batch
from automations.worker.settle import settle_acts
from tests.worker.deliveries import World, expire_lease, logged, pass_time
from tests.worker.provider import Provider, SettlingProvider, charge, provider, settling

__all__ = ["provider", "settling"]
pytestmark = pytest.mark.django_db(transaction=True)


def test_a_claim_takes_a_lease_and_raises_the_fence(provider: Provider) -> None:
    delivery = World().delivery(charge(), provider.key)
    (job,) = deliver.take(5, None).jobs
    delivery.refresh_from_db()
    assert (delivery.state, delivery.fence, delivery.attempts, job.fence) == ("SENDING", 1, 1, 1)
    assert delivery.request_sha256  # the bytes are kept before the act
    assert deliver.take(5, None) == ([], 0, False, [])  # nobody else gets it
    with connection.cursor() as cursor:
        cursor.execute("SELECT lease_until - clock_timestamp() FROM automations_delivery WHERE id = %s", [delivery.pk])
        assert 55 < cursor.fetchone()[0].total_seconds() <= 60


def test_a_worker_that_was_taken_over_writes_nothing(provider: Provider) -> None:  # RELIABILITY 3, INVARIANTS S3
    world = World()
    run = world.run()
    delivery = world.delivery(charge(), provider.key, run)
    (slow,) = deliver.take(1, None).jobs
    expire_lease(delivery)
    assert deliver_batch(threads=1) == 1
    slow.outcome = Failed("late", "The frozen worker saw an error.")
    assert settle_acts([slow]) == 0
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.fence, delivery.error) == ("SENT", 2, None)
    assert run.answer["outcome"]["output"]["result"] == "paid"
    assert [row.outcome for row in DeliveryAttempt.objects.filter(delivery=delivery).order_by("number")] == [
        "lost",
        "ok",
    ]


def test_a_late_settle_with_consequences_is_taken_back_whole(settling: SettlingProvider) -> None:
    world = World()
    delivery = world.delivery(charge(), settling.key)
    (slow,) = deliver.take(1, None).jobs
    expire_lease(delivery)
    assert deliver_batch(threads=1) == 1
    assert settling.settled == [Done({"result": "paid", "reference": "ch_1"})]
    slow.outcome = Done({"result": "paid again"})
    assert settle_acts([slow]) == 0
    assert len(settling.settled) == 1


def test_a_lost_charge_is_looked_up_before_it_is_made_again(provider: Provider) -> None:  # DESIGN 5.3, O4
    world = World()
    delivery = world.delivery(charge(), provider.key)
    (job,) = deliver.take(1, None).jobs
    deliver.act(job)  # the provider acted; the worker dies before it can settle
    expire_lease(delivery)
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    assert (delivery.state, provider.looks, len(provider.calls)) == ("SENT", 1, 1)


def test_a_lost_charge_that_never_arrived_is_made_with_the_same_key_and_bytes(provider: Provider) -> None:  # O2, O3
    world = World()
    delivery = world.delivery(charge(), provider.key)
    deliver.take(1, None)
    expire_lease(delivery)
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    assert delivery.state == "SENT"
    assert provider.calls == [(delivery.key, f"charge {delivery.key}".encode())]
    hashes = set(DeliveryAttempt.objects.filter(delivery=delivery).values_list("request_sha256", flat=True))
    assert hashes == {delivery.request_sha256}


def test_what_was_claimed_but_never_rendered_is_simply_sent(provider: Provider) -> None:
    delivery = World().delivery(charge(), provider.key)
    delivery_claim.claim(1)
    expire_lease(delivery)
    assert deliver_batch(threads=1) == 1
    assert (provider.looks, len(provider.calls)) == (0, 1)


def test_the_third_lost_worker_makes_it_a_matter_for_a_person(provider: Provider) -> None:
    world = World()
    delivery = world.delivery(charge(), provider.key)
    for _worker in range(3):
        assert len(deliver.take(1, None)[0]) == 1
        expire_lease(delivery)
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    assert (delivery.state, provider.calls) == ("REVIEW", [])
    assert Task.objects.filter(workspace=world.workspace).count() == 1


def test_unknown_is_read_back_after_1_5_30_minutes_then_hourly_then_a_person(provider: Provider) -> None:  # ERR, O5
    world = World()
    run = world.run()
    delivery = world.delivery(charge(), provider.key, run, retries=5)
    provider.answers = [Unknown("timed out")]
    provider.knows = False
    assert deliver_batch(threads=1) == 1
    elapsed, moments = 0.0, []
    while True:
        delivery.refresh_from_db()
        if delivery.state != "UNKNOWN":
            break
        with connection.cursor() as cursor:
            cursor.execute("SELECT extract(epoch FROM %s - onward_now())", [delivery.due_at])
            wait = float(cursor.fetchone()[0])
        assert deliver_batch(threads=1) == 0  # not before its time
        pass_time(wait + 0.5)
        elapsed += wait + 0.5
        moments.append(round(elapsed / 60))
        assert deliver_batch(threads=1) == 1
    assert moments[:6] == [1, 5, 30, 90, 150, 210]
    assert moments[-1] == 1200  # 20 hours
    run.refresh_from_db()
    assert delivery.state == "REVIEW"
    assert len(provider.calls) == 1  # asked, never repeated
    assert (run.parked_on, run.answer) == ("delivery", None)  # money waits for the person
    task = Task.objects.get(workspace=world.workspace)
    assert (task.state, task.run_id) == ("open", run.pk)
    assert delivery.key in task.message


def test_what_the_provider_can_tell_ends_the_waiting(provider: Provider) -> None:
    world = World()
    run = world.run()
    delivery = world.delivery(charge(), provider.key, run)
    provider.answers = [Unknown("timed out")]
    deliver_batch(threads=1)
    provider.ledger[delivery.key] = Done({"result": "declined", "failureReason": "insufficient_funds"})
    pass_time(61)
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, delivery.unknown_since) == ("SENT", None)
    assert run.answer["outcome"]["output"]["result"] == "declined"  # C-24: a result, no error
    assert delivery.attempts == 1  # reading back is no try


def test_an_adapter_that_raises_leaves_an_unknown_outcome(provider: Provider) -> None:
    delivery = World().delivery(charge(), provider.key)
    provider.answers = [RuntimeError("a defect")]
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    assert delivery.state == "UNKNOWN"
    assert "a defect" in delivery.error["message"]


def test_money_is_not_repeated_once_its_key_may_be_forgotten(provider: Provider) -> None:  # INVARIANTS M2
    world = World()
    delivery = world.delivery(charge(), provider.key, retries=3, retry_delay=1, exact_waits=True)
    provider.answers = [Failed("unreachable", "away", temporary=True)]
    deliver_batch(threads=1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE automations_delivery SET first_attempt_at = first_attempt_at - interval '20 hours'")
    pass_time(2)
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    assert (delivery.state, len(provider.calls), provider.looks) == ("UNKNOWN", 1, 1)


def test_money_is_not_repeated_without_a_setting(provider: Provider) -> None:  # DESIGN 5.3: money 0
    delivery = World().delivery(charge(), provider.key)
    provider.answers = [Failed("unreachable", "away", temporary=True)]
    deliver_batch(threads=1)
    delivery.refresh_from_db()
    assert (delivery.state, len(provider.calls)) == ("FAILED", 1)


def test_a_refusal_is_told_to_the_run(settling: SettlingProvider) -> None:  # DESIGN 5.3: REFUSED, visibly
    world = World()
    run = world.run()
    delivery = world.delivery(charge(), settling.key, run)
    settling.answers = [Refused("already_paid", "The invoice was paid meanwhile.")]
    deliver_batch()
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert delivery.state == "REFUSED"
    assert run.answer["outcome"] == {
        "kind": "refused",
        "code": "already_paid",
        "message": "The invoice was paid meanwhile.",
    }


def test_what_is_sent_for_a_run_cancelled_meanwhile_is_finished_and_shown(provider: Provider) -> None:  # DESIGN 5.3
    from automations.services.cancel import end_runs

    world = World()
    run = world.run()
    delivery = world.delivery(charge(), provider.key, run)

    def cancel() -> None:
        from django.db import transaction

        with transaction.atomic():
            end_runs([run.pk], reason="cancelled")

    provider.before_answer = cancel
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    run.refresh_from_db()
    assert (delivery.state, run.status, run.answer) == ("SENT", "CANCELLED", None)
    assert [row.flags for row in logged(run)] == [2]


def test_a_long_act_keeps_its_lease(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = World().delivery(charge(), provider.key)
    monkeypatch.setattr(deliver, "RENEW_SECONDS", 0.05)
    seen = []

    def slow() -> None:
        import time

        for _look in range(100):
            with connection.cursor() as cursor:
                cursor.execute("SELECT lease_until FROM automations_delivery WHERE id = %s", [delivery.pk])
                seen.append(cursor.fetchone()[0])
            if len(set(seen)) > 2:
                return
            time.sleep(0.02)

    provider.before_answer = slow
    assert deliver_batch(threads=2) == 1
    assert len(set(seen)) > 2
    assert seen == sorted(seen)


def test_an_action_that_answers_nothing_leaves_it_unknown(provider: Provider) -> None:
    delivery = World().delivery(charge(), provider.key)
    provider.answers = [None]  # type: ignore[list-item]  # what no action may answer
    deliver_batch(threads=1)
    delivery.refresh_from_db()
    assert delivery.state == "UNKNOWN"


def test_a_defect_while_reading_back_only_costs_that_look(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = World().delivery(charge(), provider.key)
    provider.answers = [Unknown("timed out")]
    deliver_batch(threads=1)
    pass_time(61)

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(provider, "find", broken)
    assert deliver_batch(threads=1) == 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("UNKNOWN", 1)


def test_a_defect_before_the_act_sends_nothing_and_spares_the_others(
    provider: Provider, settling: SettlingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:  # ERR-11
    world = World()
    broken = world.delivery(charge(), provider.key, retries=1, retry_delay=1)
    sound = world.delivery(charge(), settling.key)

    def fail(*_: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(provider, "complete", fail)
    assert deliver_batch() == 2
    broken.refresh_from_db()
    sound.refresh_from_db()
    assert (broken.state, broken.error["code"], provider.calls) == ("QUEUED", "internal", [])
    assert sound.state == "SENT"


def test_an_action_that_is_not_installed_any_more(provider: Provider) -> None:
    world = World()
    run = world.run()
    queued, unknown = world.delivery(charge(), "gone_action", run), world.delivery(charge(), provider.key)
    provider.answers = [Unknown("timed out")]
    deliver_batch(threads=1)
    Delivery.objects.filter(pk=unknown.pk).update(action="gone_action")
    pass_time(61)
    deliver_batch(threads=1)
    queued.refresh_from_db()
    unknown.refresh_from_db()
    run.refresh_from_db()
    assert (queued.state, run.answer["outcome"]["code"]) == ("FAILED", "unknown_action")
    assert unknown.state == "UNKNOWN"  # it may have acted: a person will see it


def test_a_result_during_a_hold_is_kept_for_the_resume(provider: Provider) -> None:  # DESIGN 5.5
    world = World()
    run = world.run()
    delivery = world.delivery(charge(), provider.key, run)
    (job,) = deliver.take(1, None).jobs
    run.parked_on = "hold"
    run.held = {"by": "pause", "status": "RUNNING", "parkedOn": "delivery", "dueAt": None, "remaining": None}
    run.save()
    deliver.act(job)
    settle_acts([job])
    run.refresh_from_db()
    delivery.refresh_from_db()
    assert (delivery.state, run.parked_on, run.due_at) == ("SENT", "hold", None)
    assert run.held["parkedOn"] is None
    assert run.answer["outcome"]["output"]["result"] == "paid"


def test_what_cannot_be_written_is_asked_for_again(settling: SettlingProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    delivery = world.delivery(charge(), settling.key)

    def fail(*_: object) -> None:
        raise RuntimeError("a defect in the consequences")

    monkeypatch.setattr(settling, "settle", fail)
    monkeypatch.setattr(type(settling), "settle", fail)
    deliver_batch(threads=1)
    delivery.refresh_from_db()
    assert delivery.state == "SENDING"  # its lease will run out
    monkeypatch.undo()
    expire_lease(delivery)
    deliver_batch(threads=1)
    delivery.refresh_from_db()
    assert (delivery.state, len(settling.calls), settling.looks) == ("SENT", 1, 1)
