"""add_tag: adds a tag to the customer, who has it once however often it is added (ACT-10)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pydantic import Field

from accounts.errors import Refusal
from accounts.services.tags import TagRequest, add_tags
from automations.actions.outcomes import refused
from automations.engine.kinds import Config, LocalAction, Request, TemplateText
from automations.engine.outcomes import Done, Failed, Outcome
from automations.engine.scope import Scope


class AddTagConfig(Config):
    """A tag is made at its first use."""

    tag: TemplateText = Field(title="Tag", min_length=1, max_length=4000, json_schema_extra={"x-widget": "tag"})


class AddTagOutput(Config):
    """`added` is false when the customer had the tag already."""

    tag: str = Field("", title="Tag")
    added: bool = Field(True, title="Newly added")


class AddTag(LocalAction):
    """All tags of a batch are added by one bulk service."""

    key = "add_tag"
    label = "Add tag"
    help = "Adds a tag to the customer."
    group = "Records"
    icon = "tag"
    Config = AddTagConfig
    Output = AddTagOutput
    subjects = frozenset({"customer"})
    changes = frozenset({"customer"})

    def summary(self, config: AddTagConfig) -> str:
        return f"Tag as {config.tag}"

    def sample(self) -> AddTagConfig:
        return AddTagConfig(tag="at-risk")

    def prepare(self, config: AddTagConfig, scope: Scope) -> Request | Outcome:
        customer = scope.subjects.get("customer")
        if customer is None:
            return Failed("subject_missing", "This run is not about a customer, so there is none to tag.")
        tag = scope.text(config.tag).strip()
        return Request({"customer": customer}, {"customer": f"cus_{customer}", "tag": tag}, tag)

    def apply(self, requests: Sequence[Request], at: datetime) -> Sequence[Outcome]:
        asked = [
            TagRequest(request.workspace_id, request.subjects["customer"], request.data, request.run_id or None)
            for request in requests
        ]
        return [
            refused(answer) if isinstance(answer, Refusal) else Done({"tag": answer.slug, "added": answer.added})
            for answer in add_tags(asked)
        ]


action = AddTag()
