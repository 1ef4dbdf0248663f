"""The list of races."""

from __future__ import annotations

from tests.chaos.races.copies import FiftyCopies
from tests.chaos.races.dying import DeathBeforeTheLook
from tests.chaos.races.entering import OneInvoice, ReEntry, TwoBatches
from tests.chaos.races.holding import HoldAgainstAdvance
from tests.chaos.races.publishing import PublishAgainstAdvance, PublishAgainstRoute
from tests.chaos.races.race import Race
from tests.chaos.races.repeating import RepeatedPass, SameRequest
from tests.chaos.races.stopping import (
    CancelAgainstAdvance,
    PauseAgainstAdvance,
    PauseAgainstEntering,
    UnsubscribeAgainstSend,
)
from tests.chaos.races.waiting import (
    EventAgainstParking,
    EventAgainstTimeOut,
    EventNumberedFirst,
    TwoEventsForOneWait,
)

RACES: tuple[type[Race], ...] = (
    EventAgainstParking,
    EventNumberedFirst,
    EventAgainstTimeOut,
    TwoEventsForOneWait,
    DeathBeforeTheLook,
    CancelAgainstAdvance,
    PauseAgainstAdvance,
    HoldAgainstAdvance,
    PauseAgainstEntering,
    UnsubscribeAgainstSend,
    PublishAgainstAdvance,
    PublishAgainstRoute,
    FiftyCopies,
    TwoBatches,
    OneInvoice,
    ReEntry,
    SameRequest,
    RepeatedPass,
)
