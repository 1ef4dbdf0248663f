"""What a request has to know of the customers that its events name, in one statement: whom each reference means, their records for the
snapshots, and the owner of the workspace (PERFORMANCE W6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from accounts.prepared import prepared
from automations.roots.customer import COLUMNS, KEYS, MEANT, Ref, by_reference, record, wanted
from automations.services.snapshots import Known

_FIND = f"""
select {", ".join(KEYS)}, {COLUMNS}, array(
    select (select t.slug from accounts_tag t where t.id = ct.tag_id) as slug
    from accounts_customertag ct where ct.customer_id = c.id order by slug
), (
    select o.email from accounts_membership m join accounts_user o on o.id = m.user_id
    where m.workspace_id = (select %(workspace)s::bigint) and m.role = 'owner' order by m.id limit 1
)
from {MEANT} left join accounts_user u on u.id = c.owner_id
"""


def find_customers(workspace_id: int, refs: Sequence[Ref]) -> tuple[Sequence[Mapping[str, int] | None], Known]:
    """For each reference its customer, as the root's `resolve` answers; and what is known by now. One query, and one more where a record
    was merged."""
    with prepared() as cursor:
        cursor.execute(_FIND, wanted(workspace_id, refs))
        rows = cursor.fetchall()
    records = {row[1]: record(row[len(KEYS) :]) for row in rows}
    owners = {workspace_id: rows[0][-1]} if rows and rows[0][-1] is not None else {}
    return by_reference(rows, refs), Known({"customer": records}, owners)
