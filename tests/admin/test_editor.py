"""The editor in a browser: problems at their lines, keys, and no change lost unasked. Without a browser these are left out; the
page itself works without its script, and what it then shows is proved in `test_automation_page`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from accounts.clock import evaluation_now
from accounts.models import Workspace
from automations.models import Automation, Version
from automations.services.drafts import save_draft
from tests.admin.chromium import CONTROL, SHIFT, Browser, browser, chromium
from tests.admin.pages import address, page_of
from tests.admin.test_run_page import log
from tests.automations import TAGGING, made, queue, text
from tests.billing.helpers import make_invoice
from tests.factories import actor_of, make_api_key, make_customer, make_task, make_user, make_workspace, owner_of
from tests.worker.deliveries import DEFINITION, World

PROGRAM = chromium()
pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="no Chromium here; name one by ONWARD_CHROMIUM"),
    pytest.mark.django_db(transaction=True),
]

WRONG = text(
    "filter: x >\nsteps:\n  - {type: delay, duration: 3x}\n  - {type: action, action: send_emial}", name="Wrong"
)
AREA = "document.querySelector('textarea[name=text]')"
LINE = f"{AREA}.value.slice(0, {AREA}.selectionStart).split('\\n').length"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with browser(PROGRAM, tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def workspace() -> Workspace:
    return make_workspace()


@pytest.fixture
def tab(program: Browser, live_server: Any) -> Iterator[Browser]:
    """A tab of an operator who is signed in; at the end nothing may have been complained about."""
    client = Client()
    client.force_login(make_user(is_staff=True, is_superuser=True))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME].value
    program.open()
    program.ask("Network.setCookie", name=settings.SESSION_COOKIE_NAME, value=cookie, url=live_server.url)
    yield program
    complaints = program.complaints()
    program.close()
    assert complaints == []


@pytest.fixture
def automation(tab: Browser, workspace: Workspace, live_server: Any) -> Automation:
    """A draft with problems, opened."""
    found = made(workspace)
    save_draft(actor=actor_of(workspace), automation_id=found.pk, body=WRONG, fmt="yaml")
    tab.go(live_server.url + page_of(found))
    return found


def write(tab: Browser, body: str) -> None:
    """Put a text into the editor as typing would."""
    tab.see(f"{AREA}.focus(), {AREA}.select()")
    tab.type(body)


def stored(automation: Automation) -> str:
    return str(Version.objects.get(automation=automation, state="draft").source)


class TestProblems:
    def test_they_stand_at_their_lines(self, tab: Browser, automation: Automation) -> None:
        tops = "[...document.querySelectorAll('.mark')].map((mark) => [mark.style.top, mark.querySelector('.says').textContent])"
        found = dict(tab.see(tops))
        lines = tab.see("[...document.querySelectorAll('#problems li')].map((item) => Number(item.dataset.line))")
        assert {f"{8 + (line - 1) * 20}px" for line in lines} == set(found)
        assert any("3x" in said for said in found.values())
        assert tab.see("document.querySelectorAll('.gutter .bar').length") == len(found)
        assert tab.see("document.querySelector('.numbers').textContent.split('\\n').length") == len(WRONG.split("\n"))

    def test_they_are_where_the_lines_are_drawn(self, tab: Browser, automation: Automation) -> None:
        """The height of a line is written in the sheet and in the script."""
        assert tab.see(f"getComputedStyle({AREA}).lineHeight") == "20px"
        assert tab.see(f"getComputedStyle({AREA}).paddingTop") == "8px"
        assert tab.see("getComputedStyle(document.querySelector('.numbers')).lineHeight") == "20px"

    def test_validating_moves_the_focus_to_the_first_and_from_there_to_its_line(
        self, tab: Browser, automation: Automation
    ) -> None:
        tab.see(f"{AREA}.focus()")
        tab.press("Enter", CONTROL)
        first = int(tab.wait("document.activeElement.closest('#problems li').dataset.line"))
        tab.press("Enter")
        assert tab.wait(f"document.activeElement === {AREA}")
        assert tab.see(LINE) == first

    def test_f8_goes_through_them_and_begins_again(self, tab: Browser, automation: Automation) -> None:
        lines = sorted(
            set(tab.see("[...document.querySelectorAll('#problems li')].map((item) => Number(item.dataset.line))"))
        )
        tab.see(f"{AREA}.focus(), {AREA}.setSelectionRange(0, 0)")
        seen = []
        for _number in range(len(lines) + 1):
            tab.press("F8")
            seen.append(tab.see(LINE))
        assert seen == [*lines, lines[0]]
        tab.press("F8", SHIFT)
        assert tab.see(LINE) == lines[-1]

    def test_they_follow_what_is_typed_and_leave_the_cursor_alone(self, tab: Browser, automation: Automation) -> None:
        write(tab, text(TAGGING, name="Right"))
        tab.wait("document.querySelectorAll('.mark').length === 0")
        assert "No problems." in tab.see("document.getElementById('verdict').innerText")
        assert tab.see(f"document.activeElement === {AREA}")
        assert stored(automation) == WRONG


class TestSaving:
    def test_control_s_saves_and_stays_where_it_is(self, tab: Browser, automation: Automation) -> None:
        write(tab, text(TAGGING, name="Kept"))
        assert tab.wait("document.getElementById('editor-state').textContent === 'Unsaved changes'")
        place = tab.see(f"{AREA}.selectionStart")
        tab.press("s", CONTROL)
        tab.wait("document.getElementById('verdict').innerText.includes('The draft is saved.')")
        assert tab.see("document.getElementById('editor-state').textContent") == ""
        assert tab.see("document.querySelector('h1').innerText").startswith("Kept")
        assert tab.see(f"{AREA}.selectionStart") == place
        assert stored(automation) == text(TAGGING, name="Kept")

    def test_it_can_be_saved_again_and_again(self, tab: Browser, automation: Automation) -> None:
        """The revision of the page follows what it saved."""
        for number in range(3):
            write(tab, text(TAGGING, name=f"Kept {number}"))
            tab.press("s", CONTROL)
            tab.wait(f"document.querySelector('h1').innerText.startsWith('Kept {number}')")
        assert "Kept 2" in stored(automation)

    def test_somebody_else_s_save_is_not_overwritten_and_the_text_stays(
        self, tab: Browser, automation: Automation, workspace: Workspace
    ) -> None:
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(name="Theirs"), fmt="yaml")
        write(tab, text(TAGGING, name="Mine"))
        tab.press("s", CONTROL)
        tab.wait("document.querySelector('#verdict .errornote').innerText.includes('read it again and merge')")
        assert "name: Mine" in tab.see(f"{AREA}.value")
        assert "name: Theirs" in stored(automation)
        assert tab.see("document.getElementById('editor-state').textContent") == "Unsaved changes"

    def test_a_session_that_ended_loses_nothing(self, tab: Browser, automation: Automation) -> None:
        tab.ask("Network.clearBrowserCookies")
        write(tab, text(TAGGING, name="Mine"))
        tab.press("s", CONTROL)
        tab.wait("document.getElementById('editor-state').textContent.startsWith('The server did not take it.')")
        assert "name: Mine" in tab.see(f"{AREA}.value")
        assert stored(automation) == WRONG

    @pytest.mark.parametrize("changed", [True, False])
    def test_leaving_asks_only_when_something_would_be_lost(
        self, tab: Browser, automation: Automation, changed: bool
    ) -> None:
        if changed:
            write(tab, text(TAGGING, name="Mine"))
        else:
            tab.click("#content h1")
        prevented = "(() => { const event = new Event('beforeunload', { cancelable: true }); return !window.dispatchEvent(event) })()"
        assert tab.see(prevented) is changed

    def test_a_new_line_begins_where_the_one_above_does(self, tab: Browser, automation: Automation) -> None:
        write(tab, "steps:\n  - type: delay")
        tab.press("Enter")
        tab.type("duration: 3d")
        assert tab.see(f"{AREA}.value") == "steps:\n  - type: delay\n    duration: 3d"


class TestLooks:
    """Every page fits its window and can be read, in the light and in the dark."""

    @pytest.fixture
    def pages(self, automation: Automation, workspace: Workspace) -> list[str]:
        invoice = make_invoice(make_customer(workspace, name="x" * 200, email=f"{'y' * 60}@example.com"), status="paid")
        world = World(
            workspace, definition={**DEFINITION, "nodes": [{"id": "call", "type": "send_webhook", "name": "z" * 200}]}
        )
        run = world.run(state={"deep": {"key": "v" * 300}})
        failed = world.run(
            status="FAILED",
            parked_on=None,
            ended_at=evaluation_now() + timedelta(minutes=1),
            end_reason="failed",
            error={"message": "e" * 300},
        )
        delivery = queue(run, "UNKNOWN")
        log(run, seq=1, status="failed", error={"message": "m" * 300, "code": "c"}, warnings=[{"message": "w" * 300}])
        log(run, seq=2, type="delay", output={"k": "o" * 300}, input={"deep": ["i" * 300]}, iteration="0")
        rows = [
            automation, invoice, invoice.customer, workspace, invoice.payments.get(), run, failed, run.event, delivery,
            world.version, make_task(workspace, title="t" * 200), make_api_key(workspace)[0],
        ]  # fmt: skip
        lists = dict.fromkeys(address(type(row)) for row in rows)
        forms = [address(Automation, "add"), page_of(owner_of(workspace)), "/admin/accounts/plan/PRO/change/"]
        return ["/admin/", *lists, *map(page_of, rows), *forms, address(Automation) + "?q=nothing"]

    @pytest.mark.parametrize("width", [390, 1280])
    def test_no_page_is_wider_than_its_window(
        self, tab: Browser, live_server: Any, pages: list[str], width: int
    ) -> None:
        tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=False)
        try:
            for where in pages:
                tab.go(live_server.url + where)
                assert tab.see("document.documentElement.scrollWidth") <= width, where
        finally:
            tab.ask("Emulation.clearDeviceMetricsOverride")

    @pytest.mark.parametrize("theme", ["light", "dark"])
    def test_all_text_stands_out_from_its_ground(
        self, tab: Browser, live_server: Any, pages: list[str], theme: str
    ) -> None:
        """WCAG AA: 4.5 to 1."""
        tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        script = (Path(__file__).parent / "contrast.js").read_text()
        try:
            for where in pages:
                tab.go(live_server.url + where)
                assert tab.see(script) == [], (where, theme)
        finally:
            tab.ask("Emulation.setEmulatedMedia", features=[])
