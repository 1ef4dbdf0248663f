"""Funnels, stages, and moving a customer from one to the next (BIL-16, TRG-41, TRG-42)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.actor import Actor
from accounts.announcements import Announcement, announce
from accounts.clock import evaluation_now
from accounts.errors import Refusal, not_found
from accounts.ids import read_id
from accounts.models import Customer, Funnel, Stage, StageEntry
from accounts.services.fields import Wrong, clean_slug, clean_text, refused_fields
from accounts.services.locking import lock_customer

DEFAULT_FUNNEL = "default"
DEFAULT_STAGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("AWARENESS", "Awareness", ()),
    ("CONSIDERATION", "Consideration", ()),
    ("TRIAL", "Trial", ()),
    ("CUSTOMER", "Customer", ("Retained", "Upgraded", "Churned")),
)
_STAGE_SLUG = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,59}", re.ASCII)


def make_default_funnel(workspace_id: int) -> Funnel:
    """The funnel of a new workspace."""
    funnel = Funnel.objects.create(workspace_id=workspace_id, slug=DEFAULT_FUNNEL, name="Funnel")
    _add_stages(funnel, DEFAULT_STAGES)
    return funnel


def _add_stages(funnel: Funnel, stages: Sequence[tuple[str, str, Sequence[str]]]) -> None:
    Stage.objects.bulk_create(
        Stage(workspace_id=funnel.workspace_id, funnel=funnel, slug=slug, name=name, order=order, buckets=list(buckets))
        for order, (slug, name, buckets) in enumerate(stages, start=1)
    )


def create_funnel(*, actor: Actor, name: str, slug: str = "") -> Funnel:
    """A further funnel, without stages. `conflict` when its slug is taken."""
    actor.require("edit")
    name = _name(name)
    slug = clean_slug(slug or name, "funnel")
    try:
        with transaction.atomic():
            funnel = Funnel.objects.create(workspace_id=actor.workspace_id, slug=slug, name=name)
            audit.record(actor, "funnel.create", funnel.public_id, after={"slug": slug})
    except IntegrityError:
        message = f"There is a funnel “{slug}” already; choose another slug."
        raise Refusal("conflict", message, {"slug": slug}) from None
    return funnel


def rename_funnel(*, actor: Actor, funnel: Funnel, name: str) -> Funnel:
    """Give a funnel another name; its slug stays, since definitions name it."""
    actor.require("edit")
    with transaction.atomic():
        before, funnel.name = {"name": funnel.name}, _name(name)
        funnel.save(update_fields=["name"])
        audit.record(actor, "funnel.update", funnel.public_id, before, {"name": funnel.name})
    return funnel


def create_stage(*, actor: Actor, funnel: Funnel, slug: str, name: str = "", buckets: Sequence[str] = ()) -> Stage:
    """A further stage, after the last one of its funnel."""
    actor.require("edit")
    if not isinstance(slug, str) or not _STAGE_SLUG.fullmatch(slug):
        raise refused_fields({"slug": ["must begin with a letter and have letters, digits, _ or -, at most 60"]})
    with transaction.atomic():
        Funnel.objects.select_for_update(no_key=True).get(pk=funnel.pk)
        stages = list(Stage.objects.filter(funnel=funnel).order_by("order"))
        if any(stage.slug.lower() == slug.lower() for stage in stages):
            raise Refusal("conflict", f"The funnel has a stage “{slug}” already; choose another slug.", {"slug": slug})
        order = stages[-1].order + 1 if stages else 1
        title = _name(name or slug)
        stage = Stage(workspace_id=actor.workspace_id, funnel=funnel, slug=slug, name=title, order=order)
        stage.buckets = _buckets(buckets)
        stage.save(force_insert=True)
        audit.record(actor, "stage.create", stage.public_id, after={"slug": slug})
    return stage


def update_stage(*, actor: Actor, stage: Stage, changes: Mapping[str, Any]) -> Stage:
    """Change `name` or `buckets`; past entries keep the bucket they carry."""
    actor.require("edit")
    with transaction.atomic():
        before = {"name": stage.name, "buckets": stage.buckets}
        stage.name = _name(changes.get("name", stage.name))
        stage.buckets = _buckets(changes.get("buckets", stage.buckets))
        stage.save(update_fields=["name", "buckets"])
        audit.record(actor, "stage.update", stage.public_id, before, {"name": stage.name, "buckets": stage.buckets})
    return stage


def _name(value: Any) -> str:
    try:
        name = clean_text(value, 200)
        if not name:
            raise Wrong("must not be empty")
    except Wrong as wrong:
        raise refused_fields({"name": [str(wrong)]}) from None
    return name


def _buckets(values: Sequence[str]) -> list[str]:
    try:
        buckets = [clean_text(value, 60) for value in values]
        if len(buckets) > 50 or not all(buckets) or len({bucket.lower() for bucket in buckets}) != len(buckets):
            raise Wrong("must be at most 50 different names")
    except Wrong as wrong:
        raise refused_fields({"buckets": [str(wrong)]}) from None
    return buckets


def find_stage(workspace_id: int, name: str) -> Stage:
    """A stage by id (`stg_3`), by `funnel/stage`, or by its slug alone, in any case; of several funnels the oldest
    counts."""
    stages = Stage.objects.filter(workspace_id=workspace_id)
    number = read_id("stg", name)
    if number is not None:
        stages = stages.filter(pk=number)
    elif "/" in name:
        funnel, slug = name.split("/", 1)
        stages = stages.filter(funnel__slug=funnel, slug__iexact=slug)
    else:
        stages = stages.filter(slug__iexact=name)
    stage = stages.order_by("funnel_id").first()
    if stage is None:
        raise not_found("stage", name[:80])
    return stage


def enter_stage(
    *, actor: Actor, customer_id: int, stage: Stage | str, bucket: str = "", cause: int | None = None
) -> tuple[StageEntry, bool]:
    """Move a customer to a stage of a funnel. Where it stands there already, with that bucket, nothing happens and the
    open entry is the answer with False; else the old stay ends, a new one begins and `stage.entered` is announced
    (BIL-16)."""
    actor.require("customers")
    target = stage if isinstance(stage, Stage) else find_stage(actor.workspace_id, stage)
    if target.workspace_id != actor.workspace_id:
        raise not_found("stage", target.public_id)
    bucket = _known_bucket(target, bucket)
    with transaction.atomic():
        customer = lock_customer(customer_id, actor.workspace_id)
        opened = StageEntry.objects.filter(customer=customer, funnel_id=target.funnel_id, left_at=None).first()
        if opened is not None and opened.stage_id == target.pk and opened.bucket == bucket:
            return opened, False
        now = evaluation_now()
        if opened is not None:
            opened.left_at = max(now, opened.at)
            opened.save(update_fields=["left_at"])
        entry = _enter(customer, target, bucket, now)
        audit.record(actor, "customer.stage", customer.public_id, after={"stage": target.slug, "bucket": bucket})
        announce(_entered(entry, target, cause))
    return entry, True


def _enter(customer: Customer, stage: Stage, bucket: str, now: Any) -> StageEntry:
    customer.facts = {**customer.facts, "stage": stage.slug, "bucket": bucket or None}
    customer.save(update_fields=["facts"])
    return StageEntry.objects.create(
        workspace_id=customer.workspace_id,
        customer=customer,
        funnel_id=stage.funnel_id,
        stage=stage,
        bucket=bucket,
        at=now,
    )


def _entered(entry: StageEntry, stage: Stage, cause: int | None) -> Announcement:
    data = {"entry": entry.pk, "funnel": stage.funnel.slug, "stage": stage.slug, "bucket": entry.bucket}
    return Announcement("stage.entered", entry.workspace_id, entry.customer_id, data, cause)


def _known_bucket(stage: Stage, bucket: str) -> str:
    if not bucket:
        return ""
    for known in stage.buckets:
        if known.lower() == bucket.lower():
            return str(known)
    names = ", ".join(stage.buckets) or "none"
    raise Refusal(
        "unknown_reference", f"{stage.slug} has no bucket “{bucket[:60]}”; it has {names}.", {"buckets": stage.buckets}
    )
