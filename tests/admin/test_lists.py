"""Lists of all apps: they page by key, never count, cost the same however many rows there are, and say what is left out
(CONTRACTS 10)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts import models as accounts
from accounts.actor import system_actor
from accounts.adminsite.keyset import KeysetAdmin
from accounts.audit import record
from accounts.clock import real_now
from accounts.models import Workspace
from automations import models as automations
from billing import models as billing
from tests.admin.pages import address, cost, heads, links, listed, page_of, read, words
from tests.automations import LISTENING, TAGGING, WAITING, made, published, queue, started
from tests.billing.helpers import make_card, make_invoice, make_price, make_subscription
from tests.factories import make_api_key, make_customer, make_member, make_task, make_workspace, unique

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

KEYSET = [model for model, page in admin.site._registry.items() if isinstance(page, KeysetAdmin)]


def run_of(workspace: Workspace) -> automations.Run:
    event = unique("event").replace("-", "_")
    return started(published(workspace, WAITING, trigger=f"{{type: event, event: {event}}}"), event=event)[0]


def entry(workspace: Workspace) -> None:
    run = run_of(workspace)
    automations.Entry.objects.create(
        workspace=workspace, automation=run.automation, key=unique("customer:"), run_id=run.pk
    )


def choice(workspace: Workspace) -> None:
    automations.SplitChoice.objects.create(
        workspace=workspace, customer=make_customer(workspace), automation=made(workspace), step="split", branch="a"
    )


def tally(workspace: Workspace) -> None:
    automations.Tally.objects.create(
        workspace=workspace,
        automation=made(workspace),
        version_id=1,
        step="tag",
        port="",
        day=real_now().date(),
        count=1,
    )


#: How a row of each kind comes to be, with what the list shows of related rows made anew for each.
MAKERS: dict[type, Callable[[Workspace], Any]] = {
    accounts.Workspace: lambda workspace: make_workspace(),
    accounts.User: lambda workspace: make_member(workspace),
    accounts.Membership: lambda workspace: make_member(workspace),
    accounts.ApiKey: lambda workspace: make_api_key(workspace),
    accounts.Customer: lambda workspace: make_customer(workspace),
    accounts.CustomerTag: lambda workspace: make_customer(workspace, tags=[unique("tag")]),
    accounts.Tag: lambda workspace: make_customer(workspace, tags=[unique("tag")]),
    accounts.StageEntry: lambda workspace: make_customer(workspace, stage="TRIAL"),
    accounts.Task: lambda workspace: make_task(workspace, customer_id=make_customer(workspace).pk),
    accounts.Audit: lambda workspace: record(system_actor(workspace.pk), "customer.update", f"cus_{make_customer(workspace).pk}"),
    automations.Automation: lambda workspace: published(workspace, TAGGING),
    automations.Version: lambda workspace: published(workspace, TAGGING),
    automations.Run: run_of,
    automations.Event: run_of,
    automations.Delivery: lambda workspace: queue(run_of(workspace)),
    automations.Entry: entry,
    automations.SplitChoice: choice,
    automations.Tally: tally,
    automations.Worker: lambda workspace: automations.Worker.objects.create(name=unique("worker")),
    billing.Invoice: lambda workspace: make_invoice(make_customer(workspace)),
    billing.Payment: lambda workspace: make_invoice(make_customer(workspace), status="paid"),
    billing.Subscription: lambda workspace: make_subscription(make_customer(workspace)),
    billing.PaymentMethod: lambda workspace: make_card(make_customer(workspace)),
    billing.Price: lambda workspace: make_price(workspace),
    billing.Product: lambda workspace: make_price(workspace),
}  # fmt: skip


@pytest.mark.parametrize("model", MAKERS, ids=lambda model: model.__name__)
def test_a_page_of_twenty_rows_costs_what_one_of_one_row_costs(
    operator: Client, workspace: Workspace, other: Workspace, model: type
) -> None:
    MAKERS[model](workspace)
    one = cost(lambda: operator.get(address(model)))
    before = len(listed(read(operator, address(model))))
    for number in range(19):
        MAKERS[model](workspace if number % 2 else other)
    assert cost(lambda: operator.get(address(model))) == one
    assert len(listed(read(operator, address(model)))) >= min(before + 19, 20)


@pytest.mark.parametrize("model", KEYSET, ids=lambda model: model.__name__)
def test_no_list_counts_its_table(operator: Client, workspace: Workspace, model: type) -> None:
    MAKERS.get(model, make_customer)(workspace)
    with CaptureQueriesContext(connection) as queries:
        read(operator, address(model))
    assert [query["sql"] for query in queries if re.search(r"\bcount\(", query["sql"], re.I)] == []


@pytest.mark.parametrize("model", [accounts.Customer, accounts.Audit, billing.Invoice, automations.Delivery])
def test_pages_go_by_key(operator: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, model: type) -> None:
    monkeypatch.setattr(type(admin.site._registry[model]), "list_per_page", 3)
    for _number in range(7):
        MAKERS[model](workspace)
    every = list(model.objects.order_by("-pk").values_list("pk", flat=True))
    seen: list[int] = []
    where: str = address(model)
    while where:
        html = read(operator, where)
        seen += [
            int(pk) for pk in dict.fromkeys(re.findall(rf'<th class="[^"]*"><a href="{address(model)}(\d+)/', html))
        ]
        older = links(html).get("Older", "")
        where = address(model) + older if older else ""
    assert seen == every
    assert "No older ones." in words(html)
    assert links(html)["Newest"] == "?"


def test_the_page_behind_the_last_row_says_so(operator: Client, workspace: Workspace) -> None:
    customer = make_customer(workspace)
    html = read(operator, f"{address(accounts.Customer)}?after={customer.pk}")
    assert "Nothing older." in words(html)


class TestEmpty:
    def test_an_empty_list_says_what_will_stand_there(self, operator: Client, workspace: Workspace) -> None:
        assert "No runs yet. One begins when an event" in words(read(operator, address(automations.Run)))
        assert "Nothing runs on its own yet." in words(read(operator, address(automations.Automation)))

    def test_one_that_was_narrowed_offers_all_of_it(self, operator: Client, workspace: Workspace) -> None:
        run_of(workspace)
        html = read(operator, f"{address(automations.Run)}?status=FAILED")
        assert "Nothing matches. Show all" in words(html)
        assert "No runs yet" not in html
        assert len(listed(read(operator, address(automations.Run) + links(html)["Show all"]))) == 1

    def test_a_full_one_says_nothing_of_it(self, operator: Client, workspace: Workspace) -> None:
        run_of(workspace)
        assert "Show all" not in read(operator, address(automations.Run))


class TestNarrowing:
    def test_a_link_that_leads_to_the_runs_of_one_says_whose_they_are(
        self, operator: Client, workspace: Workspace
    ) -> None:
        run, stranger = run_of(workspace), run_of(workspace)
        html = read(operator, f"{address(automations.Run)}?automation__id__exact={run.automation_id}")
        assert f"Runs of “{run.automation.name}”. Show all" in words(html)
        assert stranger.automation.name not in html

    def test_nonsense_finds_nothing_or_everything_and_never_fails(self, operator: Client, workspace: Workspace) -> None:
        run_of(workspace)
        for query in (
            "automation__id__exact=x", "automation__id__exact=%00", "after=%00", "after=99999999999999999999999", "q=%00",
            "status=%00", "status=nonsense", "workspace=x", "workspace=%00", "unknown=1", "after=٣", "p=-1", "o=x",
        ):  # fmt: skip
            answer = operator.get(f"{address(automations.Run)}?{query}", follow=True)
            assert answer.status_code == 200, query

    def test_so_it_is_with_keys_that_are_texts(self, operator: Client, workspace: Workspace) -> None:
        accounts.RateBucket.objects.create(caller="key_3", tokens=1, at=real_now())
        for query in ("after=%00", "after=z", "q=key_3", "q=7"):
            assert operator.get(f"{address(accounts.RateBucket)}?{query}").status_code == 200
        assert len(listed(read(operator, f"{address(accounts.RateBucket)}?after=z"))) == 1
        assert listed(read(operator, f"{address(accounts.RateBucket)}?after=a")) == []

    @pytest.mark.parametrize(
        ("model", "field", "value"),
        [
            (automations.Delivery, "state", "SENT"),
            (accounts.Task, "state", "done"),
            (billing.Invoice, "status", "paid"),
        ],
    )
    def test_filters_know_their_values_without_asking_the_table(
        self, operator: Client, workspace: Workspace, model: type, field: str, value: str
    ) -> None:
        with CaptureQueriesContext(connection) as queries:
            html = read(operator, f"{address(model)}?{field}={value}")
        assert not [query["sql"] for query in queries if "DISTINCT" in query["sql"]]
        assert re.search(r'class="selected" aria-current="true">[^<]+<', html)

    def test_a_filter_keeps_what_it_names(self, operator: Client, workspace: Workspace) -> None:
        paid, unpaid = (make_invoice(make_customer(workspace), status=status) for status in ("paid", "open"))
        html = read(operator, f"{address(billing.Invoice)}?status=paid")
        assert [row[0] for row in listed(html)] == [paid.public_id]
        assert unpaid.public_id not in html

    def test_the_way_back_from_a_row_keeps_what_was_narrowed(self, operator: Client, workspace: Workspace) -> None:
        paid = make_invoice(make_customer(workspace), status="paid")
        html = read(operator, f"{address(billing.Invoice)}?status=paid")
        page = read(operator, links(html)[paid.public_id])
        assert f'<a href="{address(billing.Invoice)}?status=paid">Invoices</a>' in page
        assert f'<a href="{address(billing.Invoice)}">Invoices</a>' in read(operator, page_of(paid))


class TestSearch:
    def found(self, operator: Client, model: type, term: str) -> list[str]:
        return [row[0] for row in listed(read(operator, f"{address(model)}?q={term}"))]

    def test_customers_by_what_names_them(self, operator: Client, workspace: Workspace) -> None:
        zoe = make_customer(workspace, name="Zoë Brandt", email="zoe@example.com", external_id="NW-1")
        make_customer(workspace, name="Ana Ruiz", email="ana@example.com")
        for term in ("zoë", "Zoe@Example.com", "NW-1", zoe.public_id, str(zoe.pk)):
            assert self.found(operator, accounts.Customer, term) == ["Zoë Brandt"], term
        assert self.found(operator, accounts.Customer, "brandt") == []

    def test_keys_by_the_beginning_of_what_somebody_holds(self, operator: Client, workspace: Workspace) -> None:
        key, whole = make_api_key(workspace)
        make_api_key(workspace)
        for term in (whole, f"ow_{key.prefix}", key.prefix, key.public_id):
            assert self.found(operator, accounts.ApiKey, term) == [key.name], term

    def test_invoices_and_payments_by_number(self, operator: Client, workspace: Workspace) -> None:
        invoice = make_invoice(make_customer(workspace, email="pay@example.com"), status="paid")
        make_invoice(make_customer(workspace), status="paid")
        for term in (invoice.number, "pay@example.com", invoice.public_id):
            assert self.found(operator, billing.Invoice, term) == [invoice.public_id], term
        assert self.found(operator, billing.Payment, invoice.number) == [invoice.payments.get().public_id]

    def test_the_audit_log_by_object_and_action(self, operator: Client, workspace: Workspace) -> None:
        record(system_actor(workspace.pk), "door.open", "door_1")
        for term in ("door.open", "door_1"):
            assert self.found(operator, accounts.Audit, term) == ["door.open"]

    @pytest.mark.parametrize(
        ("model", "make", "term"),
        [
            (accounts.User, lambda ws: make_member(ws, email="pia@onward.example", name="Pia"), "PIA@onward"),
            (accounts.Workspace, lambda ws: make_workspace(name="Harbor Cloud"), "harbor"),
            (accounts.Tag, lambda ws: make_customer(ws, tags=["gold"]), "Gold"),
            (billing.Product, lambda ws: make_price(ws), "team"),
            (
                billing.Subscription,
                lambda ws: make_subscription(make_customer(ws, email="s@example.com")),
                "S@example.com",
            ),
        ],
    )
    def test_others_by_their_names(
        self, operator: Client, workspace: Workspace, model: type, make: Callable[[Workspace], Any], term: str
    ) -> None:
        assert self.found(operator, model, term) == []
        make(workspace)
        assert len(self.found(operator, model, term)) == 1


class TestWorkspaces:
    def test_with_one_workspace_nothing_is_said_of_it(self, operator: Client, workspace: Workspace) -> None:
        run_of(workspace)
        html = read(operator, address(automations.Run))
        assert "Workspace" not in heads(html)
        assert "By workspace" not in html

    def test_with_several_they_are_a_filter_and_a_column(
        self, operator: Client, workspace: Workspace, other: Workspace
    ) -> None:
        mine, theirs = (published(space, LISTENING) for space in (workspace, other))
        html = read(operator, address(automations.Automation))
        assert "Workspace" in heads(html)
        html = read(operator, address(automations.Automation) + links(html)[other.name])
        assert [row[0] for row in listed(html)] == [theirs.name]
        assert mine.name not in html

    def test_they_are_read_once_a_page(self, operator: Client, workspace: Workspace, other: Workspace) -> None:
        with CaptureQueriesContext(connection) as queries:
            read(operator, address(automations.Automation))
        asked = [query["sql"] for query in queries if 'FROM "accounts_workspace"' in query["sql"]]
        assert len(asked) == 1


def test_a_list_row_says_where_the_run_stands(operator: Client, workspace: Workspace) -> None:
    run = run_of(workspace)
    [row] = listed(read(operator, address(automations.Run)))
    assert row[:5] == [f"exec_{run.pk}", "Waiting", run.automation.name, str(run.customer), "pause"]


def test_lists_read_no_graph_and_no_state(operator: Client, workspace: Workspace) -> None:
    """A definition has up to 512 kB, and there are fifty rows on a page."""
    run_of(workspace)
    for model in (automations.Run, automations.Version, automations.Automation):
        with CaptureQueriesContext(connection) as queries:
            read(operator, address(model))
        asked = " ".join(query["sql"] for query in queries)
        assert '."definition"' not in asked, model
        assert '."source" ' not in asked, model
        assert '"automations_run"."state"' not in asked, model


def test_plans_are_a_list_of_limits(operator: Client) -> None:
    by_plan = {row[0]: row[1:] for row in listed(read(operator, address(accounts.Plan)))}
    assert list(by_plan) == ["FREE", "HOBBY", "PRO"]
    assert by_plan["PRO"] == ["5", "5", "no limit", "no limit", "20000"]
