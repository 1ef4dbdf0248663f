"""What happened is read in the admin, by key, without counts, and nothing can be changed there (CONTRACTS 10)."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.adminsite.keyset import KeysetChangeList
from accounts.adminsite.record import RecordAdmin
from accounts.models import Workspace
from automations import models
from tests.automations import TAGGING, WAITING, made, published, queue, started
from tests.factories import make_customer
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]

READ_ONLY = [model for model, page in admin.site._registry.items() if isinstance(page, RecordAdmin)]


def address(model: type, *parts: object) -> str:
    tail = "".join(f"{part}/" for part in parts)
    return f"/admin/{model._meta.app_label}/{model._meta.model_name}/{tail}"


@pytest.fixture
def history(workspace: Workspace) -> dict[type, object]:
    """One of each."""
    automation = published(workspace, "filter: trigger.seats > 5\n" + TAGGING)
    customer = make_customer(workspace)
    happen(customer, payload={"seats": 9})
    skipped = happen(make_customer(workspace), payload={"seats": 1}, key="skipped-1")
    settle()
    run = models.Run.objects.get(automation=automation)
    return {
        models.Version: automation.active_version,
        models.Run: run,
        models.Event: models.Event.objects.get(pk=skipped),
        models.Delivery: queue(run, "SENT"),
    }


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model.__name__)
def test_every_list_opens_without_counting(operator: Client, history: dict, model: type) -> None:
    with CaptureQueriesContext(connection) as queries:
        answer = operator.get(address(model))
    assert answer.status_code == 200
    assert not [query["sql"] for query in queries if re.search(r"\bcount\(", query["sql"], re.I)]


@pytest.mark.parametrize("model", READ_ONLY, ids=lambda model: model.__name__)
def test_nothing_can_be_added_changed_or_deleted(operator: Client, history: dict, model: type) -> None:
    assert operator.get(address(model, "add")).status_code == 403
    row = history.get(model)
    if row is not None:
        before = model.objects.filter(pk=row.pk).values().get()
        assert operator.post(address(model, row.pk, "change"), {"state": "x", "name": "x"}).status_code == 403
        assert operator.post(address(model, row.pk, "delete"), {"post": "yes"}).status_code == 403
        assert model.objects.filter(pk=row.pk).values().get() == before


def test_an_event_shows_what_became_of_it(operator: Client, history: dict) -> None:
    html = operator.get(address(models.Event, history[models.Event].pk, "change")).content.decode()
    assert "filter" in html
    assert "seats" in html
    started_by = history[models.Run].event_id
    assert (
        f"exec_{history[models.Run].pk}" in operator.get(address(models.Event, started_by, "change")).content.decode()
    )


def test_a_version_shows_its_text_and_a_delivery_its_run(operator: Client, history: dict) -> None:
    assert (
        "action: add_tag"
        in operator.get(address(models.Version, history[models.Version].pk, "change")).content.decode()
    )
    html = operator.get(address(models.Delivery, history[models.Delivery].pk, "change")).content.decode()
    assert f"exec_{history[models.Run].pk}" in html


def test_pages_go_by_key(operator: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automations.adminsite.runs.RunAdmin.list_per_page", 3)
    runs = started(published(workspace, TAGGING), 7)
    seen: list[str] = []
    page = address(models.Run)
    while page:
        html = operator.get(page).content.decode()
        seen += re.findall(r">(exec_\d+)</a>", html)
        found = re.search(r'href="(\?[^"]*after=[^"]*)" rel="next"', html)
        page = address(models.Run) + found[1].replace("&amp;", "&") if found else ""
    assert seen == [f"exec_{run.pk}" for run in sorted(runs, key=lambda run: -run.pk)]
    assert operator.get(address(models.Run) + "?after=nonsense").status_code == 200


def test_a_page_costs_the_same_however_large_the_table(operator: Client, workspace: Workspace) -> None:
    automation = published(workspace, TAGGING)
    counts = []
    for number in (1, 12):
        started(automation, number)
        operator.get(address(models.Run))
        with CaptureQueriesContext(connection) as queries:
            operator.get(address(models.Run))
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_runs_are_found_by_id_and_by_status(operator: Client, workspace: Workspace) -> None:
    first, second = started(published(workspace, WAITING), 2)

    def ids(query: str) -> list[str]:
        return re.findall(r">(exec_\d+)</a>", operator.get(f"{address(models.Run)}?{query}").content.decode())

    assert ids(f"q=exec_{first.pk}") == [f"exec_{first.pk}"]
    assert ids(f"q={second.pk}") == [f"exec_{second.pk}"]
    assert ids("q=auto_1") == []
    assert ids("q=nonsense") == []
    assert set(ids("status=RUNNING")) == {f"exec_{first.pk}", f"exec_{second.pk}"}
    assert ids("status=FAILED") == []
    assert len(ids(f"automation__id__exact={first.automation_id}")) == 2


def test_automations_are_found_by_id_key_and_name(operator: Client, workspace: Workspace) -> None:
    one, two = made(workspace, name="Dunning mails", more="key: dun"), made(workspace, name="Trial start")

    def names(query: str) -> str:
        return operator.get(f"/admin/automations/automation/?q={query}").content.decode()

    for query in (one.public_id, "dun", "dunn"):
        assert ("Dunning mails" in names(query), "Trial start" in names(query)) == (True, False), query
    assert "Trial start" in names(str(two.pk))


def test_an_event_is_found_by_the_key_of_its_source(operator: Client, history: dict) -> None:
    html = operator.get(f"{address(models.Event)}?q=skipped-1").content.decode()
    assert html.count(">evt_") == 1


def test_lists_are_those_without_counts() -> None:
    pages = [page for model, page in admin.site._registry.items() if model._meta.app_label == "automations"]
    assert len(pages) >= 10
    assert all(issubclass(page.get_changelist(None), KeysetChangeList) for page in pages)
