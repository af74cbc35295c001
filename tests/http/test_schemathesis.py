"""Requests made up from the OpenAPI document: no 5xx, and answers as the document has them."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from pydantic import SecretStr

from backend.main import create_app
from config.settings import Settings
from models import NO_NUL_PATTERN
from tests.conftest import token_of_first_start
from tests.http.calls import document, make_something_of_everything
from tests.servers import RunningServer

CONFIG: dict[str, Any] = {
    "generation": {
        "deterministic": True,
        "max-examples": 8,
        "database": "none",
        # In the place of the pattern, see below.
        "allow-x00": False,
        # Every call is tried without a token elsewhere.
        "with-security-parameters": False,
    },
    "checks": {
        "ignored_auth": {"enabled": False},
        # No schema can say which cursors there are, nor that 1.0 is not taken for 1.
        "positive_data_acceptance": {"enabled": False},
        # A text that is too long may make the whole body too long. A delivery without its
        # signature is unauthenticated, whatever else is wrong with it; the token is valid.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "404", "409", "413", "422"]
        },
    },
}


def without_nul_patterns(part: Any) -> Any:
    """The document without the pattern that forbids NUL: joined with the length of a long text it
    makes an automaton of a million states."""
    if isinstance(part, dict):
        return {
            name: without_nul_patterns(value)
            for name, value in part.items()
            if (name, value) != ("pattern", NO_NUL_PATTERN)
        }
    return [without_nul_patterns(item) for item in part] if isinstance(part, list) else part


def schema(**phases: Any) -> schemathesis.BaseSchema:
    """The document as schemathesis reads it, for these phases."""
    config = schemathesis.Config.from_dict({**CONFIG, "phases": phases})
    return schemathesis.openapi.from_dict(without_nul_patterns(document()), config=config)


OFF = {"enabled": False}
# The token that asks would end itself.
made_up = schema(stateful=OFF, coverage=OFF).exclude(method="DELETE", path="/api/tokens/{token_id}")
at_the_bounds = schema(stateful=OFF, fuzzing=OFF, examples=OFF).include(
    path_regex="^/api/projects(/{project_id}(/secrets.*|/configuration|/full|/restore)?|/by-repo.*)?$"
)


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, master_keys: str) -> Iterator[dict[str, Any]]:
    """Where a server is that has something of everything, and the token for it."""
    settings = Settings.model_construct(
        data_dir=tmp_path_factory.mktemp("made-up"),
        environment="testing",
        master_keys=SecretStr(master_keys),
    )
    with RunningServer(create_app(settings)) as server:
        headers = {"Authorization": f"Bearer {token_of_first_start(settings)}"}

        async def fill() -> None:
            async with httpx.AsyncClient(base_url=server.url, headers=headers) as client:
                await make_something_of_everything(client)

        asyncio.run(fill())
        yield {"base_url": server.url, "headers": headers}


@made_up.parametrize()
def test_made_up_requests_are_answered_as_the_document_says(
    case: schemathesis.Case[Any], admin: dict[str, Any]
) -> None:
    case.call_and_validate(**admin)


@at_the_bounds.parametrize()
def test_every_bound_of_the_document_is_held(
    case: schemathesis.Case[Any], admin: dict[str, Any]
) -> None:
    case.call_and_validate(**admin)
