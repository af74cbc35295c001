"""Versions of configurations over HTTP: list, read, compare, roll back, and those of runs."""

from typing import Any

import httpx
import pytest

from tests.support.api import Api
from tests.support.clients import AsToken
from tests.support.http import problem

PATH = "/api/projects/1/configuration"
VERSIONS = f"{PATH}/versions"


async def patch(api: Api, **fields: Any) -> Any:
    return await api.patch(PATH, fields)


async def three_versions(api: Api) -> None:
    await patch(api, setup_commands="make\nmake test\n")
    await patch(api, setup_commands="make\nmake check\n", repository_rules="be kind")


async def test_the_list_tells_who_changed_what_and_when_newest_first(api: Api) -> None:
    await three_versions(api)
    listed = await api.get(VERSIONS)
    assert listed["next_cursor"] is None
    assert [(one["version"], one["fields"]) for one in listed["versions"]] == [
        (3, ["repository_rules", "setup_commands"]),
        (2, ["setup_commands"]),
        (1, []),
    ]
    assert {one["actor"] for one in listed["versions"]} == {"anonymous"}
    assert {one["status"] for one in listed["versions"]} == {"ok"}
    present = await api.get(PATH)
    assert listed["versions"][0]["created_at"] == present["updated_at"]


async def test_the_audit_is_not_needed_for_it(api: Api) -> None:
    await three_versions(api)
    before = await api.get(VERSIONS)
    async with api.service.transaction() as repositories:
        await repositories.audit.db.execute(
            "UPDATE audit_entries SET actor = 'x', fields = '[]', at = ?",
            ("2020-01-01T00:00:00.000000Z",),
        )
    assert await api.get(VERSIONS) == before


async def test_pages_follow_one_another(api: Api) -> None:
    for number in range(6):
        await patch(api, planning_statement=str(number))
    seen, cursor = [], None
    while True:
        query = f"?limit=2{f'&cursor={cursor}' if cursor else ''}"
        page = await api.get(VERSIONS + query)
        seen += [one["version"] for one in page["versions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


async def test_a_version_is_read_as_it_was(api: Api) -> None:
    first = await api.get(PATH)
    second = await patch(api, setup_commands="make", branch_name="dev")
    third = await patch(api, setup_commands=None)
    for known in (first, second, third):
        assert await api.get(f"{VERSIONS}/{known['version']}") == known
    missing = await api.get(f"{VERSIONS}/4", 404)
    assert missing["code"] == "version_not_found"


async def test_a_change_of_nothing_makes_no_version(api: Api) -> None:
    await patch(api, setup_commands="make")
    await patch(api, setup_commands="make")
    assert len((await api.get(VERSIONS))["versions"]) == 2


async def test_a_diff_has_the_fields_that_differ(api: Api) -> None:
    await three_versions(api)
    diff = await api.get(f"{PATH}/diff?from=2&to=3")
    assert (diff["from"], diff["to"]) == (2, 3)
    assert diff["fields"] == {
        "repository_rules": "--- /dev/null\n+++ repository_rules version 3\n@@ -0,0 +1 @@\n"
        "+be kind\n\\ No newline at end of file\n",
        "setup_commands": "--- setup_commands version 2\n+++ setup_commands version 3\n"
        "@@ -1,2 +1,2 @@\n make\n-make test\n+make check\n",
    }
    assert await api.get(f"{PATH}/diff") == diff
    assert (await api.get(f"{PATH}/diff?from=2&to=2"))["fields"] == {}
    backwards = (await api.get(f"{PATH}/diff?from=3&to=2"))["fields"]["setup_commands"]
    assert "-make check\n+make test\n" in backwards
    from_defaults = await api.get(f"{PATH}/diff?from=0&to=1")
    assert from_defaults["fields"] == {}
    assert (await api.get(f"{PATH}/diff?from=2&to=9", 404))["code"] == "version_not_found"


@pytest.mark.parametrize(
    ("accept", "is_text"),
    [
        ("text/plain", True),
        ("text/plain, application/json;q=0.9", True),
        ("text/*;q=0.5, application/json;q=0.4", True),
        ("*/*", False),
        ("application/json, text/plain", False),
        ("text/plain;q=0, */*", False),
        ("text/plain;q=x", False),
        ("text/html", False),
    ],
)
async def test_the_diffs_alone_are_plain_text(api: Api, accept: str, is_text: bool) -> None:
    await three_versions(api)
    path = f"{PATH}/diff?from=2&to=3"
    answer = await api.client.get(path, headers={"Accept": accept})
    assert answer.headers["vary"] == "Accept"
    fields = (await api.get(path))["fields"]
    if is_text:
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert sorted(answer.text) == sorted("".join(fields.values()))
    else:
        assert answer.json()["fields"] == fields


async def test_a_rollback_is_a_new_version_with_the_content_of_an_earlier_one(api: Api) -> None:
    first = await api.get(PATH)
    await three_versions(api)
    rolled = await api.post(f"{PATH}/rollback", {"version": 1})
    assert rolled == {**first, "version": 4, "updated_at": rolled["updated_at"]}
    assert await api.get(PATH) == rolled
    assert (await api.get(VERSIONS))["versions"][0]["fields"] == [
        "repository_rules",
        "setup_commands",
    ]
    # Also with the content that it has already.
    again = await api.post(f"{PATH}/rollback", {"version": 4})
    assert again["version"] == 5
    assert (await api.get(VERSIONS))["versions"][0]["fields"] == []
    assert [action for _, action, _ in await api.actions()][-2:] == ["settings.rolled_back"] * 2
    assert (await api.post(f"{PATH}/rollback", {"version": 9}, 404))["code"] == "version_not_found"


@pytest.mark.parametrize("body", [{}, {"version": 0}, {"version": "1"}, {"version": 1, "id": 1}])
async def test_a_wrong_rollback_changes_nothing(api: Api, body: Any) -> None:
    before = await api.get(VERSIONS)
    await api.post(f"{PATH}/rollback", body, 422)
    assert await api.get(VERSIONS) == before


async def test_a_deleted_project_is_read_and_not_rolled_back(api: Api) -> None:
    await three_versions(api)
    await api.call("DELETE", "/api/projects/1", status=204)
    assert len((await api.get(VERSIONS))["versions"]) == 3
    assert (await api.get(f"{VERSIONS}/1"))["version"] == 1
    answer = await api.post(f"{PATH}/rollback", {"version": 1}, 404)
    assert answer["code"] == "project_not_found"


async def test_a_run_reads_the_configuration_that_it_started_with(api: Api) -> None:
    await patch(api, setup_commands="of the creation")
    run = await api.new_run()
    path = f"/api/agent-runs/{run['id']}/configuration"
    assert (await api.get(path))["setup_commands"] == "of the creation"
    started_with = await patch(api, setup_commands="of the start")
    await api.step(run["id"], "running")
    await patch(api, setup_commands="later")
    assert await api.get(path) == started_with
    assert (await api.get("/api/agent-runs/9/configuration", 404))["code"] == "agent_run_not_found"


async def test_a_run_of_a_project_without_settings_reads_the_defaults(api: Api) -> None:
    async with api.service.transaction() as repositories:
        await repositories.settings.remove(1)
        await repositories.audit.db.execute("DELETE FROM audit_entries")
    run = await api.new_run()
    await patch(api, setup_commands="later")
    shown = await api.get(f"/api/agent-runs/{run['id']}/configuration")
    assert (shown["version"], shown["setup_commands"], shown["branch_name"]) == (0, None, "main")


async def test_who_changes_it_is_its_actor(client: httpx.AsyncClient, as_token: AsToken) -> None:
    body = {"name": "p", "github_owner": "acme", "github_repo": "r"}
    project = (await client.post("/api/projects", json=body)).json()["id"]
    path = f"/api/projects/{project}/configuration"
    writer = await as_token("projects:read", "projects:write")
    assert (await writer.patch(path, json={"setup_commands": "x"})).is_success
    versions = (await client.get(f"{path}/versions")).json()["versions"]
    me, first = (one["actor"] for one in versions)
    assert me != first
    problem(
        await (await as_token("projects:read")).post(f"{path}/rollback", json={"version": 1}),
        "forbidden",
    )
