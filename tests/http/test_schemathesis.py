"""Requests generated from the OpenAPI document: no 5xx, and answers match the document."""

import asyncio
import re
from collections.abc import Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from backend.http.state import state_of
from backend.main import create_app
from config.settings import Settings
from models import NO_NUL_PATTERN
from tests.support.clients import bearer, token_of_first_start
from tests.support.routes import Call, all_calls, document, make_something_of_everything
from tests.support.servers import RunningServer

if TYPE_CHECKING:
    import schemathesis

CONFIG: dict[str, Any] = {
    "generation": {
        "deterministic": True,
        "database": "none",
        # This replaces the pattern; see below.
        "allow-x00": False,
        # Other tests make every call without a token.
        "with-security-parameters": False,
    },
    "checks": {
        "ignored_auth": {"enabled": False},
        # No schema can say which cursors exist, or that 1.0 is not accepted for 1.
        "positive_data_acceptance": {"enabled": False},
        # A text that is too long may make the whole body too large. A delivery without its
        # signature is unauthenticated, whatever else is wrong with it; the token is valid.
        "negative_data_rejection": {
            "expected-statuses": ["400", "401", "404", "409", "413", "422"]
        },
    },
}


def without_nul_patterns(part: Any) -> Any:
    """The document without the pattern that forbids NUL. Combined with the maximum length of a long
    text, it makes an automaton of a million states."""
    if isinstance(part, dict):
        return {
            name: without_nul_patterns(value)
            for name, value in part.items()
            if (name, value) != ("pattern", NO_NUL_PATTERN)
        }
    return [without_nul_patterns(item) for item in part] if isinstance(part, list) else part


def schema(count: int = 4, **phases: Any) -> "schemathesis.BaseSchema":
    """The document, loaded by schemathesis for these phases, with at most `count` random requests
    of each kind for a call."""
    # Only the worker that needs it imports it: the import takes longer than all tests of many
    # modules.
    import schemathesis

    generation = {**CONFIG["generation"], "max-examples": count}
    config = schemathesis.Config.from_dict({**CONFIG, "generation": generation, "phases": phases})
    return schemathesis.openapi.from_dict(without_nul_patterns(document()), config=config)


OFF = {"enabled": False}


made_up = cache(partial(schema, stateful=OFF, coverage=OFF))
at_the_bounds = cache(partial(schema, stateful=OFF, fuzzing=OFF, examples=OFF))
# This call would revoke the token in use.
ALL = [call for call in all_calls() if str(call) != "DELETE /api/tokens/{token_id}"]
OF_PROJECTS = re.compile(
    r"/api/projects(/{project_id}(/secrets.*|/configuration|/full|/restore)?|/by-repo.*)?"
)
SOME = [call for call in ALL if OF_PROJECTS.fullmatch(call.template)]


def valid_answers(
    made: "schemathesis.BaseSchema", call: Call, base_url: str, headers: dict[str, str]
) -> None:
    """Make the generated requests of one operation, and check each answer.

    The decorator `parametrize` would generate them whenever tests are collected, in every worker.
    """

    import requests
    from schemathesis.checks import load_all_checks
    from schemathesis.core.result import Ok
    from schemathesis.pytest.lazy import get_all_tests

    def check(case: "schemathesis.Case[Any]") -> None:
        case.call_and_validate(base_url=base_url, headers=headers, session=session)

    load_all_checks()
    one = made.include(method=call.method, path=call.template)
    (built,) = get_all_tests(schema=one, test_func=check, settings=None, given_kwargs=None)
    assert isinstance(built, Ok)
    _, generated = built.ok()
    # One connection for all of them.
    with requests.Session() as session:
        generated()


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, master_keys: str) -> Iterator[dict[str, Any]]:
    """The URL of a server with one of everything, and the token for it."""
    settings = Settings.model_construct(
        data_dir=tmp_path_factory.mktemp("made-up"),
        environment="testing",
        master_keys=SecretStr(master_keys),
    )
    app = create_app(settings)
    # Made-up requests would wait for changes that never come.
    state_of(app).waits.fit(0)
    with RunningServer(app) as server:
        token = token_of_first_start(settings)

        async def fill() -> None:
            async with server.async_client(token) as client:
                await make_something_of_everything(client)

        asyncio.run(fill())
        yield {"base_url": server.url, "headers": bearer(token)}


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.long_form)])
@pytest.mark.parametrize("call", ALL, ids=str)
def test_made_up_requests_are_answered_as_the_document_says(
    call: Call, count: int, admin: dict[str, Any]
) -> None:
    valid_answers(made_up(count), call, **admin)


@pytest.mark.parametrize("call", SOME, ids=str)
def test_every_bound_of_the_document_is_held(call: Call, admin: dict[str, Any]) -> None:
    valid_answers(at_the_bounds(), call, **admin)
