"""The evaluation clock, the installation's row, the plans, and what only SQL can say: the audit log is append-only."""

import secrets
import string

from django.db import migrations

CLOCK = """
create function onward_now() returns timestamptz language sql stable as $$
    select statement_timestamp() + coalesce((select clock_offset from accounts_installation), interval '0')
$$;
"""

APPEND_ONLY = """
create function accounts_audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'The audit log is append-only: % is refused.', tg_op using errcode = 'insufficient_privilege';
end $$;
create trigger accounts_audit_is_append_only before update or delete on accounts_audit
    for each row execute function accounts_audit_is_append_only();
revoke update, delete on accounts_audit from public;
"""

PLAN_KEY = """
alter table accounts_workspace add constraint workspace_plan_exists foreign key (plan) references accounts_plan (slug);
"""

# The buckets are written at every request and mean nothing after a crash:
# no write-ahead log for them, and room for updates in place.
BUCKETS = """
alter table accounts_ratebucket set unlogged;
alter table accounts_ratebucket set (
    fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000
);
"""

# slug, name, order, automations and depth per stage, automations and depth of global scope, customer mails a month
PLANS = [
    ("FREE", "Free", 1, 0, None, 0, None, 0),
    ("HOBBY", "Hobby", 2, 1, 3, None, None, 3000),
    ("PRO", "Pro", 3, 5, 5, None, None, 20000),
]


def rows(apps, schema_editor):
    letters = string.ascii_lowercase + string.digits
    instance = "".join(secrets.choice(letters) for _ in range(12))
    apps.get_model("accounts", "Installation").objects.get_or_create(id=1, defaults={"instance": instance})
    names = [
        "name",
        "order",
        "stage_automations",
        "stage_depth",
        "global_automations",
        "global_depth",
        "monthly_emails",
    ]
    plan = apps.get_model("accounts", "Plan")
    for slug, *limits in PLANS:
        plan.objects.get_or_create(slug=slug, defaults=dict(zip(names, limits, strict=True)))


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [
        migrations.RunSQL(CLOCK, "drop function onward_now()"),
        migrations.RunSQL(
            APPEND_ONLY,
            "drop trigger accounts_audit_is_append_only on accounts_audit;"
            "drop function accounts_audit_is_append_only()",
        ),
        migrations.RunSQL(BUCKETS, migrations.RunSQL.noop),
        migrations.RunPython(rows, migrations.RunPython.noop),
        migrations.RunSQL(PLAN_KEY, "alter table accounts_workspace drop constraint workspace_plan_exists"),
    ]
