"""What the OpenAPI document says of executions, and the checked bodies of requests about them (CONTRACTS 9)."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.api.base import StrictSerializer, TimeField
from automations.api.serializers import Out
from automations.services.executions import STORED


class ErrorDetailOut(Out):
    """Why a step or a run failed."""

    code = serializers.CharField()
    message = serializers.CharField()
    temporary = serializers.BooleanField()
    details = serializers.DictField()


class StepOut(Out):
    """One row of the step log."""

    seq = serializers.IntegerField()
    attempt = serializers.IntegerField()
    stepId = serializers.CharField()
    type = serializers.CharField()
    action = serializers.CharField(allow_null=True)
    name = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(["succeeded", "failed", "skipped"])
    port = serializers.CharField(allow_null=True)
    startedAt = serializers.DateTimeField()
    endedAt = serializers.DateTimeField()
    durationMs = serializers.IntegerField()
    iteration = serializers.CharField(allow_null=True)
    fallback = serializers.BooleanField()
    input = serializers.JSONField(allow_null=True)
    output = serializers.JSONField(allow_null=True)
    error = ErrorDetailOut(allow_null=True)
    warnings = serializers.ListField(child=serializers.DictField())
    delivery = serializers.CharField(allow_null=True)
    late = serializers.BooleanField(required=False)


class ExecutionOut(Out):
    """One row of the list of executions."""

    id = serializers.CharField()
    status = serializers.ChoiceField(["running", "completed", "failed", "cancelled"])
    triggeredBy = serializers.CharField()
    triggeredAt = serializers.DateTimeField()
    completedAt = serializers.DateTimeField(allow_null=True)
    stepsExecuted = serializers.IntegerField()
    runStatus = serializers.ChoiceField(STORED)
    endReason = serializers.CharField(allow_null=True)
    automationId = serializers.CharField()
    automationName = serializers.CharField()
    version = serializers.IntegerField()
    profileId = serializers.CharField(allow_null=True)
    subject = serializers.DictField(child=serializers.CharField())
    currentStepId = serializers.CharField(allow_null=True)
    nextStepAt = serializers.DateTimeField(allow_null=True)
    parkedOn = serializers.CharField(allow_null=True)
    mode = serializers.ChoiceField(["live", "test"])
    error = ErrorDetailOut(allow_null=True)
    eventId = serializers.CharField()
    recordedAt = serializers.DateTimeField()


class TriggerOut(Out):
    """What started an execution."""

    type = serializers.CharField()
    event = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        """`data` cannot be declared as an attribute: serializers have one of that name."""
        return {**super().get_fields(), "data": serializers.JSONField(allow_null=True)}


class ExecutionDetailOut(ExecutionOut):
    """One execution with its log."""

    trigger = TriggerOut()
    cause = serializers.CharField(allow_null=True)
    goalReachedAt = serializers.DateTimeField(allow_null=True)
    steps = StepOut(many=True)
    stepsCursor = serializers.CharField(allow_null=True)


class StartedOut(Out):
    """The run that a manual trigger started."""

    execution = ExecutionDetailOut()


class CancelIn(StrictSerializer):
    """Why a run is cancelled, for the audit log."""

    reason = serializers.CharField(max_length=500, allow_blank=True, required=False)


class RunFilterIn(StrictSerializer):
    """Which executions."""

    status = serializers.CharField(max_length=30, required=False)
    automation = serializers.CharField(max_length=30, required=False)
    customer = serializers.CharField(max_length=30, required=False)
    step = serializers.CharField(max_length=100, required=False)

    def get_fields(self) -> dict[str, Any]:
        """`from` and `to` cannot be declared as attributes: the first is a word of the language."""
        return {**super().get_fields(), "from": TimeField(required=False), "to": TimeField(required=False)}


class CancelManyIn(StrictSerializer):
    """`confirm` is the number that the preview answered."""

    filter = RunFilterIn()
    preview = serializers.BooleanField(default=False)
    confirm = serializers.IntegerField(min_value=0, required=False)
    reason = serializers.CharField(max_length=500, allow_blank=True, required=False)


class CancelledOut(Out):
    """A preview has `runs`, `more` and `byAutomation`; the act has `cancelled`."""

    runs = serializers.IntegerField(required=False)
    more = serializers.BooleanField(required=False)
    byAutomation = serializers.DictField(child=serializers.IntegerField(), required=False)
    cancelled = serializers.IntegerField(required=False)
