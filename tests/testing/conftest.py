"""A server for tests, on a real port, which the tests of a module share."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from backend.main import create_app
from config.settings import Settings
from tests.support.clients import bearer, client_at
from tests.support.servers import RunningServer


class ForTests:
    """A server for tests."""

    def __init__(self, server: RunningServer, settings: Settings) -> None:
        self.server = server
        self.data_dir = settings.data_dir

    @property
    def token(self) -> str:
        """The token of the calls for tests."""
        return (self.data_dir / "testing.token").read_text(encoding="ascii").strip()

    def call(self, name: str, body: Any = None, **options: Any) -> httpx.Response:
        """The answer to a call for tests."""
        with client_at(self.server.url, self.token) as client:
            if body is not None:
                options["json"] = body
            return client.post(f"/testing/{name}", **options)

    def change(self, name: str, **body: Any) -> Any:
        """The JSON of the answer to a call that succeeds."""
        answer = self.call(name, body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def reset(self) -> str:
        """Empty the store. Returns the admin's token."""
        answer = self.call("reset")
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["token"]
        return token


MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="module")
def make_settings(master_keys: str) -> MakeSettings:
    """Makes the settings of a server for tests with this data directory."""

    def make(data_dir: Path, **given: Any) -> Settings:
        fields = {"environment": "testing", "db_readers": 2, **given}
        return Settings(
            _env_file=None, data_dir=data_dir, master_keys=SecretStr(master_keys), **fields
        )

    return make


@pytest.fixture(scope="module")
def for_tests(
    make_settings: MakeSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForTests]:
    """The server for tests of this module."""
    settings = make_settings(tmp_path_factory.mktemp("for-tests") / "data")
    with RunningServer(create_app(settings)) as server:
        yield ForTests(server, settings)


@pytest.fixture
def admin(for_tests: ForTests) -> Iterator[httpx.Client]:
    """A client with the admin's token of an empty store."""
    with for_tests.server.client(for_tests.reset()) as client:
        yield client


def project(client: httpx.Client, repo: str = "payments", **options: Any) -> httpx.Response:
    """The answer to the creation of a project."""
    body = {"name": repo, "github_owner": "acme", "github_repo": repo}
    return client.post("/api/projects", json=body, **options)


__all__ = ["ForTests", "bearer", "project"]
