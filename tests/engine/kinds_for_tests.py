"""A registry of small declarations for tests of pure code: real control steps, and actions, triggers, roots made for tests."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from automations.engine.kinds import (
    Action,
    Config,
    HeaderText,
    Need,
    Query,
    Root,
    TemplateData,
    TemplateText,
    Trigger,
    UrlText,
)
from automations.engine.kinds import Config as Base
from automations.engine.registry import Registry
from automations.triggers.schedule import trigger as schedule


class MailConfig(Config):
    template: str | None = None
    to: TemplateText = "{{customer.email}}"
    subject: TemplateText | None = None
    sender: str | None = None


class SendEmail(Action):
    key = "send_email"
    label = "Send e-mail"
    Config = MailConfig
    subjects = frozenset({"customer"})

    class Output(Base):
        delivery: str
        to: str

    def needs(self, config: MailConfig) -> tuple[Need, ...]:
        template = (Need("email_template", config.template),) if config.template else ()
        return (*template, Need("sender", config.sender))


class TaskConfig(Config):
    message: TemplateText = Field(min_length=1)
    assignee: TemplateText | None = None


class CreateTask(Action):
    key = "create_task"
    label = "Create task"
    Config = TaskConfig


class TagConfig(Config):
    tag: str


class AddTag(Action):
    key = "add_tag"
    label = "Add tag"
    Config = TagConfig
    subjects = frozenset({"customer"})

    def needs(self, config: TagConfig) -> tuple[Need, ...]:
        return (Need("tag", config.tag),)


class UpdateConfig(Config):
    fields: TemplateData
    stage: str | None = None


class UpdateCustomer(Action):
    key = "update_customer"
    label = "Update customer"
    Config = UpdateConfig
    subjects = frozenset({"customer"})

    def needs(self, config: UpdateConfig) -> tuple[Need, ...]:
        return (Need("stage", config.stage),) if config.stage else ()


class StartConfig(Config):
    automation: str
    payload: TemplateData = None


class StartAutomation(Action):
    key = "start_automation"
    label = "Start automation"
    Config = StartConfig

    def needs(self, config: StartConfig) -> tuple[Need, ...]:
        return (Need("automation", config.automation),)


class HookConfig(Config):
    url: UrlText
    method: Literal["POST", "PUT"] = "POST"
    headers: dict[str, HeaderText] = Field(default_factory=dict)
    body: TemplateData = None


class SendWebhook(Action):
    key = "send_webhook"
    label = "Send webhook"
    Config = HookConfig

    class Output(Base):
        status: int
        body: Any = None


class ReasonConfig(Config):
    reason: TemplateText | None = None


class VoidInvoice(Action):
    key = "void_invoice"
    label = "Void invoice"
    Config = ReasonConfig
    subjects = frozenset({"invoice"})


class RetryPayment(Action):
    key = "retry_payment"
    label = "Retry payment"
    Config = Config
    subjects = frozenset({"invoice"})
    money = True
    triggers = frozenset({"payment.failed", "invoice.overdue"})

    class Output(Base):
        result: str
        failure_reason: str | None = Field(None, alias="failureReason")


class CancelSubscription(Action):
    key = "cancel_subscription"
    label = "Cancel subscription"
    Config = ReasonConfig
    subjects = frozenset({"subscription"})
    ends_run = True


class CustomerFields(Config):
    id: str
    name: str | None = None
    email: str | None = None
    segment: str | None = None
    country: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    email_opened: bool = Field(False, alias="emailOpened")


class CustomerRoot(Root):
    name = "customer"
    subject = "customer"
    other_names = ("profile",)
    Fields = CustomerFields
    bare = {"country": "country", "segment": "segment", "email_opened": "emailOpened"}


class LineFields(Config):
    description: str
    amount: str


class InvoiceFields(Config):
    id: str
    number: str
    status: str
    total: str
    amount: str
    due_date: str | None = Field(None, alias="dueDate")
    lines: list[LineFields] = Field(default_factory=list)
    customer: CustomerFields | None = None


class InvoiceRoot(Root):
    name = "invoice"
    subject = "invoice"
    Fields = InvoiceFields


class FailedData(Config):
    failure_count: int = Field(alias="failureCount")
    account_owner: str = Field(alias="accountOwner")
    customer: CustomerFields
    invoice: InvoiceFields


class PaymentFailed(Trigger):
    key = "payment.failed"
    group = "billing"
    label = "Payment failed"
    subject = "payment"
    provides = frozenset({"customer", "subscription", "invoice", "payment"})
    listens = ("payment.failed",)
    Data = FailedData


class InvoicePaid(Trigger):
    key = "invoice.paid"
    group = "billing"
    label = "Invoice paid"
    subject = "invoice"
    provides = frozenset({"customer", "subscription", "invoice"})


class InvoiceVoided(InvoicePaid):
    key = "invoice.voided"


class InvoiceOverdue(InvoicePaid):
    key = "invoice.overdue"


class CustomerCreated(Trigger):
    key = "customer.created"
    group = "profile"
    label = "Customer created"


class StageParameters(Config):
    stage: str | None = None


class StageEnter(Trigger):
    key = "stage_enter"
    group = "profile"
    label = "Stage entered"
    Parameters = StageParameters


class EmailOpened(Trigger):
    key = "email_opened"
    group = "profile"
    label = "E-mail opened"


class Manual(Trigger):
    key = "manual"
    group = "manual"
    label = "Manual"
    type = "manual"
    subject = "none"
    provides = frozenset({"customer", "subscription", "invoice", "payment"})


class Custom(Trigger):
    key = "custom"
    group = "custom"
    label = "Custom event"


class Invoices(Query):
    name = "invoices"
    root = "invoice"


class Customers(Query):
    name = "customers"
    root = "customer"


def make_registry() -> Registry:
    registry = Registry()
    registry.walk("automations.steps")
    for declared in list(globals().values()):
        is_own = isinstance(declared, type) and declared.__module__ == __name__
        if is_own and issubclass(declared, (Action, Trigger, Root, Query)):
            registry.add(declared())
    registry.add(schedule)
    return registry


REGISTRY = make_registry()
