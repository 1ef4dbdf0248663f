"""Tokens of the rate limits are not written to the log of the server: every request takes one, and waited for the disk to keep it.

After a crash all buckets are full, which is what a restart may cost; a standby that is promoted begins with full ones as well.
"""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0006_provenance")]
    operations = [
        migrations.RunSQL(
            "alter table accounts_ratebucket set unlogged",
            "alter table accounts_ratebucket set logged",
        )
    ]
