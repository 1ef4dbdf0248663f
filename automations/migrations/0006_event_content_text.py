"""Payload and snapshot are kept as the text they are (`json`), which the database checks and gives back. `jsonb` takes them apart and
puts them together again at each writing and reading, and nothing looks inside them there (PERFORMANCE)."""

from django.db import migrations

CHANGE = """
ALTER TABLE automations_event_content
ALTER COLUMN payload TYPE {type} USING payload::{type}, ALTER COLUMN snapshot TYPE {type} USING snapshot::{type}
"""


class Migration(migrations.Migration):
    dependencies = [("automations", "0005_delivery_key")]

    operations = [migrations.RunSQL(CHANGE.format(type="json"), CHANGE.format(type="jsonb"))]
