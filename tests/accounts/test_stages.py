"""Stages and buckets (BIL-16, TRG-41, TRG-42, C-06)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connections, transaction

from accounts.actor import Actor, system_actor
from accounts.announcements import Announcement
from accounts.clock import evaluation_now, set_clock
from accounts.errors import Refusal
from accounts.models import Customer, Stage, StageEntry, Workspace
from accounts.services.stages import create_funnel, create_stage, enter_stage, find_stage, update_stage
from tests.factories import make_customer, make_workspace


def test_entering_twice_is_one_entry(system: Actor, customer: Customer, announced: list[Announcement]) -> None:
    # BIL-16
    first, changed = enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER", bucket="Churned")
    assert changed
    again, changed = enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER", bucket="Churned")
    assert (again.pk, changed) == (first.pk, False)
    assert [a.kind for a in announced if a.kind == "stage.entered"] == ["stage.entered"]


def test_every_entry_is_announced_with_its_bucket(
    system: Actor, customer: Customer, announced: list[Announcement]
) -> None:
    # TRG-41, TRG-42
    enter_stage(actor=system, customer_id=customer.pk, stage="TRIAL")
    entry, _ = enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER", bucket="churned", cause=4)
    told = [a for a in announced if a.kind == "stage.entered"]
    assert [a.data["stage"] for a in told] == ["TRIAL", "CUSTOMER"]
    assert told[1].data == {"entry": entry.pk, "funnel": "default", "stage": "CUSTOMER", "bucket": "Churned"}
    assert (told[1].customer_id, told[1].cause) == (customer.pk, 4)


def test_another_bucket_is_another_entry(system: Actor, customer: Customer) -> None:
    # BIL-16
    for bucket in ("Retained", "Churned"):
        assert enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER", bucket=bucket)[1]
    assert StageEntry.objects.filter(customer=customer).count() == 2


def test_moving_on_closes_the_stay(system: Actor, customer: Customer, real_clock: None) -> None:
    first, _ = enter_stage(actor=system, customer_id=customer.pk, stage="TRIAL")
    set_clock("+3d")
    second, _ = enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER")
    first.refresh_from_db()
    assert first.left_at == second.at
    assert second.left_at is None
    assert abs((second.at - evaluation_now()).total_seconds()) < 5


def test_a_profile_shows_stage_and_bucket(system: Actor, customer: Customer) -> None:
    # BIL-13
    enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER", bucket="Upgraded")
    customer.refresh_from_db()
    assert (customer.facts["stage"], customer.facts["bucket"]) == ("CUSTOMER", "Upgraded")
    enter_stage(actor=system, customer_id=customer.pk, stage="TRIAL")
    customer.refresh_from_db()
    assert (customer.facts["stage"], customer.facts["bucket"]) == ("TRIAL", None)


def test_funnels_are_independent(actor: Actor, customer: Customer) -> None:
    funnel = create_funnel(actor=actor, name="Partners")
    stage = create_stage(actor=actor, funnel=funnel, slug="TRIAL")
    enter_stage(actor=actor, customer_id=customer.pk, stage="TRIAL")
    enter_stage(actor=actor, customer_id=customer.pk, stage=stage)
    assert StageEntry.objects.filter(customer=customer, left_at=None).count() == 2
    assert find_stage(actor.workspace_id, "TRIAL").funnel.slug == "default", "the oldest funnel counts"
    assert find_stage(actor.workspace_id, "partners/trial") == stage


@pytest.mark.parametrize("name", ["", "NOWHERE", "stg_0", "default/", "default/NO", "no/TRIAL", "x/y/z"])
def test_an_unknown_stage_is_not_found(workspace: Workspace, name: str) -> None:
    with pytest.raises(Refusal) as refused:
        find_stage(workspace.pk, name)
    assert refused.value.code == "not_found"


def test_foreign_stages_and_customers_are_not_found(system: Actor, other: Workspace, customer: Customer) -> None:
    # DESIGN 3
    foreign = find_stage(other.pk, "TRIAL")
    for stage in (foreign, foreign.public_id):
        with pytest.raises(Refusal) as refused:
            enter_stage(actor=system, customer_id=customer.pk, stage=stage)
        assert refused.value.code == "not_found"
    with pytest.raises(Refusal) as refused:
        enter_stage(actor=system, customer_id=make_customer(other).pk, stage="TRIAL")
    assert refused.value.code == "not_found"


def test_an_unknown_bucket_names_the_known(system: Actor, customer: Customer) -> None:
    with pytest.raises(Refusal) as refused:
        enter_stage(actor=system, customer_id=customer.pk, stage="CUSTOMER", bucket="Lost")
    assert refused.value.code == "unknown_reference"
    assert "Churned" in refused.value.message


def test_past_entries_keep_a_bucket_that_is_gone(actor: Actor, customer: Customer) -> None:
    entry, _ = enter_stage(actor=actor, customer_id=customer.pk, stage="CUSTOMER", bucket="Churned")
    update_stage(actor=actor, stage=find_stage(actor.workspace_id, "CUSTOMER"), changes={"buckets": ["Kept"]})
    entry.refresh_from_db()
    assert entry.bucket == "Churned"


def test_the_database_keeps_one_open_entry(workspace: Workspace, system: Actor, customer: Customer) -> None:
    # CONTRACTS 3
    entry, _ = enter_stage(actor=system, customer_id=customer.pk, stage="TRIAL")
    stage = find_stage(workspace.pk, "CUSTOMER")
    with pytest.raises(IntegrityError), transaction.atomic():
        StageEntry.objects.create(workspace=workspace, customer=customer, funnel=stage.funnel, stage=stage, at=entry.at)
    with pytest.raises(IntegrityError), transaction.atomic():
        StageEntry.objects.filter(pk=entry.pk).update(left_at=entry.at.replace(year=2000))
    assert Stage.objects.filter(workspace=workspace).count() == 4


@pytest.mark.django_db(transaction=True)
def test_many_at_once_enter_once() -> None:
    # BIL-16, under the customer's lock
    workspace = make_workspace()
    customer = make_customer(workspace)

    def work(turn: int) -> bool:
        try:
            actor = system_actor(workspace.pk)
            return enter_stage(actor=actor, customer_id=customer.pk, stage="TRIAL")[1]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(12))) == 1
    assert StageEntry.objects.count() == 1
