"""Records are merged only into one that is not merged itself, of the same workspace: so chains of merges end, whoever writes."""

from django.db import migrations

# The target is locked, so that of two records which are merged into each other at once only one can be.
CHAINS_END = """
create function accounts_merges_end() returns trigger language plpgsql as $$
begin
    perform 1 from accounts_customer
    where id = new.merged_into_id and workspace_id = new.workspace_id and merged_into_id is null for no key update;
    if not found then
        raise exception 'cus_% is merged itself, or of another workspace; merge into a record that stands for itself.',
            new.merged_into_id using errcode = 'check_violation', constraint = 'accounts_merges_end';
    end if;
    return new;
end $$;
create trigger accounts_merges_end before update of merged_into_id on accounts_customer for each row
    when (new.merged_into_id is not null and new.merged_into_id is distinct from old.merged_into_id)
    execute function accounts_merges_end();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_plural_names")]
    operations = [
        migrations.RunSQL(
            CHAINS_END, "drop trigger accounts_merges_end on accounts_customer; drop function accounts_merges_end()"
        )
    ]
