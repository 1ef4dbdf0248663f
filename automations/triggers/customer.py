"""A new customer (TRG-11)."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from automations.engine.kinds import Trigger
from automations.roots.customer import CustomerFields


class CreatedData(CustomerFields):
    """The customer's own fields on top, and once more under `customer`."""

    customer: CustomerFields = Field(title="Customer")
    account_owner: str | None = Field(None, alias="accountOwner", title="Account owner's e-mail")
    created_at: datetime | None = Field(None, alias="createdAt", title="Created at")


ANA = {"id": "cus_7", "name": "Ana Ruiz", "email": "ana@example.com", "segment": "enterprise", "country": "DE"}


class CustomerCreated(Trigger):
    """Fires once for each customer: when it is made or, for an anonymous visitor, identified."""

    key = "customer.created"
    group = "Customers"
    label = "Customer is created"
    hint = "A welcome to everybody who is new; an anonymous visitor counts once identified."
    listens = ("customer.created",)
    sample = {**ANA, "customer": ANA, "accountOwner": "mara@northwind.example"}
    Data = CreatedData


trigger = CustomerCreated()
