"""Storing logs: one, many, and invalid ones."""

from typing import Any

import pytest

from tests.support.api import Api, Json, codes
from tests.support.clocks import SetClock
from tests.support.logs import found, log, messages, send


async def test_one_log_comes_back_as_it_was_sent(api: Api, clock: SetClock) -> None:
    run = await api.new_run()
    body = log(
        "the clone took 40 s",
        "WARNING",
        component="workspace",
        context={"attempt": 2, "tags": ["a", None, 1.5]},
        correlation_id="3f2b",
        project_id=1,
        agent_run_id=run["id"],
        timestamp="2026-01-31T11:59:58.500000Z",
    )
    assert await api.post("/api/logs", body, 201) == {"accepted": 1}
    assert await found(api) == [{"id": 1, "created_at": clock.text(), **body}]


async def test_a_log_needs_a_level_and_a_message_only(api: Api) -> None:
    await api.post("/api/logs", log(), 201)
    [stored] = await found(api)
    absent = ("component", "correlation_id", "project_id", "agent_run_id", "timestamp")
    assert [stored[name] for name in absent] == [None] * 5
    assert stored["context"] == {}


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"])
async def test_every_level_is_taken(api: Api, level: str) -> None:
    await api.post("/api/logs", log(level=level), 201)
    assert (await found(api))[0]["level"] == level


@pytest.mark.parametrize(
    ("name", "level"),
    [
        *(("warn", "WARNING"), ("fatal", "CRITICAL"), ("trace", "DEBUG")),
        *(("Warn", "WARNING"), ("FATAL", "CRITICAL"), ("tRaCe", "DEBUG")),
        *(("debug", "DEBUG"), ("Info", "INFO"), ("warning", "WARNING"), ("eRROR", "ERROR")),
        ("critical", "CRITICAL"),
    ],
)
async def test_levels_have_several_names_in_any_case(api: Api, name: str, level: str) -> None:
    await api.post("/api/logs", log("one", name), 201)
    await send(api, log("two", name))
    assert [item["level"] for item in await found(api)] == [level] * 2
    assert len(await found(api, level=name)) == 2


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 255, 1000])
async def test_a_batch_keeps_its_order(api: Api, count: int) -> None:
    await send(api, *(log(str(number)) for number in range(count)))
    stored: list[str] = []
    cursor = ""
    while True:
        page = await api.get(f"/api/logs?limit=500{cursor}")
        stored += [item["message"] for item in page["logs"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert stored == [str(number) for number in reversed(range(count))]


async def test_what_was_read_can_be_sent_back(api: Api) -> None:
    await send(api, log("first", component="a", context={"x": 1}))
    [stored] = await found(api)
    await api.post("/api/logs", stored, 201)
    again = (await found(api))[0]
    assert again == {**stored, "id": 2}


async def test_a_log_of_a_run_belongs_to_the_runs_project(api: Api) -> None:
    second = await api.new_project("second")
    run = await api.new_run(second)
    await send(api, log(agent_run_id=run["id"]))
    assert (await found(api))[0]["project_id"] == second


async def test_a_deleted_project_still_takes_logs(api: Api) -> None:
    await api.call("DELETE", "/api/projects/1", status=204)
    await send(api, log(project_id=1))


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"project_id": 9}, "project_not_found"),
        ({"agent_run_id": 9}, "agent_run_not_found"),
        ({"project_id": 1, "agent_run_id": 9}, "agent_run_not_found"),
        # The run exists, but belongs to another project.
        ({"project_id": 2, "agent_run_id": 1}, "agent_run_not_found"),
    ],
)
async def test_one_log_of_an_unknown_run_or_project_refuses_the_whole_batch(
    api: Api, fields: Json, code: str
) -> None:
    await api.new_project("second")
    await api.new_run(1)
    logs = [log("good", project_id=1), log("bad", **fields), log("good too")]
    assert (await api.post("/api/logs", {"logs": logs}, 404))["code"] == code
    assert await messages(api) == []


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "place", "code"),
    [
        ({"level": "warned"}, "/level", "enum"),
        ({"level": "\u0131nfo"}, "/level", "enum"),
        ({"level": None}, "/level", "enum"),
        ({"level": 30}, "/level", "enum"),
        ({"message": ""}, "/message", "string_too_short"),
        ({"message": "m" * 10_001}, "/message", "string_too_long"),
        ({"message": "a\0b"}, "/message", "nul_character"),
        ({"message": 5}, "/message", "string_type"),
        ({"component": ""}, "/component", "string_too_short"),
        ({"component": "c" * 101}, "/component", "string_too_long"),
        ({"component": "\0"}, "/component", "label"),
        ({"correlation_id": ""}, "/correlation_id", "string_too_short"),
        ({"correlation_id": "c" * 101}, "/correlation_id", "string_too_long"),
        ({"project_id": 0}, "/project_id", "greater_than_equal"),
        ({"project_id": "1"}, "/project_id", "int_type"),
        ({"agent_run_id": 2**63}, "/agent_run_id", "less_than_equal"),
        ({"timestamp": 1769860800}, "/timestamp", "moment"),
        ({"timestamp": "2026-01-31 12:00:00"}, "/timestamp", "moment"),
        ({"timestamp": "2026-01-31T12:00:00"}, "/timestamp", "moment"),
        ({"timestamp": ""}, "/timestamp", "moment"),
        ({"context": []}, "/context", "dict_type"),
        ({"context": "{}"}, "/context", "dict_type"),
        ({"context": None}, "/context", "dict_type"),
        ({"host": "h"}, "/host", "extra_forbidden"),
    ],
)
async def test_a_wrong_log_is_told_where_it_is_wrong(
    api: Api, change: Json, place: str, code: str
) -> None:
    wrong = {**log(), **change}
    assert codes(await api.post("/api/logs", wrong, 422)) == [(place, code)]
    batch = {"logs": [log(), wrong]}
    assert codes(await api.post("/api/logs", batch, 422)) == [(f"/logs/1{place}", code)]
    assert await messages(api) == []


@pytest.mark.shared
@pytest.mark.parametrize("missing", ["level", "message"])
async def test_a_log_without_level_or_message_is_refused(api: Api, missing: str) -> None:
    body = log()
    del body[missing]
    assert codes(await api.post("/api/logs", body, 422)) == [(f"/{missing}", "missing")]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("body", "place", "code"),
    [
        ({"logs": [log()] * 1001}, "/logs", "too_long"),
        ({"logs": {}}, "/logs", "list_type"),
        ({"logs": None}, "/logs", "list_type"),
        ({"logs": ["x"]}, "/logs/0", "model_type"),
        ({"logs": [log()], "more": 1}, "/more", "extra_forbidden"),
        ([log()], "", "model_type"),
        ("text", "", "model_type"),
    ],
)
async def test_a_body_that_is_neither_a_log_nor_logs_is_refused(
    api: Api, body: Any, place: str, code: str
) -> None:
    assert codes(await api.post("/api/logs", body, 422)) == [(place, code)]


@pytest.mark.shared
async def test_every_wrong_log_of_a_batch_is_told(api: Api) -> None:
    logs = [log(), log(""), log(), log(level="bad", component="")]
    assert codes(await api.post("/api/logs", {"logs": logs}, 422)) == [
        ("/logs/1/message", "string_too_short"),
        ("/logs/3/level", "enum"),
        ("/logs/3/component", "string_too_short"),
    ]


@pytest.mark.shared
@pytest.mark.parametrize("body", [b"", b"{", b'{"level": NaN}', b'{"level": "INFO", "level": ""}'])
async def test_what_is_no_json_is_refused(api: Api, body: bytes) -> None:
    answer = await api.client.post(
        "/api/logs", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert answer.json()["code"] == "malformed_json"


async def test_times_never_go_back(api: Api, clock: SetClock) -> None:
    await send(api, log("first"))
    before = clock.text()
    clock.advance(-300)
    await send(api, log("second"))
    assert [item["created_at"] for item in await found(api)] == [before, before]
    clock.advance(600)
    await send(api, log("third"))
    assert (await found(api))[0]["created_at"] == clock.text()


async def test_a_clock_that_was_far_ahead_is_not_followed(api: Api, clock: SetClock) -> None:
    clock.advance(86_400 * 365)
    await send(api, log("of next year"))
    clock.advance(-86_400 * 365)
    await send(api, log("of today"))
    assert (await found(api))[0]["created_at"] == clock.text()
    assert await messages(api, until=clock.text(1)) == ["of today"]
    assert await messages(api, since=clock.text(1)) == ["of next year"]


@pytest.mark.shared
@pytest.mark.parametrize(
    "component",
    [
        "strongroom",
        "strongroom.audit",
        "STRONGROOM.error",
        "Strongroom.",
        " strongroom",
        "strongroom\t.error",
        "strong\x01room.error",
        "strong\u200broom.error",
        "\uff53trongroom.error",
        "\u017ftrongroom",
        "strongroom\u115f.audit",
        "\u2800strongroom",
    ],
)
async def test_the_service_s_own_component_is_not_for_clients(api: Api, component: str) -> None:
    problem = await api.post("/api/logs", log(component=component), 422)
    assert codes(problem) == [("/component", "reserved_component")]
    batch = {"logs": [log(), log(component=component)]}
    problem = await api.post("/api/logs", batch, 422)
    assert codes(problem) == [("/logs/1/component", "reserved_component")]
    assert await found(api) == []


@pytest.mark.parametrize(
    "component", ["strongrooms", "my.strongroom", "strongroom-agent", "strong"]
)
async def test_a_component_that_only_looks_like_it_is_taken(api: Api, component: str) -> None:
    await api.post("/api/logs", log(component=component), 201)
    assert [one["component"] for one in await found(api)] == [component]
