"""Making Northwind Cloud: members, customers, prices, then eight months of subscriptions, invoices and payments."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from django.conf import settings
from django.db.models import Count

from accounts.actor import Actor
from accounts.clock import evaluation_now, set_clock
from accounts.errors import Refusal
from accounts.models import Customer, User, Workspace
from accounts.permissions import scopes_of
from accounts.services.customers import create_customer
from accounts.services.keys import create_api_key
from accounts.services.stages import enter_stage
from accounts.services.tags import TagRequest, add_tags
from accounts.services.workspaces import add_member, create_workspace
from billing.demo.people import people
from billing.models import Invoice, Payment, Price, Product, Subscription
from billing.services.catalog import create_payment_method, create_price, create_product
from billing.services.drafts import NewLine, create_invoice
from billing.services.invoices import finalize_invoice, mark_uncollectible, void_invoice
from billing.services.overdue import sweep_overdue
from billing.services.payments import pay_invoice, record_payment
from billing.services.subscriptions import NewItem, cancel_subscription, create_subscription

SLUG = "northwind"
OWNER = "mara@northwind.example"
MEMBERS = (
    ("vik@northwind.example", "Vik Viewer", "viewer"),
    ("oda@northwind.example", "Oda Operator", "operator"),
    ("ed@northwind.example", "Ed Editor", "editor"),
    ("pia@northwind.example", "Pia Publisher", "publisher"),
)
CUSTOMERS, SUBSCRIPTIONS, MONTHS = 60, 45, 8
PRICES = (
    ("Cloud Starter", "19.00", "monthly"),
    ("Cloud Starter", "190.00", "yearly"),
    ("Cloud Team", "79.00", "monthly"),
    ("Cloud Team", "790.00", "yearly"),
    ("Priority support", "49.00", "monthly"),
)
CARDS = ("card_ok", "card_ok", "card_ok", "card_ok", "card_soft_then_ok", "card_decline_soft", "card_decline_hard")


@dataclass
class Story:
    """The workspace while it is being made. The random source is seeded, so every installation tells the same story."""

    actor: Actor
    random: Random = field(default_factory=lambda: Random(20261120))
    customers: list[Customer] = field(default_factory=list)
    prices: list[Price] = field(default_factory=list)
    subscriptions: list[Subscription] = field(default_factory=list)
    billed: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class Made:
    """What was made, and the one moment at which its secrets are readable."""

    workspace: Workspace
    key: str
    counts: dict[str, int]


def make_demo(password: str) -> Made:
    """Make the workspace; `conflict` when it is there. With a movable clock its history lies in the past months, else it all
    happens now."""
    owner = User.objects.filter(email=OWNER).first() or User.objects.create_superuser(OWNER, password, name="Mara Lind")
    workspace = create_workspace(
        name="Northwind Cloud", slug=SLUG, owner=owner, currency="EUR", time_zone="Europe/Berlin"
    )
    actor = Actor(workspace.pk, scopes_of("owner"), user_id=owner.pk, label=OWNER)
    for email, name, role in MEMBERS:
        add_member(actor=actor, email=email, name=name, role=role)
    story = Story(actor)
    moved = _go_back(timedelta(days=30 * MONTHS))
    _catalogue(story)
    fields = list(people(CUSTOMERS, story.random))
    for month in range(MONTHS):
        _month(story, month, fields)
        if moved:
            set_clock("+30d" if month < MONTHS - 1 else "+29d")
            sweep_overdue()
    if moved:
        set_clock("real")
    key = create_api_key(actor=actor, name="Demo", scopes=sorted(scopes_of("owner")))[1]
    return Made(workspace, key, _counts(workspace))


def _go_back(span: timedelta) -> bool:
    """Begin in the past, where this installation's clock may be moved and no run stands in the way."""
    if not settings.ONWARD_ALLOW_CLOCK:
        return False
    try:
        set_clock((evaluation_now() - span).isoformat())
    except Refusal:
        return False
    return True


def _catalogue(story: Story) -> None:
    products: dict[str, int] = {}
    for name, amount, interval in PRICES:
        if name not in products:
            products[name] = create_product(actor=story.actor, name=name).pk
        price = create_price(
            actor=story.actor, product_id=products[name], amount=amount, currency="EUR", interval=interval
        )
        story.prices.append(price)


def _month(story: Story, month: int, fields: list[dict[str, Any]]) -> None:
    """New customers and subscriptions, then the invoices of this month for all that run."""
    for person in fields[month * CUSTOMERS // MONTHS : (month + 1) * CUSTOMERS // MONTHS]:
        _welcome(story, person)
    for subscription in story.subscriptions:
        _bill(story, subscription)
    if month == MONTHS - 1:
        for subscription in story.subscriptions[:4]:
            cancel_subscription(actor=story.actor, subscription_id=subscription.pk)


def _welcome(story: Story, person: dict[str, Any]) -> None:
    plan = "pro" if story.random.random() < 0.6 else "hobby"
    customer = create_customer(actor=story.actor, fields={**person, "plan": plan, "owner_id": story.actor.user_id})
    story.customers.append(customer)
    card = story.random.choice(CARDS)
    create_payment_method(actor=story.actor, customer_id=customer.pk, card=card, default=True)
    stage, bucket = story.random.choice(
        (("CONSIDERATION", ""), ("TRIAL", ""), ("CUSTOMER", "Retained"), ("CUSTOMER", "Upgraded"))
    )
    if len(story.customers) * SUBSCRIPTIONS // CUSTOMERS > len(story.subscriptions):
        stage, bucket = "CUSTOMER", "Retained"
        story.subscriptions.append(_subscribe(story, customer))
    enter_stage(actor=story.actor, customer_id=customer.pk, stage=stage, bucket=bucket)
    if story.random.random() < 0.3:
        add_tags(
            [TagRequest(story.actor.workspace_id, customer.pk, story.random.choice(("newsletter", "beta", "reseller")))]
        )


def _subscribe(story: Story, customer: Customer) -> Subscription:
    monthly = [price for price in story.prices if price.interval == "monthly"]
    yearly = [price for price in story.prices if price.interval == "yearly"]
    chosen = story.random.choice(yearly) if story.random.random() < 0.15 else story.random.choice(monthly)
    sent = story.random.random() < 0.3
    return create_subscription(
        actor=story.actor,
        customer_id=customer.pk,
        items=[NewItem(chosen.pk, story.random.choice((1, 1, 2, 5)))],
        collection_method="send_invoice" if sent else "charge_automatically",
    )


def _bill(story: Story, subscription: Subscription) -> None:
    """One invoice, and what the customer does about it."""
    item = subscription.items.select_related("price__product").get()
    price = item.price
    if price.interval == "yearly" and subscription.pk in story.billed:
        return  # once a year
    story.billed.add(subscription.pk)
    amount = price.amount * item.quantity
    invoice = create_invoice(
        actor=story.actor,
        customer_id=subscription.customer_id,
        subscription_id=subscription.pk,
        currency=price.currency,
        lines=[
            NewLine(
                f"{price.product.name}, {item.quantity} x {price.interval}",
                f"{amount / 100:.2f}",
                item.quantity,
                price.product_id,
            )
        ],
        due=(evaluation_now() + timedelta(days=14)).date(),
        collection_method=subscription.collection_method,
    )
    finalize_invoice(actor=story.actor, invoice_id=invoice.pk)
    _answer(story, invoice.pk)


def _answer(story: Story, invoice_id: int) -> None:
    """Most pay at once, some after a failure, some not at all; a few invoices are voided or written off."""
    luck = story.random.random()
    if luck < 0.12:
        record_payment(
            actor=story.actor,
            invoice_id=invoice_id,
            status="failed",
            failure_code="insufficient_funds",
            failure_reason="Insufficient funds",
        )
    if luck < 0.06:
        return
    if luck < 0.08:
        void_invoice(actor=story.actor, invoice_id=invoice_id)
    elif luck < 0.1:
        mark_uncollectible(actor=story.actor, invoice_id=invoice_id)
    elif luck < 0.95:
        pay_invoice(actor=story.actor, invoice_id=invoice_id)


def _counts(workspace: Workspace) -> dict[str, int]:
    """What there is now, for the command's answer."""
    models: dict[str, Any] = {
        "customers": Customer,
        "products": Product,
        "prices": Price,
        "subscriptions": Subscription,
        "invoices": Invoice,
        "payments": Payment,
    }
    return {
        name: model.objects.filter(workspace=workspace).aggregate(count=Count("pk"))["count"]
        for name, model in models.items()
    }
