"""Every rule that the database keeps for accounts, each with a breach that it must find (CONTRACTS 3, DESIGN 6).

The list is compared with the database's own catalogue: a rule without a breach here fails a test.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import IntegrityError, connection, transaction

from accounts.actor import system_actor
from accounts.models import Contact, Idempotency, Workspace
from accounts.services.consent import record_consent
from accounts.services.erasure import erase_customer
from tests.factories import (
    make_api_key,
    make_customer,
    make_member,
    make_task,
    make_visitor,
    make_workspace,
)

CUSTOMER_COPY = """
insert into accounts_customer (workspace_id, external_id, name, email, segment, plan, country, time_zone, locale, metadata,
    facts, identified_at, created_at)
select workspace_id, {external_id}, name, {email}, segment, plan, country, time_zone, locale, metadata, facts, identified_at,
    created_at from accounts_customer where name = 'Planted'
"""

# name of the rule -> a statement that breaks it
BREACHES: dict[str, str] = {
    "accounts_plan_global_automations_check": "update accounts_plan set global_automations = -1",
    "accounts_plan_global_depth_check": "update accounts_plan set global_depth = -1",
    "accounts_plan_monthly_emails_check": "update accounts_plan set monthly_emails = -1",
    "accounts_plan_order_check": 'update accounts_plan set "order" = -1',
    "accounts_plan_stage_automations_check": "update accounts_plan set stage_automations = -1",
    "accounts_plan_stage_depth_check": "update accounts_plan set stage_depth = -1",
    "user_email_is_lower_case": "update accounts_user set email = 'Upper' || email",
    "accounts_user_email_key": "insert into accounts_user (password, is_superuser, email, name, is_staff, is_active) "
    "select '', false, email, '', false, true from accounts_user",
    "customer_erased_is_empty": "update accounts_customer set erased_at = now() where name = 'Planted'",
    "customer_not_merged_into_itself": "update accounts_customer set merged_into_id = id",
    "customer_with_address_is_identified": "update accounts_customer set identified_at = null where name = 'Planted'",
    "customer_email_unique": CUSTOMER_COPY.format(external_id="'other'", email="upper(email)"),
    "customer_external_id_unique": CUSTOMER_COPY.format(external_id="external_id", email="'other@x.test'"),
    "installation_is_one_row": "insert into accounts_installation (id, instance, clock_offset) values (2, 'x', '0')",
    "provenance_is_one_row": "insert into accounts_provenance (id, home, timeline, seen_at, held_why) "
    "values (2, 'x', 1, now(), '')",
    "provenance_held_for_a_reason": "insert into accounts_provenance (id, home, timeline, seen_at, held_at, held_why) "
    "values (1, 'x', 1, now(), now(), '')",
    "accounts_stage_order_check": 'update accounts_stage set "order" = -"order"',
    "stage_order_unique": 'update accounts_stage set "order" = 1',
    "stage_slug_unique": "update accounts_stage set slug = 'SAME'",
    "funnel_slug_unique": "insert into accounts_funnel (workspace_id, slug, name) "
    "select workspace_id, slug, name from accounts_funnel",
    "workspace_currency_is_iso": "update accounts_workspace set currency = 'eur'",
    "workspace_slug_is_a_slug": "update accounts_workspace set slug = 'Not A Slug'",
    "accounts_workspace_slug_key": "insert into accounts_workspace (slug, name, plan, currency, time_zone, defaults, "
    "webhook_secret, updated_at) select slug, name, plan, currency, time_zone, defaults, '', now() from accounts_workspace",
    "task_state_agrees_with_time": "update accounts_task set state = 'done'",
    "tag_has_slug": "update accounts_tag set slug = ''",
    "tag_slug_unique": "insert into accounts_tag (workspace_id, slug) select workspace_id, slug from accounts_tag",
    "customer_tag_once": "insert into accounts_customertag (workspace_id, customer_id, tag_id) "
    "select workspace_id, customer_id, tag_id from accounts_customertag",
    "contact_once_per_role": "insert into accounts_contact (workspace_id, customer_id, role, name, email) "
    "select workspace_id, customer_id, role, name, upper(email) from accounts_contact",
    "stage_entry_left_after_entered": "update accounts_stageentry set left_at = at - interval '1 second'",
    "stage_entry_one_open": "insert into accounts_stageentry (workspace_id, customer_id, funnel_id, stage_id, bucket, at) "
    "select workspace_id, customer_id, funnel_id, stage_id, 'other', at from accounts_stageentry",
    "membership_role_known": "update accounts_membership set role = 'king'",
    "membership_one_per_person": "insert into accounts_membership (workspace_id, user_id, role) "
    "select workspace_id, user_id, 'viewer' from accounts_membership",
    "accounts_idempotency_status_check": "update accounts_idempotency set status = -1",
    "idempotency_key_unique": "insert into accounts_idempotency (workspace_id, endpoint, key, body_sha256, status, answer, "
    "headers) select workspace_id, endpoint, key, 'other', status, answer, headers from accounts_idempotency",
    "consent_address_is_lower_case": "update accounts_consent set address = 'UPPER@x.test'",
    "consent_state_known": "update accounts_consent set state = 'perhaps'",
    "consent_once_per_topic": "insert into accounts_consent (workspace_id, address, topic, state, reason, at) "
    "select workspace_id, address, topic, 'subscribed', '', at from accounts_consent",
    "api_key_scopes_known": "update accounts_apikey set scopes = '{root}'",
    "accounts_apikey_prefix_key": "update accounts_apikey set prefix = 'same'",
    "workspace_plan_exists": "update accounts_workspace set plan = 'GOLD'",
}
# Django's own tables of rights, which nothing here uses, and an index that a stricter rule hides.
NOT_OURS = {
    "accounts_user_groups_user_id_group_id_59c0b32f_uniq",
    "accounts_user_user_permi_user_id_permission_id_2ab516c2_uniq",
    "user_email_unique_in_any_case",
}
RULES = """
select conname from pg_constraint where conrelid::regclass::text like 'accounts\\_%' and contype = 'c'
union select indexname from pg_indexes where tablename like 'accounts\\_%' and indexdef like '%UNIQUE%'
    and indexname not like '%pkey'
union select 'workspace_plan_exists'
"""


@pytest.fixture
def furnished(workspace: Workspace) -> Workspace:
    """A workspace with at least one row, for some rules two, in every table."""
    actor = system_actor(workspace.pk)
    planted = make_customer(
        workspace,
        name="Planted",
        email="planted@x.test",
        external_id="P",
        tags=["vip"],
        stage="TRIAL",
        metadata={"k": "v"},
    )
    Contact.objects.create(workspace=workspace, customer=planted, role="payer", email="payer@x.test")
    make_task(workspace)
    make_api_key(workspace)
    make_api_key(workspace)
    make_member(workspace)
    record_consent(actor=actor, address="planted@x.test", state="unsubscribed")
    Idempotency.objects.create(workspace=workspace, endpoint="POST /x", key="k", body_sha256="0", status=200)
    return workspace


def test_every_rule_of_the_database_has_its_breach_here(db: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(RULES)
        rules = {name for (name,) in cursor.fetchall()}
    assert rules - NOT_OURS == set(BREACHES)


@pytest.mark.parametrize("rule", BREACHES)
def test_a_planted_breach_is_found(furnished: Workspace, rule: str) -> None:
    with pytest.raises(IntegrityError) as found, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(BREACHES[rule])
    assert rule in str(found.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda workspace: make_customer(workspace, email="ana@x.test"),
        lambda workspace: make_customer(workspace, email="", external_id="only"),
        make_visitor,
        lambda workspace: erase_customer(
            actor=system_actor(workspace.pk), customer_id=make_customer(workspace, external_id="E").pk
        ),
    ],
)
def test_what_is_allowed_passes(furnished: Workspace, make: Callable[[Workspace], object]) -> None:
    # the rules refuse breaches only
    for workspace in (furnished, make_workspace()):
        assert make(workspace) is not None


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("accounts_contact", "customer_id"),
        ("accounts_customertag", "tag_id"),
        ("accounts_stageentry", "stage_id"),
        ("accounts_stage", "funnel_id"),
        ("accounts_task", "customer_id"),
        ("accounts_consent", "customer_id"),
        ("accounts_customer", "owner_id"),
        ("accounts_customer", "merged_into_id"),
        ("accounts_apikey", "made_by_id"),
        ("accounts_membership", "user_id"),
        ("accounts_audit", "workspace_id"),
        ("accounts_idempotency", "workspace_id"),
    ],
)
def test_references_are_real(furnished: Workspace, table: str, column: str) -> None:
    # DESIGN 6: all other tables have real foreign keys
    sql = """
    select count(*) from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any(c.conkey)
    where c.contype = 'f' and c.conrelid = %s::regclass and a.attname = %s
    """
    with connection.cursor() as cursor:
        cursor.execute(sql, [table, column])
        assert cursor.fetchone() == (1,)


def test_every_table_of_a_workspace_carries_it(db: None) -> None:
    # CONTRACTS 3: every table but those named has workspace_id
    without = {
        *{"workspace", "user", "user_groups", "user_user_permissions", "plan", "ratebucket"},
        *{"installation", "provenance"},  # of the installation as a whole
    }
    sql = """
    select c.relname from pg_class c where c.relname like 'accounts\\_%' and c.relkind = 'r' and not exists (
        select from pg_attribute a where a.attrelid = c.oid and a.attname = 'workspace_id' and a.attnotnull)
    """
    with connection.cursor() as cursor:
        cursor.execute(sql)
        assert {name.removeprefix("accounts_") for (name,) in cursor.fetchall()} == without


def test_buckets_cost_no_log(db: None) -> None:
    # losing them in a crash costs nothing, writing them at each request would
    with connection.cursor() as cursor:
        cursor.execute("select relpersistence from pg_class where relname = 'accounts_ratebucket'")
        assert cursor.fetchone() == ("u",)
