"""Pages of single records: what they say, what they link to, that they are read only, and what they cost (CONTRACTS 10)."""

from __future__ import annotations

import re
from collections.abc import Callable
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
from automations.services.drafts import save_draft
from automations.services.templates import create_template
from billing import models as billing
from tests.admin.pages import (
    address,
    block,
    content,
    cost,
    facts,
    links,
    notice,
    page_of,
    read,
    rows,
    title,
    tone,
    words,
)
from tests.automations import TAGGING, WAITING, made, published, queue, started, text
from tests.billing.helpers import make_card, make_invoice, make_subscription, payments_of
from tests.factories import actor_of, make_api_key, make_customer, make_member, make_task, make_visitor, owner_of
from tests.worker.deliveries import World
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


class TestVersion:
    def test_it_is_its_text_and_cannot_be_changed(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        html = read(operator, page_of(automation.active_version))
        assert title(html) == f"{automation.name}, version 1 Active"
        assert "action: add_tag" in block(html, "Definition")
        assert notice(html).startswith("This version was published: it cannot be changed any more")
        assert "<textarea" not in html

    def test_a_draft_says_where_it_is_edited(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        html = read(operator, page_of(automations.Version.objects.get(automation=automation)))
        assert title(html).endswith("Draft")
        assert links(html)["the page of the automation"] == page_of(automation)

    def test_one_that_was_replaced_says_so(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        first = automation.active_version
        automations.Version.objects.filter(pk=first.pk).update(state="inactive")
        assert title(read(operator, page_of(first))).endswith("Replaced")


class TestEvent:
    def test_what_was_said_and_what_it_started(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        customer = make_customer(workspace)
        event = happen(customer, payload={"seats": 9}, key="order-7")
        settle()
        html = read(operator, address(automations.Event, event, "change"))
        run = automations.Run.objects.get(automation=automation)
        assert title(html) == "sign Routed"
        assert (facts(html)["Key"], facts(html)["About"]) == ("order-7", f"cus_{customer.pk}")
        assert rows(block(html, "Runs that it started")) == [
            [f"exec_{run.pk}", "Waiting", automation.name, str(customer)]
        ]
        assert "seats 9" in words(block(html, "Payload, as it was sent"))
        assert f'"id": "cus_{customer.pk}"' in words(block(html, "Snapshot, the objects as they were"))

    def test_why_an_automation_did_not_start(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, "filter: trigger.seats > 5\n" + TAGGING)
        event = happen(make_customer(workspace), payload={"seats": 1})
        settle()
        html = read(operator, address(automations.Event, event, "change"))
        [row] = rows(block(html, "Why not, or why"))
        assert row[0].startswith(automation.name)
        assert row[1:3] == ["Skipped", "filter"]
        assert links(html)[automation.name] == page_of(automation)
        assert "seats" in words(block(html, "Values that the filters read"))
        assert "None." in words(block(html, "Runs that it started"))

    def test_default_settings_and_faults_have_lines_of_their_own(self, operator: Client, workspace: Workspace) -> None:
        event = automations.Event.objects.get(pk=happen(make_customer(workspace)))
        automations.Evaluation.objects.create(
            event_id=event.pk, recorded_at=event.recorded_at, workspace_id=workspace.pk, values={},
            decisions=[{"default": "applied"}, {"error": "ValueError: x"}, {"automation": "auto_999999", "outcome": "started",
                       "execution": "exec_9", "version": 2}],
        )  # fmt: skip
        found = rows(block(read(operator, page_of(event)), "Why not, or why"))
        assert found[0][:2] == ["Default billing settings", "applied"]
        assert found[1][1:] == ["Failed", "–", "ValueError: x"]
        assert found[2][1] == "exec_9"

    def test_one_that_nobody_has_looked_at_says_so(self, operator: Client, workspace: Workspace) -> None:
        event = happen(make_customer(workspace))
        assert title(read(operator, address(automations.Event, event, "change"))) == "sign Not routed yet"

    def test_content_that_is_no_longer_kept_is_no_fault(self, operator: Client, workspace: Workspace) -> None:
        event = happen(make_customer(workspace))
        automations.EventContent.objects.all().delete()
        assert "It is no longer kept." in words(read(operator, address(automations.Event, event, "change")))


class TestDelivery:
    def test_what_it_is_and_how_it_went(self, operator: Client) -> None:
        run = World().run()
        delivery = queue(run, "FAILED")
        error = {"code": "smtp_timeout", "message": "No answer within 10 s."}
        delivery.to, delivery.error, delivery.attempts = "ana@example.com", error, 1
        delivery.envelope = {"input": {"template": "first"}}
        delivery.save()
        automations.DeliveryAttempt.objects.create(
            workspace_id=run.workspace_id, delivery=delivery, number=1, fence=1, outcome="failed", error=error,
            at=real_now(), started_at=real_now(),
        )  # fmt: skip
        html = read(operator, page_of(delivery))
        assert title(html) == "Send email to ana@example.com Failed"
        assert (notice(html), tone(html)) == ("No answer within 10 s.", "bad")
        assert rows(block(html, "Tries"))[0][2:] == ["failed", "No answer within 10 s. smtp_timeout"]
        assert "template first" in words(block(html, "What is asked of the other side"))
        assert links(html)[f"exec_{run.pk}"] == page_of(run)

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("UNKNOWN", "Nobody can tell yet"), ("REVIEW", "A person has to look"), ("REFUSED", "It was not made"),
            ("SUPPRESSED", "may not be mailed"), ("SKIPPED", "not needed any more"), ("CANCELLED", "cancelled before"),
        ],
    )  # fmt: skip
    def test_a_state_says_what_it_means_for_money_and_mail(self, operator: Client, state: str, said: str) -> None:
        assert said in notice(read(operator, page_of(queue(World().run(), state))))

    def test_one_that_was_made_needs_no_words(self, operator: Client) -> None:
        delivery = queue(World().run(), "SENT")
        delivery.outcome = {"kind": "done", "output": {"result": "paid", "payment": "pay_9"}}
        delivery.money = True
        delivery.save()
        html = read(operator, page_of(delivery))
        assert notice(html) == ""
        assert "result paid payment pay_9" in words(block(html, "Outcome"))
        assert facts(html)["Money"] == "Yes"

    def test_in_the_list_it_says_when_it_is_due(self, operator: Client) -> None:
        queue(World().run())
        assert re.search(r"due \d+ \w+, \d\d:\d\d", words(content(read(operator, address(automations.Delivery)))))


class TestMail:
    def test_a_template_is_its_text_and_never_markup(self, operator: Client, workspace: Workspace) -> None:
        template = create_template(
            actor=actor_of(workspace), slug="first", name="First", subject="Hello", body="<p>Hi {{ customer.name }}</p>"
        )
        html = read(operator, page_of(template))
        assert title(html) == "First"
        assert "&lt;p&gt;Hi {{ customer.name }}&lt;/p&gt;" in block(html, "Text")

    def test_a_sender_says_whether_mail_may_come_from_it(self, operator: Client, workspace: Workspace) -> None:
        sender = automations.Sender.objects.create(workspace=workspace, address="new@example.com")
        assert "Not verified" in words(read(operator, address(automations.Sender)))
        assert title(read(operator, page_of(sender))) == "new@example.com"


class TestBilling:
    def test_an_invoice_says_what_is_owed_and_what_was_tried(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, name="Ana Ruiz")
        invoice = make_invoice(customer, "129.00", subscription=make_subscription(customer))
        html = read(operator, page_of(invoice))
        shown = facts(html)
        assert title(html) == f"{invoice.number} Open"
        assert (shown["Total"], shown["Paid"]) == ("129.00 EUR", "0.00 EUR; 129.00 EUR due")
        assert shown["Collected"] == "charged to the card on file"
        assert rows(block(html, "Lines")) == [["Team plan", "1", "129.00 EUR"]]
        assert "Nobody has tried to collect it yet." in words(html)
        assert links(html)["Ana Ruiz"] == page_of(customer)

    def test_a_draft_is_called_by_its_id_until_it_has_a_number(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace), status="draft")
        assert title(read(operator, page_of(invoice))) == f"{invoice.public_id} Draft"

    def test_an_overdue_one_says_so_while_it_is_open(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace))
        past = real_now() - timedelta(days=1)
        billing.Invoice.objects.filter(pk=invoice.pk).update(due_at=past, overdue_at=past)
        assert title(read(operator, page_of(invoice))).endswith("Open Overdue")
        assert "Overdue" in words(content(read(operator, address(billing.Invoice))))

    def test_payments_lead_to_the_run_that_made_them(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace), status="paid")
        [payment] = payments_of(invoice)
        assert rows(block(read(operator, page_of(invoice)), "Payments"))[0][4] == "–"
        billing.Payment.objects.filter(pk=payment.pk).update(key="abc.exec_77.4.0")
        found = rows(block(read(operator, page_of(invoice)), "Payments"))[0]
        assert found[:3] == [payment.public_id, "Succeeded", "129.00 EUR"]
        assert found[4] == "exec_77"
        html = read(operator, page_of(payment))
        assert facts(html)["Made by"] == "exec_77"
        assert facts(html)["Paid the invoice in full"] == "Yes"
        assert links(html)[invoice.number] == page_of(invoice)

    def test_an_undecided_charge_says_what_that_means(self, operator: Client, workspace: Workspace) -> None:
        [payment] = payments_of(make_invoice(make_customer(workspace), status="paid"))
        billing.Payment.objects.filter(pk=payment.pk).update(
            status="unknown", attempt=None, decided_at=None, settles=False
        )
        html = read(operator, page_of(payment))
        assert "the card is not charged a second time meanwhile" in notice(html)
        assert title(html).endswith("Unknown")

    def test_a_subscription_says_what_it_consists_of(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace)
        subscription = make_subscription(customer)
        invoice = make_invoice(customer, subscription=subscription)
        html = read(operator, page_of(subscription))
        assert rows(block(html, "Items")) == [["Team plan", "1", "129.00 EUR", "monthly"]]
        assert rows(block(html, "Invoices"))[0][0] == invoice.number
        assert invoice.public_id in read(operator, links(html)["All invoices"])

    def test_a_product_shows_its_prices_and_a_price_its_product(self, operator: Client, workspace: Workspace) -> None:
        price = make_subscription(make_customer(workspace)).items.get().price
        assert rows(block(read(operator, page_of(price.product)), "Prices")) == [
            [price.public_id, "129.00 EUR", "monthly"]
        ]
        html = read(operator, page_of(price))
        assert title(html) == "Team plan, 129.00 EUR"
        assert links(html)["Team plan"] == page_of(price.product)

    def test_a_card_is_named_as_the_gateway_does(self, operator: Client, workspace: Workspace) -> None:
        card = make_card(make_customer(workspace))
        assert facts(read(operator, page_of(card)))["Reference"] == card.reference
        assert card.fingerprint not in read(operator, page_of(card))

    @pytest.mark.parametrize(
        ("words_of", "known"),
        [
            ("INVOICES", billing.InvoiceStatus.values), ("PAYMENTS", billing.PaymentStatus.values),
            ("SUBSCRIPTIONS", billing.SubscriptionStatus.values),
        ],
    )  # fmt: skip
    def test_every_status_has_its_word(self, words_of: str, known: list[str]) -> None:
        from billing.adminsite import base

        assert set(getattr(base, words_of)) == set(known)


class TestMachinery:
    def test_a_worker_says_what_it_holds(self, operator: Client) -> None:
        worker = automations.Worker.objects.create(name="host:1:x", holding=[7, 8])
        html = read(operator, page_of(worker))
        assert (title(html), facts(html)["Holds"]) == ("host:1:x", "exec_7 , exec_8")
        assert "2 runs" in words(read(operator, address(automations.Worker)))

    def test_what_keeps_somebody_out_leads_to_the_run(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        entry = automations.Entry.objects.create(workspace=workspace, automation=automation, key="customer:7", run_id=9)
        html = read(operator, page_of(entry))
        assert title(html) == f"customer:7 in {automation.name}"
        assert facts(html)["Run"] == "exec_9"

    def test_learned_fields_are_listed(self, operator: Client, workspace: Workspace) -> None:
        shape = automations.EventShape.objects.create(
            workspace=workspace, name="order", paths={"seats": "number", "name": "text"}, seen_at=real_now()
        )
        assert "name, seats" in words(read(operator, address(automations.EventShape)))
        assert "Fields name text seats number" in words(read(operator, page_of(shape)))

    def test_others_are_named_by_what_they_are(self, operator: Client, workspace: Workspace) -> None:
        automation, customer = made(workspace), make_customer(workspace)
        choice = automations.SplitChoice.objects.create(
            workspace=workspace, customer=customer, automation=automation, step="half", branch="a"
        )
        tally = automations.Tally.objects.create(
            workspace=workspace,
            automation=automation,
            version_id=1,
            step="half",
            port="a",
            day=real_now().date(),
            count=3,
        )
        part = automations.PartitionLog.objects.create(table="log", partition="log_2026_01", action="created")
        bucket = accounts.RateBucket.objects.create(caller="key_3", tokens=1, at=real_now())
        assert title(read(operator, page_of(choice))) == f"{customer}: a at half"
        assert title(read(operator, page_of(tally))) == f"{automation.name}, half a"
        assert title(read(operator, page_of(part))) == "log_2026_01 created"
        assert title(read(operator, page_of(bucket))) == "key_3"

    def test_funnels_and_their_stages(self, operator: Client, workspace: Workspace) -> None:
        customer = make_customer(workspace, stage="TRIAL", tags=["vip"])
        stage = accounts.Stage.objects.get(workspace=workspace, slug="TRIAL")
        html = read(operator, page_of(stage.funnel))
        assert [stage.slug, stage.name] in [row[:2] for row in rows(block(html, "Stages"))]
        stay = accounts.StageEntry.objects.get(customer=customer)
        assert title(read(operator, page_of(stay))) == f"{customer} in TRIAL"
        tagged = accounts.CustomerTag.objects.get(customer=customer)
        assert title(read(operator, page_of(tagged))) == f"{customer}: vip"


def customer_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    customer = make_customer(workspace)

    def more() -> None:
        make_invoice(customer, subscription=make_subscription(customer))
        make_task(workspace, customer_id=customer.pk)
        happen(customer, "grow")
        settle()

    published(workspace, TAGGING, trigger="{type: event, event: grow}")
    return page_of(customer), more


def invoice_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    invoice = make_invoice(make_customer(workspace), status="paid")
    [payment] = payments_of(invoice)
    numbers = iter(range(2, 100))

    def more() -> None:
        number = next(numbers)
        copy = {
            field.attname: getattr(payment, field.attname)
            for field in payment._meta.concrete_fields
            if not field.primary_key
        }
        billing.Payment.objects.create(**{**copy, "attempt": number, "settles": False, "key": f"x.exec_{number}.1.0"})

    return page_of(invoice), more


def event_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    [run] = started(published(workspace, WAITING))

    def more() -> None:
        copy = {
            field.attname: getattr(run, field.attname) for field in run._meta.concrete_fields if not field.primary_key
        }
        other = make_customer(workspace)
        automations.Run.objects.create(**{**copy, "customer_id": other.pk, "subject_id": other.pk})

    return page_of(run.event), more


def workspace_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    def more() -> None:
        make_member(workspace)
        make_api_key(workspace)

    return page_of(workspace), more


def automation_page(workspace: Workspace) -> tuple[str, Callable[[], None]]:
    automation = published(workspace, WAITING)

    def more() -> None:
        started(automation)
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(WAITING), fmt="yaml")

    return page_of(automation), more


@pytest.mark.parametrize("make", [customer_page, invoice_page, event_page, workspace_page, automation_page])
def test_a_page_costs_the_same_however_much_belongs_to_it(
    operator: Client, workspace: Workspace, make: Callable[[Workspace], tuple[str, Callable[[], None]]]
) -> None:
    where, more = make(workspace)
    more()
    few = cost(lambda: read(operator, where))
    for _number in range(6):
        more()
    assert cost(lambda: read(operator, where)) == few
