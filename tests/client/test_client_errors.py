"""What goes wrong is an exception with the service's code."""

import copy
import json
import pickle
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

import strongroom
from backend.errors import ERROR_TABLE
from backend.schemas.problems import PROBLEMS
from strongroom import AsyncClient, StrongroomError
from strongroom._problems import BY_CODE
from tests.client.conftest import Connect, new_project
from tests.support.servers import RunningServer


def _answering(status: int, content: bytes, **headers: str) -> AsyncClient:
    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=headers, content=content)

    transport = httpx.MockTransport(answer)
    return AsyncClient("http://service.test", "sr_x", transport=transport, max_retries=0)


def _problem(code: str, status: int, **members: Any) -> AsyncClient:
    document = {
        "type": f"/problems/{code}",
        "title": "A title",
        "status": status,
        "detail": "what to do",
        "code": code,
        "request_id": "r-1",
        **members,
    }
    return _answering(
        status, json.dumps(document).encode(), **{"Content-Type": "application/problem+json"}
    )


async def _error(client: AsyncClient) -> StrongroomError:
    with pytest.raises(StrongroomError) as caught:
        await client.projects.get(1)
    return caught.value


def test_each_code_has_a_class_of_its_own() -> None:
    assert set(BY_CODE) == set(ERROR_TABLE)
    assert len(set(BY_CODE.values())) == len(BY_CODE)
    for code, kind in BY_CODE.items():
        assert getattr(strongroom, kind.__name__) is kind
        assert kind.__name__.lower() == code.replace("_", "")
        assert kind.default_code == code


@pytest.mark.parametrize("code", ERROR_TABLE)
async def test_a_code_is_raised_as_its_class(code: str) -> None:
    status, _ = ERROR_TABLE[code]
    error = await _error(_problem(code, status))
    assert type(error) is BY_CODE[code]
    assert (error.status, error.code, error.request_id) == (status, code, "r-1")
    assert error.detail == error.problem["detail"] == "what to do"
    assert "what to do" in str(error)


@pytest.mark.parametrize("code", PROBLEMS)
def test_members_of_a_problem_are_attributes(code: str) -> None:
    common = {"type", "title", "status", "detail", "code", "request_id"}
    error = BY_CODE[code]("x", problem={})
    for name in PROBLEMS[code].model_fields.keys() - common:
        assert hasattr(error, name), name


async def test_members_have_what_the_problem_says() -> None:
    one = await _error(_problem("invalid_transition", 409, current="failed", allowed=["a"]))
    assert isinstance(one, strongroom.InvalidTransition)
    assert (one.current, one.allowed) == ("failed", ["a"])
    place = {"pointer": "/name", "code": "missing", "message": "is missing"}
    other = await _error(_problem("validation_failed", 422, errors=[place]))
    assert isinstance(other, strongroom.ValidationFailed)
    assert other.errors == [("/name", "missing", "is missing")]
    assert "/name: is missing" in str(other)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, strongroom.NotFound),
        (409, strongroom.Conflict),
        (418, StrongroomError),
        (422, strongroom.ValidationFailed),
        (503, strongroom.Unavailable),
    ],
)
async def test_a_code_of_a_newer_service(status: int, kind: type[StrongroomError]) -> None:
    error = await _error(_problem("brand_new", status, further="member"))
    assert type(error) is kind
    assert (error.code, error.problem["further"]) == ("brand_new", "member")


@pytest.mark.parametrize(
    ("status", "headers", "content"),
    [
        (502, {"Content-Type": "text/html"}, b"<h1>Bad gateway</h1>"),
        (404, {"Content-Type": "text/html"}, b"Not here"),
        (301, {"Location": "https://elsewhere.test/"}, b""),
        (500, {"Content-Type": "application/problem+json"}, b"{"),
        (500, {"Content-Type": "application/problem+json"}, b"[]"),
        (500, {"Content-Type": "application/problem+json"}, b'{"title": "no code"}'),
    ],
)
async def test_an_answer_of_another_program(
    status: int, headers: dict[str, str], content: bytes
) -> None:
    error = await _error(_answering(status, content, **headers))
    assert type(error) is strongroom.UnexpectedAnswer
    assert (error.status, error.code) == (status, f"http_{status}")


async def test_a_success_that_is_not_the_service_s() -> None:
    for content in (b"<h1>Welcome</h1>", b'{"id": "a-secret-value"}'):
        error = await _error(_answering(200, content))
        assert type(error) is strongroom.UnexpectedAnswer
        assert "a-secret-value" not in str(error)
        assert "Welcome" not in str(error)
        assert error.__context__ is None
        assert "errors.pydantic.dev" not in str(error)


async def test_errors_can_be_copied_and_sent_to_other_processes() -> None:
    error = await _error(_problem("project_exists", 409, existing_id=7))
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
        assert isinstance(same, strongroom.ProjectExists)
        assert (same.existing_id, same.status, str(same)) == (7, 409, str(error))


async def test_refusals_of_a_real_service(
    python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    project = await new_project(python, secrets={"A": "v"})
    run = await python.agent_runs.create(project_id=project.id, target_text="Bake")
    hook = await python.webhooks.create(project.id, webhook_type="custom")
    reader = await python.tokens.create(name="r", scopes=["projects:read"])
    await python.snapshots.create(run.id, snapshot_id="s-1")
    await python.secrets.destroy_version(project.id, "A", 1)
    await python.secrets.put(project.id, "A", value="w")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "agent_run_not_found": lambda: python.agent_runs.get(10**9),
        "bad_cursor": lambda: python.projects.list(cursor="AAAA").page(),
        "bad_request": lambda: python.secrets.get(project.id, "a/b"),
        "delivery_not_found": lambda: python.webhooks.delivery(hook.id, 10**9),
        "forbidden": lambda: connect(service.url, reader.token).logs.list().page(),
        "invalid_transition": lambda: python.agent_runs.transition(run.id, to="completed"),
        "lease_lost": lambda: python.agent_runs.heartbeat(run.id, lease_token="x"),
        "project_exists": lambda: python.projects.create(
            name="x", github_owner="ACME", github_repo=project.github_repo
        ),
        "project_not_found": lambda: python.projects.get(10**9),
        "secret_exists": lambda: python.secrets.create(project.id, key="A", value="v"),
        "secret_not_found": lambda: python.secrets.value(project.id, "B"),
        "snapshot_exists": lambda: python.snapshots.create(run.id, snapshot_id="s-1"),
        "snapshot_not_found": lambda: python.snapshots.get(10**9),
        "token_not_found": lambda: python.tokens.get(10**9),
        "unauthenticated": lambda: connect(service.url, "sr_wrong").projects.get(1),
        "validation_failed": lambda: python.projects.update(project.id, name=""),
        "version_destroyed": lambda: python.secrets.version_value(project.id, "A", 1),
        "version_mismatch": lambda: python.projects.update(project.id, name="x", if_match=9),
        "version_not_found": lambda: python.configuration.version(project.id, 9),
        "webhook_not_found": lambda: python.webhooks.get(10**9),
    }
    found = {}
    for code, call in calls.items():
        with pytest.raises(StrongroomError) as caught:
            await call()
        found[code] = caught.value
        assert isinstance(caught.value, BY_CODE[code]), (code, caught.value)
        assert caught.value.status == ERROR_TABLE[code][0]
        assert caught.value.request_id
    assert found["project_exists"].problem["existing_id"] == project.id
    assert found["version_mismatch"].problem["etag"] == '"v1"'
