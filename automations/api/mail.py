"""`/email-templates`, `/senders`, `/deliveries` (CONTRACTS 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import path
from rest_framework import serializers

from accounts.api.base import (
    ApiView,
    Request,
    Response,
    StrictSerializer,
    actor_of,
    describe,
    list_response,
    page,
    parse,
    stamp,
)
from accounts.errors import invalid
from accounts.ids import optional_id, parse_id, public_id
from automations.models import Delivery, DeliveryAttempt, DeliveryState, EmailTemplate, Sender
from automations.services import deliveries, mail, templates


class TemplateIn(StrictSerializer):
    """A text to be made."""

    slug = serializers.CharField(max_length=100)
    name = serializers.CharField(max_length=200, required=False)
    subject = serializers.CharField(max_length=500)
    body = serializers.CharField(max_length=templates.LONGEST_BODY, trim_whitespace=False)
    kind = serializers.ChoiceField(choices=templates.KINDS, required=False)


class TemplateChange(StrictSerializer):
    """What may be changed; the slug stays."""

    name = serializers.CharField(max_length=200)
    subject = serializers.CharField(max_length=500)
    body = serializers.CharField(max_length=templates.LONGEST_BODY, trim_whitespace=False)
    kind = serializers.ChoiceField(choices=templates.KINDS)


class TemplateOut(serializers.Serializer[Any]):
    """A named text."""

    id = serializers.CharField()
    slug = serializers.CharField()
    name = serializers.CharField()
    subject = serializers.CharField()
    body = serializers.CharField()
    kind = serializers.CharField()
    createdAt = serializers.DateTimeField()
    updatedAt = serializers.DateTimeField()


class SenderIn(StrictSerializer):
    """An address that mail may come from once it is verified."""

    address = serializers.CharField(max_length=254)
    name = serializers.CharField(max_length=200, required=False, allow_blank=True)


class SenderChange(StrictSerializer):
    """`default` true makes a verified sender the default one."""

    name = serializers.CharField(max_length=200, allow_blank=True)
    default = serializers.BooleanField()


class SenderOut(serializers.Serializer[Any]):
    """A sender."""

    id = serializers.CharField()
    address = serializers.CharField()
    name = serializers.CharField()
    verified = serializers.BooleanField()
    verifiedAt = serializers.DateTimeField(allow_null=True)
    default = serializers.BooleanField()
    createdAt = serializers.DateTimeField()


class AttemptOut(serializers.Serializer[Any]):
    """One try."""

    number = serializers.IntegerField()
    at = serializers.DateTimeField()
    outcome = serializers.CharField()
    error = serializers.JSONField(allow_null=True)


class DeliveryOut(serializers.Serializer[Any]):
    """A mail, call or charge, with its tries."""

    id = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.CharField()
    to = serializers.CharField()
    subject = serializers.CharField()
    key = serializers.CharField()
    attempts = AttemptOut(many=True)
    error = serializers.JSONField(allow_null=True)
    createdAt = serializers.DateTimeField()
    nextAttemptAt = serializers.DateTimeField(allow_null=True)
    sentAt = serializers.DateTimeField(allow_null=True)
    deliveredAt = serializers.DateTimeField(allow_null=True)
    openedAt = serializers.DateTimeField(allow_null=True)
    clickedAt = serializers.DateTimeField(allow_null=True)
    executionId = serializers.CharField()
    automationId = serializers.CharField()
    stepId = serializers.CharField()
    customerId = serializers.CharField(allow_null=True)


class OneDeliveryOut(DeliveryOut):
    """With the mail's body as its recipient reads it."""

    body = serializers.CharField(allow_null=True)


def shown_templates(rows: Sequence[EmailTemplate]) -> list[dict[str, Any]]:
    """As the API shows them."""
    return [
        {
            "id": public_id("tmpl", row.pk),
            "slug": row.slug,
            "name": row.name,
            "subject": row.subject,
            "body": row.body,
            "kind": row.kind,
            "createdAt": stamp(row.created_at),
            "updatedAt": stamp(row.updated_at),
        }
        for row in rows
    ]


def shown_senders(rows: Sequence[Sender]) -> list[dict[str, Any]]:
    """As the API shows them."""
    return [
        {
            "id": public_id("snd", row.pk),
            "address": row.address,
            "name": row.name,
            "verified": row.verified_at is not None,
            "verifiedAt": stamp(row.verified_at),
            "default": row.default,
            "createdAt": stamp(row.created_at),
        }
        for row in rows
    ]


def shown_deliveries(rows: Sequence[Delivery]) -> list[dict[str, Any]]:
    """As the API shows them, the tries of all in one query."""
    tries: dict[int, list[dict[str, Any]]] = {row.pk: [] for row in rows}
    for attempt in DeliveryAttempt.objects.filter(delivery_id__in=tries).order_by("number"):
        shown = {"number": attempt.number, "at": stamp(attempt.at), "outcome": attempt.outcome, "error": attempt.error}
        tries[attempt.delivery_id].append(shown)
    return [_shown(row, tries[row.pk]) for row in rows]


def _shown(row: Delivery, tries: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": public_id("dlv", row.pk),
        "kind": row.kind,
        "state": row.state,
        "to": row.to,
        "subject": row.subject,
        "key": row.key,
        "attempts": tries,
        "error": row.error,
        "createdAt": stamp(row.created_at),
        "nextAttemptAt": stamp(row.due_at),
        "sentAt": stamp(row.sent_at),
        "deliveredAt": stamp(row.delivered_at),
        "openedAt": stamp(row.opened_at),
        "clickedAt": stamp(row.clicked_at),
        "executionId": public_id("exec", row.run_id),
        "automationId": public_id("auto", row.automation_id),
        "stepId": row.step,
        "customerId": optional_id("cus", row.customer_id),
    }


class Templates(ApiView):
    """All named texts."""

    scopes = {"GET": "read", "POST": "edit"}
    filters = ("slug",)

    @describe(
        "email_templates_list",
        "E-mail templates",
        answer=page("emailTemplates", TemplateOut),
        query=filters,
        paged=True,
    )
    def get(self, request: Request) -> Response:
        """Newest first; `slug` names one."""
        rows = EmailTemplate.objects.filter(workspace_id=actor_of(request).workspace_id)
        slug = request.query_params.get("slug")
        return list_response(request, rows.filter(slug=slug) if slug else rows, "emailTemplates", shown_templates)

    @describe("email_templates_create", "Make an e-mail template", request=TemplateIn, answer=TemplateOut, status=201)
    def post(self, request: Request) -> Response:
        """Subject and body are templates of the one language."""
        made = templates.create_template(actor=actor_of(request), **parse(request, TemplateIn))
        return Response(shown_templates([made])[0], status=201)


class OneTemplate(ApiView):
    """A named text."""

    scopes = {"GET": "read", "PATCH": "edit", "DELETE": "edit"}

    @describe("email_templates_read", "An e-mail template", answer=TemplateOut)
    def get(self, request: Request, template: str) -> Response:
        """By id."""
        found = templates.find_template(actor_of(request), parse_id("tmpl", template))
        return Response(shown_templates([found])[0])

    @describe("email_templates_update", "Change an e-mail template", request=TemplateChange, answer=TemplateOut)
    def patch(self, request: Request, template: str) -> Response:
        """Absent fields stay; queued mails keep their text."""
        changes = parse(request, TemplateChange, partial=True)
        number = parse_id("tmpl", template)
        found = templates.update_template(actor=actor_of(request), template_id=number, changes=changes)
        return Response(shown_templates([found])[0])

    @describe("email_templates_delete", "Delete an e-mail template", answer=None, status=204, codes=("conflict",))
    def delete(self, request: Request, template: str) -> Response:
        """One that no draft and no active version names."""
        templates.delete_template(actor=actor_of(request), template_id=parse_id("tmpl", template))
        return Response(status=204)


class Senders(ApiView):
    """All senders."""

    scopes = {"GET": "read", "POST": "edit"}
    filters = ("verified",)

    @describe("senders_list", "Senders", answer=page("senders", SenderOut), query=filters, paged=True)
    def get(self, request: Request) -> Response:
        """`verified=true`: those that can be picked (EML-05)."""
        text = request.query_params.get("verified")
        if text not in (None, "true", "false"):
            raise invalid("verified", "must be true or false")
        rows = mail.senders(actor_of(request), verified=None if text is None else text == "true")
        return list_response(request, rows, "senders", shown_senders)

    @describe("senders_create", "Make a sender", request=SenderIn, answer=SenderOut, status=201, codes=("conflict",))
    def post(self, request: Request) -> Response:
        """A member's address is verified at once."""
        made = mail.create_sender(actor=actor_of(request), **parse(request, SenderIn))
        return Response(shown_senders([made])[0], status=201)


class OneSender(ApiView):
    """A sender."""

    scopes = {"GET": "read", "PATCH": "edit", "DELETE": "edit"}

    @describe("senders_read", "A sender", answer=SenderOut)
    def get(self, request: Request, sender: str) -> Response:
        """By id."""
        return Response(shown_senders([mail.find_sender(actor_of(request), parse_id("snd", sender))])[0])

    @describe("senders_update", "Change a sender", request=SenderChange, answer=SenderOut, codes=("wrong_state",))
    def patch(self, request: Request, sender: str) -> Response:
        """An unverified sender cannot be picked."""
        changes = parse(request, SenderChange, partial=True)
        found = mail.update_sender(actor=actor_of(request), sender_id=parse_id("snd", sender), changes=changes)
        return Response(shown_senders([found])[0])

    @describe("senders_delete", "Delete a sender", answer=None, status=204, codes=("wrong_state",))
    def delete(self, request: Request, sender: str) -> Response:
        """Not the default one."""
        mail.delete_sender(actor=actor_of(request), sender_id=parse_id("snd", sender))
        return Response(status=204)


class Deliveries(ApiView):
    """All deliveries, read only."""

    scopes = {"GET": "read"}
    filters = ("state", "kind", "execution", "customer")

    @describe(
        "deliveries_list", "Deliveries, newest first", answer=page("deliveries", DeliveryOut), query=filters, paged=True
    )
    def get(self, request: Request) -> Response:
        """By `state`, `kind`, `execution` and `customer`."""
        rows, query = deliveries.deliveries(actor_of(request)), request.query_params
        if query.get("state"):
            if query["state"] not in DeliveryState.values:
                raise invalid("state", f"must be one of {', '.join(DeliveryState.values)}")
            rows = rows.filter(state=query["state"])
        if query.get("kind"):
            rows = rows.filter(kind=query["kind"])
        if query.get("execution"):
            rows = rows.filter(run_id=parse_id("exec", query["execution"]))
        if query.get("customer"):
            rows = rows.filter(customer_id=parse_id("cus", query["customer"]))
        return list_response(request, rows, "deliveries", shown_deliveries)


class OneDelivery(ApiView):
    """A delivery."""

    scopes = {"GET": "read"}

    @describe("deliveries_read", "A delivery, a mail with its body", answer=OneDeliveryOut)
    def get(self, request: Request, delivery: str) -> Response:
        """By id."""
        found = deliveries.find_delivery(actor_of(request), parse_id("dlv", delivery))
        return Response(shown_deliveries([found])[0] | {"body": deliveries.shown_body(found)})


mail_urls = [
    path("email-templates", Templates.as_view()),
    path("email-templates/<str:template>", OneTemplate.as_view()),
    path("senders", Senders.as_view()),
    path("senders/<str:sender>", OneSender.as_view()),
    path("deliveries", Deliveries.as_view()),
    path("deliveries/<str:delivery>", OneDelivery.as_view()),
]
urlpatterns = mail_urls
