"""`/products`, `/prices`, `/customers/cus_/payment-methods` (CONTRACTS 8)."""

from __future__ import annotations

from rest_framework import serializers

from accounts.api.base import (
    ApiView,
    ReferenceField,
    Request,
    Response,
    StrictSerializer,
    actor_of,
    describe,
    list_response,
    page,
    parse,
)
from accounts.errors import not_found
from accounts.ids import parse_id
from accounts.models import Customer
from billing.api import shapes
from billing.api.fields import AmountField, external_id_field, metadata_field, numbers
from billing.api.finding import find, narrowed, rows_of
from billing.models import INTERVALS, PaymentMethod, Price, Product
from billing.services.catalog import create_payment_method, create_price, create_product


class ProductIn(StrictSerializer):
    """A new product."""

    name = serializers.CharField(max_length=200)
    external_id = external_id_field()
    metadata = metadata_field()


class PriceIn(StrictSerializer):
    """A new price of a product."""

    product = ReferenceField("prod")
    amount = AmountField()
    currency = serializers.CharField(max_length=3)
    interval = serializers.ChoiceField(choices=INTERVALS, default="monthly")
    external_id = external_id_field()
    metadata = metadata_field()


class PaymentMethodIn(StrictSerializer):
    """A card of the test gateway."""

    card = serializers.CharField(max_length=200)
    default = serializers.BooleanField(default=False)


class Products(ApiView):
    """All products, and making one."""

    scopes = {"GET": "read", "POST": "billing"}
    filters = ("externalId",)

    @describe(
        "products_list",
        "Products, newest first",
        answer=page("products", shapes.ProductOut),
        query=filters,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """Newest first."""
        return list_response(request, narrowed(request, rows_of(request, Product), {}), "products", shapes.products)

    @describe(
        "products_create",
        "Make a product",
        request=ProductIn,
        answer=shapes.ProductOut,
        status=201,
        codes=("conflict",),
    )
    def post(self, request: Request) -> Response:
        """`externalId` must be free."""
        product = create_product(actor=actor_of(request), **parse(request, ProductIn))
        return Response(shapes.products([product])[0], status=201)


class OneProduct(ApiView):
    """A product."""

    scope = "read"

    @describe("products_read", "A product", answer=shapes.ProductOut)
    def get(self, request: Request, product: str) -> Response:
        """By id."""
        return Response(shapes.products([find(request, Product, product)])[0])


class Prices(ApiView):
    """All prices, and making one."""

    scopes = {"GET": "read", "POST": "billing"}
    filters = ("product", "externalId")

    @describe("prices_list", "Prices, newest first", answer=page("prices", shapes.PriceOut), query=filters, paged=True)
    def get(self, request: Request) -> Response:
        """`product` is an id."""
        rows = narrowed(request, rows_of(request, Price), {"product": ("prod", "product_id")})
        return list_response(request, rows, "prices", shapes.prices)

    @describe(
        "prices_create",
        "Make a price",
        request=PriceIn,
        answer=shapes.PriceOut,
        status=201,
        codes=("conflict", "unknown_reference"),
    )
    def post(self, request: Request) -> Response:
        """An amount once (`one_time`) or per interval."""
        actor, values = actor_of(request), parse(request, PriceIn)
        (number,) = numbers(actor, Product, [values.pop("product")], "product", "prod")
        price = create_price(actor=actor, product_id=number, **values)
        return Response(shapes.prices([price])[0], status=201)


class OnePrice(ApiView):
    """A price."""

    scope = "read"

    @describe("prices_read", "A price", answer=shapes.PriceOut)
    def get(self, request: Request, price: str) -> Response:
        """By id."""
        return Response(shapes.prices([find(request, Price, price)])[0])


class PaymentMethods(ApiView):
    """The payment methods of a customer, and adding one."""

    scopes = {"GET": "read", "POST": "billing"}

    @describe(
        "customers_payment_methods",
        "Payment methods of a customer",
        answer=page("paymentMethods", shapes.PaymentMethodOut),
        paged=True,
    )
    def get(self, request: Request, customer: str) -> Response:
        """Newest first; one of them is the default."""
        rows = rows_of(request, PaymentMethod).filter(customer_id=_customer(request, customer))
        return list_response(request, rows, "paymentMethods", shapes.payment_methods)

    @describe(
        "customers_add_payment_method",
        "Add a card of the test gateway",
        request=PaymentMethodIn,
        answer=shapes.PaymentMethodOut,
        status=201,
        codes=("wrong_state",),
    )
    def post(self, request: Request, customer: str) -> Response:
        """The first one of a customer is the default, whatever is asked. No money moves with these cards."""
        values = parse(request, PaymentMethodIn)
        method = create_payment_method(actor=actor_of(request), customer_id=_customer(request, customer), **values)
        return Response(shapes.payment_methods([method])[0], status=201)


def _customer(request: Request, name: str) -> int:
    number = parse_id("cus", name)
    if not Customer.objects.filter(workspace_id=actor_of(request).workspace_id, pk=number).exists():
        raise not_found("customer", name)
    return number
