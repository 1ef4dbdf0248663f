"""`/subscriptions` (CONTRACTS 8)."""

from __future__ import annotations

from rest_framework import serializers

from accounts.api.base import (
    ApiView,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    TimeField,
    actor_of,
    describe,
    list_response,
    page,
    parse,
)
from accounts.errors import invalid
from accounts.ids import parse_id
from billing.api import shapes
from billing.api.fields import customer_number, external_id_field, metadata_field, numbers
from billing.api.finding import find, narrowed, rows_of
from billing.models import COLLECTION_METHODS, Price, Subscription, SubscriptionStatus
from billing.services.subscriptions import (
    FIRST_STATUSES,
    NewItem,
    activate_subscription,
    cancel_subscription,
    create_subscription,
)


class ItemIn(StrictSerializer):
    """A price and how many of it."""

    price = ReferenceField("price")
    quantity = serializers.IntegerField(default=1, min_value=1, max_value=1_000_000)


class SubscriptionIn(StrictSerializer):
    """A new subscription. With `trialEnd` it is trialing, else active, unless `status` says otherwise."""

    customer = ReferenceField("cus", email=True)
    items = ItemIn(many=True)
    status = serializers.ChoiceField(choices=FIRST_STATUSES, required=False, allow_null=True)
    trial_end = TimeField(required=False, allow_null=True)
    collection_method = serializers.ChoiceField(choices=COLLECTION_METHODS, required=False)
    external_id = external_id_field()
    metadata = metadata_field()


class CancelSubscriptionIn(StrictSerializer):
    """When it ends."""

    at = serializers.ChoiceField(choices=["now", "period_end"], default="now")


class Subscriptions(ApiView):
    """All subscriptions, and making one."""

    scopes = {"GET": "read", "POST": "billing"}
    filters = ("status", "customer", "externalId")

    @describe(
        "subscriptions_list",
        "Subscriptions, newest first",
        answer=page("subscriptions", shapes.SubscriptionOut),
        query=filters,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """`customer` is an id."""
        rows = narrowed(request, rows_of(request, Subscription), {"customer": ("cus", "customer_id")})
        status = request.query_params.get("status")
        if status:
            if status not in SubscriptionStatus.values:
                raise invalid("status", f"choose one of {', '.join(SubscriptionStatus.values)}.")
            rows = rows.filter(status=status)
        return list_response(request, rows, "subscriptions", shapes.subscriptions)

    @describe(
        "subscriptions_create",
        "Make a subscription",
        request=SubscriptionIn,
        answer=shapes.SubscriptionOut,
        status=201,
        codes=("conflict", "unknown_reference", "wrong_state"),
    )
    def post(self, request: Request) -> Response:
        """Emits `subscription.created`, and `subscription.activated` when it begins active."""
        actor, values = actor_of(request), parse(request, SubscriptionIn)
        items = values.pop("items")
        prices = numbers(actor, Price, [item["price"] for item in items], "price", "price")
        chosen = [NewItem(price, item["quantity"]) for price, item in zip(prices, items, strict=True)]
        customer = customer_number(actor, values.pop("customer"))
        row = create_subscription(actor=actor, customer_id=customer, items=chosen, **values)
        return Response(shapes.subscriptions([row])[0], status=201)


class OneSubscription(ApiView):
    """A subscription."""

    scope = "read"

    @describe("subscriptions_read", "A subscription", answer=shapes.SubscriptionOut)
    def get(self, request: Request, subscription: str) -> Response:
        """By id."""
        return Response(shapes.subscriptions([find(request, Subscription, subscription)])[0])


class Cancel(ApiView):
    """The end of a subscription."""

    scope = "billing"

    @describe(
        "subscriptions_cancel",
        "Cancel a subscription, now or with its period",
        request=CancelSubscriptionIn,
        answer=shapes.SubscriptionOut,
        codes=("wrong_state",),
    )
    def post(self, request: Request, subscription: str) -> Response:
        """Now turns automatic collection off on its unpaid invoices."""
        number = parse_id("sub", subscription)
        row = cancel_subscription(
            actor=actor_of(request), subscription_id=number, **parse(request, CancelSubscriptionIn)
        )
        return Response(shapes.subscriptions([row])[0])


class Activate(ApiView):
    """From trialing, or another status, to active."""

    scope = "billing"

    @describe(
        "subscriptions_activate",
        "Activate a subscription",
        request=StrictSerializer,
        answer=shapes.SubscriptionOut,
        codes=("wrong_state",),
    )
    def post(self, request: Request, subscription: str) -> Response:
        """A trial ends at once."""
        parse(request, StrictSerializer)
        row = activate_subscription(actor=actor_of(request), subscription_id=parse_id("sub", subscription))
        return Response(shapes.subscriptions([row])[0])
