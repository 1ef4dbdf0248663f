"""The product as an integration meets it: definitions, events and executions over REST, a worker, and peers on loopback."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accounts.clock import set_clock
from accounts.models import Workspace
from automations.worker.loop import drain
from tests.factories import ApiClient, make_api_client, unique

YAML = "application/yaml"


@dataclass
class Outside:
    """One integration with a key of all scopes."""

    workspace: Workspace
    api: ApiClient

    @classmethod
    def of(cls, workspace: Workspace) -> Outside:
        return cls(workspace, make_api_client(workspace))

    def make(self, text: str, expected: int = 201) -> dict[str, Any]:
        """Create an automation from YAML."""
        answer = self.api.post("/automations", text, content_type=YAML)
        assert answer.status_code == expected, answer.content
        return dict(answer.json())

    def activate(self, text: str) -> str:
        """Create and activate; answers the id."""
        name = str(self.make(text)["id"])
        answer = self.api.post(f"/automations/{name}/activate")
        assert answer.status_code == 200, answer.content
        return name

    def emit(self, name: str, customer: Any = None, **more: Any) -> str:
        """Post an event; answers its id."""
        body = {"name": name, **({"customer": customer} if customer else {}), **more}
        answer = self.api.post("/events", body)
        assert answer.status_code == 202, answer.content
        return str(answer.json()["id"])

    def work(self, deliver: bool = False) -> None:
        """Let a worker do what is due."""
        drain(deliver=deliver)

    def pass_time(self, step: str, deliver: bool = False) -> None:
        """Move the clock and let a worker do what has come due."""
        set_clock(step)
        self.work(deliver)

    def executions(self, automation: str, query: str = "") -> list[dict[str, Any]]:
        """Executions of an automation, newest first."""
        rows: list[dict[str, Any]] = self.api.get(f"/automations/{automation}/executions{query}").json()["executions"]
        return rows

    def execution(self, automation: str) -> dict[str, Any]:
        """Its only execution, with the log."""
        [row] = self.executions(automation)
        found: dict[str, Any] = self.api.get(f"/executions/{row['id']}").json()
        return found

    def steps(self, automation: str) -> list[str]:
        """Ids of the steps that its only execution walked."""
        return [step["stepId"] for step in self.execution(automation)["steps"]]

    def customer(self, **fields: Any) -> dict[str, Any]:
        """A new customer."""
        body = {"email": f"{unique('c')}@example.com", **fields}
        answer = self.api.post("/customers", body)
        assert answer.status_code == 201, answer.content
        return dict(answer.json())

    def tasks(self) -> list[str]:
        """Messages of all tasks, oldest first."""
        return [task["message"] for task in reversed(self.api.get("/tasks?limit=100").json()["tasks"])]
