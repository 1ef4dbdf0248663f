"""No statement asks for the queued deliveries of a customer: an unsubscribed address is looked for in the queue (`delivery_due`)."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("automations", "0007_enrolments")]

    operations = [migrations.RemoveIndex(model_name="delivery", name="delivery_queued_of_customer")]
