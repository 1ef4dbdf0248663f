"""Two customer records become one: runs, waits, re-entry keys and kept branches move to the survivor (DESIGN 5.5)."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection

from accounts.announcements import Announcement

# Runs before deliveries, each in id order (DESIGN 5.2, lock order).
_RUNS = """
with locked as (select id from automations_run where customer_id = %(old)s order by id for no key update)
update automations_run r set customer_id = %(new)s, subjects = r.subjects || jsonb_build_object('customer', %(new)s::bigint),
    subject_id = case when r.subject_kind = 'customer' then %(new)s else r.subject_id end,
    wait_key = case when r.wait_key = 'customer:' || %(old)s then 'customer:' || %(new)s else r.wait_key end,
    held = case when r.held ->> 'waitKey' = 'customer:' || %(old)s
        then r.held || jsonb_build_object('waitKey', 'customer:' || %(new)s) else r.held end
from locked l where r.id = l.id
"""
# Of two keys the older wins: a customer who was in once, under either name, was in.
_OLDER_ENTRY = """
delete from automations_entry e using automations_entry o
where e.workspace_id = %(workspace)s and o.workspace_id = e.workspace_id and o.automation_id = e.automation_id
    and (e.key, o.key) in (('customer:' || %(old)s, 'customer:' || %(new)s), ('customer:' || %(new)s, 'customer:' || %(old)s))
    and e.id > o.id
"""
_ENTRIES = """
update automations_entry set key = 'customer:' || %(new)s where workspace_id = %(workspace)s and key = 'customer:' || %(old)s
"""
_OLDER_SPLIT = """
delete from automations_splitchoice s using automations_splitchoice o
where s.workspace_id = %(workspace)s and o.workspace_id = s.workspace_id and o.automation_id = s.automation_id and o.step = s.step
    and (s.customer_id, o.customer_id) in ((%(old)s, %(new)s), (%(new)s, %(old)s)) and s.id > o.id
"""
_SPLITS = """
update automations_splitchoice set customer_id = %(new)s where workspace_id = %(workspace)s and customer_id = %(old)s
"""
_LOOKS = """
update automations_secondlook set customer_id = %(new)s where workspace_id = %(workspace)s and customer_id = %(old)s
"""
_DELIVERIES = """
with locked as (
    select d.id from automations_delivery d where d.run_id in (select id from automations_run where customer_id = %(new)s)
        and d.workspace_id = %(workspace)s and d.customer_id = %(old)s order by d.id for no key update)
update automations_delivery d set customer_id = %(new)s from locked l where d.id = l.id
"""
_STATEMENTS = (_RUNS, _OLDER_ENTRY, _ENTRIES, _OLDER_SPLIT, _SPLITS, _LOOKS, _DELIVERIES)


def merged(items: Sequence[Announcement]) -> None:
    """Move everything of the record that ceased; events keep its id, and routing follows them to the survivor."""
    for item in items:
        names = {"old": item.customer_id, "new": item.data["into"], "workspace": item.workspace_id}
        with connection.cursor() as cursor:
            for statement in _STATEMENTS:
                cursor.execute(statement, names)
