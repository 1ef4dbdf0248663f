"""Facts that come as events: page views and what happened to an e-mail (BIL-13, RUN-22)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from accounts.clock import evaluation_now
from automations.models import Delivery
from automations.services.events import NewEvent, record_events
from automations.worker.route import route_batch
from tests.factories import make_customer, make_workspace
from tests.worker.living import happen, settle
from tests.worker.routing import on, runs

pytestmark = pytest.mark.django_db
MAIL = "steps: [{type: action, action: send_email, subject: Hi, body: '<p>Hi</p>', to: '{{customer.email}}'}, {type: delay, duration: 1d}]"


@pytest.fixture
def mail():
    """A queued e-mail of a run."""
    customer = make_customer(make_workspace())
    automation = on(customer.workspace, "type: event, event: sign", steps=MAIL)
    happen(customer)
    settle()
    return Delivery.objects.get(run=runs(automation)[0])


def tell(mail, name, key=None, **parts):
    """Report a fact of an e-mail."""
    subjects = {"customer": mail.customer_id, "delivery": mail.pk}
    record_events([NewEvent(mail.workspace_id, name, "tracking", key or name, subjects, {}, **parts)])
    mail.refresh_from_db()


def test_an_open_is_written_down_with_its_event(mail):
    tell(mail, "email_opened")
    assert (mail.opened_at is not None, mail.clicked_at) == (True, None)


def test_a_click_is_an_open_as_well(mail):
    tell(mail, "email_clicked")
    assert (mail.opened_at is not None, mail.clicked_at is not None) == (True, True)


def test_the_earliest_time_stays(mail):
    now = evaluation_now()
    times = [now, now - timedelta(hours=2), now + timedelta(hours=2)]
    for number, moment in enumerate(times):
        tell(mail, "email_opened", f"open-{number}", occurred_at=moment)
    assert mail.opened_at == times[1]


def test_a_duplicate_changes_nothing(mail):
    now = evaluation_now()
    tell(mail, "email_opened", occurred_at=now)
    tell(mail, "email_opened", occurred_at=now)
    assert mail.opened_at == now


def test_a_report_of_another_workspace_changes_nothing(mail):
    stranger = make_customer(make_workspace())
    subjects = {"customer": stranger.pk, "delivery": mail.pk}
    record_events([NewEvent(stranger.workspace_id, "email_opened", "tracking", "k", subjects, {})])
    mail.refresh_from_db()
    assert mail.opened_at is None


def test_a_report_without_its_mail_changes_nothing(mail):
    subjects = {"customer": mail.customer_id}
    record_events([NewEvent(mail.workspace_id, "email_opened", "api", "k", subjects, {})])
    mail.refresh_from_db()
    assert mail.opened_at is None


def test_a_report_of_an_unknown_mail_is_an_event_all_the_same(mail):
    [recorded] = record_events(
        [
            NewEvent(
                mail.workspace_id, "email_opened", "api", "k", {"customer": mail.customer_id, "delivery": 999_999}, {}
            )
        ]
    )
    assert recorded.status == "accepted"
    assert route_batch() == 1


def test_views_of_many_customers_are_counted_at_once():
    workspace, other = make_workspace(), make_workspace()
    people = [make_customer(workspace), make_customer(workspace), make_customer(other)]
    views = [3, 1, 2]
    record_events(
        [
            NewEvent(
                who.workspace_id, "pageview", "tracking", f"{who.pk}-{number}", {"customer": who.pk}, {"path": "/"}
            )
            for who, count in zip(people, views, strict=True)
            for number in range(count)
        ]
    )
    for who, count in zip(people, views, strict=True):
        who.refresh_from_db()
        assert who.facts["pageviewCount"] == count


def test_a_view_counts_before_filters_look_at_it():  # CND: pageview_count
    customer = make_customer(make_workspace())
    automation = on(customer.workspace, "type: event, event: pageview", "filter: pageview_count >= 2")
    for _ in range(3):
        happen(customer, "pageview")
    settle()
    assert len(runs(automation)) >= 1
