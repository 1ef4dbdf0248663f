"""Who has an e-mail address or an external id: the one query behind conflicts, identifying and references.

Both halves repeat the condition of their partial unique index, so that each is one index look-up however many customers
there are.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from django.db.models import Q
from django.db.models.functions import Lower

from accounts.models import Customer

Key = tuple[str, str]
"""`("email", lower case)` or `("external_id", as written)`."""


def keys_of(email: str = "", external_id: str = "") -> list[Key]:
    """What a customer with these can be found by."""
    emails = [("email", email.lower())] if email else []
    return emails + ([("external_id", external_id)] if external_id else [])


def owners_of(workspace_ids: Collection[int], keys: Iterable[Key]) -> dict[tuple[int, Key], int]:
    """The live customer of each key that has one, per workspace. One query, none without keys."""
    wanted = set(keys)
    emails = [value for name, value in wanted if name == "email"]
    external = [value for name, value in wanted if name == "external_id"]
    if not wanted:
        return {}
    rows = (
        Customer.objects.filter(workspace_id__in=workspace_ids, merged_into=None, erased_at=None)
        .annotate(address=Lower("email"))
        .filter((~Q(email="") & Q(address__in=emails)) | (~Q(external_id="") & Q(external_id__in=external)))
        .values_list("id", "workspace_id", "address", "external_id")
    )
    owners: dict[tuple[int, Key], int] = {}
    for number, workspace_id, address, external_id in rows:
        for key in keys_of(address, external_id):
            owners[workspace_id, key] = number
    return owners
