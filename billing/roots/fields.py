"""Fields of the billing roots (CONTRACTS 5): their JSON Schema types the variables for validator, builder and catalogue."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from automations.engine.kinds import Config

Money = Annotated[Decimal, WithJsonSchema({"type": "number", "format": "money"})]
Metadata = dict[str, str]


class Fields(Config):
    """Base: written names are camelCase."""

    model_config = ConfigDict(alias_generator=to_camel)


class BuyerFields(Fields):
    """The customer of an invoice: its own columns."""

    id: str = Field(title="Customer id")
    external_id: str | None = Field(None, title="Customer's id in your system")
    name: str = Field("", title="Customer name")
    email: str = Field("", title="Customer e-mail")
    segment: str | None = Field(None, title="Segment")
    plan: str | None = Field(None, title="Plan")
    country: str | None = Field(None, title="Country")
    time_zone: str | None = Field(None, title="Time zone")
    created_at: datetime | None = Field(None, title="Customer since")
    owner: str | None = Field(None, title="Account owner's e-mail")
    metadata: Metadata = Field(default_factory=dict, title="Customer metadata")


class SubscriptionFields(Fields):
    """A subscription (BIL-09)."""

    id: str = Field(title="Subscription id")
    status: Literal[
        "incomplete", "incomplete_expired", "trialing", "active", "past_due", "canceled", "unpaid", "paused"
    ] = Field(title="Subscription status")
    interval: Literal["daily", "weekly", "monthly", "yearly"] | None = Field(None, title="Interval")
    products: list[str] = Field(default_factory=list, title="Ids of its products")
    current_period_end: datetime = Field(title="End of the current period")
    trial_end: datetime | None = Field(None, title="End of the trial")
    cancel_at: datetime | None = Field(None, title="Ends at")
    will_renew: bool = Field(True, title="Will renew")
    metadata: Metadata = Field(default_factory=dict, title="Subscription metadata")


class LineFields(Fields):
    """A line of an invoice; `amount` is that of the whole line."""

    description: str = Field(title="Description")
    quantity: int = Field(1, title="Quantity")
    amount: Money = Field(title="Amount of the line")
    product_id: str | None = Field(None, title="Product id")


class InvoiceFields(Fields):
    """An invoice (BIL-01 to BIL-05). An open one's status reads `unpaid` and has synonyms (C-14)."""

    id: str = Field(title="Invoice id")
    number: str | None = Field(None, title="Invoice number")
    status: str = Field(
        title="Invoice status",
        json_schema_extra={"enum": ["draft", "unpaid", "overdue", "paid", "void", "uncollectible"]},
    )
    total: Money = Field(title="Total")
    amount: Money = Field(title="Amount")
    amount_paid: Money = Field(title="Amount paid")
    amount_due: Money = Field(title="Amount due")
    currency: str = Field(title="Currency")
    due_date: date | None = Field(None, title="Due date")
    is_overdue: bool = Field(False, title="Is overdue")
    collection_method: Literal["send_invoice", "charge_automatically"] = Field(title="Collection method")
    auto_advance: bool = Field(True, title="Collected automatically")
    attempt_count: int = Field(0, title="Payment attempts")
    failed_count: int = Field(0, title="Failed payment attempts")
    next_payment_attempt: datetime | None = Field(None, title="Next payment attempt")
    metadata: Metadata = Field(default_factory=dict, title="Invoice metadata")
    lines: list[LineFields] = Field(default_factory=list, title="Lines")
    customer: BuyerFields | None = Field(None, title="Customer")
    subscription: SubscriptionFields | None = Field(None, title="Subscription")


class PaymentFields(Fields):
    """A payment, a try to collect money for an invoice."""

    id: str = Field(title="Payment id")
    amount: Money = Field(title="Payment amount")
    currency: str = Field(title="Currency")
    status: Literal["pending", "succeeded", "failed", "unknown"] = Field(title="Payment status")
    failure_reason: str | None = Field(None, title="Why it failed")
    failure_code: str | None = Field(None, title="Failure code")
    failure_count: int = Field(0, title="How often it has failed")
    attempt: int | None = Field(None, title="Attempt")
