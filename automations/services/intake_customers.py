"""What a request has to know of the customers that its events name, in one statement: whom each reference means, their records for the
snapshots, and the owner of the workspace (PERFORMANCE W6). Where a request names one, it is read in the round trip that admits the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from accounts.api.requests import Reading
from accounts.prepared import prepared
from accounts.services.merged import survivors_of
from automations.roots.customer import COLUMNS, KEYS, MEANT, RULES, Ref, by_reference, record, said, wanted
from automations.services.snapshots import OWNER, Known

Answer = Mapping[str, int] | None  # the subject that a reference means

_SLUGS = """array(
    select (select t.slug from accounts_tag t where t.id = ct.tag_id) as slug
    from accounts_customertag ct where ct.customer_id = c.id order by slug
)"""
_FIND = f"""
select {", ".join(KEYS)}, {COLUMNS}, {_SLUGS}, {OWNER.format(workspace="(select %(workspace)s::bigint)")}
from {MEANT} left join accounts_user u on u.id = c.owner_id
"""


def _one(how: str, workspace: str) -> str:
    """Whom a single reference of this kind means, in a workspace given by an expression: half the work of the statement for many."""
    kind, rule = RULES[how]
    key = f"(select %(key)s::{kind})"  # hidden from the planner, which would plan anew for each
    return f"""
select {COLUMNS}, {_SLUGS}, c.merged_into_id, {OWNER.format(workspace=workspace)}
from (
    select * from accounts_customer c where c.workspace_id = {workspace} and {rule.format(key=key)} limit 1
) c left join accounts_user u on u.id = c.owner_id
"""


_ONE = {how: _one(how, "(select %(workspace)s::bigint)") for how in RULES}
_ONE_ALONGSIDE = {how: _one(how, "asking.workspace_id") for how in RULES}


def alongside(ref: Ref) -> Reading:
    """How the customer that a reference means is read in the round trip that admits the key; `told` takes the row."""
    how, key = said(ref)
    return Reading(_ONE_ALONGSIDE[how], {"key": str(key)})


def find_customers(workspace_id: int, refs: Sequence[Ref]) -> tuple[Sequence[Answer], Known]:
    """For each reference its customer, as the root's `resolve` answers; and what is known by now. One query, and one more where a record
    was merged."""
    with prepared() as cursor:
        if len(refs) == 1:
            how, key = said(refs[0])
            cursor.execute(_ONE[how], {"workspace": str(workspace_id), "key": str(key)})
            return told(workspace_id, cursor.fetchone())
        cursor.execute(_FIND, wanted(workspace_id, refs))
        rows = cursor.fetchall()
    records = {row[len(KEYS)]: record(row[len(KEYS) :]) for row in rows}
    return by_reference(rows, refs), Known({"customer": records}, _owners(workspace_id, rows))


def told(workspace_id: int, row: Sequence[Any] | None) -> tuple[Sequence[Answer], Known]:
    """The same for a single reference, from the row that was read of it; None where there is none."""
    if row is None:
        return [None], Known()
    id, into = row[0], row[-2]
    survivor = id if into is None else survivors_of([id]).get(id, id)
    return [{"customer": survivor}], Known({"customer": {id: record(row)}}, _owners(workspace_id, [row]))


def _owners(workspace_id: int, rows: Sequence[Sequence[Any]]) -> dict[int, str]:
    return {workspace_id: rows[0][-1]} if rows and rows[0][-1] is not None else {}
