"""The demo workspace: believable, made through the services, once."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command

from accounts.models import ApiKey, Customer, Membership, User, Workspace
from accounts.services.keys import secret_hash
from automations.models import Automation, EmailTemplate, Event, Sender
from billing.models import Invoice, Payment, Price, Product, Subscription
from config.up import CREDENTIALS

pytestmark = pytest.mark.django_db


@pytest.fixture
def credentials(settings, tmp_path):
    settings.ONWARD_DATA = tmp_path
    return tmp_path / CREDENTIALS


def demo(*options):
    out = io.StringIO()
    call_command("demo", *options, stdout=out)
    return out.getvalue()


def test_the_demo_is_northwind_with_its_people_prices_and_months_of_invoices(credentials):  # CONTRACTS 2
    text = demo()
    workspace = Workspace.objects.get(slug="northwind")
    assert (workspace.name, workspace.time_zone, workspace.currency, workspace.plan) == (
        "Northwind Cloud",
        "Europe/Berlin",
        "EUR",
        "PRO",
    )
    assert sorted(Membership.objects.values_list("role", flat=True)) == [
        "editor",
        "operator",
        "owner",
        "publisher",
        "viewer",
    ]
    assert (Customer.objects.count(), Product.objects.count(), Price.objects.count(), Subscription.objects.count()) == (
        60,
        3,
        5,
        45,
    )
    assert 170 <= Invoice.objects.count() <= 230
    assert set(Invoice.objects.values_list("status", flat=True)) >= {"open", "paid", "void", "uncollectible"}
    assert Payment.objects.filter(status="failed").exists()
    assert "60 customers" in text

    # what a user does leaves events, and the past lies in the past
    assert Event.objects.filter(name="invoice.paid").count() == Invoice.objects.filter(status="paid").count()
    first, last = Invoice.objects.order_by("created_at").first(), Invoice.objects.order_by("created_at").last()
    assert (last.created_at - first.created_at).days > 180
    assert Invoice.objects.filter(overdue_at__isnull=False).exists()

    # mail can be sent, and nothing listens yet: the reader applies the quick start
    assert Sender.objects.filter(verified_at__isnull=False, default=True).count() == 1
    assert EmailTemplate.objects.filter(slug="payment_failed_first").exists()
    assert not Automation.objects.exists()

    # the credentials that are printed work, are kept, and are private
    kept = credentials.read_text()
    assert kept in text
    assert credentials.stat().st_mode & 0o777 == 0o600
    sign_in, key = kept.splitlines()
    email, password = sign_in.removeprefix("sign-in: ").split()
    assert User.objects.get(email=email).check_password(password)
    assert (
        ApiKey.objects.get().secret_sha256 == secret_hash(key.rpartition("_")[2]) or ApiKey.objects.get().prefix in key
    )

    # a second one is refused; --reset makes it anew and leaves other workspaces alone
    with pytest.raises(CommandError, match="demo --reset"):
        demo()


def test_reset_makes_it_anew_and_leaves_other_workspaces_alone(credentials, monkeypatch):
    from tests.factories import make_customer, make_workspace

    monkeypatch.setattr("billing.demo.northwind.CUSTOMERS", 6)
    monkeypatch.setattr("billing.demo.northwind.SUBSCRIPTIONS", 4)
    other = make_customer(make_workspace())
    demo()
    before = Workspace.objects.get(slug="northwind").pk
    demo("--reset")
    assert Workspace.objects.get(slug="northwind").pk != before
    assert Customer.objects.filter(pk=other.pk).exists()
    assert Customer.objects.exclude(pk=other.pk).count() == 6
    assert not Invoice.objects.filter(workspace_id=before).exists()
    assert not Event.objects.filter(workspace_id=before).exists()
