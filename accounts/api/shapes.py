"""The objects of accounts as the API shows them. The serializers describe them in the OpenAPI document; the functions
write them, a page at a time, with a fixed number of queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework import serializers

from accounts.api.serializers import stamp
from accounts.ids import optional_id, public_id
from accounts.models import ApiKey, Audit, Customer, Funnel, Stage, Task, User, Workspace
from accounts.permissions import SCOPES
from accounts.services.fields import camel
from accounts.services.tags import tags_of

Out = serializers.Serializer[Any]
Shown = dict[str, Any]


class CustomerOut(Out):
    """A customer; `profile` in funnels is the same."""

    id = serializers.CharField()
    externalId = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    email = serializers.CharField(allow_null=True)
    segment = serializers.CharField(allow_null=True)
    plan = serializers.CharField(allow_null=True)
    country = serializers.CharField(allow_null=True)
    timeZone = serializers.CharField(allow_null=True)
    locale = serializers.CharField(allow_null=True)
    owner = serializers.CharField(allow_null=True, help_text="E-mail address of the account owner.")
    tags = serializers.ListField(child=serializers.CharField())
    metadata = serializers.DictField(child=serializers.CharField())
    stage = serializers.CharField(allow_null=True)
    bucket = serializers.CharField(allow_null=True)
    subscriptionStatus = serializers.CharField(allow_null=True)
    pageviewCount = serializers.IntegerField()
    facts = serializers.DictField()
    identifiedAt = serializers.CharField(allow_null=True)
    erasedAt = serializers.CharField(allow_null=True)
    mergedInto = serializers.CharField(allow_null=True)
    createdAt = serializers.CharField()
    updatedAt = serializers.CharField()


def customers(rows: Sequence[Customer]) -> list[Shown]:
    """A page of customers; two further queries, for tags and owners."""
    tags = tags_of([row.pk for row in rows])
    owners = emails_of({row.owner_id for row in rows})
    return [_customer(row, tags[row.pk], owners) for row in rows]


def _customer(row: Customer, tags: list[str], owners: Mapping[int | None, str]) -> Shown:
    texts = ("external_id", "name", "email", "segment", "plan", "country", "time_zone", "locale")
    shown: Shown = {"id": row.public_id} | {camel(name): getattr(row, name) or None for name in texts}
    facts = row.facts
    return shown | {
        "owner": owners.get(row.owner_id),
        "tags": tags,
        "metadata": row.metadata,
        "stage": facts.get("stage"),
        "bucket": facts.get("bucket"),
        "subscriptionStatus": facts.get("subscriptionStatus"),
        "pageviewCount": facts.get("pageviewCount", 0),
        "facts": facts,
        "identifiedAt": stamp(row.identified_at),
        "erasedAt": stamp(row.erased_at),
        "mergedInto": optional_id("cus", row.merged_into_id),
        "createdAt": stamp(row.created_at),
        "updatedAt": stamp(row.updated_at),
    }


def emails_of(numbers: set[int | None]) -> dict[int | None, str]:
    """Addresses of people, one query, none for nobody."""
    wanted = {number for number in numbers if number is not None}
    return dict(User.objects.filter(pk__in=wanted).values_list("id", "email")) if wanted else {}


class StageOut(Out):
    """A stage of a funnel."""

    id = serializers.CharField()
    slug = serializers.CharField()
    name = serializers.CharField()
    funnel = serializers.CharField()
    order = serializers.IntegerField()
    buckets = serializers.ListField(child=serializers.CharField())
    createdAt = serializers.CharField()


def stages(rows: Sequence[Stage]) -> list[Shown]:
    """Stages whose funnel was read with them."""
    return [
        {
            "id": row.public_id,
            "slug": row.slug,
            "name": row.name,
            "funnel": row.funnel.slug,
            "order": row.order,
            "buckets": row.buckets,
            "createdAt": stamp(row.created_at),
        }
        for row in rows
    ]


class FunnelOut(Out):
    """A funnel with its stages in order."""

    id = serializers.CharField()
    slug = serializers.CharField()
    name = serializers.CharField()
    stages = StageOut(many=True)
    createdAt = serializers.CharField()


def funnels(rows: Sequence[Funnel]) -> list[Shown]:
    """A page of funnels; one further query for all their stages."""
    of: dict[int, list[Stage]] = {row.pk: [] for row in rows}
    for stage in Stage.objects.filter(funnel__in=rows).select_related("funnel").order_by("funnel_id", "order"):
        of[stage.funnel_id].append(stage)
    return [
        {
            "id": row.public_id,
            "slug": row.slug,
            "name": row.name,
            "stages": stages(of[row.pk]),
            "createdAt": stamp(row.created_at),
        }
        for row in rows
    ]


class StageEntryOut(Out):
    """Where the customer stands now in that funnel."""

    customer = serializers.CharField()
    funnel = serializers.CharField()
    stage = serializers.CharField()
    bucket = serializers.CharField(allow_null=True)
    at = serializers.CharField()
    changed = serializers.BooleanField(help_text="False: the customer stood there already.")


class TaskOut(Out):
    """A task for a person."""

    id = serializers.CharField()
    title = serializers.CharField()
    message = serializers.CharField()
    assignee = serializers.CharField(allow_null=True)
    state = serializers.ChoiceField(choices=["open", "done"])
    dueAt = serializers.CharField(allow_null=True)
    customer = serializers.CharField(allow_null=True)
    subject = serializers.DictField(child=serializers.CharField())
    executionId = serializers.CharField(allow_null=True)
    createdAt = serializers.CharField()
    doneAt = serializers.CharField(allow_null=True)
    doneBy = serializers.CharField(allow_null=True)


SUBJECT_PREFIX = {"customer": "cus", "invoice": "inv", "subscription": "sub", "payment": "pay"}


def tasks(rows: Sequence[Task]) -> list[Shown]:
    """A page of tasks; one further query for the people who finished them."""
    people = emails_of({row.done_by_id for row in rows})
    return [
        {
            "id": row.public_id,
            "title": row.title,
            "message": row.message,
            "assignee": row.assignee or None,
            "state": row.state,
            "dueAt": stamp(row.due_at),
            "customer": optional_id("cus", row.customer_id),
            "subject": {k: public_id(SUBJECT_PREFIX[k], v) for k, v in row.subjects.items() if k in SUBJECT_PREFIX},
            "executionId": optional_id("exec", row.run_id),
            "createdAt": stamp(row.created_at),
            "doneAt": stamp(row.done_at),
            "doneBy": people.get(row.done_by_id),
        }
        for row in rows
    ]


class WorkspaceOut(Out):
    """The workspace of the caller."""

    id = serializers.CharField()
    slug = serializers.CharField()
    name = serializers.CharField()
    plan = serializers.CharField()
    currency = serializers.CharField()
    timeZone = serializers.CharField()
    defaults = serializers.DictField()
    webhookSecret = serializers.CharField(allow_null=True, help_text="Only for those who may change it.")
    createdAt = serializers.CharField()
    updatedAt = serializers.CharField()


def workspace(row: Workspace, *, secret: bool) -> Shown:
    """The workspace, with its signing secret for administrators only."""
    return {
        "id": row.public_id,
        "slug": row.slug,
        "name": row.name,
        "plan": row.plan,
        "currency": row.currency,
        "timeZone": row.time_zone,
        "defaults": row.defaults,
        "webhookSecret": row.webhook_secret if secret else None,
        "createdAt": stamp(row.created_at),
        "updatedAt": stamp(row.updated_at),
    }


class ApiKeyOut(Out):
    """An API key without its secret."""

    id = serializers.CharField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=SCOPES))
    madeBy = serializers.CharField(allow_null=True)
    expiresAt = serializers.CharField(allow_null=True)
    revokedAt = serializers.CharField(allow_null=True)
    lastUsedAt = serializers.CharField(allow_null=True)
    createdAt = serializers.CharField()


class ApiKeyMade(ApiKeyOut):
    """A new API key; `secret` is the whole key and is shown this once."""

    secret = serializers.CharField()


def api_keys(rows: Sequence[ApiKey]) -> list[Shown]:
    """A page of keys; one further query for their makers."""
    makers = emails_of({row.made_by_id for row in rows})
    return [
        {
            "id": row.public_id,
            "name": row.name,
            "prefix": row.prefix,
            "scopes": row.scopes,
            "madeBy": makers.get(row.made_by_id),
            "expiresAt": stamp(row.expires_at),
            "revokedAt": stamp(row.revoked_at),
            "lastUsedAt": stamp(row.last_used_at),
            "createdAt": stamp(row.created_at),
        }
        for row in rows
    ]


class AuditOut(Out):
    """One entry of the audit log."""

    id = serializers.IntegerField()
    at = serializers.CharField()
    actor = serializers.CharField()
    user = serializers.CharField(allow_null=True)
    apiKey = serializers.CharField(allow_null=True)
    execution = serializers.CharField(allow_null=True)
    action = serializers.CharField()
    object = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


def audits(rows: Sequence[Audit]) -> list[Shown]:
    """A page of the audit log; no further query."""
    return [
        {
            "id": row.pk,
            "at": stamp(row.at),
            "actor": row.actor,
            "user": optional_id("usr", row.user_id),
            "apiKey": optional_id("key", row.key_id),
            "execution": optional_id("exec", row.run_id),
            "action": row.action,
            "object": row.object,
            "before": row.before,
            "after": row.after,
        }
        for row in rows
    ]
