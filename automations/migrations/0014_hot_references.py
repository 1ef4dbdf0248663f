"""References of rows that every event or run writes are the doctor's (F27 to F30), as those of runs and deliveries are (DESIGN 6): a key
cost a query and a lock on the one row of the workspace for each event, a fifth of what recording costs the server."""

from django.db import migrations, models

_WORKSPACE = {
    "db_constraint": False,
    "db_index": False,
    "on_delete": models.DO_NOTHING,
    "related_name": "+",
    "to": "accounts.workspace",
}


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_merged_index"), ("automations", "0013_routing_suspects")]

    operations = [
        migrations.AlterField("event", "workspace", models.ForeignKey(**_WORKSPACE)),
        migrations.AlterField("entry", "workspace", models.ForeignKey(**_WORKSPACE)),
        migrations.AlterField("secondlook", "workspace", models.ForeignKey(**_WORKSPACE)),
        migrations.AlterField(
            "entry",
            "automation",
            models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=models.CASCADE,
                related_name="+",
                to="automations.automation",
            ),
        ),
    ]
