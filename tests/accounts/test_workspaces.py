"""Workspaces, members, roles and keys (CONTRACTS 2, 8; C-17)."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import IntegrityError, connections, transaction

from accounts.actor import Actor, system_actor
from accounts.announcements import Announcement
from accounts.clock import real_now
from accounts.errors import Refusal
from accounts.models import ApiKey, Audit, Membership, Plan, Stage, User, Workspace
from accounts.permissions import SCOPES
from accounts.services.installation import ensure_rows
from accounts.services.keys import create_api_key, revoke_api_key
from accounts.services.workspaces import (
    add_member,
    change_role,
    create_workspace,
    limits_of,
    member_actor,
    remove_member,
    update_workspace,
)
from tests.factories import actor_of, make_api_key, make_member, make_user, make_workspace, owner_of


def test_a_new_workspace_is_complete(db: None, announced: list[Announcement]) -> None:
    # CONTRACTS 2, C-17
    owner = make_user("mara@northwind.example")
    workspace = create_workspace(name="Northwind Cloud", owner=owner, time_zone="Europe/Berlin", slug="northwind")
    assert (workspace.slug, workspace.plan, workspace.currency) == ("northwind", "PRO", "EUR")
    assert Membership.objects.get(workspace=workspace).role == "owner"
    assert list(Stage.objects.filter(workspace=workspace).order_by("order").values_list("slug", flat=True)) == [
        "AWARENESS",
        "CONSIDERATION",
        "TRIAL",
        "CUSTOMER",
    ]
    prefix, secret = workspace.webhook_secret.split("_")
    assert prefix == "whsec"
    assert len(base64.b64decode(secret)) == 24
    (told,) = announced
    assert (told.kind, told.workspace_id, told.data) == ("workspace.created", workspace.pk, {"owner": owner.pk})


def test_a_workspace_may_begin_without_owner(db: None, announced: list[Announcement]) -> None:
    create_workspace(name="Empty", owner=None)
    assert announced[0].data == {"owner": None}


def test_secrets_differ(db: None) -> None:
    assert make_workspace().webhook_secret != make_workspace().webhook_secret


def test_a_slug_is_taken_once(db: None, announced: list[Announcement]) -> None:
    make_workspace(slug="northwind")
    announced.clear()
    with pytest.raises(Refusal) as refused:
        make_workspace(slug="Northwind")
    assert refused.value.code == "conflict"
    assert announced == []
    assert Workspace.objects.count() == 1


@pytest.mark.parametrize(
    "fields",
    [{"name": ""}, {"name": "x", "currency": "EURO"}, {"name": "x", "time_zone": "x"}, {"name": "x", "plan": "x"}],
)
def test_a_workspace_that_cannot_be_is_refused(db: None, fields: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        create_workspace(owner=None, **fields)
    assert refused.value.code == "invalid"
    assert not Workspace.objects.exists()


@pytest.mark.parametrize("breach", [{"plan": "GOLD"}, {"slug": "Upper Case"}, {"currency": "eur"}])
def test_the_database_keeps_the_form(workspace: Workspace, breach: dict[str, str]) -> None:
    # LIM-14: a plan is a row
    with pytest.raises(IntegrityError), transaction.atomic():
        Workspace.objects.filter(pk=workspace.pk).update(**breach)


def test_plans_are_rows_and_come_back(db: None) -> None:
    # LIM-01 to LIM-09, LIM-14
    limits = {plan.slug: (plan.stage_automations, plan.stage_depth, plan.monthly_emails) for plan in Plan.objects.all()}
    assert limits == {"FREE": (0, None, 0), "HOBBY": (1, 3, 3000), "PRO": (5, 5, 20000)}
    assert Plan.objects.get(slug="FREE").global_automations == 0, "C-17: none on FREE"
    Plan.objects.filter(slug="PRO").update(stage_depth=9)
    Plan.objects.filter(slug="FREE").delete()
    ensure_rows()
    assert Plan.objects.get(slug="PRO").stage_depth == 9, "an operator's values stay"
    assert Plan.objects.filter(slug="FREE").exists()


def test_limits_follow_the_plan(workspace: Workspace, actor: Actor) -> None:
    # LIM-13
    assert limits_of(workspace.pk).slug == "PRO"
    update_workspace(actor=actor, changes={"plan": "HOBBY"})
    assert limits_of(workspace.pk).stage_depth == 3


def test_settings_are_changed_by_owners_and_noted(workspace: Workspace) -> None:
    with pytest.raises(Refusal) as refused:
        update_workspace(actor=actor_of(workspace, "publisher"), changes={"name": "x"})
    assert refused.value.code == "role_missing"
    update_workspace(actor=actor_of(workspace), changes={"name": "New", "time_zone": "Europe/Berlin"})
    row = Audit.objects.get(action="workspace.update")
    assert row.before == {"name": workspace.name, "timeZone": "UTC"}
    assert row.after == {"name": "New", "timeZone": "Europe/Berlin"}


def test_defaults_have_a_limit(actor: Actor) -> None:
    with pytest.raises(Refusal) as refused:
        update_workspace(actor=actor, changes={"defaults": {"x": "y" * 70_000}})
    assert refused.value.code == "invalid"


def test_a_member_is_added_once(workspace: Workspace, actor: Actor) -> None:
    membership = add_member(
        actor=actor, email="New@Onward.example", role="editor", name="New", password="long enough 1"
    )
    assert membership.user.email == "new@onward.example"
    assert membership.user.check_password("long enough 1")
    with pytest.raises(Refusal) as refused:
        add_member(actor=actor, email="new@onward.EXAMPLE", role="viewer")
    assert refused.value.code == "conflict"


def test_a_known_persons_password_is_never_touched(actor: Actor, other: Workspace) -> None:
    person = owner_of(other)
    add_member(actor=actor, email=person.email, role="viewer", password="other password")
    person.refresh_from_db()
    assert person.check_password(f"secret-{person.email}")
    assert User.objects.filter(email=person.email).count() == 1


@pytest.mark.parametrize(("email", "role"), [("x", "viewer"), ("", "viewer"), ("a@x.test", "king")])
def test_a_member_that_cannot_be_is_refused(actor: Actor, email: str, role: str) -> None:
    with pytest.raises(Refusal) as refused:
        add_member(actor=actor, email=email, role=role)
    assert refused.value.code == "invalid"


def test_a_role_is_what_a_person_may_do(workspace: Workspace, other: Workspace) -> None:
    # CONTRACTS 8
    person = make_member(workspace, "editor")
    actor = member_actor(person, workspace)
    assert actor is not None
    assert (actor.user_id, "edit" in actor.scopes, "publish" in actor.scopes) == (person.pk, True, False)
    assert member_actor(person, other) is None
    person.is_active = False
    assert member_actor(person, workspace) is None


def test_a_lower_role_narrows_the_keys_its_person_made(workspace: Workspace) -> None:
    # CONTRACTS 8: never more than the maker's role
    person = make_member(workspace, "owner")
    maker = member_actor(person, workspace)
    assert maker is not None
    key, _ = create_api_key(actor=maker, name="all", scopes=SCOPES)
    admin, _ = create_api_key(actor=maker, name="admin", scopes=["admin"])
    by_key = Actor(workspace.pk, frozenset(SCOPES), key_id=key.pk, label="key")
    made_by_key, _ = create_api_key(actor=by_key, name="by key", scopes=["read", "publish"])
    others, _ = make_api_key(workspace)
    change_role(actor=actor_of(workspace), user_id=person.pk, role="viewer")
    scopes = {row.pk: (row.scopes, row.revoked_at is not None) for row in ApiKey.objects.all()}
    assert scopes[key.pk] == (["read"], False)
    assert scopes[made_by_key.pk] == (["read"], False)
    assert scopes[admin.pk] == (["admin"], True), "a key with nothing left is revoked"
    assert scopes[others.pk] == (list(SCOPES), False)
    assert Audit.objects.filter(action="api_key.narrow").count() == 2


def test_who_leaves_leaves_no_key(workspace: Workspace, actor: Actor) -> None:
    person = make_member(workspace, "owner")
    maker = member_actor(person, workspace)
    assert maker is not None
    key, _ = create_api_key(actor=maker, name="x", scopes=["read"])
    remove_member(actor=actor, user_id=person.pk)
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert not Membership.objects.filter(user=person).exists()


def test_the_last_owner_stays(workspace: Workspace, actor: Actor) -> None:
    owner = owner_of(workspace)
    make_member(workspace, "publisher")
    for act in (
        lambda: remove_member(actor=actor, user_id=owner.pk),
        lambda: change_role(actor=actor, user_id=owner.pk, role="viewer"),
    ):
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.code == "wrong_state"
    change_role(actor=actor, user_id=owner.pk, role="owner")
    make_member(workspace, "owner")
    change_role(actor=actor, user_id=owner.pk, role="viewer")


def test_foreign_people_are_not_found(actor: Actor, other: Workspace) -> None:
    stranger = owner_of(other)
    for act in (
        lambda: remove_member(actor=actor, user_id=stranger.pk),
        lambda: change_role(actor=actor, user_id=stranger.pk, role="viewer"),
    ):
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.code == "not_found"


@pytest.mark.django_db(transaction=True)
def test_two_owners_cannot_remove_each_other_at_once() -> None:
    workspace = make_workspace()
    first, second = owner_of(workspace), make_member(workspace, "owner")

    def leave(person: User) -> bool:
        try:
            remove_member(actor=system_actor(workspace.pk), user_id=person.pk)
        except Refusal:
            return False
        finally:
            connections.close_all()
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(leave, [first, second])) == [False, True]
    assert Membership.objects.filter(workspace=workspace, role="owner").count() == 1


def test_a_key_is_revoked_once(workspace: Workspace, actor: Actor, other: Workspace) -> None:
    key, text = make_api_key(workspace)
    assert text.startswith(f"ow_{key.prefix}_")
    first = revoke_api_key(actor=actor, key_id=key.pk).revoked_at
    assert revoke_api_key(actor=actor, key_id=key.pk).revoked_at == first
    assert Audit.objects.filter(action="api_key.revoke").count() == 1
    with pytest.raises(Refusal) as refused:
        revoke_api_key(actor=actor, key_id=make_api_key(other)[0].pk)
    assert refused.value.code == "not_found"


def test_a_key_lives_until_it_expires(workspace: Workspace, actor: Actor) -> None:
    later = real_now() + timedelta(days=30)
    key, _ = create_api_key(actor=actor, name="x", scopes=["events", "read"], expires_at=later)
    assert (key.expires_at, key.scopes) == (later, ["read", "events"])
    with pytest.raises(Refusal) as refused:
        create_api_key(actor=actor, name="x", scopes=["read"], expires_at=real_now())
    assert refused.value.code == "invalid"


@pytest.mark.parametrize("breach", [{"scopes": ["root"]}, {"scopes": []}])
def test_the_database_knows_the_scopes(workspace: Workspace, breach: dict[str, list[str]]) -> None:
    make_api_key(workspace)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.update(**breach)


@pytest.mark.parametrize("email", ["ANA@x.test", "ana@x.test"])
def test_an_address_signs_in_one_person(db: None, email: str) -> None:
    make_user("ana@x.test")
    with pytest.raises(IntegrityError), transaction.atomic():
        User(email=email).save()
    assert User.objects.get_by_natural_key(" Ana@X.test ").email == "ana@x.test"
