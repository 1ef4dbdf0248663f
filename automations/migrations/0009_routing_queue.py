"""What waits to be routed lies in a narrow table of its own, and what was routed in another: a mark on the event rewrote the whole row
and an entry of each of its indexes."""

import django.db.models.deletion
from django.db import migrations, models

# Neither has a foreign key: both are written with the event or by the router that read it, and `doctor` looks for strays.
# Nobody may record or route meanwhile: an event that an older router commits after it was copied here would be routed again.
FILL = """
LOCK TABLE automations_event IN ACCESS EXCLUSIVE MODE;
INSERT INTO automations_unrouted (shard, event_id, workspace_id)
SELECT shard, id, workspace_id FROM automations_event WHERE routed_at IS NULL;
INSERT INTO automations_routed (event_id, workspace_id, routed_at)
SELECT id, workspace_id, routed_at FROM automations_event WHERE routed_at IS NOT NULL;
"""
EMPTY = """
UPDATE automations_event e SET routed_at = r.routed_at FROM automations_routed r WHERE r.event_id = e.id;
"""
# As many rows leave the queue as come into it: it is vacuumed by their number, not by its size.
SETTINGS = """
ALTER TABLE automations_unrouted SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
"""


class Migration(migrations.Migration):
    dependencies = [("automations", "0008_delivery_indexes")]

    operations = [
        migrations.CreateModel(
            name="Unrouted",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "shard", "event_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("shard", models.SmallIntegerField()),
                ("event_id", models.BigIntegerField()),
                ("workspace_id", models.BigIntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Routed",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="routed",
                        serialize=False,
                        to="automations.event",
                    ),
                ),
                ("workspace_id", models.BigIntegerField()),
                ("routed_at", models.DateTimeField()),
            ],
        ),
        migrations.RunSQL(SETTINGS, migrations.RunSQL.noop),
        migrations.RunSQL(FILL, EMPTY),
        migrations.RemoveIndex(model_name="event", name="event_unrouted"),
        migrations.RemoveField(model_name="event", name="routed_at"),
    ]
