"""Addresses of accounts, to be included under `/api/v1/`. `fallback` is the last entry of all of them."""

from __future__ import annotations

from django.urls import path, re_path
from django.views.decorators.csrf import csrf_exempt

from accounts.api import customers, funnels, tasks, workspace
from accounts.api.exceptions import unknown_address

urlpatterns = [
    path("customers", customers.Customers.as_view()),
    path("customers/<str:customer>", customers.OneCustomer.as_view()),
    path("customers/<str:customer>/stage", customers.CustomerStage.as_view()),
    path("customers/<str:customer>/tags/<str:tag>", customers.CustomerTags.as_view()),
    path("customers/<str:customer>/consent", customers.CustomerConsent.as_view()),
    path("customers/<str:customer>/merge", customers.CustomerMerge.as_view()),
    path("customers/<str:customer>/export", customers.CustomerExport.as_view()),
    path("funnels", funnels.Funnels.as_view()),
    path("funnels/<str:funnel>", funnels.OneFunnel.as_view()),
    path("stages", funnels.Stages.as_view()),
    path("stages/<str:stage>", funnels.OneStage.as_view()),
    path("tasks", tasks.Tasks.as_view()),
    path("tasks/<str:task>", tasks.OneTask.as_view()),
    path("workspace", workspace.OneWorkspace.as_view()),
    path("limits", workspace.Limits.as_view()),
    path("api-keys", workspace.ApiKeys.as_view()),
    path("api-keys/<str:key>", workspace.OneApiKey.as_view()),
    path("audit", workspace.AuditLog.as_view()),
]
# What is no endpoint is said to be none to everybody, also to a program that sends no token.
fallback = re_path(r"^api/v1(?:/(?P<path>.*))?$", csrf_exempt(unknown_address))
