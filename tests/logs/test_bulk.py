"""Logs as NDJSON and compressed with gzip, the same through FastAPI's own handler."""

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from backend.main import create_app
from config.settings import Settings
from tests.support.api import Json, codes
from tests.support.clients import client_of, new_token, token_of_first_start
from tests.support.http import JSON, make_project, problem
from tests.support.logs import log

NDJSON = {"Content-Type": "application/x-ndjson"}
GZIP = {"Content-Encoding": "gzip"}
MIB = 1024 * 1024


@pytest.fixture(params=[True, False], ids=["direct", "through FastAPI"])
async def sender(
    request: pytest.FixtureRequest, settings: Settings
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that calls endpoints in one of the two ways."""
    app = create_app(settings, direct=request.param)
    token = token_of_first_start
    async with app.router.lifespan_context(app), client_of(app, token(settings)) as client:
        yield client


def lines(*logs: Any, end: str = "\n") -> bytes:
    return "".join(json.dumps(item, ensure_ascii=False) + end for item in logs).encode()


async def send(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    """Send a body in NDJSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post("/api/logs", content=body, headers={**NDJSON, **named})


async def stored(client: httpx.AsyncClient) -> list[Json]:
    """All logs without what they got when they were stored, oldest first."""
    answer = await client.get("/api/logs?after_id=0&limit=500")
    return [
        {name: value for name, value in item.items() if name not in ("id", "created_at")}
        for item in answer.json()["logs"]
    ]


async def messages(client: httpx.AsyncClient) -> list[str]:
    return [item["message"] for item in await stored(client)]


async def test_lines_are_stored_as_a_batch_is(sender: httpx.AsyncClient) -> None:
    project = await make_project(sender)
    full = log(
        "ä ü \u2028 \N{FIRE}",
        "CRITICAL",
        component="part",
        context={"a": [1, {"b": None}], "n": 1.5},
        correlation_id="c-1",
        project_id=project["id"],
        timestamp="2026-01-31T11:00:00.000000Z",
    )
    logs = [full, log("second", "warn"), log("-0 1e5")]
    for body in (lines(*logs), lines(*logs, end="\r\n"), lines(*logs)[:-1]):
        answer = await send(sender, body)
        assert (answer.status_code, answer.json()) == (201, {"accepted": 3})
    answer = await sender.post("/api/logs", json={"logs": logs})
    assert answer.status_code == 201
    as_lines = await stored(sender)
    assert as_lines[:3] == as_lines[3:6] == as_lines[6:9] == as_lines[9:]


@pytest.mark.parametrize("kind", ["Application/X-NDJSON", "application/x-ndjson; charset=utf-8"])
async def test_the_media_type_may_be_written_otherwise(
    sender: httpx.AsyncClient, kind: str
) -> None:
    answer = await send(sender, lines(log()), Content_Type=kind)
    assert answer.status_code == 201, answer.text


async def test_lines_of_blanks_are_skipped(sender: httpx.AsyncClient) -> None:
    answer = await send(sender, b"\n \r\n" + lines(log("a")) + b"\t\n\n" + lines(log("b")) + b"\n ")
    assert answer.json() == {"accepted": 2}
    assert await messages(sender) == ["a", "b"]


@pytest.mark.parametrize("body", [b"", b"\n", b" \r\n\t\n"])
async def test_a_body_without_lines_is_refused(sender: httpx.AsyncClient, body: bytes) -> None:
    answer = await send(sender, body)
    assert "send a JSON object on each line" in problem(answer, "malformed_json")["detail"]


@pytest.mark.parametrize(
    ("line", "code", "place"),
    [
        (b'{"level": "INFO", "message": }', "not_json", "/message"),
        (b'{"level": "INFO"', "not_json", "/level"),
        (b'{"level": "INFO", "message": "m"} {}', "not_json", ""),
        (b'{"level": "INFO", "message": "m"},', "not_json", ""),
        (b'{"level": "INFO", "level": "INFO", "message": "m"}', "repeated_key", "/level"),
        (b'{"level": "INFO", "message": NaN}', "not_a_number", "/message"),
        (b'{"level": "INFO", "message": "\\ud800"}', "unpaired_surrogate", "/message"),
        (b'{"level": "INFO", "message": "\xff"}', "not_utf8", "/message"),
        (b'\x0b{"level": "INFO", "message": "m"}', "not_json", ""),
        (b"\xef\xbb\xbf{}", "not_json", ""),
    ],
)
async def test_a_malformed_line_is_named(
    sender: httpx.AsyncClient, line: bytes, code: str, place: str
) -> None:
    body = lines(log("one")) + b"\n" + line + b"\n" + lines(log("last"))
    found = problem(await send(sender, body), "malformed_json")
    [error] = found["errors"]
    assert (error["pointer"], error["code"]) == (f"/logs/1{place}", code)
    assert found["detail"].startswith("line 3: ")
    # Where it is in the line, but not a second number of a line.
    assert found["detail"].count("line") == 1
    assert error["message"].startswith("line 3: ")
    assert await messages(sender) == []


async def test_a_wrong_value_is_named_by_its_place_and_line(sender: httpx.AsyncClient) -> None:
    wrong = [log("a"), log(""), log("c", "loud"), {"logs": []}, 5]
    found = problem(await send(sender, b"\n" + lines(*wrong)), "validation_failed")
    assert codes(found) == [
        ("/logs/1/message", "string_too_short"),
        ("/logs/2/level", "enum"),
        ("/logs/3/level", "missing"),
        ("/logs/3/message", "missing"),
        ("/logs/3/logs", "extra_forbidden"),
        ("/logs/4", "model_type"),
    ]
    assert found["errors"][-1]["message"] == "line 6: must be a JSON object"
    told = [error["message"].partition(":")[0] for error in found["errors"]]
    assert told == ["line 3", "line 4", *["line 5"] * 3, "line 6"]
    assert await messages(sender) == []


async def test_an_unknown_run_is_named_by_its_place_and_line(sender: httpx.AsyncClient) -> None:
    body = lines(*(log(str(number)) for number in range(700)), log("x", agent_run_id=9))
    found = problem(await send(sender, body), "agent_run_not_found")
    [error] = found["errors"]
    assert error["pointer"] == "/logs/700/agent_run_id"
    assert error["message"].startswith("line 701: ")
    batch = {"logs": [log(), log("x", agent_run_id=9)]}
    found = problem(await sender.post("/api/logs", json=batch), "agent_run_not_found")
    assert found["errors"][0]["pointer"] == "/logs/1/agent_run_id"
    assert not found["errors"][0]["message"].startswith("line")
    assert await messages(sender) == []


async def test_a_token_that_is_bound_to_projects_is_told_the_line(
    sender: httpx.AsyncClient,
) -> None:
    project = await make_project(sender)
    bound = await new_token(sender, "logs:write", project_ids=[project["id"]])
    body = lines(log(project_id=project["id"]), log())
    found = problem(await send(sender, body, Authorization=f"Bearer {bound}"), "validation_failed")
    assert found["errors"][0]["message"].startswith("line 2: ")


async def test_a_request_has_a_thousand_lines_at_most(sender: httpx.AsyncClient) -> None:
    answer = await send(sender, lines(*[log()] * 1000))
    assert answer.json() == {"accepted": 1000}
    found = problem(await send(sender, lines(*[log()] * 1001)), "validation_failed")
    assert codes(found) == [("/logs", "too_long")]
    # Many short lines are refused before they are read.
    found = problem(await send(sender, b"1\n" * 400_000), "validation_failed")
    assert codes(found) == [("/logs", "too_long")]


@pytest.mark.parametrize("kind", [JSON, NDJSON])
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZip", "identity, gzip", "gzip, "])
async def test_a_body_may_be_compressed(
    sender: httpx.AsyncClient, kind: dict[str, str], coding: str
) -> None:
    body = gzip.compress(json.dumps(log("packed")).encode())
    headers = {**kind, "Content-Encoding": coding}
    answer = await sender.post("/api/logs", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (201, {"accepted": 1})
    assert await messages(sender) == ["packed"]


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "gzip, gzip", "identity, br", "*"])
async def test_other_encodings_are_refused(sender: httpx.AsyncClient, coding: str) -> None:
    answer = await send(sender, gzip.compress(lines(log())), Content_Encoding=coding)
    found = problem(answer, "unsupported_media_type")
    assert "Content-Encoding: gzip" in found["detail"]
    assert answer.headers["accept-encoding"] == "gzip, identity"


@pytest.mark.parametrize("kind", ["text/plain", "application/ndjson", "application/jsonl", ""])
@pytest.mark.parametrize("packing", [{}, GZIP])
async def test_other_media_types_are_refused(
    sender: httpx.AsyncClient, kind: str, packing: dict[str, str]
) -> None:
    body = gzip.compress(lines(log())) if packing else lines(log())
    headers = {"Content-Type": kind, **packing}
    found = problem(
        await sender.post("/api/logs", content=body, headers=headers), "unsupported_media_type"
    )
    assert "application/x-ndjson" in found["detail"]


PACKED = gzip.compress(lines(log()), mtime=0)


@pytest.mark.parametrize(
    "body",
    [
        lines(log()),
        zlib.compress(lines(log())),
        PACKED[:-1],
        PACKED[:-8],
        PACKED[:5],
        PACKED + b"x",
        PACKED + b"\0",
        PACKED + PACKED[:9],
        PACKED[:-8] + b"\0" * 8,
        PACKED[:20] + b"\xff\xff" + PACKED[22:],
    ],
    ids=[
        *(
            "plain",
            "zlib",
            "one byte short",
            "no end",
            "the head alone",
            "a byte behind",
            "a NUL behind",
        ),
        *("half a part behind", "a wrong sum", "a wrong byte"),
    ],
)
async def test_broken_gzip_is_refused(sender: httpx.AsyncClient, body: bytes) -> None:
    found = problem(await send(sender, body, **{"Content-Encoding": "gzip"}), "bad_request")
    assert "can't be unpacked" in found["detail"]
    assert await messages(sender) == []


async def test_a_bomb_ends_at_the_limit(sender: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b"\n" * (100 * MIB))
    assert len(bomb) < MIB
    answer = await send(sender, bomb, **{"Content-Encoding": "gzip"})
    found = problem(answer, "body_too_large")
    assert str(MIB) in found["detail"]


async def test_an_empty_body_that_is_declared_as_compressed_is_empty(
    sender: httpx.AsyncClient,
) -> None:
    for body in (b"", gzip.compress(b"")):
        problem(await send(sender, body, **{"Content-Encoding": "gzip"}), "malformed_json")


async def test_a_key_repeats_the_answer_for_the_same_bytes(sender: httpx.AsyncClient) -> None:
    body = gzip.compress(lines(log("once"), log("more")), mtime=0)
    headers = {"Content-Encoding": "gzip", "Idempotency-Key": "k-1"}
    first = await send(sender, body, **headers)
    again = await send(sender, body, **headers)
    assert first.status_code == again.status_code == 201
    assert again.json() == {"accepted": 2}
    assert again.headers["idempotency-replayed"] == "true"
    assert await messages(sender) == ["once", "more"]
    other = await send(sender, lines(log("once"), log("more")), **{"Idempotency-Key": "k-1"})
    problem(other, "idempotency_key_reused")
    # A wrong body stores nothing under its key.
    headers["Idempotency-Key"] = "k-2"
    wrong = gzip.compress(lines(log("")))
    found = problem(await send(sender, wrong, **headers), "validation_failed")
    assert found["errors"][0]["message"].startswith("line 1: ")
    assert (await send(sender, body, **headers)).status_code == 201
