"""Partitioned tables of log and content, and the guard of activated versions, as plain SQL (DESIGN 6, VER-08).

The four tables are partitioned by real time, month by month, and have no default partition: a row outside the
partitions made ahead is an error, not a silent heap. `onward_partition` is the one place that makes a partition;
housekeeping calls it for the months to come.
"""

from django.db import migrations

TABLES = {
    "automations_step_log": """
        run_id bigint NOT NULL,
        seq integer NOT NULL CHECK (seq >= 0),
        attempt smallint NOT NULL CHECK (attempt >= 0),
        recorded_at timestamptz NOT NULL DEFAULT now(),
        workspace_id bigint NOT NULL,
        step varchar(100) NOT NULL,
        type varchar(60) NOT NULL,
        status varchar(9) NOT NULL CHECK (status IN ('succeeded', 'failed', 'skipped')),
        port varchar(60),
        started_at timestamptz NOT NULL,
        ended_at timestamptz NOT NULL,
        input jsonb,
        output jsonb,
        error jsonb,
        warnings jsonb,
        iteration varchar(60),
        flags smallint NOT NULL DEFAULT 0 CHECK (flags >= 0),
        PRIMARY KEY (run_id, seq, attempt, recorded_at)""",
    "automations_evaluation": """
        event_id bigint NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        workspace_id bigint NOT NULL,
        decisions jsonb NOT NULL,
        values jsonb NOT NULL,
        PRIMARY KEY (event_id, recorded_at)""",
    "automations_event_content": """
        event_id bigint NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        workspace_id bigint NOT NULL,
        payload jsonb NOT NULL,
        snapshot jsonb NOT NULL,
        PRIMARY KEY (event_id, recorded_at)""",
    "automations_delivery_body": """
        delivery_id bigint NOT NULL,
        recorded_at timestamptz NOT NULL DEFAULT now(),
        workspace_id bigint NOT NULL,
        body bytea NOT NULL,
        PRIMARY KEY (delivery_id, recorded_at)""",
}

# Attaching takes a weaker lock than CREATE TABLE ... PARTITION OF, so workers go on while a partition is made.
MAKE_PARTITION = """
CREATE FUNCTION onward_partition(parent text, month date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', month);
    child text := parent || to_char(first, '"_y"YYYY"m"MM');
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('onward_partition'));
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', child, parent);
    EXECUTE format(
        'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, child, first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month') AT TIME ZONE 'UTC'
    );
    INSERT INTO automations_partitionlog ("table", partition, action, at)
    VALUES (parent, child, 'created', clock_timestamp());
    RETURN true;
END $$
"""

MAKE_FIRST = """
SELECT onward_partition(parent, ((now() AT TIME ZONE 'UTC')::date + make_interval(months => ahead))::date)
FROM unnest(%s::text[]) AS parent, generate_series(0, 2) AS ahead
"""

GUARD_VERSION = """
CREATE FUNCTION onward_version_is_immutable() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'Version %/% was activated and can no longer be changed.', OLD.automation_id, OLD.number
        USING ERRCODE = 'check_violation', CONSTRAINT = 'version_immutable_once_activated';
END $$;
CREATE TRIGGER version_immutable_once_activated BEFORE UPDATE ON automations_version FOR EACH ROW
WHEN (OLD.activated_at IS NOT NULL AND (
    (OLD.workspace_id, OLD.automation_id, OLD.number, OLD.activated_at, OLD.definition, OLD.source, OLD.source_format,
     OLD.sha256) IS DISTINCT FROM
    (NEW.workspace_id, NEW.automation_id, NEW.number, NEW.activated_at, NEW.definition, NEW.source, NEW.source_format,
     NEW.sha256)
    OR (OLD.state = 'inactive' AND NEW.state <> 'inactive')))
EXECUTE FUNCTION onward_version_is_immutable()
"""


def create(apps, schema_editor):
    """Make the tables and the partitions of this month and the next two."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(MAKE_PARTITION)
        for table, columns in TABLES.items():
            cursor.execute(f"CREATE TABLE {table} ({columns}) PARTITION BY RANGE (recorded_at)")
        cursor.execute(MAKE_FIRST, [list(TABLES)])
        cursor.execute(GUARD_VERSION)


def drop(apps, schema_editor):
    """Take back all of it."""
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER version_immutable_once_activated ON automations_version")
        cursor.execute("DROP FUNCTION onward_version_is_immutable()")
        cursor.execute(f"DROP TABLE {', '.join(TABLES)}")
        cursor.execute("DROP FUNCTION onward_partition(text, date)")


class Migration(migrations.Migration):
    dependencies = [("automations", "0001_initial")]

    operations = [migrations.RunPython(create, drop)]
