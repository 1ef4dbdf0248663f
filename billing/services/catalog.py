"""Products, prices and payment methods."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts import audit
from accounts.actor import Actor
from accounts.clock import evaluation_now
from accounts.errors import invalid
from automations.engine.registry import registry
from billing.models import INTERVALS, PaymentMethod, Price, Product
from billing.money import read_amount, read_currency
from billing.services.checks import changed_metadata, clean_external_id, find_all, hold_customer, insert


@transaction.atomic
def create_product(
    *, actor: Actor, name: str, external_id: str = "", metadata: Mapping[str, Any] | None = None
) -> Product:
    """A product under a name."""
    actor.require("billing")
    if not name.strip():
        raise invalid("name", "give the product a name.")
    now = evaluation_now()
    product = Product(
        workspace_id=actor.workspace_id,
        name=name.strip(),
        external_id=clean_external_id(external_id),
        metadata=changed_metadata({}, metadata),
        created_at=now,
        updated_at=now,
    )
    insert(product)
    audit.record(actor, "product.create", product.public_id, after={"name": product.name})
    return product


@transaction.atomic
def create_price(
    *,
    actor: Actor,
    product_id: int,
    amount: str | Decimal | int,
    currency: str,
    interval: str = "monthly",
    external_id: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Price:
    """A price of a product: `amount` of `currency`, once or per interval (BIL-09)."""
    actor.require("billing")
    find_all(Product, actor, [product_id], "product", "prod")
    if interval not in INTERVALS:
        raise invalid("interval", f"choose one of {', '.join(INTERVALS)}.")
    code = read_currency(currency)
    minor = read_amount(amount, code)
    if minor < 0:
        raise invalid("amount", "a price is not below zero.")
    now = evaluation_now()
    price = Price(
        workspace_id=actor.workspace_id,
        product_id=product_id,
        amount=minor,
        currency=code,
        interval=interval,
        external_id=clean_external_id(external_id),
        metadata=changed_metadata({}, metadata),
        created_at=now,
        updated_at=now,
    )
    insert(price)
    audit.record(actor, "price.create", price.public_id, after={"product": f"prod_{product_id}"})
    return price


@transaction.atomic
def create_payment_method(
    *, actor: Actor, customer_id: int, card: str, default: bool = False, gateway: str = "test", external_id: str = ""
) -> PaymentMethod:
    """A payment method on file. The first one of a customer is the default, whatever is asked; a new default replaces the
    old one. Refusal `invalid` for a card that the gateway does not know."""
    actor.require("billing")
    hold_customer(actor, customer_id)
    accepted = getattr(registry.gateways.get(gateway), "cards", None)
    if accepted is not None and card not in accepted:
        raise invalid("card", f"the test gateway knows the cards {', '.join(sorted(accepted))}.")
    others = PaymentMethod.objects.filter(workspace_id=actor.workspace_id, customer_id=customer_id)
    default = default or not others.filter(default=True).exists()
    now = evaluation_now()
    if default:
        others.filter(default=True).update(default=False, updated_at=now)
    method = PaymentMethod(
        workspace_id=actor.workspace_id,
        customer_id=customer_id,
        gateway=gateway,
        reference=card,
        fingerprint=hashlib.sha256(f"{gateway}:{customer_id}:{card}".encode()).hexdigest()[:32],
        default=default,
        external_id=clean_external_id(external_id),
        created_at=now,
        updated_at=now,
    )
    insert(method)
    audit.record(actor, "payment_method.create", method.public_id, after={"customer": f"cus_{customer_id}"})
    return method
