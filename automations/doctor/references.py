"""References that no foreign key holds (F), and the walls between workspaces over all references (X1; DESIGN 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import ForeignKey

from automations.doctor.checks import Check

APPS = ("accounts", "automations", "billing")
#: What a row is called in a report, where it is not the table and its key. `c` is the row.
NAMES = {
    "automations_run": "'exec_' || c.id",
    "automations_delivery": "'dlv_' || c.id",
    "automations_event": "'evt_' || c.id",
    "automations_automation": "'auto_' || c.id",
    "automations_step_log": "'exec_' || c.run_id || ' visit ' || c.seq",
    "automations_evaluation": "'evaluation of evt_' || c.event_id",
    "automations_event_content": "'content of evt_' || c.event_id",
    "automations_delivery_body": "'body of dlv_' || c.delivery_id",
    "automations_secondlook": "'second look of exec_' || c.run_id",
    "automations_unrouted": "'place in the queue of evt_' || c.event_id",
    "automations_routed": "'routing of evt_' || c.event_id",
    "automations_runinput": "'input of exec_' || c.run_id",
    "accounts_task": "'task_' || c.id",
    "billing_invoice": "'inv_' || c.id",
    "billing_payment": "'pay_' || c.id",
    "billing_subscription": "'sub_' || c.id",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """`column` of `child` names a row of `parent`. `id` is its check's; empty where a foreign key or another check holds it.
    `only` limits it to some rows `c`."""

    child: str
    column: str
    parent: str
    id: str = ""
    only: str = "true"

    @property
    def name(self) -> str:
        """SQL of the name of a row `c` that breaks the rule."""
        own = NAMES.get(self.child, f"'{self.child} ' || c.id")
        return f"{own} || ' -> {self.parent} ' || c.{self.column}"

    def missing(self) -> Check:
        """The check that every row's target exists. An anti join, whatever the sizes."""
        return Check(
            self.id,
            f"`{self.child}.{self.column}` names an existing `{self.parent}`",
            f"SELECT c.workspace_id, {self.name} AS found FROM {self.child} c WHERE c.{self.column} IS NOT NULL AND {self.only} "
            f"AND NOT EXISTS (SELECT 1 FROM {self.parent} p WHERE p.id = c.{self.column})",
        )

    def crossing(self) -> str:
        """SQL that finds rows whose target belongs to another workspace."""
        return (
            f"SELECT c.workspace_id, {self.name} AS found FROM {self.child} c JOIN {self.parent} p ON p.id = c.{self.column} "
            f"WHERE c.workspace_id <> p.workspace_id AND {self.only}"
        )


_RUN, _EVENT, _AUTOMATION = "automations_run", "automations_event", "automations_automation"
_VERSION, _DELIVERY, _CUSTOMER = "automations_version", "automations_delivery", "accounts_customer"

#: Those of the engine. Billing adds its own (`billing.doctor`).
LOOSE = (
    Reference(_RUN, "workspace_id", "accounts_workspace", "F1"),
    Reference(_RUN, "automation_id", _AUTOMATION, "F2"),
    Reference(_RUN, "version_id", _VERSION, "F3"),
    Reference(_RUN, "event_id", _EVENT, "F4"),
    Reference(_RUN, "subject_id", _CUSTOMER, "F5", "c.subject_kind = 'customer'"),
    Reference("automations_step_log", "run_id", _RUN, "F6"),
    Reference("automations_evaluation", "event_id", _EVENT, "F7"),
    Reference("automations_event_content", "event_id", _EVENT, "F8"),
    Reference("automations_delivery_body", "delivery_id", _DELIVERY, "F9"),
    Reference(_DELIVERY, "workspace_id", "accounts_workspace", "F10"),
    Reference(_DELIVERY, "automation_id", _AUTOMATION, "F11"),
    Reference(_DELIVERY, "customer_id", _CUSTOMER, "F12"),
    Reference(_EVENT, "customer_id", _CUSTOMER, "F13"),
    Reference(_EVENT, "cause_run", _RUN, "F14"),
    Reference(_EVENT, "only_automation", _AUTOMATION, "F15"),
    Reference("automations_secondlook", "customer_id", _CUSTOMER, "F16"),
    Reference(_EVENT, "workspace_id", "accounts_workspace", "F27"),
    Reference("automations_entry", "workspace_id", "accounts_workspace", "F28"),
    Reference("automations_entry", "automation_id", _AUTOMATION, "F29"),
    Reference("automations_secondlook", "workspace_id", "accounts_workspace", "F30"),
    Reference("automations_unrouted", "event_id", _EVENT, "F25"),
    Reference("automations_routed", "event_id", _EVENT, "F26"),
    Reference("automations_tally", "version_id", _VERSION, "F17"),
    Reference("automations_tallydelta", "automation_id", _AUTOMATION, "F18"),
    Reference("automations_tallydelta", "version_id", _VERSION, "F19"),
    Reference("automations_entry", "run_id", _RUN),  # R7; a key kept for ever outlives its run
    Reference("accounts_task", "run_id", _RUN, "F20"),
)
_loose: list[Reference] = list(LOOSE)


def add_references(found: Iterable[Reference]) -> None:
    """References of an upper app."""
    _loose.extend(item for item in found if item not in _loose)


def references() -> list[Reference]:
    """All references between tables of workspaces: the loose ones, and every foreign key of a model."""
    known = {(item.child, item.column, item.parent) for item in _loose}
    keys = [item for item in _foreign_keys() if (item.child, item.column, item.parent) not in known]
    return [*_loose, *keys]


def _foreign_keys() -> Iterator[Reference]:
    for model in apps.get_models():
        if model._meta.app_label not in APPS or not _has_workspace(model):
            continue
        for field in model._meta.concrete_fields:
            if isinstance(field, ForeignKey) and _has_workspace(field.related_model):
                yield Reference(model._meta.db_table, field.column, field.related_model._meta.db_table)


def _has_workspace(model: Any) -> bool:
    return any(field.column == "workspace_id" for field in model._meta.concrete_fields)


def reference_checks() -> list[Check]:
    """One check for each loose reference, and one over all walls."""
    walls = [item.crossing() for item in references() if item.parent != "accounts_workspace"]
    title = "Every row has the workspace of each row that it names"
    return [item.missing() for item in _loose if item.id] + [Check("X1", title, "\nUNION ALL ".join(walls))]
