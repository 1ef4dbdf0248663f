"""update_customer: changes fields of the customer that the run is about (ACT-09)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import Field, model_validator

from accounts.errors import Refusal
from accounts.models import Membership
from accounts.services.customers import CustomerChange, update_customers
from automations.actions.outcomes import refused
from automations.engine.kinds import Config, LocalAction, Request, TemplateText
from automations.engine.outcomes import Done, Failed, Outcome
from automations.engine.scope import Scope

Text = TemplateText | None


class CustomerFields(Config):
    """New values; a field that is not given stays, `null` empties it. `metadata` is merged key by key."""

    name: Text = Field(None, title="Name", max_length=4000)
    email: Text = Field(None, title="E-mail address", max_length=4000)
    segment: Text = Field(None, title="Segment", max_length=4000)
    plan: Text = Field(None, title="Plan", max_length=4000)
    country: Text = Field(None, title="Country", description="Two letters, ISO 3166.", max_length=4000)
    time_zone: Text = Field(None, alias="timeZone", title="Time zone", max_length=4000)
    locale: Text = Field(None, title="Language", max_length=4000)
    owner: Text = Field(None, title="Owner", description="E-mail address of a member of the workspace.")
    metadata: dict[str, Text] | None = Field(None, title="Metadata", max_length=50)

    @model_validator(mode="after")
    def _something(self) -> CustomerFields:
        if not self.model_fields_set:
            raise ValueError("name at least one field to change")
        return self


class UpdateCustomerConfig(Config):
    """What is changed."""

    fields: CustomerFields = Field(title="Fields", json_schema_extra={"x-widget": "fields"})


class UpdateCustomerOutput(Config):
    """The customer, and the fields that were given a value."""

    customer: str = Field("", title="Customer")
    fields: list[str] = Field(default_factory=list, title="Fields")


class UpdateCustomer(LocalAction):
    """All changes of a batch go through one bulk service."""

    key = "update_customer"
    label = "Update customer"
    help = "Changes fields of the customer."
    group = "Records"
    icon = "user"
    Config = UpdateCustomerConfig
    Output = UpdateCustomerOutput
    subjects = frozenset({"customer"})
    changes = frozenset({"customer"})

    def summary(self, config: UpdateCustomerConfig) -> str:
        return "Set " + ", ".join(_given(config.fields))

    def sample(self) -> UpdateCustomerConfig:
        return UpdateCustomerConfig.model_validate({"fields": {"segment": "engaged", "metadata": {"demo": "yes"}}})

    def prepare(self, config: UpdateCustomerConfig, scope: Scope) -> Request | Outcome:
        customer = scope.subjects.get("customer")
        if customer is None:
            return Failed("subject_missing", "This run is not about a customer, so there is none to update.")
        values = {name: _rendered(value, scope) for name, value in _values(config.fields).items()}
        shown = {"customer": f"cus_{customer}", "fields": {_written(name): value for name, value in values.items()}}
        return Request(subjects={"customer": customer}, input=shown, data=values)

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        owners = _owners(requests)
        outcomes: list[Outcome | None] = [_stranger(request, owners) for request in requests]
        going = [index for index, outcome in enumerate(outcomes) if outcome is None]
        answers = update_customers([_change(requests[index], owners) for index in going])
        for index, answer in zip(going, answers, strict=True):
            outcomes[index] = _outcome(requests[index], answer)
        return [outcome for outcome in outcomes if outcome is not None]


def _given(fields: CustomerFields) -> list[str]:
    return [_written(name) for name in CustomerFields.model_fields if name in fields.model_fields_set]


def _written(name: str) -> str:
    return CustomerFields.model_fields[name].alias or name


def _values(fields: CustomerFields) -> dict[str, Any]:
    return {name: getattr(fields, name) for name in CustomerFields.model_fields if name in fields.model_fields_set}


def _rendered(value: Any, scope: Scope) -> Any:
    if isinstance(value, Mapping):
        return {key: _rendered(item, scope) for key, item in value.items()}
    return None if value is None else scope.text(value).strip()


def _owner(request: Request) -> tuple[int, str] | None:
    email = (request.data.get("owner") or "").lower()
    return (request.workspace_id, email) if email else None


def _owners(requests: Sequence[Request]) -> dict[tuple[int, str], int]:
    """Members by workspace and address, in one query."""
    wanted = {owner for request in requests if (owner := _owner(request)) is not None}
    if not wanted:
        return {}
    rows = Membership.objects.filter(
        workspace_id__in={workspace for workspace, _ in wanted}, user__email__in={email for _, email in wanted}
    )
    found = rows.values_list("workspace_id", "user__email", "user_id")
    return {(workspace, email): user for workspace, email, user in found}


def _stranger(request: Request, owners: Mapping[tuple[int, str], int]) -> Outcome | None:
    owner = _owner(request)
    if owner is None or owner in owners:
        return None
    return Failed("invalid", f"The owner “{owner[1]}” is no member of the workspace; give a member's e-mail address.")


def _change(request: Request, owners: Mapping[tuple[int, str], int]) -> CustomerChange:
    fields = dict(request.data)
    if "owner" in fields:
        fields.pop("owner")
        owner = _owner(request)
        fields["owner_id"] = owners[owner] if owner else None
    return CustomerChange(request.workspace_id, request.subjects["customer"], fields, request.run_id or None)


def _outcome(request: Request, answer: Any) -> Outcome:
    if isinstance(answer, Refusal):
        return refused(answer)
    return Done({"customer": request.input["customer"], "fields": list(request.input["fields"])})


action = UpdateCustomer()
