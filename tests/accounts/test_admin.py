"""The Django admin of accounts (CONTRACTS 10): sign-in by e-mail, and no page changes what a service guards."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts import models
from accounts.clock import real_now
from accounts.models import RateBucket, User, Workspace
from accounts.sign_in import TOO_MANY, TRIES
from tests.factories import make_api_key, make_customer, make_task, make_user, owner_of

OURS = [model for model in admin.site._registry if model._meta.app_label == "accounts"]
EDITABLE = {models.User, models.Plan}


@pytest.fixture
def operator(db: None) -> Client:
    """A superuser's browser."""
    person = make_user("root@onward.example", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(person)
    return client


def page(model: type, name: str, *args: object) -> str:
    return reverse(f"admin:accounts_{model._meta.model_name}_{name}", args=args)


def test_every_table_has_a_page() -> None:
    # CONTRACTS 10
    from django.apps import apps

    assert set(OURS) == set(apps.get_app_config("accounts").get_models())


@pytest.mark.parametrize("email", ["mara@northwind.example", "Mara@Northwind.Example"])
def test_a_person_signs_in_by_address(db: None, email: str) -> None:
    make_user("mara@northwind.example", is_staff=True, is_superuser=True)
    client = Client()
    form = {"username": email, "password": "secret-mara@northwind.example", "next": "/admin/"}
    answer = client.post("/admin/login/", form)
    assert (answer.status_code, answer["Location"]) == (302, "/admin/")
    assert client.get("/admin/").status_code == 200


def test_a_wrong_password_and_an_ordinary_member_stay_out(workspace: Workspace) -> None:
    owner = owner_of(workspace)
    wrong = Client().post("/admin/login/", {"username": owner.email, "password": "wrong"})
    right = Client().post("/admin/login/", {"username": owner.email, "password": f"secret-{owner.email}"})
    assert (wrong.status_code, right.status_code) == (200, 200)


def sign_in(email: str, password: str) -> int:
    return Client().post("/admin/login/", {"username": email, "password": password, "next": "/admin/"}).status_code


def test_guessing_a_password_is_slow(db: None) -> None:
    # RELIABILITY 5: five tries a minute and account
    person = make_user("mara@northwind.example", is_staff=True, is_superuser=True)
    right = f"secret-{person.email}"
    for _ in range(TRIES):
        assert sign_in("Mara@northwind.example", "wrong") == 200
    assert sign_in(person.email, right) == 200, "the right one does not help any more"
    answer = Client().post("/admin/login/", {"username": person.email, "password": right})
    assert TOO_MANY in answer.content.decode()
    make_user("other@northwind.example", is_staff=True)
    assert sign_in("other@northwind.example", "secret-other@northwind.example") == 302, "others are not hindered"
    RateBucket.objects.update(at=real_now() - timedelta(minutes=1))
    assert sign_in(person.email, right) == 302


def test_signing_in_often_is_fine(db: None) -> None:
    person = make_user("mara@northwind.example", is_staff=True)
    for _ in range(3 * TRIES):
        assert sign_in(person.email, f"secret-{person.email}") == 302
    assert not RateBucket.objects.exists()


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.model_name)
def test_every_page_opens(operator: Client, workspace: Workspace, model: type) -> None:
    customer = make_customer(workspace, tags=["vip"], stage="TRIAL")
    make_task(workspace, customer_id=customer.pk)
    make_api_key(workspace)
    assert operator.get(page(model, "changelist")).status_code == 200
    row = model._default_manager.order_by("pk").first()
    if row is not None:
        assert operator.get(page(model, "change", row.pk)).status_code == 200


@pytest.mark.parametrize("model", [m for m in OURS if m not in EDITABLE], ids=lambda model: model._meta.model_name)
def test_what_a_service_guards_is_only_shown(operator: Client, workspace: Workspace, model: type) -> None:
    # CONTRACTS 10
    make_customer(workspace, tags=["vip"], stage="TRIAL")
    make_task(workspace)
    make_api_key(workspace)
    assert operator.get(page(model, "add")).status_code == 403
    row = model._default_manager.order_by("pk").first()
    if row is not None:
        assert operator.post(page(model, "change", row.pk), {"name": "x"}).status_code == 403
        assert operator.post(page(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    answer = operator.post(page(model, "changelist"), {"action": "delete_selected", "_selected_action": ["1"]})
    assert model._default_manager.filter(pk=getattr(row, "pk", None)).exists() == (row is not None)
    assert answer.status_code in (200, 302, 403)


def test_secrets_are_not_shown(operator: Client, workspace: Workspace) -> None:
    key, _ = make_api_key(workspace)
    shown = operator.get(page(models.ApiKey, "change", key.pk)).content.decode()
    assert key.prefix in shown
    assert key.secret_sha256 not in shown
    assert workspace.webhook_secret not in operator.get(page(models.Workspace, "change", workspace.pk)).content.decode()


def test_a_person_is_made_by_address(operator: Client) -> None:
    form = {"email": "New@Onward.example", "name": "New", "usable_password": "true"}
    form |= {"password1": "a long and odd 1 secret", "password2": "a long and odd 1 secret"}
    answer = operator.post(page(User, "add"), form)
    assert answer.status_code == 302, answer.content.decode()[:3000]
    person = User.objects.get(email="new@onward.example")
    assert person.check_password("a long and odd 1 secret")
    assert not person.is_superuser
    again = operator.post(page(User, "add"), {**form, "email": "NEW@onward.EXAMPLE"})
    assert again.status_code == 200
    assert User.objects.filter(email__iexact="new@onward.example").count() == 1


def test_a_person_is_changed_but_not_deleted(operator: Client) -> None:
    person = make_user("a@onward.example")
    form = {"email": "B@onward.example", "name": "B", "is_active": ""}
    assert operator.post(page(User, "change", person.pk), form).status_code == 302
    person.refresh_from_db()
    assert (person.email, person.is_active) == ("b@onward.example", False)
    assert operator.post(page(User, "delete", person.pk), {"post": "yes"}).status_code == 403


def test_limits_are_edited_as_data(operator: Client, db: None) -> None:
    # LIM-14
    form = {"name": "Pro", "order": 3, "stage_automations": 9, "stage_depth": 5, "monthly_emails": 20000}
    assert operator.post(page(models.Plan, "change", "PRO"), form).status_code == 302
    plan = models.Plan.objects.get(slug="PRO")
    assert (plan.stage_automations, plan.global_automations) == (9, None)


@pytest.mark.parametrize(
    ("model", "make"),
    [
        (models.Customer, make_customer),
        (models.Task, make_task),
        (models.ApiKey, make_api_key),
    ],
)
def test_a_list_costs_the_same_with_one_row_and_with_twenty(
    operator: Client, workspace: Workspace, model: type, make: object
) -> None:
    def cost() -> int:
        with CaptureQueriesContext(connection) as captured:
            operator.get(page(model, "changelist"))
        return len(captured)

    make(workspace)
    cost()  # the first visit writes the session
    one = cost()
    for _ in range(20):
        make(workspace)
    assert cost() == one


def test_lists_are_never_counted(operator: Client, workspace: Workspace) -> None:
    # CONTRACTS 10: no counts
    make_customer(workspace)
    with CaptureQueriesContext(connection) as captured:
        operator.get(page(models.Customer, "changelist"))
    assert not [q["sql"] for q in captured if "count(" in q["sql"].lower() and "accounts_customer" in q["sql"]]
