"""An event recorded by a process of the release before, while the queue was being filled or after it, has no place in the queue; one
that such a router was just routing may stand in both tables. From here on workers look for the former (`worker/strays.py`)."""

from django.db import migrations

ENQUEUE = """
INSERT INTO automations_unrouted (shard, event_id, workspace_id)
SELECT e.shard, e.id, e.workspace_id FROM automations_event e
WHERE NOT EXISTS (SELECT 1 FROM automations_routed r WHERE r.event_id = e.id)
ON CONFLICT DO NOTHING
"""
ONCE = """
DELETE FROM automations_unrouted u USING automations_routed r WHERE r.event_id = u.event_id
"""


class Migration(migrations.Migration):
    dependencies = [("automations", "0009_routing_queue")]

    operations = [
        migrations.RunSQL(ENQUEUE, migrations.RunSQL.noop),
        migrations.RunSQL(ONCE, migrations.RunSQL.noop),
    ]
