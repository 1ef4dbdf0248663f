"""Which record a merged one led to, and which ones led to a record: merges make chains (C-31, DESIGN 5.5).

Chains end: a record is merged only into one that is not merged itself, which a trigger of the database sees to (migration 0005).
The bound only keeps these statements from running on for ever where somebody took the trigger away; `doctor` finds that (K2).
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connection

LONGEST = 1_000  # merges one after the other

SURVIVORS = f"""
with recursive way (id, place, steps) as (
    select c.id, c.merged_into_id, 1 from accounts_customer c where c.id = any(%s::bigint[]) and c.merged_into_id is not null
    union all
    select w.id, c.merged_into_id, w.steps + 1 from way w join accounts_customer c on c.id = w.place
    where c.merged_into_id is not null and w.steps < {LONGEST}
)
select distinct on (id) id, place from way order by id, steps desc
"""
MERGED = f"""
with recursive way (place, id, steps) as (
    select c.merged_into_id, c.id, 1 from accounts_customer c where c.merged_into_id = any(%s::bigint[])
    union all
    select w.place, c.id, w.steps + 1 from way w join accounts_customer c on c.merged_into_id = w.id where w.steps < {LONGEST}
)
select place, id from way order by place, id
"""
#: The ids of a record, given by an expression, and of all that led to it, within another statement and for each of its rows. What is
#: known already is not followed again, so that it needs no bound.
RECORDS = """
with recursive record (id) as (select {customer} union select c.id from record m join accounts_customer c on c.merged_into_id = m.id)
select id from record
"""


def survivors_of(ids: Collection[int]) -> dict[int, int]:
    """The record in which each of these lives on today, for those that were merged; others are absent. One query."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(SURVIVORS, [sorted(set(ids))])
        return dict(cursor.fetchall())


def merged_into(ids: Collection[int]) -> dict[int, list[int]]:
    """For each of these records all that were merged into it, also through others, in id order; records that took none in are
    absent. One query."""
    if not ids:
        return {}
    found: dict[int, list[int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(MERGED, [sorted(set(ids))])
        for place, id in cursor.fetchall():
            found.setdefault(place, []).append(id)
    return found
