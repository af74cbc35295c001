"""Messages of a run: in order, whole, and gone with their run."""

import json
from typing import Any

import pytest

from database.errors import InvalidValue
from models import MessageRole
from tests.messages.support import PATH, contents, say
from tests.support.api import Api, Json, codes
from tests.support.clocks import SetClock


async def ids_by_page(api: Api, query: str) -> list[int]:
    """The ids of the messages of a list that is read two by two."""
    ids: list[int] = []
    cursor = ""
    while True:
        page = await api.get(f"{PATH}?limit=2{query}{cursor}")
        ids += [message["id"] for message in page["messages"]]
        if page["next_cursor"] is None:
            return ids
        cursor = f"&cursor={page['next_cursor']}"


async def test_each_role_can_speak(api: Api, clock: SetClock) -> None:
    await api.new_run()
    said: list[Json] = []
    for number, role in enumerate(MessageRole, 1):
        clock.advance(1)
        said.append(await say(api, f"number {number}", role=role.value))
        assert said[-1] == {
            "id": number,
            "agent_run_id": 1,
            "role": role.value,
            "content": f"number {number}",
            "created_at": clock.text(),
        }
    assert {message["role"] for message in said} == {"user", "agent", "system"}
    assert await api.get(PATH) == {"messages": said[::-1], "next_cursor": None}
    assert await api.get(f"{PATH}?after_id=0") == {"messages": said, "next_cursor": None}
    for message in said:
        of_role = await api.get(f"{PATH}?role={message['role']}")
        assert of_role["messages"] == [message]


async def test_pages_join_in_both_orders(api: Api) -> None:
    for run_id in (1, 2):
        await api.new_run()
        await say(api, run_id=run_id, role="system")
    for _ in range(4):
        for run_id, role in ((1, "user"), (2, "user"), (1, "agent")):
            await say(api, run_id=run_id, role=role)
    rising = await ids_by_page(api, "&after_id=0")
    assert rising == [1, 3, 5, 6, 8, 9, 11, 12, 14]
    assert await ids_by_page(api, "") == rising[::-1]
    assert await ids_by_page(api, "&after_id=1-6") == [8, 9, 11, 12, 14]
    assert await ids_by_page(api, "&role=agent&after_id=5") == [8, 11, 14]
    assert await ids_by_page(api, "&role=agent") == [14, 11, 8, 5]
    assert await ids_by_page(api, "&after_id=99") == []


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for run_id in (1, 2):
        await api.new_run()
        for _ in range(2):
            await say(api, run_id=run_id)
    cursor = (await api.get(f"{PATH}?limit=1"))["next_cursor"]
    others = (f"{PATH}?role=user", f"{PATH}?after_id=0", "/api/agent-runs/2/messages?limit=1")
    for other in others:
        problem = await api.get(f"{other}&cursor={cursor}", 400)
        assert problem["code"] == "bad_cursor"
    wrong_epoch = await api.get(f"{PATH}?after_id=2-1", 400)
    assert wrong_epoch["code"] == "bad_request"
    assert "epoch" in wrong_epoch["detail"]


@pytest.mark.parametrize("content", ["x" * 50_000, "\U0001f511" * 50_000, "a\r\n\t\u202e\ufeff b"])
async def test_a_message_comes_back_as_it_went_in(api: Api, content: str) -> None:
    await api.new_run()
    said = await say(api, content)
    assert said["content"] == content
    [listed] = (await api.get(PATH))["messages"]
    assert listed == said
    # What was read can be sent again; it is another message.
    again = await api.post(PATH, listed, 201)
    assert again == {**said, "id": 2}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"role": "user"}, ("/content", "missing")),
        ({"content": "c"}, ("/role", "missing")),
        ({"role": "user", "content": ""}, ("/content", "string_too_short")),
        ({"role": "user", "content": "x" * 50_001}, ("/content", "string_too_long")),
        ({"role": "user", "content": "a\0b"}, ("/content", "nul_character")),
        ({"role": "user", "content": None}, ("/content", "string_type")),
        ({"role": "assistant", "content": "c"}, ("/role", "enum")),
        ({"role": "user", "content": "c", "continue": "yes"}, ("/continue", "bool_type")),
        ({"role": "user", "content": "c", "continues": True}, ("/continues", "extra_forbidden")),
        ({"role": "agent", "content": "c", "continue": True}, ("/continue", "continue_by_user")),
        ({"role": "system", "content": "c", "continue": True}, ("/continue", "continue_by_user")),
    ],
)
async def test_a_wrong_message_is_told(api: Api, body: Json, wrong: tuple[str, str]) -> None:
    await api.new_run()
    assert codes(await api.post(PATH, body, 422)) == [wrong]
    assert await contents(api) == []


@pytest.mark.shared
@pytest.mark.parametrize("query", ["role=assistant", "role=user&role=agent", "after_id=x", "q=x"])
async def test_a_wrong_query_is_told(api: Api, query: str) -> None:
    await api.new_run()
    [(pointer, _)] = codes(await api.get(f"{PATH}?{query}", 422))
    assert pointer == f"/query/{query.partition('=')[0]}"


async def test_a_run_takes_messages_in_any_status(api: Api) -> None:
    await api.new_run()
    said = []
    for step in (None, "running", "paused", "cancelled"):
        if step is not None:
            await api.step(1, step)
        before = await api.run(1)
        said.append((await say(api, before["status"], **{"continue": False}))["content"])
        # A message alone does not change the run.
        assert await api.run(1) == before
    assert await contents(api) == said == ["pending", "running", "paused", "cancelled"]


async def test_a_worker_that_has_lost_its_run_says_nothing_more(api: Api) -> None:
    await api.new_run()
    lease = (await api.claim())["lease_token"]
    await say(api, "mine", role="agent", lease_token=lease)
    lost = await say(api, "another's", role="agent", lease_token="another", status=409)
    assert lost["code"] == "lease_lost"
    assert await contents(api) == ["mine"]


async def test_what_runs_of_a_deleted_project_said_can_be_read(api: Api) -> None:
    await api.new_run()
    await say(api, "the last word")
    await api.call("DELETE", "/api/projects/1", status=204)
    # As with their pipeline states and results.
    for body in ({"role": "user", "content": "more"}, {"role": "agent", "content": "more"}):
        refused = await api.post("/api/agent-runs/1/messages", body, 404)
        assert refused["code"] == "project_not_found"
    assert await contents(api) == ["the last word"]
    await api.post("/api/projects/1/restore")
    await say(api, "more")
    assert await contents(api) == ["the last word", "more"]


async def test_messages_go_with_their_run_and_their_ids_stay_used(api: Api) -> None:
    await api.new_run()
    other = await api.new_project("other")
    await api.new_run(other)
    await say(api, "stays")
    await say(api, "goes", run_id=2)
    await api.call("DELETE", f"/api/projects/{other}?purge=true", status=204)
    gone = await api.get("/api/agent-runs/2/messages", 404)
    assert gone["code"] == "agent_run_not_found"
    rows = await api.service.db_manager.async_pool.fetch_all("SELECT content FROM messages")
    assert [row["content"] for row in rows] == ["stays"]
    # Streams go on after an id.
    assert (await say(api, "later"))["id"] == 3


async def test_no_message_is_changed_or_removed(api: Api) -> None:
    await api.new_run()
    await say(api)
    for method in ("PUT", "PATCH", "DELETE"):
        assert (await api.call(method, PATH, {}, 405))["code"] == "method_not_allowed"
    with pytest.raises(InvalidValue):
        await api.service.repositories.messages.update(1, {"content": "another"})


async def test_a_message_is_recorded_without_its_content(api: Api) -> None:
    await api.new_run()
    await say(api, "a word of ours", role="agent")
    [row] = await api.service.db_manager.async_pool.fetch_all(
        "SELECT * FROM audit_entries ORDER BY id DESC LIMIT 1"
    )
    assert (row["action"], row["target"]) == ("message.added", "agent_runs/1/messages")
    assert (row["project_id"], json.loads(row["fields"])) == (1, ["content", "role"])
    for query in ("?kind=message.added", "?resource=agent-runs/1/messages"):
        [event] = (await api.get(f"/api/events{query}"))["events"]
        assert event["resource"] == "agent-runs/1/messages"
        assert event["version"] is None
        assert "a word of ours" not in str(event)


async def test_a_list_that_did_not_change_is_not_sent_again(api: Api) -> None:
    await api.new_run()
    await say(api)

    async def status(tag: str) -> tuple[int, str]:
        answer = await api.client.get(PATH, headers={"If-None-Match": tag})
        return answer.status_code, answer.headers["ETag"]

    first: Any = await status('"none"')
    assert first[0] == 200
    assert await status(first[1]) == (304, first[1])
    await say(api)
    assert (await status(first[1]))[0] == 200
