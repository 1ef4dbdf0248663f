"""What customers do that we can see: page views, opens and clicks of e-mails (STP-14 to 16, TRG-52)."""

from __future__ import annotations

from pydantic import Field

from automations.engine.kinds import Config, Trigger
from automations.roots.customer import CustomerFields
from automations.triggers.customer import ANA


class PageviewData(Config):
    """The page that was seen."""

    url: str | None = Field(None, title="Address")
    path: str | None = Field(None, title="Path")
    title: str | None = Field(None, title="Title")
    referrer: str | None = Field(None, title="Referrer")
    customer: CustomerFields = Field(title="Customer")


class MailData(Config):
    """The e-mail that was opened, or the link in it."""

    url: str | None = Field(None, title="Link")
    customer: CustomerFields = Field(title="Customer")


class Pageview(Trigger):
    """Fires on each page view of a customer."""

    key = "pageview"
    group = "Behaviour"
    label = "Views a page"
    hint = "Filter by path, for instance trigger.path == '/pricing'."
    listens = ("pageview",)
    sample = {"url": "https://northwind.example/pricing", "path": "/pricing", "customer": ANA}
    Data = PageviewData


class EmailOpened(Trigger):
    """Fires when a customer opens an e-mail."""

    key = "email_opened"
    group = "Behaviour"
    label = "Opens an e-mail"
    hint = "Any e-mail of this workspace; a Wait until step listens to its own run's latest one."
    listens = ("email_opened",)
    sample = {"customer": ANA}
    Data = MailData


class EmailClicked(Trigger):
    """Fires when a customer follows a link in an e-mail."""

    key = "email_clicked"
    group = "Behaviour"
    label = "Clicks a link in an e-mail"
    hint = "Any e-mail of this workspace; a Wait until step listens to its own run's latest one."
    listens = ("email_clicked",)
    sample = {"url": "https://northwind.example/pricing", "customer": ANA}
    Data = MailData


pageview = Pageview()
email_opened = EmailOpened()
email_clicked = EmailClicked()
