"""The page of one automation: the draft as YAML, problems at their lines, buttons that call the services (CONTRACTS 10)."""

from __future__ import annotations

import re

import pytest
from django.test import Client

from accounts.models import Audit, Workspace
from automations.adminsite.editing import STARTER
from automations.models import Automation, Version
from automations.services.drafts import read_draft, save_draft
from automations.services.pause import pause_automation
from tests.admin.pages import words
from tests.automations import TAGGING, WAITING, fresh, made, published, started, text, versions
from tests.factories import actor_of, make_member

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

LIST = "/admin/automations/automation/"


def page(automation: Automation) -> str:
    return f"{LIST}{automation.pk}/change/"


def press(client: Client, automation: Automation, act: str, body: str, **more: object):
    data = {"act": act, "text": body, "revision": fresh(automation).draft_revision, **more}
    return client.post(page(automation), data)


def shown(automation: Automation) -> str:
    """The text that is stored."""
    return str(Version.objects.get(automation=automation, state="draft").source)


class TestReading:
    def test_the_draft_is_shown_as_it_was_written(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace, WAITING, name="Shown & seen")
        html = operator.get(page(automation)).content.decode()
        assert "name: Shown &amp; seen" in html
        assert "No problems." in html
        assert re.search(r'<span class="pill pill-draft">.*Draft</span>', html)

    def test_without_a_draft_the_active_version_is(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        html = operator.get(page(automation)).content.decode()
        assert "action: add_tag" in html
        assert "version 1 is active" in html

    def test_each_problem_leads_to_its_line(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace, "steps:\n  - type: delay\n    duration: 3x")
        html = operator.get(page(automation)).content.decode()
        assert re.search(r'<a href="#line-5">line 5</a>: .*bad_duration', html, re.S)
        assert re.search(r'<li id="line-5"><code>\s+duration: 3x</code>', html)

    def test_unfinished_runs_and_where_they_stand(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        started(automation, 2)
        html = operator.get(page(automation)).content.decode()
        assert "2 at pause" in html
        assert f"/admin/automations/run/?automation__id__exact={automation.pk}" in html

    def test_questions_are_asked_only_when_there_are_runs(self, operator: Client, workspace: Workspace) -> None:
        # PAU-10
        automation = published(workspace, WAITING)
        assert 'name="in_flight"' not in operator.get(page(automation)).content.decode()
        started(automation)
        html = operator.get(page(automation)).content.decode()
        assert 'name="in_flight"' in html
        assert 'name="runs"' in html

    def test_nothing_inline_that_the_policy_would_refuse(self, operator: Client, workspace: Workspace) -> None:
        # DESIGN 8: strict content security policy
        automation = made(workspace, "steps: [{type: delay, duration: 3x}]")
        answer = operator.get(page(automation))
        html = answer.content.decode()
        assert "script-src 'self'" in answer["Content-Security-Policy"]
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", html)
        assert not re.search(r"\s(style|on[a-z]+)=", html.split('id="content"')[1])
        assert "<style" not in html

    def test_one_that_is_not_there_is_404(self, operator: Client) -> None:
        for wrong in ("999999", "x", "-1"):
            assert operator.get(f"{LIST}{wrong}/change/").status_code == 404


class TestSave:
    def test_the_draft_is_stored(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        answer = press(operator, automation, "save", text(WAITING, name="Saved"))
        assert (answer.status_code, answer["Location"]) == (302, page(automation))
        assert shown(automation) == text(WAITING, name="Saved")
        assert (fresh(automation).name, fresh(automation).state) == ("Saved", "DRAFT")

    def test_line_ends_of_a_browser_do_no_harm(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        press(operator, automation, "save", text(WAITING, name="Ends").replace("\n", "\r\n"))
        assert shown(automation) == text(WAITING, name="Ends")

    def test_a_draft_with_problems_is_stored(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        assert press(operator, automation, "save", text("steps: []")).status_code == 302
        assert [
            problem.code for problem in read_draft(actor=actor_of(workspace), automation_id=automation.pk).problems
        ] == ["no_steps"]

    def test_without_a_shape_it_says_where_and_keeps_the_text(self, operator: Client, workspace: Workspace) -> None:
        # CONTRACTS 10
        automation = made(workspace)
        before = shown(automation)
        answer = press(operator, automation, "save", "name: kept\nname: twice\n")
        html = answer.content.decode()
        assert answer.status_code == 400
        assert "name: twice" in html
        assert '<a href="#line-2" autofocus>line 2</a>' in html
        assert shown(automation) == before

    def test_somebody_elses_save_is_not_overwritten(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=text(name="Theirs"), fmt="yaml")
        answer = operator.post(page(automation), {"act": "save", "text": text(name="Mine"), "revision": 1})
        assert answer.status_code == 409
        assert "name: Mine" in answer.content.decode()
        assert "name: Theirs" in shown(automation)

    def test_who_it_was_stands_in_the_audit_log(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        press(operator, automation, "save", text(WAITING))
        entry = Audit.objects.filter(object=automation.public_id, action="draft.save").latest("pk")
        assert (entry.user_id, "@" in entry.actor) == (int(operator.session["_auth_user_id"]), True)

    @pytest.mark.parametrize(
        "data", [{"act": "save", "text": ""}, {"act": "explode", "text": "name: x"}, {"text": "name: x"}]
    )
    def test_a_form_that_makes_no_sense_changes_nothing(
        self, operator: Client, workspace: Workspace, data: dict
    ) -> None:
        automation = made(workspace)
        assert operator.post(page(automation), data).status_code == 422
        assert fresh(automation).draft_revision == 1


class TestButtons:
    def test_validate_stores_nothing(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        html = press(operator, automation, "validate", text("steps: [{type: delay, duration: 9y}]")).content.decode()
        assert "bad_duration" in html
        assert "duration: 9y" in html
        assert fresh(automation).draft_revision == 1

    def test_activate_puts_what_is_on_the_screen_in_force(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        assert press(operator, automation, "activate", text(WAITING, name="Now")).status_code == 302
        automation = fresh(automation)
        assert (automation.state, automation.name) == ("ACTIVE", "Now")
        assert versions(automation) == {1: "active"}

    def test_activate_lists_the_problems_that_stand_in_the_way(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        answer = press(operator, automation, "activate", text("steps: []"))
        assert answer.status_code == 422
        assert "no_steps" in answer.content.decode()
        assert fresh(automation).state == "DRAFT"

    def test_activate_asks_what_becomes_of_runs(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        [run] = started(automation)
        press(operator, automation, "activate", text(WAITING + "\ndescription: again"), runs="cancel")
        assert fresh(run).end_reason == "cancelled_on_publish"

    def test_an_unchanged_active_text_is_not_published_again(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        body = automation.active_version.source if automation.active_version else ""
        press(operator, automation, "activate", body)
        assert set(versions(automation).values()) <= {"active", "inactive"}
        assert fresh(automation).state == "ACTIVE"

    @pytest.mark.parametrize(
        ("choice", "status"), [("finish", "RUNNING"), ("cancel", "CANCELLED"), ("hold", "RUNNING")]
    )
    def test_pause_and_resume(self, operator: Client, workspace: Workspace, choice: str, status: str) -> None:
        automation = published(workspace, WAITING)
        [run] = started(automation)
        assert press(operator, automation, "pause", text(), in_flight=choice).status_code == 302
        assert (fresh(automation).state, fresh(run).status) == ("PAUSED", status)
        html = operator.get(page(automation)).content.decode()
        assert ('name="held"' in html) == (choice == "hold")
        assert press(operator, automation, "resume", text(), held="continue").status_code == 302
        assert fresh(automation).state == "ACTIVE"

    def test_a_refusal_is_shown_in_words(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        answer = press(operator, automation, "pause", text())
        assert answer.status_code == 409
        assert "is DRAFT; this needs ACTIVE or PAUSED" in answer.content.decode()


class TestNew:
    def test_an_automation_is_made_from_a_text(self, operator: Client, workspace: Workspace) -> None:
        answer = operator.post(f"{LIST}add/", {"text": text(name="Fresh"), "workspace": workspace.pk})
        automation = Automation.objects.get(workspace=workspace)
        assert (answer.status_code, answer["Location"]) == (302, page(automation))
        assert automation.name == "Fresh"

    def test_a_bad_text_is_kept(self, operator: Client, workspace: Workspace) -> None:
        answer = operator.post(f"{LIST}add/", {"text": "name: [", "workspace": workspace.pk})
        assert answer.status_code == 400
        assert "name: [" in answer.content.decode()
        assert not Automation.objects.exists()

    def test_the_form_is_empty_at_first(self, operator: Client, workspace: Workspace) -> None:
        html = operator.get(f"{LIST}add/").content.decode()
        assert workspace.slug in html
        assert 'value="activate"' not in html

    def test_a_workspace_is_needed(self, operator: Client) -> None:
        assert operator.post(f"{LIST}add/", {"text": text()}).status_code == 200
        assert not Automation.objects.exists()


class TestProblems:
    """Validate shows problems at their lines, beside the text; Activate refuses with the same (CONTRACTS 10)."""

    WRONG = "filter: invoice.totl > 5\nsteps:\n  - {type: delay, duration: 3x}\n  - {type: action, action: send_emial}"

    def problems(self, html: str) -> list[str]:
        found = re.search(r'<ul id="problems">(.*?)</ul>', html, re.S)
        return [words(item) for item in re.findall(r"<li.*?</li>", found[1], re.S)] if found else []

    def test_each_is_named_with_its_line_in_the_list_and_at_the_line(
        self, operator: Client, workspace: Workspace
    ) -> None:
        automation = made(workspace)
        html = press(operator, automation, "validate", text(self.WRONG, name="N")).content.decode()
        listed = self.problems(html)
        assert [re.match(r"(error|warning) line (\d+)", item)[0] for item in listed][:2] == [
            "error line 5",
            "error line 6",
        ]
        for line in (5, 6):
            assert f'data-line="{line}"' in html
            at = re.search(rf'<li id="line-{line}">.*?</li>', html, re.S)
            assert 'class="at error"' in at[0]
        assert words(html).count("2 errors") == 1

    def test_activate_refuses_with_the_same(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        body = text(self.WRONG, name="N")
        seen = self.problems(press(operator, automation, "validate", body).content.decode())
        refused = press(operator, automation, "activate", body)
        assert refused.status_code == 422
        assert self.problems(refused.content.decode()) == seen
        assert "2 problems stand in the way of activating" in refused.content.decode()

    def test_the_first_one_gets_the_focus_when_a_button_was_pressed(
        self, operator: Client, workspace: Workspace
    ) -> None:
        automation = made(workspace, "steps: [{type: delay, duration: 3x}]")
        assert "autofocus" not in operator.get(page(automation)).content.decode()
        html = press(operator, automation, "validate", text(self.WRONG)).content.decode()
        assert html.count("autofocus") == 1
        assert re.search(r'<a href="#line-\d+" autofocus>', html)

    def test_a_reader_hears_of_them(self, operator: Client, workspace: Workspace) -> None:
        html = press(operator, made(workspace), "activate", text("steps: []")).content.decode()
        assert 'id="verdict" aria-live="polite"' in html
        assert re.search(r'class="note note-bad errornote" role="alert"', html)
        assert '<span class="visually-hidden">error</span>' in html

    def test_names_of_people_are_never_markup(self, operator: Client, workspace: Workspace) -> None:
        bad = "<script>alert(1)</script>"
        automation = made(workspace, f"steps: [{{type: action, action: '{bad}'}}]", name=f"'{bad}'")
        html = operator.get(page(automation)).content.decode()
        assert bad not in html
        assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


class TestWords:
    """What the page says was done, and what it says would be."""

    def told(self, operator: Client, automation: Automation, act: str, body: str, **more: object) -> str:
        press(operator, automation, act, body, **more)
        html = operator.get(page(automation)).content.decode()
        return words(re.search(r'<ul class="messagelist">(.*?)</ul>', html, re.S)[1])

    def test_a_save_says_that_nothing_runs_otherwise(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        assert self.told(operator, automation, "save", text(TAGGING)) == "The draft is saved. It has no problems."
        said = self.told(operator, automation, "save", text("steps: []"))
        assert said == "The draft is saved, with 1 problem. What runs has not changed."

    def test_activation_says_what_became_active_and_when_it_starts(
        self, operator: Client, workspace: Workspace
    ) -> None:
        automation = made(workspace)
        said = self.told(operator, automation, "activate", text(WAITING, name="Dunning"))
        assert said == "Version 1 of “Dunning” is active: it starts on sign."

    @pytest.mark.parametrize(
        ("trigger", "start"),
        [("{type: manual}", "when it is triggered by hand or by the API"), ("{type: schedule, interval: 1d}", "by its schedule")],
    )  # fmt: skip
    def test_so_it_does_where_no_event_starts_it(
        self, operator: Client, workspace: Workspace, trigger: str, start: str
    ) -> None:
        automation = made(workspace)
        said = self.told(
            operator, automation, "activate", text("steps: [{type: stop}]", name="By hand", trigger=trigger)
        )
        assert said == f"Version 1 of “By hand” is active: it starts {start}."

    @pytest.mark.parametrize(
        ("choice", "fate"), [("stay", "on the version it began with, until its end"), ("cancel", "cancelled")]
    )
    def test_it_says_what_becomes_of_runs_under_way(
        self, operator: Client, workspace: Workspace, choice: str, fate: str
    ) -> None:
        automation = published(workspace, WAITING)
        started(automation, 2)
        said = self.told(operator, automation, "activate", text(WAITING + "\ndescription: again"), runs=choice)
        assert said.endswith(f"2 runs under way: {fate}.")

    @pytest.mark.parametrize(
        ("choice", "fate"), [("finish", "2 runs finishing."), ("cancel", "2 runs cancelled."), ("hold", "2 runs held.")]
    )
    def test_a_pause_says_what_becomes_of_them_too(
        self, operator: Client, workspace: Workspace, choice: str, fate: str
    ) -> None:
        automation = published(workspace, WAITING)
        started(automation, 2)
        said = self.told(operator, automation, "pause", text(), in_flight=choice)
        assert said == f"“{automation.name}” is paused: no run begins any more. {fate}"

    def test_a_pause_without_runs_says_no_more(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, WAITING)
        assert self.told(operator, automation, "pause", text()).endswith("no run begins any more.")
        assert self.told(operator, automation, "resume", text()) == f"“{automation.name}” is active again."

    def test_before_activating_it_shows_what_would_change(self, operator: Client, workspace: Workspace) -> None:
        automation = published(workspace, TAGGING)
        assert "What changes against version 1" not in operator.get(page(automation)).content.decode()
        body = automation.active_version.source.replace("tag: done", "tag: over")
        save_draft(actor=actor_of(workspace), automation_id=automation.pk, body=body, fmt="yaml")
        html = operator.get(page(automation)).content.decode()
        diff = html.split("What changes against version 1", 1)[1].split("</pre>", 1)[0]
        assert re.search(r'class="minus">-[^<]*tag: done', diff)
        assert re.search(r'class="plus">\+[^<]*tag: over', diff)
        assert "Activate version 2" in words(html)

    def test_the_draft_and_who_saved_it_are_named(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        press(operator, automation, "save", text(TAGGING))
        assert re.search(
            r"Draft version 1, saved .* by person-\d+@onward\.example",
            words(operator.get(page(automation)).content.decode()),
        )


class TestUnsaved:
    """The page knows whether the database has what is on the screen; the script warns by it."""

    def stored(self, answer) -> str:
        return re.search(r'data-stored="(\d)"', answer.content.decode())[1]

    def test_what_is_stored_is_not_unsaved(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        assert self.stored(operator.get(page(automation))) == "1"
        assert self.stored(press(operator, automation, "validate", shown(automation))) == "1"

    def test_what_was_only_validated_or_refused_is(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        assert self.stored(press(operator, automation, "validate", text(WAITING))) == "0"
        assert self.stored(press(operator, automation, "save", "name: [")) == "0"
        assert self.stored(press(operator, automation, "save", text(WAITING), revision=99)) == "0"

    def test_what_a_refused_activation_saved_is_not(self, operator: Client, workspace: Workspace) -> None:
        automation = made(workspace)
        answer = press(operator, automation, "activate", text("steps: []", name="Kept"))
        assert answer.status_code == 422
        assert self.stored(answer) == "1"
        assert "name: Kept" in shown(automation)


class TestNewText:
    def test_it_begins_with_a_text_that_can_be_activated(self, operator: Client, workspace: Workspace) -> None:
        operator.post(f"{LIST}add/", {"text": STARTER, "workspace": workspace.pk, "act": "save"})
        automation = Automation.objects.get(workspace=workspace)
        html = operator.get(page(automation)).content.decode()
        assert "No problems. It can be activated." in words(html)
        assert "is made. Nothing runs before it is activated." in words(html)
        assert press(operator, automation, "activate", STARTER).status_code == 302

    def test_it_can_be_validated_before_anything_is_stored(self, operator: Client, workspace: Workspace) -> None:
        data = {"text": text("steps: []"), "workspace": workspace.pk, "act": "validate"}
        html = operator.post(f"{LIST}add/", data).content.decode()
        assert "no_steps" in html
        assert not Automation.objects.exists()
        html = operator.post(f"{LIST}add/", data | {"text": STARTER}).content.decode()
        assert "No problems." in words(html)

    def test_the_only_workspace_is_chosen_already(self, operator: Client, workspace: Workspace) -> None:
        html = operator.get(f"{LIST}add/").content.decode()
        assert f'<option value="{workspace.pk}">{workspace.name}</option>' in html
        assert "---------" not in html


def test_only_operators_of_the_installation(workspace: Workspace) -> None:
    # CONTRACTS 8: the Django admin is for superusers
    automation = made(workspace)
    client = Client()
    assert client.get(page(automation)).status_code == 302
    client.force_login(make_member(workspace, "owner", is_staff=True))
    assert client.get(LIST).status_code == 403
    assert client.get(page(automation)).status_code == 403
    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(page(automation), {"act": "pause", "text": "x"}).status_code == 403


def test_a_form_without_its_token_is_refused(workspace: Workspace) -> None:
    from tests.factories import make_user

    automation = published(workspace)
    client = Client(enforce_csrf_checks=True)
    client.force_login(make_user(is_staff=True, is_superuser=True))
    assert client.post(page(automation), {"act": "pause", "text": "x"}).status_code == 403
    assert fresh(automation).state == "ACTIVE"


def test_a_held_automation_shows_its_question(operator: Client, workspace: Workspace) -> None:
    automation = published(workspace, WAITING)
    started(automation)
    pause_automation(actor=actor_of(workspace), automation_id=automation.pk, in_flight="hold")
    answer = press(operator, automation, "resume", text(), held="")
    assert answer.status_code == 409
    assert "1 runs are held" in answer.content.decode()
