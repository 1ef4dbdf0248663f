"""A delivery's key is a function of its run, visit and effect (O2). A check says so, and the one unique index on the three numbers
keeps it unique; an index on the text cost as much again for each act. What no claim has touched has its default."""

from django.db import migrations, models

KEY = """
ALTER TABLE automations_delivery ADD CONSTRAINT delivery_key_names_it
CHECK (key = split_part(key, '.', 1) || '.exec_' || run_id || '.' || visit || '.' || effect)
"""
NO_KEY = "ALTER TABLE automations_delivery DROP CONSTRAINT delivery_key_names_it"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_plural_names"), ("automations", "0004_plural_names")]

    operations = [
        migrations.RemoveConstraint(model_name="delivery", name="delivery_once"),
        migrations.AddConstraint(
            model_name="delivery",
            constraint=models.UniqueConstraint(fields=("run", "visit", "effect"), name="delivery_once"),
        ),
        migrations.AlterField(model_name="delivery", name="key", field=models.CharField(max_length=80)),
        migrations.RunSQL(KEY, NO_KEY),
        migrations.AlterField(
            model_name="delivery", name="attempts", field=models.PositiveSmallIntegerField(db_default=0, default=0)
        ),
        migrations.AlterField(
            model_name="delivery", name="fence", field=models.PositiveIntegerField(db_default=0, default=0)
        ),
        migrations.AlterField(
            model_name="delivery",
            name="provider_ref",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AlterField(
            model_name="delivery",
            name="request_sha256",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
    ]
