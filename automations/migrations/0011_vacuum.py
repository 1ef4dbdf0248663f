"""Tables that are rewritten all the time are vacuumed after a fiftieth of their rows, not a fifth: of ten million runs the default
would let two million dead rows gather, which every look for what is due reads past."""

from django.db import migrations

OFTEN = (
    "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000, autovacuum_analyze_scale_factor = 0.05"
)
USUAL = "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor"
TABLES = ("automations_run", "automations_delivery")


class Migration(migrations.Migration):
    dependencies = [("automations", "0010_routing_strays")]

    operations = [
        migrations.RunSQL(f"ALTER TABLE {table} SET ({OFTEN})", f"ALTER TABLE {table} RESET ({USUAL})")
        for table in TABLES
    ]
