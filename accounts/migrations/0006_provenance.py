"""Where these data were last at work: by it a restored backup is told from the installation that it was made of."""

from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_merges_end")]

    operations = [
        migrations.CreateModel(
            name="Provenance",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("home", models.CharField(max_length=60)),
                ("timeline", models.IntegerField(default=0)),
                ("seen_at", models.DateTimeField()),
                ("held_at", models.DateTimeField(null=True)),
                ("held_why", models.CharField(default="", max_length=300)),
            ],
            options={
                "verbose_name_plural": "provenance",
                "constraints": [
                    models.CheckConstraint(condition=Q(id=1), name="provenance_is_one_row"),
                    models.CheckConstraint(
                        condition=Q(held_at__isnull=True, held_why="") | Q(held_at__isnull=False) & ~Q(held_why=""),
                        name="provenance_held_for_a_reason",
                    ),
                ],
            },
        ),
    ]
