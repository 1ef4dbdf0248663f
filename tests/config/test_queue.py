"""django-q2 as safety net: settings that cannot run a task twice at once, schedules kept equal to the settings."""

from __future__ import annotations

import pytest
from croniter import croniter
from django.conf import settings
from django.core import signing
from django.utils.module_loading import import_string
from django_q.models import Schedule
from django_q.signing import SignedPackage
from pytest_django.fixtures import Settings

from config.environment import read_environment
from config.queue import keep_schedules, queue_settings, schedules

NAMES = ["onward.housekeeping", "onward.mail", "onward.pass", "onward.sweep"]


def rows() -> list[tuple[str, str, str]]:
    found = Schedule.objects.filter(name__startswith="onward.").order_by("name")
    return [(row.name, row.func, row.cron) for row in found]


class TestSchedules:
    def test_a_migrated_database_has_the_four(self, db: None) -> None:
        # CRN-01: every five minutes by default
        assert rows() == [(name, *schedules(settings.ONWARD_PASS_MINUTES)[name]) for name in NAMES]
        assert schedules(5)["onward.pass"][1] == "*/5 * * * *"

    def test_a_second_start_adds_no_second_set(self, db: None) -> None:
        before = list(Schedule.objects.values_list("pk", "name"))
        keep_schedules()
        keep_schedules()
        assert list(Schedule.objects.values_list("pk", "name")) == before

    def test_they_follow_the_setting(self, db: None, settings: Settings) -> None:
        settings.ONWARD_PASS_MINUTES = 15
        keep_schedules()
        assert {name: cron for name, _, cron in rows()} == {
            "onward.pass": "*/15 * * * *",
            "onward.sweep": "*/15 * * * *",
            "onward.mail": "* * * * *",
            "onward.housekeeping": "17 3 * * *",
        }

    def test_what_is_missing_comes_back_and_what_is_double_or_unknown_goes(self, db: None) -> None:
        Schedule.objects.filter(name="onward.mail").delete()
        Schedule.objects.create(name="onward.pass", func="x", schedule_type="C", cron="* * * * *")
        Schedule.objects.create(name="onward.old", func="x", schedule_type="C", cron="* * * * *")
        Schedule.objects.create(name="theirs", func="x", schedule_type="C", cron="* * * * *")
        keep_schedules()
        assert [name for name, _, _ in rows()] == NAMES
        assert Schedule.objects.filter(name="theirs").exists()

    @pytest.mark.parametrize("minutes", [1, 5, 7, 30, 59, 60])
    def test_every_interval_is_a_cron_text_that_fires(self, minutes: int) -> None:
        for func, cron in schedules(minutes).values():
            assert croniter.is_valid(cron)
            assert callable(import_string(func))


class TestSettings:
    def test_a_task_can_never_be_handed_out_twice_while_it_runs(self) -> None:
        """The lock runs from the prefetch: what waits in the local queue eats of it (STACK 3)."""
        found = settings.Q_CLUSTER
        waiting = -(-found["queue_limit"] // found["workers"])
        assert found["retry"] > found["timeout"] * (waiting + 1)
        assert found["bulk"] == 1
        assert found["queue_limit"] == found["workers"]

    def test_failures_are_final_and_nothing_is_kept_or_caught_up(self) -> None:
        found = settings.Q_CLUSTER
        assert (found["ack_failures"], found["max_attempts"], found["save_limit"], found["catch_up"]) == (
            True,
            1,
            -1,
            False,
        )

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("", {"orm": "default"}),
            ("redis://cache:6379/0", {"redis": "redis://cache:6379/0"}),
            ("sqs://eu-central-1", {"sqs": {"aws_region": "eu-central-1"}}),
        ],
    )
    def test_brokers(self, url: str, expected: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("config.environment.find_spec", lambda name: object())
        found = queue_settings(read_environment({"ONWARD_BROKER_URL": url}, keys_needed=True))
        assert {key: found[key] for key in ("orm", "redis", "sqs") if key in found} == expected

    def test_payloads_are_signed_with_the_queues_own_key(self) -> None:
        package = SignedPackage.dumps({"id": 1})
        assert SignedPackage.loads(package) == {"id": 1}
        with pytest.raises(signing.BadSignature):
            signing.loads(package, key=settings.SECRET_KEY, salt="onward")
