"""Routed events are numbered in the order in which they are routed: what was routed since a run began to wait is told by that order. Told
by times, a database's clock that is set back would lose a wake (RELIABILITY 13)."""

import django.db.models.expressions
from django.db import migrations, models

# No value for the rows that are there, which would rewrite the table: they were routed before every wait that knows a number. A router of
# the release before, which names its columns, numbers its events by the default.
NUMBER = """
CREATE SEQUENCE automations_routed_number;
ALTER TABLE automations_routed ADD COLUMN number bigint;
ALTER TABLE automations_routed ALTER COLUMN number SET DEFAULT nextval('automations_routed_number');
ALTER SEQUENCE automations_routed_number OWNED BY automations_routed.number;
"""


class Migration(migrations.Migration):
    dependencies = [("automations", "0011_vacuum")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(NUMBER, "ALTER TABLE automations_routed DROP COLUMN number"),
            ],
            state_operations=[
                migrations.AddField(
                    model_name="routed",
                    name="number",
                    field=models.BigIntegerField(
                        null=True,
                        db_default=django.db.models.expressions.Func(
                            models.Value("automations_routed_number"), function="nextval"
                        ),
                    ),
                ),
            ],
        ),
    ]
