"""Emptying the database after a test that committed, fast: only tables that hold rows, and what migrations put there stays.

Django's flush truncates every table and makes content types and permissions anew, a second a test; this takes milliseconds. It needs
a superuser, as the embedded server's role is; with any other role Django's own flush is used.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test import testcases

from accounts.services.installation import ensure_rows

#: Rows that belong to the schema: made by migrations or by `post_migrate`.
KEPT = (
    "django_migrations",
    "django_content_type",
    "auth_permission",
    "accounts_installation",
    "accounts_provenance",
    "django_q_schedule",
    "automations_partitionlog",
)
#: Tables that Django's flush does not know.
UNMANAGED = ("automations_step_log", "automations_evaluation", "automations_event_content", "automations_delivery_body")
EMPTY = """
DO $$
DECLARE
    one regclass;
    filled boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        AND NOT c.relispartition AND c.relname <> ALL (string_to_array('%s', ','))
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %%s)', one) INTO filled;
        IF filled THEN
            EXECUTE format('DELETE FROM %%s', one);
        END IF;
    END LOOP;
    UPDATE accounts_installation SET clock_offset = '0' WHERE clock_offset <> '0';
END $$
"""


def install() -> None:
    """Use it in place of Django's flush wherever the role allows."""
    slow = testcases.TransactionTestCase._fixture_teardown

    def fast(self: Any) -> None:
        if _superuser():
            with connection.cursor() as cursor:
                cursor.execute(EMPTY % ",".join(KEPT))
            ensure_rows()
        else:
            slow(self)
            with connection.cursor() as cursor:
                cursor.execute(f"TRUNCATE {', '.join(UNMANAGED)}")

    testcases.TransactionTestCase._fixture_teardown = fast  # type: ignore[method-assign]  # the hook that Django calls


def _superuser() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        return bool(cursor.fetchone()[0])
