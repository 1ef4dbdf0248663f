"""`manage.py automations`: validate, apply, export, diff, simulate, and the exit codes 0, 1, 2 (CONTRACTS 2)."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from accounts.models import Workspace
from automations.models import Automation, Run, Version
from automations.services.texts import yaml_of
from tests.automations import TAGGING, WAITING, fresh, made, published, text, versions
from tests.factories import make_customer
from tests.worker.living import happen, settle

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("real_clock")]


@dataclass(frozen=True)
class Ran:
    """What a call came to."""

    code: int
    out: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


def run(*arguments: str | Path, workspace: Workspace | None = None) -> Ran:
    """Call the command as the shell would; a wrong use is its code and its message."""
    out = io.StringIO()
    given = [str(argument) for argument in arguments]
    if workspace is not None:
        given += ["--workspace", workspace.slug]
    try:
        call_command("automations", *given, stdout=out)
    except SystemExit as end:
        return Ran(int(end.code or 0), out.getvalue())
    except CommandError as error:
        return Ran(error.returncode, f"{out.getvalue()}{error}")
    return Ran(0, out.getvalue())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where files lie."""
    return tmp_path


def written(folder: Path, body: str, name: str = "one.yaml") -> Path:
    path = folder / name
    path.write_text(body)
    return path


class TestValidate:
    def test_a_good_file_is_zero(self, workspace: Workspace, folder: Path) -> None:
        done = run("validate", written(folder, text(WAITING)), workspace=workspace)
        assert done.code == 0
        assert done.lines[-1].endswith("valid, depth 2")
        assert not Automation.objects.exists()

    def test_problems_are_one_with_their_lines(self, workspace: Workspace, folder: Path) -> None:
        # DEF-25
        path = written(
            folder,
            text(
                "steps:\n  - type: delay\n    duration: 3x\n  - {type: action, action: start_automation, automation: gone}\n"
            ),
        )
        done = run("validate", path, workspace=workspace)
        assert done.code == 1
        assert any(line.startswith(f"{path}:5: error:") and line.endswith("[bad_duration]") for line in done.lines)
        assert any(line.startswith(f"{path}:6: error:") and "[unknown_automation]" in line for line in done.lines)
        assert done.lines[-1] == f"{path}: not valid, depth 2"

    def test_a_text_without_a_shape_is_one(self, workspace: Workspace, folder: Path) -> None:
        path = written(folder, "name: x\nname: y\n")
        done = run("validate", path, workspace=workspace)
        assert done.code == 1
        assert f"{path}:2: error:" in done.out

    def test_every_file_is_looked_at(self, workspace: Workspace, folder: Path) -> None:
        bad, good = written(folder, "name: [", "bad.yaml"), written(folder, text(), "good.yaml")
        done = run("validate", bad, good, workspace=workspace)
        assert done.code == 1
        assert f"{good}: valid" in done.out

    def test_warnings_alone_are_zero(self, workspace: Workspace, folder: Path) -> None:
        done = run("validate", written(folder, text("filter: seats > 5\n" + TAGGING)), workspace=workspace)
        assert (done.code, "warning" in done.out) == (0, True)

    def test_json_is_read_too(self, workspace: Workspace, folder: Path) -> None:
        graph = {"name": "J", "trigger": {"type": "manual"}, "nodes": [], "edges": []}
        done = run("validate", written(folder, json.dumps(graph), "one.json"), workspace=workspace)
        assert (done.code, "[no_steps]" in done.out) == (1, True)

    def test_a_file_that_is_not_there_is_a_wrong_use(self, workspace: Workspace, folder: Path) -> None:
        done = run("validate", folder / "nowhere.yaml", workspace=workspace)
        assert done.code == 2
        assert "nowhere.yaml cannot be read" in done.out

    def test_bytes_that_are_no_text_are_a_wrong_use(self, workspace: Workspace, folder: Path) -> None:
        path = folder / "binary.yaml"
        path.write_bytes(b"\xff\xfe\x00")
        assert run("validate", path, workspace=workspace).code == 2


class TestApply:
    def test_the_quick_start_is_applied_as_it_is(self, workspace: Workspace) -> None:
        # issue: manage.py automations apply docs/samples/quick-start.yaml and activate
        done = run("apply", "docs/samples/quick-start.yaml", "--activate", workspace=workspace)
        assert (done.code, "is active" in done.out) == (0, True)
        automation = Automation.objects.get(workspace=workspace)
        assert (automation.state, automation.trigger_key) == ("ACTIVE", "payment.failed")
        assert automation.active_version is not None
        assert yaml_of(automation.active_version) == Path("docs/samples/quick-start.yaml").read_text()

    def test_what_is_not_there_is_made(self, workspace: Workspace, folder: Path) -> None:
        done = run("apply", written(folder, text(name="New")), workspace=workspace)
        assert (done.code, "made auto_" in done.out) == (0, True)
        assert Automation.objects.get(workspace=workspace).state == "DRAFT"

    def test_the_key_comes_before_the_name(self, workspace: Workspace, folder: Path) -> None:
        # CONTRACTS 2: the same key, else the only one with that name
        by_key = made(workspace, name="Old name", more="key: dunning")
        by_name = made(workspace, name="Dunning")
        run("apply", written(folder, text(WAITING, name="Dunning", more="key: dunning")), workspace=workspace)
        assert (fresh(by_key).draft_revision, fresh(by_name).draft_revision) == (2, 1)
        assert fresh(by_key).name == "Dunning"

    def test_the_only_one_with_that_name(self, workspace: Workspace, folder: Path) -> None:
        automation = published(workspace, TAGGING, name="Mine")
        done = run("apply", written(folder, text(WAITING, name="Mine")), workspace=workspace)
        assert done.code == 0
        assert versions(automation) == {1: "active", 2: "draft"}

    def test_several_of_that_name_are_an_error(self, workspace: Workspace, folder: Path) -> None:
        ids = [made(workspace, name="Twin").public_id for _ in range(2)]
        done = run("apply", written(folder, text(WAITING, name="Twin")), workspace=workspace)
        assert done.code == 2
        assert all(name in done.out for name in ids)
        assert Version.objects.filter(workspace=workspace).count() == 2

    def test_another_workspaces_automation_is_left_alone(
        self, workspace: Workspace, other: Workspace, folder: Path
    ) -> None:
        there = made(other, name="Same", more="key: same")
        run("apply", written(folder, text(name="Same", more="key: same")), workspace=workspace)
        assert fresh(there).draft_revision == 1
        assert Automation.objects.filter(workspace=workspace).count() == 1

    def test_applying_again_changes_nothing(self, workspace: Workspace, folder: Path) -> None:
        path = written(folder, text(name="Same"))
        run("apply", path, "--activate", workspace=workspace)
        done = run("apply", path, "--activate", workspace=workspace)
        assert (done.code, "says the same already" in done.out) == (0, True)
        assert versions(Automation.objects.get(workspace=workspace)) == {1: "active"}

    def test_problems_are_stored_and_told(self, workspace: Workspace, folder: Path) -> None:
        done = run("apply", written(folder, text("steps: [{type: delay, duration: 3x}]")), workspace=workspace)
        assert (done.code, "[bad_duration]" in done.out) == (1, True)
        assert Automation.objects.get(workspace=workspace).state == "DRAFT"

    def test_problems_are_not_activated(self, workspace: Workspace, folder: Path) -> None:
        done = run("apply", written(folder, text("steps: []")), "--activate", workspace=workspace)
        assert (done.code, "[no_steps]" in done.out) == (1, True)
        assert Automation.objects.get(workspace=workspace).state == "DRAFT"

    def test_one_bad_file_does_not_hinder_the_others(self, workspace: Workspace, folder: Path) -> None:
        bad, good = written(folder, "name: [", "bad.yaml"), written(folder, text(name="Good"), "good.yaml")
        assert run("apply", bad, good, workspace=workspace).code == 1
        assert Automation.objects.get(workspace=workspace).name == "Good"

    def test_the_log_says_that_it_was_the_command_line(self, workspace: Workspace, folder: Path) -> None:
        from accounts.models import Audit

        run("apply", written(folder, text()), workspace=workspace)
        assert Audit.objects.get(action="automation.create").actor == "command line"


class TestExport:
    def test_it_comes_back_as_it_was_written(self, workspace: Workspace, folder: Path) -> None:
        body = "# a comment\n" + text(WAITING)
        run("apply", written(folder, body), workspace=workspace)
        automation = Automation.objects.get(workspace=workspace)
        assert run("export", automation.public_id, workspace=workspace).out.strip() == body.strip()

    def test_plain_leaves_ids_and_positions_out(self, workspace: Workspace) -> None:
        automation = made(workspace, "steps: [{id: delay, type: delay, duration: 3d, position: {x: 1, y: 2}}]")
        out = run("export", automation.public_id, "--plain", workspace=workspace).out
        assert ("duration: 3d" in out, "id:" in out, "position" in out) == (True, False, False)

    def test_by_key(self, workspace: Workspace) -> None:
        made(workspace, more="key: dunning")
        assert "key: dunning" in run("export", "dunning", workspace=workspace).out

    def test_what_is_exported_says_the_same_when_applied(self, workspace: Workspace, folder: Path) -> None:
        # DEF-24
        automation = published(workspace, WAITING)
        out = run("export", automation.public_id, workspace=workspace).out
        assert "says the same already" in run("apply", written(folder, out), workspace=workspace).out

    @pytest.mark.parametrize("name", ["auto_999999", "nothing", "exec_1"])
    def test_one_that_is_not_there_is_a_wrong_use(self, workspace: Workspace, name: str) -> None:
        assert run("export", name, workspace=workspace).code == 2

    def test_a_foreign_one_is_not_there(self, workspace: Workspace, other: Workspace) -> None:
        assert run("export", made(other).public_id, workspace=workspace).code == 2


class TestDiff:
    def test_nothing_when_it_says_the_same(self, workspace: Workspace, folder: Path) -> None:
        path = written(folder, text(WAITING, name="Same"))
        run("apply", path, workspace=workspace)
        done = run("diff", path, workspace=workspace)
        assert (done.code, done.out) == (0, "")

    def test_what_would_change(self, workspace: Workspace, folder: Path) -> None:
        run("apply", written(folder, text(WAITING, name="Same")), workspace=workspace)
        changed = written(folder, text(WAITING.replace("3d", "5d"), name="Same"), "two.yaml")
        done = run("diff", changed, workspace=workspace)
        assert done.code == 0
        assert any(line.startswith("-") and "duration: 3d" in line for line in done.lines)
        assert any(line.startswith("+") and "duration: 5d" in line for line in done.lines)
        assert Version.objects.get().definition["nodes"][0]["config"] == {"duration": "3d"}

    def test_all_of_a_new_one(self, workspace: Workspace, folder: Path) -> None:
        done = run("diff", written(folder, text(name="New")), workspace=workspace)
        assert done.lines[0] == "--- nothing"
        assert "+name: New" in done.lines

    def test_a_text_without_a_shape_is_one(self, workspace: Workspace, folder: Path) -> None:
        assert run("diff", written(folder, "name: ["), workspace=workspace).code == 1


class TestSimulate:
    def test_a_file_on_its_sample(self, workspace: Workspace) -> None:
        done = run("simulate", "docs/samples/quick-start.yaml", workspace=workspace)
        assert done.code == 0
        assert [line.split("  ")[1] for line in done.lines if " -> " in line][:3] == [
            "condition",
            "send_email",
            "delay",
        ]
        assert any("email to ana@example.com" in line for line in done.lines)
        assert done.lines[-1] == "COMPLETED: completed"
        assert not Automation.objects.exists()
        assert not Run.objects.exists()

    def test_an_automation_by_id_on_a_customer_or_an_event(self, workspace: Workspace) -> None:
        automation = made(
            workspace, 'steps: [{id: t, type: action, action: create_task, message: "{{customer.name}}"}]'
        )
        customer = make_customer(workspace, name="Bo")
        event = happen(customer)
        settle()
        for given in (["--customer", customer.public_id], ["--event", f"evt_{event}"], ["--sample"]):
            assert run("simulate", automation.public_id, *given, workspace=workspace).code == 0

    def test_as_if_it_began_then(self, workspace: Workspace) -> None:
        automation = made(workspace, WAITING)
        done = run("simulate", automation.public_id, "--at", "2026-01-01T00:00:00Z", workspace=workspace)
        assert done.lines[-2].startswith("2026-01-04T00:00:00.000Z  after")

    def test_problems_are_one(self, workspace: Workspace) -> None:
        automation = made(workspace, "steps: [{type: delay, duration: 3x}]")
        done = run("simulate", automation.public_id, workspace=workspace)
        assert (done.code, "[bad_duration]" in done.out) == (1, True)

    @pytest.mark.parametrize(
        "given", [["--at", "noon"], ["--customer", "x"], ["--event", "cus_1"], ["--customer", "cus_999999"]]
    )
    def test_wrong_uses(self, workspace: Workspace, given: list[str]) -> None:
        assert run("simulate", made(workspace).public_id, *given, workspace=workspace).code == 2


class TestWorkspace:
    def test_the_only_one_needs_no_name(self, workspace: Workspace, folder: Path) -> None:
        assert run("apply", written(folder, text())).code == 0
        assert Automation.objects.get().workspace == workspace

    def test_of_several_one_is_named(self, workspace: Workspace, other: Workspace, folder: Path) -> None:
        # CONTRACTS 2: else an error that names them
        done = run("apply", written(folder, text()))
        assert done.code == 2
        assert workspace.slug in done.out
        assert other.slug in done.out
        assert not Automation.objects.exists()

    def test_the_environment_names_the_default(
        self, workspace: Workspace, other: Workspace, folder: Path, settings: object
    ) -> None:
        settings.ONWARD_WORKSPACE = other.slug  # type: ignore[attr-defined]  # pytest-django's settings
        assert run("apply", written(folder, text())).code == 0
        assert run("apply", written(folder, text(name="Here")), workspace=workspace).code == 0
        assert Automation.objects.get(workspace=other)
        assert Automation.objects.get(workspace=workspace).name == "Here"

    def test_an_unknown_one_is_a_wrong_use(self, workspace: Workspace, folder: Path) -> None:
        out = io.StringIO()
        with pytest.raises(CommandError) as error:
            call_command("automations", "validate", str(written(folder, text())), "--workspace", "nowhere", stdout=out)
        assert error.value.returncode == 2
        assert workspace.slug in str(error.value)


@pytest.mark.parametrize(
    "given", [[], ["juggle"], ["apply"], ["export"], ["simulate", "x", "--sample", "--event", "evt_1"]]
)
def test_arguments_that_make_no_sense_are_a_wrong_use(given: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("automations", *given)
