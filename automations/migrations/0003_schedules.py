"""The four django-q2 schedules, the safety net of the worker (DESIGN 5.4). `config.queue` keeps them equal to the settings."""

from django.db import migrations
from django.utils import timezone

SCHEDULES = {
    "onward.pass": ("automations.tasks.automation_pass", "*/5 * * * *"),
    "onward.mail": ("automations.tasks.mail_pass", "* * * * *"),
    "onward.sweep": ("automations.tasks.sweep_pass", "*/5 * * * *"),
    "onward.housekeeping": ("automations.tasks.housekeeping", "17 3 * * *"),
}


def create(apps, schema_editor):
    """Make each by its name, once."""
    Schedule = apps.get_model("django_q", "Schedule")
    for name, (func, cron) in SCHEDULES.items():
        if not Schedule.objects.filter(name=name).exists():
            Schedule.objects.create(name=name, func=func, cron=cron, schedule_type="C", next_run=timezone.now())


def remove(apps, schema_editor):
    """Take them back."""
    apps.get_model("django_q", "Schedule").objects.filter(name__in=SCHEDULES).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("automations", "0002_partitions"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
    ]

    operations = [migrations.RunPython(create, remove)]
