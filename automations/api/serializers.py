"""What the OpenAPI document says of automations and executions, and the checked bodies of requests (CONTRACTS 8, 9)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.api.base import StrictSerializer, TimeField
from automations.services.pause import HELD, IN_FLIGHT

Out = serializers.Serializer[Any]


class ProblemOut(Out):
    """One problem of a definition (CONTRACTS 4)."""

    code = serializers.CharField()
    severity = serializers.ChoiceField(["error", "warning", "info"])
    step = serializers.CharField(allow_null=True)
    path = serializers.CharField()
    pointer = serializers.CharField()
    line = serializers.IntegerField(allow_null=True)
    message = serializers.CharField()
    help = serializers.CharField()


class DraftStateOut(Out):
    """The draft of an automation, in short."""

    number = serializers.IntegerField()
    revision = serializers.IntegerField()
    problems = serializers.IntegerField()


class UnfinishedOut(Out):
    """Counts of runs."""

    unfinished = serializers.IntegerField()


class LinksOut(Out):
    """Where people go."""

    canvas = serializers.CharField()


class AutomationOut(Out):
    """An automation."""

    id = serializers.CharField()
    key = serializers.CharField(allow_null=True)
    name = serializers.CharField()
    description = serializers.CharField()
    state = serializers.ChoiceField(["DRAFT", "ACTIVE", "PAUSED"])
    trigger = serializers.DictField(allow_null=True)
    dispatch = serializers.ChoiceField(["parallel", "exclusive"])
    priority = serializers.IntegerField(allow_null=True)
    scope = serializers.JSONField(help_text="`global`, or a list of `funnel/stage`.")
    activeVersion = serializers.IntegerField(allow_null=True)
    draft = DraftStateOut(allow_null=True)
    runs = UnfinishedOut()
    pausedAt = serializers.DateTimeField(allow_null=True)
    nextFireAt = serializers.DateTimeField(allow_null=True)
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()
    links = LinksOut()


class AutomationMadeOut(AutomationOut):
    """A new automation with all that is wrong with its draft."""

    problems = ProblemOut(many=True)


class AutomationChangeIn(StrictSerializer):
    """What PATCH changes."""

    name = serializers.CharField(max_length=200, required=False)
    description = serializers.CharField(max_length=10_000, allow_blank=True, required=False)
    priority = serializers.IntegerField(min_value=1, max_value=100_000, required=False)


class DefinitionIn(Out):
    """A definition as graph (`nodes`) or nested (`steps`), as JSON or YAML; `/api/v1/catalogue` has the schemas of its parts."""

    version = serializers.IntegerField(required=False)
    key = serializers.CharField(required=False)
    name = serializers.CharField()
    description = serializers.CharField(required=False)
    trigger = serializers.DictField()
    filter = serializers.JSONField(required=False)
    exits = serializers.ListField(child=serializers.DictField(), required=False)
    goal = serializers.DictField(required=False)
    settings = serializers.DictField(required=False)
    nodes = serializers.ListField(child=serializers.DictField(), required=False)
    edges = serializers.ListField(child=serializers.DictField(), required=False)
    steps = serializers.ListField(child=serializers.DictField(), required=False)


class DraftOut(Out):
    """A draft."""

    definition = DefinitionIn()
    number = serializers.IntegerField()
    revision = serializers.IntegerField()
    problems = ProblemOut(many=True)


class CheckOut(Out):
    """The answer of a validation."""

    valid = serializers.BooleanField()
    problems = ProblemOut(many=True)
    depth = serializers.IntegerField()


class ActivateIn(StrictSerializer):
    """How a draft is put in force. `version` is the number it should have: another one is refused."""

    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1, required=False)
    runs = serializers.ChoiceField(["stay", "cancel"], default="stay")
    enrol_existing = serializers.BooleanField(default=False)
    preview = serializers.BooleanField(default=False)


class PreviewOut(Out):
    """What activating would do."""

    problems = ProblemOut(many=True)
    runsByStep = serializers.DictField(child=serializers.IntegerField())
    wouldEnrol = serializers.IntegerField(allow_null=True)


class PauseIn(StrictSerializer):
    """What becomes of runs in flight."""

    in_flight = serializers.ChoiceField(IN_FLIGHT, default="finish")


class ResumeIn(StrictSerializer):
    """How held runs go on."""

    held = serializers.ChoiceField(HELD, required=False, allow_null=True)


class InFlightRunsOut(Out):
    """Runs of the automation after the change."""

    unfinished = serializers.IntegerField()
    cancelled = serializers.IntegerField()
    held = serializers.IntegerField()


class InFlightOut(Out):
    """The answer of pause and resume."""

    automation = AutomationOut()
    runs = InFlightRunsOut()


class DuplicateIn(StrictSerializer):
    """The copy's name and trigger."""

    name = serializers.CharField(max_length=200, required=False)
    trigger = serializers.DictField(required=False)


class VersionRowOut(Out):
    """A version in the list."""

    number = serializers.IntegerField()
    state = serializers.ChoiceField(["draft", "active", "inactive"])
    author = serializers.CharField(allow_null=True)
    activatedAt = serializers.DateTimeField(allow_null=True)
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class VersionOut(VersionRowOut):
    """A version with its graph."""

    definition = DefinitionIn()


class OrderIn(StrictSerializer):
    """All automations of the trigger, the first asked first."""

    order = serializers.ListField(child=serializers.CharField(max_length=30), max_length=1000)


class PriorityOut(Out):
    """One place of the order."""

    id = serializers.CharField()
    name = serializers.CharField()
    state = serializers.CharField()
    priority = serializers.IntegerField(allow_null=True)


class PrioritiesOut(Out):
    """The order of a trigger."""

    trigger = serializers.CharField()
    automations = PriorityOut(many=True)


class PretendEventIn(StrictSerializer):
    """An event that is to happen while the test runs."""

    after = serializers.CharField(max_length=40, default="1s")
    name = serializers.CharField(max_length=100)
    payload = serializers.DictField(required=False)


class TrialIn(StrictSerializer):
    """What a test runs on: at most one of `payload`, `event` and `customer`, else the trigger's sample."""

    payload = serializers.DictField(required=False)
    event = serializers.CharField(max_length=30, required=False)
    customer = serializers.CharField(max_length=30, required=False)
    version = serializers.IntegerField(min_value=1, required=False)
    at = TimeField(required=False)
    outcomes = serializers.DictField(child=serializers.DictField(), required=False)
    events = PretendEventIn(many=True, required=False)


class TrialOut(Out):
    """What a test came to; nothing was written, sent or called."""

    status = serializers.CharField()
    endReason = serializers.CharField(allow_null=True)
    steps = serializers.ListField(child=serializers.DictField())
    warnings = serializers.ListField(child=serializers.CharField())
