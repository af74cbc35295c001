"""Queries are as strict as bodies: unknown and repeated parameters are refused."""

import itertools
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.routes import POLICIES
from tests.support.http import all_rows, make_project, manager_of, places, problem
from tests.support.routes import Call, all_calls, hidden_routes, make_something_of_everything

CALLS = list(all_calls())
STRICT = [call for call in CALLS if not POLICIES[call.method, call.template].is_probe]
REPEATED = ("status", "kind", "run_type")
"""The filters that may be repeated, in every list."""


async def send(client: httpx.AsyncClient, call: Call, query: str) -> httpx.Response:
    """The answer to a call with this query, and with a body if it requires one."""
    body = call.example if call.needs_body and "application/json" in str(call.operation) else None
    return await client.request(call.method, f"{call.path()}?{query}", json=body)


def is_list(call: Call, parameter: dict[str, Any]) -> bool:
    return bool(call.resolved(parameter["schema"]).get("type") == "array")


async def test_every_route_refuses_a_parameter_that_it_does_not_know(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await make_something_of_everything(client)
    before = all_rows(manager_of(application))
    for call in STRICT:
        for query in ("projectid=1", "projectid", "projectid=", "projectid=1&projectid=2"):
            assert places(await send(client, call, query)) == ["/query/projectid"], call
    assert len(STRICT) > 50
    assert all_rows(manager_of(application)) == before


async def test_every_route_refuses_a_parameter_given_twice(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await make_something_of_everything(client)
    before = all_rows(manager_of(application))
    tried = 0
    for call in STRICT:
        for parameter in call.parameters("query"):
            name = parameter["name"]
            assert (name in REPEATED) == is_list(call, parameter), f"{call} {name}"
            if name in REPEATED:
                continue
            for query in (f"{name}=1&{name}=1", f"{name}=&{name}", f"{name}=1&{name}=2&{name}=1"):
                assert places(await send(client, call, query)) == [f"/query/{name}"], call
                tried += 1
    assert tried > 60
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
async def test_all_that_is_wrong_with_a_query_is_told_at_once(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/projects?limit=1&limit=1&x=1&q=a&y=1&x=2&limit=1")
    assert places(answer) == ["/query/limit", "/query/x", "/query/y"]
    codes = [error["code"] for error in answer.json()["errors"]]
    assert codes == ["repeated_parameter", "unknown_parameter", "unknown_parameter"]
    assert "cursor, include, limit, owner, q, sort, status" in answer.json()["errors"][1]["message"]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("Limit=1", "/query/Limit"),
        ("limit[]=1", "/query/limit[]"),
        ("filter%5Bstatus%5D=active", "/query/filter[status]"),
        ("a/b~c=1", "/query/a~1b~0c"),
        ("gr%C3%B6%C3%9Fe=1", "/query/größe"),
        ("project-id=1", "/query/project-id"),
        ("limit;q=1", "/query"),
        ("=1", "/query"),
        ("=", "/query"),
        ("%20limit=1", "/query"),
        ("+limit=1", "/query"),
        ("limit+=1", "/query"),
        ("a%0Ab=1", "/query"),
        ("a%E2%80%AEb=1", "/query"),
        ("a" * 41, "/query"),
        # Not a name, but a value in the wrong place.
        ("sr_1_abcdefgh", "/query"),
        ("lt_abcdefgh=1", "/query"),
        ("Bearer+x", "/query"),
        ("%7B%22limit%22:1%7D", "/query"),
        ("4111111111111111", "/query"),
    ],
)
async def test_an_unknown_name_is_told_if_it_can_be_one(
    client: httpx.AsyncClient, query: str, pointer: str
) -> None:
    assert places(await client.get(f"/api/projects?{query}")) == [pointer]


@pytest.mark.shared
async def test_many_unknown_names_make_no_long_answer(client: httpx.AsyncClient) -> None:
    query = "&".join(f"name_{number}={number}" for number in range(2000))
    answer = await client.get(f"/api/projects?{query}")
    assert len(places(answer)) == 100
    assert len(answer.content) < 40_000


@pytest.mark.shared
@pytest.mark.parametrize(
    "query",
    [
        *("purge", "purge=", "purge=yes!", "Purge=true", "purge=true&purge=true"),
        *("purge=yes", "purge=1", "purge=on", "purge=t", "purge=True", "purge=TRUE", "purge=+true"),
    ],
)
async def test_a_mistyped_purge_deletes_nothing(client: httpx.AsyncClient, query: str) -> None:
    project = await make_project(client)
    answer = await client.delete(f"/api/projects/{project['id']}?{query}")
    assert places(answer) == [f"/query/{query[:5]}"]
    assert (await client.get(f"/api/projects/{project['id']}")).json() == project


@pytest.mark.shared
async def test_a_boolean_is_true_or_false_wherever_a_query_has_one(
    client: httpx.AsyncClient,
) -> None:
    tried = 0
    for call in STRICT:
        for parameter in call.parameters("query"):
            if call.resolved(parameter["schema"]).get("type") == "boolean":
                name = parameter["name"]
                for value in ("1", "0", "yes", "no", "on", "off", "t", "f", "True", "FALSE"):
                    assert places(await send(client, call, f"{name}={value}")) == [f"/query/{name}"]
                tried += 1
    assert tried >= 2


@pytest.mark.shared
async def test_empty_parts_of_a_query_are_none(client: httpx.AsyncClient) -> None:
    project = await make_project(client)
    for path in ("/api/projects", f"/api/projects/{project['id']}"):
        for query in ("", "&", "&&&"):
            assert (await client.get(f"{path}?{query}")).status_code == 200
    assert (await client.get("/api/projects?&limit=1&&q=&")).status_code == 200


@pytest.mark.shared
async def test_an_empty_limit_or_cursor_is_no_default(client: httpx.AsyncClient) -> None:
    assert places(await client.get("/api/projects?limit=")) == ["/query/limit"]
    problem(await client.get("/api/projects?cursor="), "bad_cursor")


@pytest.mark.shared
async def test_plus_and_percent_20_are_blanks_and_a_semicolon_is_itself(
    client: httpx.AsyncClient,
) -> None:
    await make_project(client, name="a b;c=d")
    for query in ("q=a+b", "q=a%20b", "q=b;c=d", "q=b%3Bc%3Dd"):
        assert len((await client.get(f"/api/projects?{query}")).json()["projects"]) == 1, query
    assert (await client.get("/api/projects?q=a%2Bb")).json()["projects"] == []


@pytest.mark.shared
async def test_the_query_is_looked_at_after_the_token_and_before_the_rest(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    problem(await stranger.get("/api/projects?x=1"), "unauthenticated")
    assert places(await client.get("/api/projects/999?x=1")) == ["/query/x"]
    assert places(await client.post("/api/projects?x=1", content=b"{")) == ["/query/x"]


@pytest.mark.shared
async def test_head_is_as_strict_as_get(client: httpx.AsyncClient) -> None:
    assert (await client.head("/api/projects?x=1")).status_code == 422


@pytest.mark.shared
async def test_a_delivery_says_the_same_of_every_webhook(stranger: httpx.AsyncClient) -> None:
    for id in (1, 999):
        answer = await stranger.post(f"/api/webhooks/{id}/deliveries/github?x=1", json={})
        assert places(answer) == ["/query/x"]


@pytest.mark.shared
@pytest.mark.parametrize("path", ["/health", "/ready", "/docs"])
async def test_what_probes_and_people_open_ignores_its_query(
    stranger: httpx.AsyncClient, path: str
) -> None:
    for query in ("x=1", "limit=&limit=", "%ff", "%00", "a" * 5000):
        assert (await stranger.get(f"{path}?{query}")).status_code == 200


@pytest.mark.shared
async def test_the_document_is_strict_too(stranger: httpx.AsyncClient) -> None:
    assert places(await stranger.get("/openapi.json?x=1")) == ["/query/x"]
    problem(await stranger.get("/openapi.json?x=%ff"), "bad_request")
    assert (await stranger.get("/openapi.json?")).status_code == 200


@pytest.mark.shared
def test_only_probes_may_ignore_their_query(application: FastAPI) -> None:
    lenient = {path for (_, path), policy in POLICIES.items() if policy.is_probe}
    assert lenient == {"/health", "/ready"}
    assert hidden_routes(application) == {"/openapi.json", "/docs"}


STATUSES = ("active", "inactive", "archived", "deleted")


async def test_projects_of_any_of_several_statuses(client: httpx.AsyncClient) -> None:
    ids: dict[str, set[int]] = {status: set() for status in STATUSES}
    for number, status in enumerate([*STATUSES, *STATUSES]):
        settable = {} if status == "deleted" else {"status": status}
        made = await make_project(client, github_owner=f"o{number % 3}", **settable)
        ids[status].add(made["id"])
        if status == "deleted":
            await client.delete(f"/api/projects/{made['id']}")
    for size, sort in itertools.product((1, 2, 3, 4), ("name", "-created_at", "updated_at")):
        for chosen in itertools.combinations(STATUSES, size):
            params: dict[str, Any] = {"status": [*chosen, chosen[0]], "sort": sort}
            page = (await client.get("/api/projects", params=params)).json()
            found = [project["id"] for project in page["projects"]]
            assert sorted(found) == sorted(id for status in chosen for id in ids[status])
            walked: list[int] = []
            cursor: dict[str, str] = {}
            while True:
                # The order of the values makes no difference: it is the same list.
                params["status"] = list(reversed(params["status"]))
                page = (
                    await client.get("/api/projects", params=params | {"limit": 3} | cursor)
                ).json()
                walked += [project["id"] for project in page["projects"]]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert walked == found
            one = {**params, "owner": "O1"}
            page = (await client.get("/api/projects", params=one)).json()
            assert all(project["github_owner"] == "o1" for project in page["projects"])


@pytest.mark.shared
async def test_one_wrong_value_of_several_is_told_by_the_parameter(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/api/projects?status=active&status=lost&status=&status=ACTIVE")
    assert places(answer) == ["/query/status"]
