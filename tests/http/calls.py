"""Every call of the HTTP interface, built from its OpenAPI document."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx

from backend.main import create_app
from config.settings import Settings
from tests.support.http import make_project
from tests.support.routes import document_of

METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Call:
    """One operation; `str()` names it."""

    method: str
    template: str
    operation: dict[str, Any]
    components: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    @property
    def names(self) -> list[str]:
        """The names in its path."""
        return re.findall(r"\{(\w+)\}", self.template)

    @property
    def takes_body(self) -> bool:
        """Whether it reads a body."""
        return "requestBody" in self.operation

    @property
    def needs_body(self) -> bool:
        """Whether it requires a body."""
        return bool(self.operation.get("requestBody", {}).get("required"))

    @property
    def body_schema(self) -> dict[str, Any]:
        """The schema of the object that it reads."""
        schema = self.operation["requestBody"]["content"]["application/json"]["schema"]
        for option in schema.get("anyOf", [schema]):
            if "$ref" in option:
                return self.resolved(option)
        return self.resolved(schema)

    @property
    def example(self) -> dict[str, Any]:
        """A valid body, from the document's examples."""
        found: dict[str, Any] = self.body_schema["examples"][0]
        return found

    def resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema, with a reference replaced by its target."""
        reference = schema.get("$ref")
        found: dict[str, Any] = (
            self.components["schemas"][reference.rpartition("/")[2]] if reference else schema
        )
        return found

    @property
    def responses(self) -> dict[str, dict[str, Any]]:
        """Its possible responses by status, without references."""
        shared = self.components["responses"]
        return {
            status: shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
            for status, response in self.operation["responses"].items()
        }

    def parameters(self, place: str) -> list[dict[str, Any]]:
        """Its parameters in `path` or `query`."""
        return [p for p in self.operation.get("parameters", []) if p["in"] == place]

    def path(self, **values: object) -> str:
        """The path with these values. By default it names the first resource of each kind, and the
        secret KEY."""
        known: dict[str, object] = {
            **dict.fromkeys(self.names, 1),
            "key": "KEY",
            "owner": "acme",
            "repo": "first",
            **values,
        }
        return self.template.format(**known)


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the application."""
    return document_of(create_app(Settings(_env_file=None)))


def all_calls() -> Iterator[Call]:
    """Every call in the document."""
    for template, operations in document()["paths"].items():
        for method in METHODS:
            if method in operations:
                yield Call(method.upper(), template, operations[method], document()["components"])


async def make_something_of_everything(client: httpx.AsyncClient) -> None:
    """Create the resources that `Call.path` names by default."""
    project = await make_project(
        client,
        github_repo="first",
        settings={"planning_statement": "p"},
        secrets=[{"key": "KEY", "value": "v"}],
    )
    run = await client.post(
        "/api/agent-runs", json={"project_id": project["id"], "target_text": "t"}
    )
    assert (project["id"], run.json()["id"]) == (1, 1)
