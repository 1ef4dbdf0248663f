"""How far an enrolment has come: a process that dies on the way leaves it to others (DESIGN 5.1, enrolExisting)."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("automations", "0006_event_content_text")]
    operations = [
        migrations.AddField(model_name="automation", name="enrol_after", field=models.BigIntegerField(null=True))
    ]
