"""The rows that an installation cannot be without."""

from __future__ import annotations

import secrets
import string

from accounts.models import Installation, Plan

LETTERS = string.ascii_lowercase + string.digits
PLANS = [
    # slug, name, order, automations and depth per stage, automations and depth of global scope, customer mails a month
    ("FREE", "Free", 1, 0, None, 0, None, 0),
    ("HOBBY", "Hobby", 2, 1, 3, None, None, 3000),
    ("PRO", "Pro", 3, 5, 5, None, None, 20000),
]
LIMITS = ("name", "order", "stage_automations", "stage_depth", "global_automations", "global_depth", "monthly_emails")


def random_text(length: int) -> str:
    """Lower case letters and digits from the system's secure source."""
    return "".join(secrets.choice(LETTERS) for _ in range(length))


def ensure_rows(using: str = "default") -> None:
    """The installation's row and the three plans; what is there already stays as it is (LIM-14)."""
    Installation.objects.using(using).bulk_create([Installation(id=1, instance=random_text(12))], ignore_conflicts=True)
    rows = [Plan(slug=slug, **dict(zip(LIMITS, limits, strict=True))) for slug, *limits in PLANS]
    Plan.objects.using(using).bulk_create(rows, ignore_conflicts=True)
