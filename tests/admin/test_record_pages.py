"""Pages of single records: what they say, what they link to, that they are read only, and what they cost (CONTRACTS 10)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client

from accounts import models as accounts
from accounts.actor import system_actor
from accounts.adminsite.record import Block, RecordAdmin, add_blocks
from accounts.audit import record
from accounts.clock import real_now
from accounts.models import Workspace
from automations import models as automations
from tests.admin.pages import (
    address,
    block,
    content,
    facts,
    links,
    notice,
    page_of,
    read,
    rows,
    title,
    words,
)
from tests.automations import WAITING, published, queue, started
from tests.billing.helpers import make_invoice, make_subscription
from tests.factories import actor_of, make_api_key, make_customer, make_member, make_task, make_visitor, owner_of
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

RECORDS = [model for model, page in admin.site._registry.items() if isinstance(page, RecordAdmin)]


class TestReadOnly:
    @pytest.mark.parametrize("model", RECORDS, ids=lambda model: model.__name__)
    def test_nothing_can_be_added_changed_or_deleted(self, operator: Client, model: type) -> None:
        assert operator.get(address(model, "add")).status_code == 403
        for method in (operator.post, operator.put, operator.patch, operator.delete):
            assert method(address(model, 1, "change")).status_code == 403
        page = admin.site._registry[model]
        request: Any = operator.get("/admin/").wsgi_request
        assert not page.has_add_permission(request)
        assert not page.has_change_permission(request)
        assert not page.has_delete_permission(request)

    def test_no_page_offers_what_would_fail(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, tags=["vip"], stage="TRIAL")
        [run] = started(published(workspace, WAITING))
        for row in (customer, run, run.version, run.event, queue(run), make_invoice(customer), make_task(workspace)):
            html = content(read(operator, page_of(row)))
            assert not re.search(r"<form|<button|<input|/delete/|/history/|/add/", html), row
            listing = content(read(operator, address(type(row))))
            assert not re.search(r"/add/|delete_selected|_selected_action", listing), row

    def test_what_is_not_there_is_not_shown_as_empty(self, operator: Client, workspace: Workspace) -> None:
        shown = facts(read(operator, page_of(make_customer(workspace))))
        assert "–" not in shown.values()
        assert not {"Country", "Locale", "Merged into"} & set(shown)


class TestCustomer:
    def test_who_they_are(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, name="Zoë Brandt", email="zoe@example.com", tags=["vip"], stage="TRIAL")
        html = read(operator, page_of(customer))
        shown = facts(html)
        assert title(html) == "Zoë Brandt"
        assert (shown["Email"], shown["Tags"]) == ("zoe@example.com", "vip")
        assert shown["Stage"].startswith("TRIAL")
        assert f"cus_{customer.pk} in {workspace.name}" in words(html)

    def test_visitors_and_erased_ones_say_what_they_are(self, operator: Client, workspace: Workspace) -> None:
        assert title(read(operator, page_of(make_visitor(workspace)))).endswith("Anonymous")
        gone = make_customer(workspace)
        accounts.Customer.objects.filter(pk=gone.pk).update(
            erased_at=real_now(), email="", external_id="", metadata={}, owner=None
        )
        assert title(read(operator, page_of(gone))).endswith("Erased")

    def test_what_automations_and_billing_know_of_them(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        customer = make_customer(workspace)
        happen(customer)
        settle()
        run = automations.Run.objects.get(automation=automation)
        subscription = make_subscription(customer)
        invoice = make_invoice(customer, status="paid")
        html = read(operator, page_of(customer))
        assert rows(block(html, "Runs"))[0][:3] == [f"exec_{run.pk}", "Waiting", automation.name]
        assert rows(block(html, "Subscriptions"))[0][:2] == [subscription.public_id, "Active"]
        assert rows(block(html, "Invoices"))[0][:3] == [invoice.number, "Paid", "129.00 EUR"]
        found = links(html)
        assert found["All runs"] == f"{address(automations.Run)}?customer__id__exact={customer.pk}"
        assert f"exec_{run.pk}" in read(operator, found["All runs"])
        assert invoice.public_id in read(operator, found["All invoices"])

    def test_of_others_nothing_is_shown(self, operator: Client, workspace: Workspace) -> None:
        make_invoice(make_customer(workspace), status="paid")
        started(published(workspace, WAITING))
        html = read(operator, page_of(make_customer(workspace)))
        assert "No invoices yet." in words(html)
        assert "No automation has acted on them yet." in words(html)

    def test_whether_they_may_be_mailed_and_who_else_there_is(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, email="ana@example.com")
        assert "Nothing was said about mail; it may be sent." in words(read(operator, page_of(customer)))
        common = {"workspace": workspace, "customer": customer}
        consent = accounts.Consent.objects.create(
            address="ana@example.com", state="unsubscribed", reason="link", at=real_now(), **common
        )
        accounts.Contact.objects.create(role="payer", name="Olga", email="olga@example.com", **common)
        task = make_task(workspace, title="Call her", customer_id=customer.pk)
        html = read(operator, page_of(customer))
        assert rows(block(html, "Consent"))[0][:4] == ["ana@example.com", "Unsubscribed", "everything", "link"]
        assert rows(block(html, "Further people")) == [["payer", "Olga", "olga@example.com"]]
        assert links(html)["Call her"] == page_of(task)
        assert title(read(operator, page_of(consent))) == "ana@example.com Unsubscribed"

    def test_metadata_and_facts_are_pairs_not_code(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, metadata={"seats": "60"})
        accounts.Customer.objects.filter(pk=customer.pk).update(
            facts={"subscriptionStatus": "active", "stage": "TRIAL"}
        )
        shown = facts(read(operator, page_of(customer)))
        assert shown["Metadata"] == "seats 60"
        assert shown["Known"] == "subscriptionStatus active"

    def test_upper_apps_add_a_part_once(self, operator: Client, workspace: Workspace) -> None:
        def part(row: Any) -> list[Block]:
            return [Block("A part of mine", row.public_id)]

        from accounts.adminsite import record as module

        kept = list(module._added[accounts.Customer])
        try:
            add_blocks(accounts.Customer, part)
            add_blocks(accounts.Customer, part)
            assert read(operator, page_of(make_customer(workspace))).count("A part of mine") == 1
        finally:
            module._added[accounts.Customer][:] = kept


class TestStaff:
    def test_a_key_shows_no_secret_and_says_why(self, operator: Client, workspace: Workspace) -> None:
        # RELIABILITY 5: the secret is shown once, by the interface that made it
        key, whole = make_api_key(workspace, ["read"])
        html = read(operator, page_of(key))
        assert title(html) == f"{key.name} Active"
        assert notice(html).startswith("The secret was shown once, when the key was made")
        assert facts(html)["Key"] == f"ow_{key.prefix}_…"
        assert facts(html)["May"] == "read"
        for secret in (whole, whole.split("_")[-1], key.secret_sha256):
            assert secret not in html
            assert secret not in read(operator, address(accounts.ApiKey))

    @pytest.mark.parametrize(("field", "state"), [("revoked_at", "Revoked"), ("expires_at", "Expired")])
    def test_one_that_opens_nothing_says_so(
        self, operator: Client, workspace: Workspace, field: str, state: str
    ) -> None:
        key, _whole = make_api_key(workspace)
        accounts.ApiKey.objects.filter(pk=key.pk).update(**{field: real_now() - timedelta(seconds=1)})
        assert title(read(operator, page_of(key))).endswith(state)

    def test_a_workspace_shows_its_people_and_keys_and_no_secret(self, operator: Client, workspace: Workspace) -> None:
        member = make_member(workspace, "viewer")
        make_api_key(workspace)
        html = read(operator, page_of(workspace))
        assert [str(member), "viewer"] in rows(block(html, "Members"))
        assert rows(block(html, "API keys"))[0][1] == "Active"
        assert links(html)["PRO"] == "/admin/accounts/plan/PRO/change/"
        assert workspace.webhook_secret not in html

    def test_a_membership_names_both(self, operator: Client, workspace: Workspace) -> None:
        row = accounts.Membership.objects.get(workspace=workspace)
        assert title(read(operator, page_of(row))) == f"{owner_of(workspace)} in {workspace.name}"

    def test_stored_answers_and_their_headers_stay_where_they_are(self, operator: Client, workspace: Workspace) -> None:
        row = accounts.Idempotency.objects.create(
            workspace=workspace, endpoint="POST /x", key="k", body_sha256="0" * 64, status=201, answer="private words",
            headers={"X-Private": "private words"},
        )  # fmt: skip
        assert "private words" not in read(operator, page_of(row))


class TestAudit:
    def test_what_changed_stands_side_by_side(self, operator: Client, workspace: Workspace) -> None:
        before, after = {"state": "ACTIVE", "runs": [1]}, {"state": "PAUSED", "by": None}
        record(actor_of(workspace), "automation.pause", "auto_5", before, after)
        row = accounts.Audit.objects.latest("pk")
        html = read(operator, page_of(row))
        assert title(html) == "automation.pause auto_5"
        changes = rows(block(html, "Change"))
        assert sorted(changes) == [["by", "–", "–"], ["runs", "[ 1 ]", "–"], ["state", "ACTIVE", "PAUSED"]]
        assert links(html)["auto_5"] == "/admin/automations/automation/5/change/"

    def test_an_action_alone_is_enough(self, operator: Client, workspace: Workspace) -> None:
        record(system_actor(workspace.pk, run_id=7), "door.open", "door 1")
        html = read(operator, page_of(accounts.Audit.objects.latest("pk")))
        assert "Nothing but the action itself was written down." in words(html)
        assert facts(html)["On behalf of"] == "exec_7"
        assert facts(html)["Object"] == "door 1"


class TestTask:
    def test_who_asked_whom_about_what(self, operator: Client, workspace: Workspace) -> None:
        task = make_task(workspace, title="Call her", message="She did not pay.", assignee="pia@example.com", run_id=9)
        accounts.Task.objects.filter(pk=task.pk).update(subjects={"customer": 3, "invoice": 8})
        html = read(operator, page_of(task))
        shown = facts(html)
        assert title(html) == "Call her Open"
        assert (shown["Message"], shown["For"], shown["Asked by"]) == ("She did not pay.", "pia@example.com", "exec_9")
        assert shown["About"] == "inv_8"
        assert "/admin/billing/invoice/8/change/" in html
