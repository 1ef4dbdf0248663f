"""Tables of accounts (CONTRACTS 3)."""

from accounts.models.customer import Consent, Contact, Customer, CustomerTag, Tag
from accounts.models.funnel import Funnel, Stage, StageEntry
from accounts.models.installation import Installation, Plan, Provenance
from accounts.models.records import Audit, Idempotency, RateBucket, Task
from accounts.models.staff import ApiKey, Membership, User
from accounts.models.workspace import Workspace

__all__ = [
    "ApiKey",
    "Audit",
    "Consent",
    "Contact",
    "Customer",
    "CustomerTag",
    "Funnel",
    "Idempotency",
    "Installation",
    "Membership",
    "Plan",
    "Provenance",
    "RateBucket",
    "Stage",
    "StageEntry",
    "Tag",
    "Task",
    "User",
    "Workspace",
]
