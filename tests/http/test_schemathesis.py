"""Requests generated from the OpenAPI document: no 5xx, and answers match the document."""

import re
from collections.abc import Iterator
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.made_up import OFF, REVOKES, fill, schema, served, validate
from tests.support.routes import Call, all_calls

if TYPE_CHECKING:
    import schemathesis

# Sequences of requests are tests of their own.
made_up = cache(partial(schema, stateful=OFF, coverage=OFF))
at_the_bounds = cache(partial(schema, stateful=OFF, fuzzing=OFF, examples=OFF))
ALL = [call for call in all_calls() if str(call) != REVOKES]
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
    from schemathesis.core.result import Ok
    from schemathesis.pytest.lazy import get_all_tests

    def check(case: "schemathesis.Case[Any]") -> None:
        sent: dict[str, Any] = {"base_url": base_url, "headers": headers, "session": session}
        validate(case, case.call(**sent), sent)

    one = made.include(method=call.method, path=call.template)
    (built,) = get_all_tests(schema=one, test_func=check, settings=None, given_kwargs=None)
    assert isinstance(built, Ok)
    _, generated = built.ok()
    # One connection for all of them.
    with requests.Session() as session:
        generated()


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory, master_keys: str) -> Iterator[dict[str, Any]]:
    """The URL of a server with one of everything, and the headers for it."""
    with served(tmp_path_factory.mktemp("made-up"), master_keys) as server:
        fill(**server)
        yield server


@pytest.mark.parametrize("count", [2, pytest.param(20, marks=pytest.mark.long_form)])
@pytest.mark.parametrize("call", ALL, ids=str)
def test_made_up_requests_are_answered_as_the_document_says(
    call: Call, count: int, admin: dict[str, Any]
) -> None:
    valid_answers(made_up(count), call, **admin)


@pytest.mark.long_form
@pytest.mark.parametrize("call", SOME, ids=str)
def test_every_bound_of_the_document_is_held(call: Call, admin: dict[str, Any]) -> None:
    valid_answers(at_the_bounds(), call, **admin)
