"""Addresses of automations, to be included under `/api/v1/`."""

from __future__ import annotations

from django.urls import URLPattern, path

from accounts.api.workspace import add_usage
from automations.api import automations, catalogue, events, executions, mail, operations
from automations.services.limits import use_of_limits

urlpatterns: list[URLPattern] = [
    *events.urlpatterns,  # first: programs post nothing more often, and addresses are tried in turn
    path("automations", automations.Automations.as_view()),
    path("automations/validate", automations.Validate.as_view()),
    path("automations/<str:automation>", automations.AutomationView.as_view()),
    path("automations/<str:automation>/draft", automations.DraftView.as_view()),
    path("automations/<str:automation>/validate", automations.ValidateDraft.as_view()),
    path("automations/<str:automation>/activate", operations.Activate.as_view()),
    path("automations/<str:automation>/pause", operations.Pause.as_view()),
    path("automations/<str:automation>/resume", operations.Resume.as_view()),
    path("automations/<str:automation>/trigger", operations.Trigger.as_view()),
    path("automations/<str:automation>/test", operations.Trial.as_view()),
    path("automations/<str:automation>/duplicate", automations.Duplicate.as_view()),
    path("automations/<str:automation>/versions", automations.Versions.as_view()),
    path("automations/<str:automation>/versions/<str:number>", automations.VersionView.as_view()),
    path("automations/<str:automation>/versions/<str:number>/restore", automations.Restore.as_view()),
    path("automations/<str:automation>/executions", executions.AutomationExecutions.as_view()),
    path("executions", executions.Executions.as_view()),
    path("executions/cancel", executions.ExecutionsCancel.as_view()),
    path("executions/<str:execution>", executions.ExecutionView.as_view()),
    path("executions/<str:execution>/steps", executions.ExecutionSteps.as_view()),
    path("executions/<str:execution>/cancel", executions.ExecutionCancel.as_view()),
    path("priorities/<str:trigger>", catalogue.Priorities.as_view()),
    path("catalogue", catalogue.CatalogueView.as_view()),
    *mail.urlpatterns,
]
add_usage("automations", use_of_limits)
