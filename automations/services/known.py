"""What exists in a workspace that a definition can name, for validation: seven queries, however large the definition."""

from __future__ import annotations

from accounts.models import Stage, Tag
from automations.engine.validation import Known
from automations.models import Automation, EmailTemplate, EventShape, Sender
from automations.services.limits import plan_of


def known_for(workspace_id: int) -> Known:
    """Read everything once; share it among the definitions of one request."""
    plan = plan_of(workspace_id)
    senders = list(Sender.objects.filter(workspace_id=workspace_id, verified_at__isnull=False))
    return Known(
        templates=frozenset(EmailTemplate.objects.filter(workspace_id=workspace_id).values_list("slug", flat=True)),
        tags=frozenset(Tag.objects.filter(workspace_id=workspace_id).values_list("slug", flat=True)),
        stages=_stages(workspace_id),
        automations=frozenset(
            Automation.objects.filter(workspace_id=workspace_id).exclude(key="").values_list("key", flat=True)
        ),
        senders=frozenset(name for sender in senders for name in (sender.address, f"snd_{sender.pk}")),
        has_sender=any(sender.default for sender in senders),
        plan=plan.slug,
        stage_depth=plan.stage_depth,
        global_depth=plan.global_depth,
        events=dict(EventShape.objects.filter(workspace_id=workspace_id).values_list("name", "paths")),
    )


def _stages(workspace_id: int) -> frozenset[str]:
    """`funnel/stage` and plain stage slugs."""
    rows = Stage.objects.filter(workspace_id=workspace_id).values_list("funnel__slug", "slug")
    return frozenset(name for funnel, stage in rows for name in (f"{funnel}/{stage}", stage))
