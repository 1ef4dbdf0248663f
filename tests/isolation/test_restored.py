"""Workers on a restored backup stand still until a person has seen what would go out (RELIABILITY 36: 0 sent before confirmation)."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client

from accounts import provenance
from accounts.clock import evaluation_now
from accounts.models import Installation, Provenance
from automations.management.commands import restored as restored_command
from automations.models import Delivery, Run, Unrouted
from automations.services.outgoing import outgoing
from automations.worker import delivery_claim
from automations.worker.loop import Loop, drain, one_pass
from config.database import Database, parse_database_url
from config.postgres import Cluster
from config.server_account import server_account
from tests.chaos.peers import Mailbox
from tests.factories import make_customer, make_workspace
from tests.isolation.hosts import Host, until
from tests.worker.deliveries import World
from tests.worker.living import happen, live

pytestmark = pytest.mark.django_db(transaction=True)
MAIL = "steps:\n- {id: mail, type: action, action: send_email, subject: Hello, body: '<p>Hello</p>'}\n"


@pytest.fixture(autouse=True)
def fresh(settings: Any, tmp_path: Path) -> Iterator[None]:
    """A machine that has seen nothing yet, and none of it left behind."""
    settings.ONWARD_DATA = tmp_path
    Provenance.objects.all().delete()
    provenance.look_again()
    yield
    Provenance.objects.all().delete()
    provenance.look_again()


def file() -> Path:
    return provenance._file()


def look() -> str:
    provenance.look_again()
    return provenance.why_held()


def restored(*arguments: str) -> tuple[int, str]:
    """The command's exit code and what it says."""
    said = StringIO()
    try:
        call_command("restored", *arguments, stdout=said)
    except SystemExit as end:
        return int(str(end.code)), said.getvalue()
    return 0, said.getvalue()


def another_server(_: Path) -> None:
    Provenance.objects.update(home="1/2")


def an_older_state(_: Path) -> None:
    Provenance.objects.update(seen_at=Provenance.objects.get().seen_at - timedelta(hours=3))


def a_point_in_time(file: Path) -> None:
    Provenance.objects.update(timeline=Provenance.objects.get().timeline + 1)
    file.unlink()  # on another machine


def a_copied_folder(file: Path) -> None:
    (file.parent / "postgres" / "data").mkdir(parents=True)
    shutil.copy(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


COPIES = [another_server, an_older_state, a_point_in_time, a_copied_folder]


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_noticed_and_nothing_works_until_somebody_confirms(copy: Any) -> None:
    assert look() == ""
    world = World()
    delivery = world.webhook("http://127.0.0.1:9/hook")
    copy(file())
    assert look().endswith(".")
    assert (drain(), one_pass("automation"), one_pass("mail"), one_pass("sweep")) == (0, 0, 0, 0)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == ("QUEUED", 0)
    code, said = restored()
    assert code == 1
    assert f"dlv_{delivery.pk}" in said
    assert restored("--go")[0] == 0
    assert look() == ""
    assert one_pass("mail") == 1
    delivery.refresh_from_db()
    assert delivery.attempts == 1


def test_without_the_look_a_copy_would_send(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look() == ""
    delivery = World().webhook("http://127.0.0.1:9/hook")
    another_server(file())
    monkeypatch.setattr(provenance, "_suspicion", lambda *_: "")
    provenance.look_again()
    assert one_pass("mail") == 1
    delivery.refresh_from_db()
    assert delivery.attempts == 1


def a_new_machine(file: Path) -> None:
    file.unlink()


def a_takeover_that_lost_nothing(_: Path) -> None:
    Provenance.objects.update(timeline=Provenance.objects.get().timeline + 1)


def a_takeover_that_lost_seconds(_: Path) -> None:
    Provenance.objects.update(seen_at=Provenance.objects.get().seen_at - timedelta(seconds=20))


def a_moved_folder_of_a_host_without_data(file: Path) -> None:
    shutil.copy(file, file.with_suffix(".copy"))
    file.with_suffix(".copy").replace(file)


def a_file_of_another_installation(file: Path) -> None:
    file.with_name("seen-another.json").write_text('{"seen_at": "2999-01-01T00:00:00+00:00", "inode": 1}')


def a_torn_file(file: Path) -> None:
    file.write_text('{"seen_at": "29')


HARMLESS = [
    a_new_machine, a_takeover_that_lost_nothing, a_takeover_that_lost_seconds, a_moved_folder_of_a_host_without_data,
    a_file_of_another_installation, a_torn_file,
]  # fmt: skip


@pytest.mark.parametrize("change", HARMLESS)
def test_what_is_no_copy_holds_nobody(change: Any) -> None:
    assert look() == ""
    change(file())
    assert look() == ""
    assert provenance.may_work()
    assert provenance._read() is not None  # it is a witness again


def test_a_machine_without_a_folder_works_and_is_no_witness(settings: Any, tmp_path: Path) -> None:
    settings.ONWARD_DATA = tmp_path / "missing"
    assert look() == ""
    assert provenance._read() is None


def test_a_server_that_tells_no_number_is_judged_by_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert look() == ""
    monkeypatch.setattr(provenance, "_may_ask", lambda: False)
    assert look() == ""
    an_older_state(file())
    assert look() != ""


def test_the_row_moves_on_while_something_works() -> None:
    assert look() == ""
    Provenance.objects.update(seen_at=Provenance.objects.get().seen_at - timedelta(seconds=15))
    before = Provenance.objects.get().seen_at
    assert look() == ""
    assert Provenance.objects.get().seen_at > before + timedelta(seconds=14)
    witness = provenance._read()
    assert witness is not None
    assert witness.seen_at == Provenance.objects.get().seen_at


def test_within_a_transaction_the_file_stays_behind_what_is_committed() -> None:
    with transaction.atomic():
        assert look() == ""
    assert not file().exists()


def test_it_is_held_by_hand_before_anything_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # the copy of a whole disk
    waited = list[float]()
    monkeypatch.setattr(restored_command, "time", SimpleNamespace(sleep=waited.append))
    assert restored("--hold", "This is the copy for trying things out.") == (0, restored()[1])
    assert waited[0] > provenance.EVERY, "a worker that runs may not have looked yet"
    assert restored()[0] == 1
    assert "for trying things out" in restored()[1]
    assert not provenance.may_work()
    assert restored("--go")[0] == 0


@pytest.mark.parametrize("option", ["--now", "--through"])
def test_the_clock_is_not_moved_while_it_is_held(option: str) -> None:
    """Nothing would happen at the new time, and what is recorded before the word to go be too old for it."""
    before = evaluation_now()
    provenance.hold("An old state.")
    with pytest.raises(CommandError, match="restored --go"):
        call_command("work", option, "+3d")
    assert evaluation_now() - before < timedelta(days=1)


def test_a_row_is_held_for_a_reason() -> None:
    look()
    with pytest.raises(IntegrityError), transaction.atomic():
        Provenance.objects.update(held_why="x")


def test_a_running_worker_stops_at_once_and_goes_on_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = Loop(deliver=False)
    provenance.hold("Tried.")
    seen: list[str] = []

    def worked(chores: Any) -> int:
        seen.append("worked")
        loop.stop()
        return 0

    def stood(seconds: float | None = None) -> bool:
        if not seen:
            seen.append("stood")
            provenance.confirm()
        return False

    monkeypatch.setattr(loop, "_all", worked)
    monkeypatch.setattr(loop.stopping, "wait", stood)
    loop.run()
    assert seen == ["stood", "worked"]


def test_readiness_says_so() -> None:
    look()
    assert "restored" not in Client().get("/readyz").json()["checks"]
    provenance.hold("An old state.")
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert "manage.py restored" in answer.json()["checks"]["restored"]["message"]


def test_the_list_has_everything_that_would_go_out() -> None:
    automation = live(make_workspace(), "steps:\n- {type: stop}\n")
    world = World()
    queued = world.webhook("http://127.0.0.1:9/hook")
    waiting = world.webhook("http://127.0.0.1:9/hook")
    assert [job.id for job in delivery_claim.claim(1).jobs] == [
        queued.pk
    ]  # one of them is under way when the backup is made
    happen(make_customer(automation.workspace))
    found = outgoing()
    assert found.kinds == [("http", "QUEUED", 1), ("http", "SENDING", 1)]
    assert [row[0] for row in found.queued] == [waiting.pk]
    assert [row[0] for row in found.under_way] == [queued.pk]
    assert found.events == Unrouted.objects.count() > 0
    text = "\n".join(found.lines())
    for part in ("1 http would be sent", "was being sent, and may have been", "recorded events would be routed"):
        assert part in text
    assert '"held": false' in restored("--json")[1]


def _copied(url: str) -> Iterator[str]:
    """The test's database, dumped and loaded into another, as a restore does it."""
    place = parse_database_url(url)
    programs = Cluster(Path(place.host).parent.parent)._binaries(server_account(Path(place.host)))
    dump, load = programs / "pg_dump", programs / "psql"
    if not (dump.exists() and load.exists()):
        pytest.skip(f"needs pg_dump and psql beside the server; {programs} has none")
    copy = Database(f"{place.name}_copy", place.user, place.password, place.host, place.port)
    with psycopg.connect(host=place.host, user=place.user, dbname="postgres", autocommit=True) as server:
        server.execute(f'DROP DATABASE IF EXISTS "{copy.name}" WITH (FORCE)')
        server.execute(f'CREATE DATABASE "{copy.name}"')
        try:
            made = subprocess.run(
                [dump, "-h", place.host, "-U", place.user, place.name], capture_output=True, check=True
            )
            subprocess.run(
                [load, "-q", "-v", "ON_ERROR_STOP=1", "-h", copy.host, "-U", copy.user, copy.name],
                input=made.stdout, capture_output=True, check=True,
            )  # fmt: skip
            yield copy.as_url()
        finally:
            server.execute(f'DROP DATABASE "{copy.name}" WITH (FORCE)')


@pytest.fixture
def dumped(database_url: str) -> Iterator[Any]:
    """Makes the copy when called."""
    made: list[Iterator[str]] = []

    def make() -> str:
        made.append(_copied(database_url))
        return next(made[0])

    yield make
    for one in made:
        one.close()  # type: ignore[attr-defined]


def command(url: str, *arguments: str) -> tuple[int, str]:
    """A command of the product on that database."""
    with Host(url, arguments) as host:
        code = host._process.wait(300)
        return code, host.said()


def test_the_drill(dumped: Any, database_url: str) -> None:
    """Dump, load, start workers: nothing leaves; the list names it; after the word of a person each mail leaves once, with its key."""
    assert look() == ""
    automation = live(make_workspace(), MAIL)
    customers = [make_customer(automation.workspace) for _ in range(3)]
    happen(customers[0])
    one_pass("automation")  # queued at the original, not sent
    for customer in customers[1:]:
        happen(customer)  # recorded, not routed
    key = Delivery.objects.get().key
    url = dumped()
    with Mailbox(random.Random(1)) as mail:
        with Host(url, ONWARD_SMTP_URL=mail.url) as host:
            until(lambda: "Nothing is done" in host.said(), 240, [host])
            until(lambda: _beats(url), 240, [host])
            assert host.end() == 0
        assert mail.record.acts.total() == 0
        code, said = command(url, "restored")
        assert code == 1
        assert "1 email would be sent" in said
        assert "2 recorded events would be routed" in said
        assert command(url, "restored", "--go")[0] == 0
        with Host(url, ("work", "--until-idle"), ONWARD_SMTP_URL=mail.url) as host:
            assert host._process.wait(300) == 0, host.said()
        assert mail.record.acts[key] == 1
        assert sorted(mail.record.acts.values()) == [1, 1, 1]
    assert Run.objects.count() == 1  # the original was not touched
    assert Delivery.objects.get().state == "QUEUED"
    assert Installation.objects.count() == 1


def _beats(url: str) -> bool:
    """Whether the held workers are there and look about."""
    place = parse_database_url(url)
    with psycopg.connect(host=place.host, user=place.user, dbname=place.name) as copy:
        row = copy.execute("SELECT count(*) FROM automations_worker").fetchone()
        return row is not None and row[0] >= 2
