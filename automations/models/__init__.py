"""Tables of the engine (CONTRACTS 3)."""

from automations.models.automation import Automation, AutomationState, Version, VersionState
from automations.models.delivery import (
    OPEN_STATES,
    Delivery,
    DeliveryAttempt,
    DeliveryBody,
    DeliveryState,
    EmailTemplate,
    Sender,
)
from automations.models.event import SHARDS, Evaluation, Event, EventContent, EventShape
from automations.models.run import (
    RUN_STATUSES,
    UNFINISHED,
    Entry,
    PartitionLog,
    Run,
    RunInput,
    SecondLook,
    SplitChoice,
    StepLog,
    Tally,
    TallyDelta,
    Worker,
)

__all__ = [
    "OPEN_STATES",
    "RUN_STATUSES",
    "SHARDS",
    "UNFINISHED",
    "Automation",
    "AutomationState",
    "Delivery",
    "DeliveryAttempt",
    "DeliveryBody",
    "DeliveryState",
    "EmailTemplate",
    "Entry",
    "Evaluation",
    "Event",
    "EventContent",
    "EventShape",
    "PartitionLog",
    "Run",
    "RunInput",
    "SecondLook",
    "Sender",
    "SplitChoice",
    "StepLog",
    "Tally",
    "TallyDelta",
    "Version",
    "VersionState",
    "Worker",
]
