"""Admission of API requests in one statement: the key, its use, and a token of its bucket (CONTRACTS 1, 8).

Functions of PL/pgSQL keep their plans for the session, so a request pays one round trip and no planning.
"""

from django.db import migrations

TAKE_TOKEN = """
create function onward_take_token(who text, per_second float, burst float, out allowed boolean, out tokens float)
language plpgsql as $$
#variable_conflict use_column
begin
    insert into accounts_ratebucket as b (caller, tokens, at, allowed)
    values (who, burst - 1, clock_timestamp(), true)
    on conflict (caller) do update set
        (tokens, at, allowed) = (
            select case when level >= 1 then level - 1 else level end, greatest(excluded.at, b.at), level >= 1
            from (select least(burst, b.tokens + per_second
                * greatest(extract(epoch from excluded.at - b.at), 0)) as level) filled
        )
    returning b.allowed, b.tokens into onward_take_token.allowed, onward_take_token.tokens;
end $$;
"""

ADMIT = """
create function onward_admit(key_prefix text, key_sha256 text, per_second float, burst float)
returns table (key_id bigint, workspace_id bigint, maker_id bigint, name varchar, scopes varchar[], problem text,
    allowed boolean, tokens float)
language plpgsql as $$
#variable_conflict use_column
declare
    k accounts_apikey;
    problem text := '';
begin
    select * into k from accounts_apikey where prefix = key_prefix and secret_sha256 = key_sha256;
    if not found then
        return;
    end if;
    if k.revoked_at is not null then
        problem := 'key_revoked';
    elsif k.expires_at <= clock_timestamp() then
        problem := 'key_expired';
    end if;
    if problem = '' and (k.last_used_at is null or k.last_used_at < clock_timestamp() - interval '1 minute') then
        update accounts_apikey set last_used_at = clock_timestamp() where id = k.id;
    end if;
    return query select k.id, k.workspace_id, k.made_by_id, k.name, k.scopes, problem, t.allowed, t.tokens
        from onward_take_token('key_' || k.id, per_second, burst) t;
end $$;
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_clock")]
    operations = [
        migrations.RunSQL(TAKE_TOKEN, "drop function onward_take_token(text, float, float)"),
        migrations.RunSQL(ADMIT, "drop function onward_admit(text, text, float, float)"),
    ]
