from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("automations", "0012_routing_order")]

    operations = [
        migrations.AddField("unrouted", "lost", models.SmallIntegerField(db_default=0)),
    ]
