"""The administration as a whole: its menu, its first page, who gets in, and what the content security policy lets pass."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.test import Client, override_settings
from django_q.models import Failure, OrmQ, Schedule, Success

from accounts import provenance
from accounts.adminsite.record import RecordAdmin
from accounts.adminsite.site import SECTIONS
from accounts.clock import real_now
from accounts.models import Customer, Installation, Provenance, Task, Workspace
from automations.adminsite import attention
from automations.models import Automation, Delivery, Run, Version, Worker
from tests.admin.pages import address, content, cost, links, page_of, read, words
from tests.automations import LISTENING, WAITING, made, published, queue, started
from tests.billing.helpers import make_card, make_invoice, make_subscription
from tests.factories import make_api_key, make_customer, make_member, make_task, make_user
from tests.worker.living import pass_time

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

STATIC = Path(__file__).resolve().parent.parent.parent / "static" / "onward"
REGISTERED = list(admin.site._registry)


def failed_run(workspace: Workspace) -> Run:
    """A run that could not do its step."""
    automation = published(workspace, 'steps: [{type: action, action: add_tag, tag: "{{trigger.missing}}"}]')
    [run] = started(automation)
    assert run.status == "FAILED", run.status
    return run


@pytest.fixture
def world(workspace: Workspace) -> dict[type, Any]:
    """A row of most kinds."""
    customer = make_customer(workspace, tags=["vip"], stage="TRIAL")
    [run] = started(published(workspace, LISTENING))
    subscription = make_subscription(customer)
    invoice = make_invoice(customer, subscription=subscription, status="paid")
    made_here = [
        workspace, customer, run, run.automation, run.version, run.event, queue(run, "SENT"), subscription, invoice,
        invoice.payments.get(), make_card(customer), make_task(workspace, customer_id=customer.pk), make_api_key(workspace)[0],
    ]  # fmt: skip
    return {type(row): row for row in made_here}


class TestMenu:
    def test_pages_stand_where_staff_look_for_them(self, operator: Client) -> None:
        html = read(operator, "/admin/")
        parts = {
            words(part.split("</h2>")[0].split(">")[-1]): part for part in html.split('<section class="home-section')
        }
        assert [name for name in SECTIONS if name in parts] == list(SECTIONS)
        assert "Runs" in words(parts["Automations"])
        assert "Invoices" in words(parts["Billing"])
        assert "Audit log" in words(parts["Settings"])
        assert "Invoices" not in words(parts["Automations"])

    def test_every_page_is_in_it_and_opens(self, operator: Client) -> None:
        found = links(read(operator, "/admin/"))
        assert {address(model) for model in REGISTERED} <= set(found.values())
        for model in REGISTERED:
            assert operator.get(address(model)).status_code == 200, model

    def test_every_page_says_what_it_holds(self) -> None:
        silent = [model.__name__ for model, page in admin.site._registry.items() if not getattr(page, "about", "")]
        assert silent == []

    def test_every_list_of_records_says_why_it_may_be_empty_or_never_is(self) -> None:
        always = {"Workspace", "Membership", "Installation", "Version", "Funnel", "Stage", "Contact", "PartitionLog"}
        always |= {"CustomerTag", "User"}
        pages = {model.__name__: page for model, page in admin.site._registry.items() if isinstance(page, RecordAdmin)}
        assert {name for name, page in pages.items() if not page.empty_text} <= always

    def test_names_are_plurals_as_people_spell_them(self, operator: Client) -> None:
        shown = words(
            read(operator, "/admin/") + read(operator, "/admin/automations/") + read(operator, "/admin/accounts/")
        )
        assert not re.search(r"\b(Entrys|Tallys|Deliverys|Api keys|Audits)\b", shown)

    def test_the_page_of_an_app_still_opens(self, operator: Client) -> None:
        assert "Runs" in words(read(operator, "/admin/automations/"))

    def test_groups_and_the_queue_s_own_pages_are_gone(self, operator: Client) -> None:
        """Rights come from memberships; a schedule of the queue names any function to be called."""
        assert Group not in REGISTERED
        assert {OrmQ, Success}.isdisjoint(REGISTERED)
        assert operator.get("/admin/auth/group/").status_code == 404
        for model in (Schedule, Failure):
            assert operator.get(address(model, "add")).status_code == 403

    def test_a_failed_call_of_the_queue_can_be_read(self, operator: Client) -> None:
        now = real_now()
        fields = {"name": "pass", "func": "automations.tasks.sweep", "started": now, "stopped": now, "attempt_count": 1}
        good = Success.objects.create(id="a" * 32, success=True, **fields)
        bad = Failure.objects.create(id="b" * 32, success=False, result="ValueError: <b>", **fields)
        html = read(operator, address(Failure))
        assert bad.id in html
        assert good.id not in html
        assert "ValueError: <b>" in words(read(operator, page_of(bad)))
        assert "<b>" not in content(read(operator, page_of(bad)))


class TestAttention:
    def test_with_nothing_to_do_it_says_so(self, operator: Client, workspace: Workspace) -> None:
        assert "No failed runs, nothing uncertain outside, no open tasks" in words(read(operator, "/admin/"))

    def test_failed_runs_say_what_failed_and_for_whom(self, operator: Client, workspace: Workspace) -> None:
        run = failed_run(workspace)
        html = read(operator, "/admin/")
        assert f"{run.automation.name} for {run.customer}" in words(html)
        assert run.error["message"][:100] in words(html)
        assert page_of(run) in links(html).values()

    def test_what_nobody_can_tell_and_what_waits_for_a_person(self, operator: Client, workspace: Workspace) -> None:
        [run] = started(published(workspace, WAITING))
        unknown, sent = queue(run, "UNKNOWN"), queue(run, "SENT", visit=2)
        task, done = make_task(workspace, title="Look at this"), make_task(workspace, title="Over")
        Task.objects.filter(pk=done.pk).update(state="done", done_at=real_now())
        html = read(operator, "/admin/")
        assert page_of(unknown) in links(html).values()
        assert page_of(sent) not in links(html).values()
        assert links(html)["Look at this"] == page_of(task)
        assert "Over" not in links(html)

    def test_dead_workers_are_said_loudly_and_live_ones_not_at_all(self, operator: Client) -> None:
        silence = "No worker gave a sign of life"
        Worker.objects.all().delete()
        assert silence in read(operator, "/admin/")
        worker = Worker.objects.create(name="here:1:x")
        assert silence not in read(operator, "/admin/")
        Worker.objects.filter(pk=worker.pk).update(beat_at=real_now() - timedelta(minutes=1))
        assert silence in read(operator, "/admin/")

    def test_a_moved_clock_is_said(self, operator: Client) -> None:
        assert "clock of this installation" not in words(read(operator, "/admin/"))
        pass_time("+3d")
        assert "The clock of this installation is 3 days ahead." in words(read(operator, "/admin/"))

    def test_held_workers_are_said_with_the_way_out(self, operator: Client) -> None:  # RELIABILITY 36
        assert "Nothing is done here" not in words(read(operator, "/admin/"))
        provenance.hold("This is the copy of Tuesday.")
        assert "Nothing is done here: This is the copy of Tuesday. manage.py restored" in words(
            read(operator, "/admin/")
        )
        [row] = Provenance.objects.all()
        assert "Workers are held" in words(read(operator, page_of(row)))
        provenance.confirm()
        assert "Nothing is done here" not in words(read(operator, "/admin/"))
        assert "Workers may work" in words(read(operator, page_of(row)))

    def test_it_costs_the_same_however_much_there_is(self, operator: Client, workspace: Workspace) -> None:
        run = failed_run(workspace)
        queue(run, "UNKNOWN", visit=1)
        make_task(workspace)
        few = cost(lambda: operator.get("/admin/"))
        for visit in range(2, 22):
            queue(run, "UNKNOWN", visit)
            make_task(workspace, customer_id=make_customer(workspace).pk)
        failed_run(workspace)
        assert cost(lambda: operator.get("/admin/")) == few

    def test_it_looks_at_the_newest_rows_only(
        self, operator: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No index serves these questions: what lies far behind must not be searched through."""
        monkeypatch.setattr(attention, "LOOKED_AT", 2)
        run = failed_run(workspace)
        assert [found.pk for found in attention.look().failed] == [run.pk]
        started(published(workspace, WAITING, trigger="{type: event, event: other}"), 2, event="other")
        assert attention.look().failed == []


class TestWhoGetsIn:
    @pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model.__name__)
    def test_no_list_is_open_to_staff_who_are_no_operators(self, workspace: Workspace, model: type) -> None:
        # CONTRACTS 8: membership in a workspace opens nothing here, nor does a permission of Django's own
        person = make_member(workspace, "owner", is_staff=True)
        person.user_permissions.set(Permission.objects.filter(content_type__app_label=model._meta.app_label))
        client = Client()
        client.force_login(person)
        assert client.get(address(model)).status_code == 403
        assert client.get(address(model, "add")).status_code == 403

    def test_no_row_is_either_of_ones_own_workspace_or_of_another(
        self, world: dict[type, Any], other: Workspace
    ) -> None:
        for member_of in (next(iter(world.values())), other):
            client = Client()
            client.force_login(make_member(member_of, "owner", is_staff=True))
            for row in world.values():
                assert client.get(page_of(row)).status_code == 403, row
                assert client.get(address(type(row), row.pk, "history")).status_code == 403, row

    def test_their_first_page_shows_nothing_of_anybody(self, workspace: Workspace) -> None:
        run = failed_run(workspace)
        client = Client()
        client.force_login(make_member(workspace, "owner", is_staff=True))
        shown = words(content(read(client, "/admin/")))
        assert run.automation.name not in shown
        assert "for the operators of the installation" in shown

    def test_a_person_without_the_admin_is_asked_to_sign_in(self, world: dict[type, Any]) -> None:
        client = Client()
        client.force_login(make_user())
        for row in world.values():
            assert client.get(page_of(row)).status_code == 302

    def test_an_operator_cannot_be_made_by_one_who_is_none(self, workspace: Workspace) -> None:
        """Django lets whoever may change people make them superusers."""
        person = make_member(workspace, "owner", is_staff=True)
        person.user_permissions.set(Permission.objects.filter(codename__endswith="_user"))
        client = Client()
        client.force_login(person)
        form = {"email": person.email, "is_active": "on", "is_staff": "on", "is_superuser": "on"}
        assert client.post(page_of(person), form).status_code == 403
        person.refresh_from_db()
        assert not person.is_superuser


class TestPolicy:
    """DESIGN 8: strict content security policy; nothing inline, nothing from elsewhere."""

    def pages(self, world: dict[type, Any]) -> list[str]:
        lists = [address(model) for model in REGISTERED]
        forms = [address(model, "add") for model in (Automation, type(make_user()))]
        return ["/admin/", "/admin/login/", *lists, *forms, *(page_of(row) for row in world.values())]

    def test_no_page_has_anything_inline(self, operator: Client, world: dict[type, Any]) -> None:
        for where in self.pages(world):
            answer = operator.get(where, follow=True)
            html = answer.content.decode()
            assert answer.status_code == 200, where
            assert "unsafe" not in answer["Content-Security-Policy"]
            assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", html), where
            assert not re.search(r"<[^>]+\s(style|on[a-z]+)\s*=", html), where
            assert "<style" not in html, where

    def test_all_that_a_page_loads_is_ours_and_there(self, operator: Client, world: dict[type, Any]) -> None:
        wanted: set[str] = set()
        for where in self.pages(world):
            html = operator.get(where, follow=True).content.decode()
            wanted |= set(re.findall(r'<(?:link|script|img)[^>]+?(?:href|src)="([^"]+)"', html))
        assert {"/static/onward/tokens.css", "/static/onward/admin.css", "/static/onward/editor.js"} <= wanted
        for name in wanted:
            found = finders.find(name.removeprefix("/static/")) if name.startswith("/static/") else operator.get(name)
            assert found, name

    def test_our_sheet_comes_behind_all_of_django_s(self, operator: Client, workspace: Workspace) -> None:
        """It wins by order, not by weight."""
        for where in ("/admin/", address(Run), page_of(make_user()), page_of(made(workspace))):
            sheets = re.findall(r'<link rel="stylesheet" href="/static/([^"]+)"', read(operator, where))
            assert sheets[-2:] == ["onward/tokens.css", "onward/admin.css"], where

    def test_the_script_asks_for_nothing_that_the_policy_refuses(self) -> None:
        text = (STATIC / "editor.js").read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            "new Function",
            'setAttribute("style"',
            "http:",
            "https:",
        ):
            assert word not in text, word

    def test_the_sheets_fetch_nothing_from_elsewhere(self) -> None:
        for sheet in STATIC.glob("*.css"):
            text = sheet.read_text()
            assert "@import" not in text
            for place in re.findall(r"url\(\"?([^)\"]+)\"?\)", text):
                assert (STATIC / place).is_file(), place

    @override_settings(
        STORAGES={
            "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
            "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
        }
    )
    def test_production_finds_all_of_it_under_names_that_say_what_is_in_them(self, tmp_path: Path) -> None:
        with override_settings(STATIC_ROOT=tmp_path):
            call_command("collectstatic", interactive=False, verbosity=0)
        [sheet] = tmp_path.glob("onward/tokens.*.css")
        assert re.search(r'url\("fonts/inter-latin\.[0-9a-f]{12}\.woff2"\)', sheet.read_text())


class TestThemes:
    def test_every_colour_of_django_s_is_one_of_ours(self) -> None:
        """Otherwise something stays light in the dark."""
        base = Path(str(finders.find("admin/css/base.css"))).read_text()
        names = set(re.findall(r"^\s+(--[a-z-]+):", base.split("html, body", 1)[0], re.M))
        ours = (STATIC / "admin.css").read_text().split("/* ---- ground", 1)[0]
        assert names
        assert names - set(re.findall(r"(--[a-z-]+):", ours)) == set()

    def test_our_sheet_names_no_colour_itself(self) -> None:
        text = (STATIC / "admin.css").read_text()
        assert not re.search(r"#[0-9a-f]{3,8}\b(?=[\s;])|\brgba?\(|\bhsl|\boklch\(|: (white|black)\b", text)

    def test_every_name_that_is_used_exists(self) -> None:
        tokens, sheet = (STATIC / "tokens.css").read_text(), (STATIC / "admin.css").read_text()
        base = Path(str(finders.find("admin/css/base.css"))).read_text()
        known = set(re.findall(r"(--[\w-]+):", tokens + sheet + base))
        assert set(re.findall(r"var\((--[\w-]+)", sheet)) - known == set()

    def test_every_colour_has_a_light_and_a_dark_side(self) -> None:
        text = (STATIC / "tokens.css").read_text()
        once = re.findall(r"^\s+(--[\w-]+): oklch", text, re.M)
        assert once == []


def test_the_clock_and_the_rows_of_the_page_agree_on_what_is_one_installation(operator: Client) -> None:
    [row] = Installation.objects.all()
    pass_time("+3d")
    assert "3 days ahead" in words(read(operator, page_of(row)))


def test_unknown_rows_lead_back_to_the_list(operator: Client, workspace: Workspace) -> None:
    for model in (Run, Customer, Delivery, Version):
        answer = operator.get(address(model, 999_999, "change"))
        assert (answer.status_code, answer["Location"]) == (302, address(model))
        assert f"There is no {model._meta.verbose_name} 999999 here." in words(read(operator, address(model)))
    assert operator.get(address(Run, "x'\"", "change")).status_code == 302
