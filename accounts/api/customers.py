"""`/customers` with stage, tags, consent, merging, export and erasure (CONTRACTS 8)."""

from __future__ import annotations

from typing import Any

from django.db.models import Q
from django.db.models.functions import Lower
from rest_framework import serializers

from accounts.api import shapes
from accounts.api.base import (
    ApiView,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    actor_of,
    describe,
    free,
    list_response,
    page,
    parse,
)
from accounts.errors import Refusal, not_found
from accounts.ids import parse_id, public_id, read_id
from accounts.models import Customer, Membership
from accounts.services.consent import record_consent
from accounts.services.customers import create_customer, update_customer
from accounts.services.erasure import erase_customer, export_customer
from accounts.services.lifecycle import identify_customer, merge_customers
from accounts.services.resolving import CustomerRef, resolve_customers
from accounts.services.stages import enter_stage
from accounts.services.tags import add_tag, remove_tag


class CustomerIn(StrictSerializer):
    """Fields of a customer; `null` clears, `metadata` is merged key by key."""

    external_id = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    name = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    email = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    segment = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    plan = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    country = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    time_zone = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    locale = serializers.CharField(required=False, allow_null=True, allow_blank=True)
    owner = serializers.CharField(required=False, allow_null=True, help_text="usr_ id or e-mail address of a member.")
    metadata = serializers.DictField(required=False, child=serializers.JSONField(allow_null=True))


class StageIn(StrictSerializer):
    """`stage` is an id, a slug or `funnel/stage`."""

    stage = serializers.CharField(max_length=130)
    bucket = serializers.CharField(required=False, allow_blank=True, allow_null=True, max_length=60)


class ConsentIn(StrictSerializer):
    """`topic` "" is all mail."""

    state = serializers.ChoiceField(choices=["subscribed", "unsubscribed"])
    topic = serializers.CharField(required=False, allow_blank=True, max_length=100, default="")


class MergeIn(StrictSerializer):
    """The customer that stays."""

    into = ReferenceField("cus", email=True)


class ConsentOut(shapes.Out):
    """The consent of the customer's own address."""

    address = serializers.CharField()
    topic = serializers.CharField(allow_blank=True)
    state = serializers.ChoiceField(choices=["subscribed", "unsubscribed"])
    changed = serializers.BooleanField()


def fields_of(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """The service's fields: the owner is named by id or address."""
    if "owner" not in values:
        return values
    name = values.pop("owner")
    values["owner_id"] = _member(request, name) if name else None
    return values


def _member(request: Request, name: str) -> int:
    number = read_id("usr", name)
    wanted = {"user_id": number} if number is not None else {"user__email": name.strip().lower()}
    rows = Membership.objects.filter(workspace_id=actor_of(request).workspace_id, **wanted)
    found = rows.values_list("user_id", flat=True).first()
    if found is None:
        raise Refusal("unknown_reference", f"There is no member “{name[:80]}” in this workspace.", {"owner": name[:80]})
    return found


def find(request: Request, name: str) -> Customer:
    """The customer of an address; unknown and foreign ones are 404."""
    number = parse_id("cus", name)
    row = Customer.objects.filter(workspace_id=actor_of(request).workspace_id, pk=number).first()
    if row is None:
        raise not_found("customer", name)
    return row


def shown(row: Customer, status: int = 200) -> Response:
    """One customer as an answer."""
    return Response(shapes.customers([row])[0], status=status)


class Customers(ApiView):
    """All customers, and making one."""

    scopes = {"GET": "read", "POST": "customers"}
    filters = ("email", "externalId", "tag", "stage", "segment")

    @describe(
        "customers_list",
        "Customers, newest first",
        answer=page("customers", shapes.CustomerOut),
        query=filters,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """Records merged into others are left out."""
        rows = Customer.objects.filter(workspace_id=actor_of(request).workspace_id, merged_into=None)
        for name, column in _FILTERS.items():
            value = request.query_params.get(name)
            if value:
                rows = rows.filter(**{column: value})
        email = request.query_params.get("email")
        if email:  # as the unique index has it
            rows = rows.annotate(address=Lower("email")).filter(~Q(email=""), address=email.lower(), erased_at=None)
        return list_response(request, rows, "customers", shapes.customers)

    @describe(
        "customers_create",
        "Make a customer",
        request=CustomerIn,
        answer=shapes.CustomerOut,
        status=201,
        codes=("customer_conflict", "unknown_reference"),
    )
    def post(self, request: Request) -> Response:
        """Needs an e-mail address or an external id."""
        values = fields_of(request, parse(request, CustomerIn))
        return shown(create_customer(actor=actor_of(request), fields=values), 201)


_FILTERS = {
    "externalId": "external_id",
    "tag": "customer_tags__tag__slug",
    "stage": "facts__stage__iexact",
    "segment": "segment",
}


class OneCustomer(ApiView):
    """A customer: read, change, erase."""

    scopes = {"GET": "read", "PATCH": "customers", "DELETE": "customers"}

    @describe("customers_read", "A customer", answer=shapes.CustomerOut)
    def get(self, request: Request, customer: str) -> Response:
        """Also erased and merged ones, which say so."""
        return shown(find(request, customer))

    @describe(
        "customers_update",
        "Change a customer",
        request=CustomerIn,
        answer=shapes.CustomerOut,
        codes=("customer_conflict", "unknown_reference", "wrong_state"),
    )
    def patch(self, request: Request, customer: str) -> Response:
        """An anonymous visitor that gets an address is identified by it, and merged when it is known already."""
        values = fields_of(request, parse(request, CustomerIn, partial=True))
        row, actor = find(request, customer), actor_of(request)
        names_it = values.get("email") or values.get("external_id")
        if row.identified_at is None and row.merged_into_id is None and row.erased_at is None and names_it:
            return shown(identify_customer(actor=actor, customer_id=row.pk, fields=values))
        return shown(update_customer(actor=actor, customer_id=row.pk, fields=values))

    @describe("customers_erase", "Erase a customer's personal data", answer=shapes.CustomerOut, codes=("wrong_state",))
    def delete(self, request: Request, customer: str) -> Response:
        """The row stays with a placeholder (SUP-06); export first what has to be kept."""
        return shown(erase_customer(actor=actor_of(request), customer_id=parse_id("cus", customer)))


class CustomerStage(ApiView):
    """The customer's stage."""

    scope = "customers"

    @describe(
        "customers_stage",
        "Move a customer to a stage",
        request=StageIn,
        answer=shapes.StageEntryOut,
        codes=("unknown_reference", "wrong_state"),
    )
    def put(self, request: Request, customer: str) -> Response:
        """Twice the same is one entry (BIL-16)."""
        values = parse(request, StageIn)
        row = find(request, customer)
        entry, changed = enter_stage(
            actor=actor_of(request), customer_id=row.pk, stage=values["stage"], bucket=values.get("bucket") or ""
        )
        return Response(
            {
                "customer": row.public_id,
                "funnel": entry.funnel.slug,
                "stage": entry.stage.slug,
                "bucket": entry.bucket or None,
                "at": shapes.stamp(entry.at),
                "changed": changed,
            }
        )


class CustomerTags(ApiView):
    """One tag of a customer."""

    scope = "customers"

    @describe("customers_tag", "Add a tag", answer=shapes.CustomerOut, status=200, codes=("invalid", "wrong_state"))
    def post(self, request: Request, customer: str, tag: str) -> Response:
        """Made at its first use; twice is once."""
        parse(request, StrictSerializer)
        row = find(request, customer)
        add_tag(actor=actor_of(request), customer_id=row.pk, tag=tag)
        return shown(row)

    @describe("customers_untag", "Take a tag away", answer=shapes.CustomerOut, codes=("invalid", "wrong_state"))
    def delete(self, request: Request, customer: str, tag: str) -> Response:
        """Nothing happens when the customer does not have it."""
        row = find(request, customer)
        remove_tag(actor=actor_of(request), customer_id=row.pk, tag=tag)
        return shown(row)


class CustomerConsent(ApiView):
    """Consent of the customer's own address."""

    scope = "customers"

    @describe(
        "customers_consent", "Subscribe or unsubscribe", request=ConsentIn, answer=ConsentOut, codes=("wrong_state",)
    )
    def put(self, request: Request, customer: str) -> Response:
        """Explicit, never by an event (SUP-10)."""
        values = parse(request, ConsentIn)
        row = find(request, customer)
        if not row.email:
            raise Refusal("wrong_state", f"{row.public_id} has no e-mail address, so there is nothing to consent to.")
        changed = record_consent(actor=actor_of(request), address=row.email, customer_id=row.pk, reason="api", **values)
        return Response({"address": row.email.lower(), **values, "changed": changed})


class CustomerMerge(ApiView):
    """Two records of one person."""

    scope = "customers"

    @describe(
        "customers_merge",
        "Merge a customer into another",
        request=MergeIn,
        answer=shapes.CustomerOut,
        codes=("unknown_reference", "wrong_state"),
    )
    def post(self, request: Request, customer: str) -> Response:
        """The answer is the one that stays."""
        into, actor = parse(request, MergeIn)["into"], actor_of(request)
        row = find(request, customer)
        ref = CustomerRef(into.number, into.external_id, into.email)
        target = resolve_customers(workspace_id=actor.workspace_id, refs=[ref], make=False)[0]
        if isinstance(target, Refusal):
            raise target
        return shown(merge_customers(actor=actor, source_id=row.pk, into_id=target))


class CustomerExport(ApiView):
    """What is held of a person."""

    scope = "customers"

    @describe("customers_export", "All data of a customer as one document", answer=free("The export."))
    def get(self, request: Request, customer: str) -> Response:
        """To be made before an erasure (SUP-06)."""
        number = parse_id("cus", customer)
        document = export_customer(actor=actor_of(request), customer_id=number)
        name = f'attachment; filename="{public_id("cus", number)}.json"'
        return Response(document, headers={"Content-Disposition": name})
