"""Exits judged again where a delivery is claimed (DESIGN 5.1): order of events is help, not proof."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from automations.models import Run
from automations.worker.deliver import deliver_batch
from automations.worker.delivery_exits import over
from automations.worker.plans import forget_plans
from tests.worker.deliveries import DEFINITION, World
from tests.worker.smtp_peer import MailServer

pytestmark = pytest.mark.django_db(transaction=True)
AGED = {**DEFINITION, "settings": {"maxRunAge": "1h"}, "nodes": [{"id": "call", "type": "stop", "config": {}}],
        "edges": [{"from": "trigger", "port": "next", "to": "call"}]}  # fmt: skip


@pytest.fixture
def mail(settings: Any) -> Iterator[MailServer]:
    forget_plans()
    with MailServer() as server:
        settings.ONWARD_SMTP_URL, settings.ONWARD_STARTTLS = server.url, "auto"
        yield server
    forget_plans()


def aged(world: World, hours: int) -> Run:
    run = world.run()
    Run.objects.filter(pk=run.pk).update(started_at=run.started_at - timedelta(hours=hours))
    return run


def test_a_mail_of_a_run_that_is_over_is_not_sent(mail: MailServer) -> None:
    world = World(definition=AGED)
    old, young = aged(world, 2), aged(world, 0)
    late, timely = world.mail(old, waits=True), world.mail(young, waits=True)
    deliver_batch()
    late.refresh_from_db()
    timely.refresh_from_db()
    old.refresh_from_db()
    assert (late.state, late.error["code"], timely.state) == ("CANCELLED", "max_age", "SENT")
    assert (old.parked_on, old.answer["outcome"]["kind"]) == (None, "skipped")  # the walk ends it by the same exit
    assert len(mail.peer.messages) == 1


def test_runs_that_are_over_are_found_with_a_fixed_number_of_queries(mail: MailServer) -> None:
    world = World(definition=AGED)
    runs = [aged(world, 2) for _ in range(2)]
    over([run.pk for run in runs])
    with CaptureQueriesContext(connection) as two:
        assert over([run.pk for run in runs]) == {run.pk: "max_age" for run in runs}
    runs += [aged(world, 2) for _ in range(6)]
    with CaptureQueriesContext(connection) as eight:
        assert len(over([run.pk for run in runs])) == 8
    assert len(two) == len(eight)


def test_a_version_that_ends_by_no_state_is_not_even_read(mail: MailServer) -> None:
    world = World()
    run = world.run()
    assert over([run.pk]) == {}
    assert over([]) == {}
