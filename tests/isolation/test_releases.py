"""What the trial of two releases is made of (RELIABILITY 25): the older tree is found and laid out, and its judges bite. The trial itself
needs the history: `python -m tests.isolation.releases`."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from accounts.models import Task
from automations.models import Automation, Run
from tests.chaos.clients import Told
from tests.chaos.peers import Mailbox, Receiver
from tests.factories import make_customer, make_workspace
from tests.isolation.releases import (
    NoHistory,
    before,
    git,
    judge_acts,
    judge_events,
    judge_runs,
    judge_steps,
    main,
    tree_of,
)
from tests.worker.living import happen, live, settle

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
AUTHOR = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits; the second adds `new`."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git("init", "--quiet", repository=folder)
    for name in ("old", "new"):
        (folder / name).write_text(name)
        git("add", name, repository=folder)
        git(*AUTHOR, "commit", "--quiet", "-m", f"Add {name}", repository=folder)
    return folder


def test_the_older_release_is_the_last_commit_without_the_file(repository: Path) -> None:
    commit = before("new", repository)
    with tree_of(commit, repository) as tree:
        assert [path.name for path in tree.iterdir()] == ["old"]
    assert not tree.exists()
    assert git("status", "--porcelain", repository=repository) == b""


def test_a_shallow_history_is_told(repository: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    command = ["git", "clone", "--quiet", "--depth", "1", repository.as_uri(), str(shallow)]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(NoHistory, match="fetch --unshallow"):
        before("new", shallow)


@pytest.mark.parametrize("file", ["old", "nowhere"])
def test_a_file_without_a_commit_before_it_is_told(repository: Path, file: str) -> None:
    with pytest.raises(NoHistory, match="name one by --old"):
        before(file, repository)


def test_a_commit_that_is_not_there_ends_the_trial_before_it_begins(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--old", "no-such-commit"]) == 2
    assert "Cannot be done here" in capsys.readouterr().out


@pytest.fixture
def done(transactional_db: None) -> tuple[Told, Automation]:
    """One event that was acknowledged, and its run."""
    workspace = make_workspace()
    automation = live(workspace, "steps: [{id: note, type: action, action: create_task, message: Call}]")
    told = Told()
    told.hear(("sign", 1), happen(make_customer(workspace), key="sign-1"))
    return told, automation


def test_an_event_that_nobody_routed_is_found_and_so_is_one_that_is_gone(done: tuple[Told, Automation]) -> None:
    told, _ = done
    with pytest.raises(AssertionError, match="never routed"):
        judge_events(told)
    settle()
    judge_events(told)
    told.events["sign", 2] = 999
    with pytest.raises(AssertionError, match="2 were acknowledged, 1 are stored"):
        judge_events(told)


def test_a_run_that_is_missing_or_failed_is_found(done: tuple[Told, Automation]) -> None:
    told, automation = done
    with pytest.raises(AssertionError, match="1 runs are missing"):
        judge_runs(told, {automation.pk: "sign"})
    settle()
    [run] = judge_runs(told, {automation.pk: "sign"})
    Run.objects.filter(pk=run).update(status="FAILED", end_reason="failed", error={"code": "internal"})
    with pytest.raises(AssertionError, match="FAILED"):
        judge_runs(told, {automation.pk: "sign"})


def test_a_step_that_is_missing_and_a_task_too_many_are_found(
    done: tuple[Told, Automation], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, automation = done
    settle()
    runs = set(Run.objects.filter(automation=automation).values_list("pk", flat=True))
    with pytest.raises(AssertionError):
        judge_steps(runs)
    monkeypatch.setattr("tests.isolation.releases.STEPS", ["note"])
    judge_steps(runs)
    Task.objects.filter(run_id__in=runs).update(run_id=None)
    with pytest.raises(AssertionError, match="a task was made twice or not at all"):
        judge_steps(runs)


def test_an_act_that_no_delivery_stands_for_is_found(done: tuple[Told, Automation]) -> None:
    mail, hook = Mailbox(random.Random(1)), Receiver(random.Random(2))
    judge_acts(mail, hook)
    hook.record.act("key", b"bytes")
    with pytest.raises(AssertionError, match="repeated, or is missing"):
        judge_acts(mail, hook)
