"""Commands for a service, as processes, and the service."""

from collections.abc import Callable
from pathlib import Path

import pytest

from backend.http.state import state_of
from strongroom import Client
from tests.support.clients import token_of_first_start
from tests.support.processes import Outcome, environment, run
from tests.support.servers import RunningServer

VALUE = "sesame opens 4711"
Command = Callable[..., Outcome]


@pytest.fixture(scope="module")
def admin(service: RunningServer) -> str:
    """The admin's token."""
    return token_of_first_start(state_of(service.app).settings)


@pytest.fixture(scope="module")
def project(service: RunningServer, admin: str) -> int:
    """A project with secrets of several kinds."""
    with Client(service.url, admin) as client:
        made = client.projects.create(
            name="Bakery \x1b[31m",
            github_owner="acme",
            github_repo="bakery",
            secrets={"API_KEY": VALUE, "PLAIN": "flour", "LINES": "a\nb\n", "_": "underscore"},
        )
    return made.id


@pytest.fixture(scope="module")
def variables(
    service: RunningServer, admin: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The environment of commands, with a home of their own."""
    home = tmp_path_factory.mktemp("home")
    env = environment(URL=service.url, TOKEN=admin)
    return {**env, "HOME": str(home), "XDG_CONFIG_HOME": str(home / "settings")}


@pytest.fixture
def command(variables: dict[str, str], tmp_path: Path) -> Command:
    """Runs a command to its end, with the variables changed by `env` (None takes one away)."""

    def call(
        *words: str | Path, stdin: bytes = b"", env: dict[str, str | None] | None = None
    ) -> Outcome:
        given = {**variables, **(env or {})}
        kept = {name: value for name, value in given.items() if value is not None}
        return run(*words, cwd=tmp_path, env=kept, stdin=stdin)

    return call
