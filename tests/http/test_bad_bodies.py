"""Invalid bodies, sent to every call that reads one.

Each is answered with a problem document, stores nothing, and appears in no answer and no log.
"""

import gzip
import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from backend.errors import ERROR_TABLE
from backend.routes import POLICIES
from tests.support.http import JSON, all_rows, manager_of, new_project, problem
from tests.support.routes import Call, all_calls, make_something_of_everything

SENTINEL = "hunter2-sentinel"
MALFORMED, INVALID = frozenset({"malformed_json"}), frozenset({"validation_failed"})
ANY_TYPE = ("application/json; charset=utf-8", "application/vnd.x+json", "APPLICATION/JSON")
WRONG_TYPES = (
    "text/plain",
    "text/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/jsonx",
    "application/x/y+json",
    "json",
    "application/octet-stream",
    "*/*",
    "",
    SENTINEL,
)

RAW: dict[str, tuple[bytes, frozenset[str]]] = {
    "nothing": (b"", MALFORMED),
    "white space": (b" \n\t ", MALFORMED),
    "a raw NUL": (b'{"%s\0": 1}', MALFORMED),
    "a raw control character": (b'{"a": "%s\x01"}', MALFORMED),
    "a NUL behind the text": (b'{"a": "%s"}\0', MALFORMED),
    "an escaped NUL in a name": (b'{"%s\\u0000": 1}', INVALID),
    "a high surrogate alone": (b'{"a": "%s\\ud800"}', MALFORMED),
    "a low surrogate alone": (b'{"a": "%s\\uDFFF"}', MALFORMED),
    "surrogates in the wrong order": (b'{"a": "%s\\udc00\\ud800"}', MALFORMED),
    "a surrogate in a name": (b'{"%s\\ud800": 1}', MALFORMED),
    "a surrogate in UTF-8": (b'{"a": "%s\xed\xa0\x80"}', MALFORMED),
    "invalid UTF-8": (b'{"a": "%s\xff"}', MALFORMED),
    "overlong UTF-8": (b'{"a": "%s\xc0\xaf"}', MALFORMED),
    "cut UTF-8": (b'{"a": "%s\xf0\x9f"}', MALFORMED),
    "latin-1": ('{"a": "%s\u00e9"}'.encode("latin-1"), MALFORMED),
    "UTF-16": ('{"a": "%s"}'.encode("utf-16"), MALFORMED),
    "a byte order mark": (b'\xef\xbb\xbf{"a": "%s"}', MALFORMED),
    "NaN": (b'{"%s": NaN}', MALFORMED),
    "Infinity": (b'{"%s": Infinity}', MALFORMED),
    "-Infinity": (b'{"%s": -Infinity}', MALFORMED),
    "a bare NaN": (b"NaN", MALFORMED),
    "a repeated key": (b'{"a": "%s", "a": "%s"}', MALFORMED),
    "a repeated key that escapes hide": (b'{"a": "%s", "\\u0061": 1}', MALFORMED),
    "a repeated key far inside": (b'{"a": [{"b": {"c": 1, "c": "%s"}}]}', MALFORMED),
    "a repeated key that is ignored": (b'{"id": "%s", "id": 1}', MALFORMED),
    "arrays without end": (b"[" * 100_000, MALFORMED),
    "deep arrays": (b"[" * 100_000 + b"]" * 100_000, MALFORMED),
    "deep objects": (b'{"%s":' * 10_000 + b"1" + b"}" * 10_000, MALFORMED),
    "5000 digits": (b'{"%s": ' + b"9" * 5000 + b"}", MALFORMED),
    "5000 digits that are ignored": (b'{"id": ' + b"9" * 5000 + b"}", MALFORMED),
    "1e400": (b'{"a": [1e400, "%s"]}', INVALID),
    "past 64 bits": (b'{"a": ["%s", 9223372036854775808]}', INVALID),
    "cut off": (b'{"a": "%s"', MALFORMED),
    "a comma too many": (b'{"a": "%s",}', MALFORMED),
    "single quotes": (b"{'a': '%s'}", MALFORMED),
    "a comment": (b'{"a": "%s"} // x', MALFORMED),
    "two documents": (b'{"a": "%s"}{}', MALFORMED),
    "a form": (b"key=%s&value=1", MALFORMED),
    "a list": (b'["%s"]', INVALID),
    "an empty list": (b"[]", INVALID),
    "a string": (b'"%s"', INVALID),
    "a number": (b"1", INVALID),
    "a huge number": (b"1e400", INVALID),
    "true": (b"true", INVALID),
    "null": (b"null", INVALID),
    "an unknown field": (b'{"unknown": "%s"}', INVALID),
    "an unknown name": (b'{"%s !": 1}', INVALID),
    "a hundred thousand unknown fields": (
        b"{" + b",".join(b'"%d": 1' % number for number in range(100_000)) + b"}",
        frozenset({"validation_failed", "body_too_large"}),
    ),
}


class Sender:
    """Makes every call with the same body, and checks the result."""

    def __init__(self, client: httpx.AsyncClient, log: io.StringIO) -> None:
        self.client = client
        self.log = log
        self.calls = [
            call
            for call in all_calls()
            if call.takes_body and call.template.startswith(("/api/projects", "/api/agent-runs"))
        ]

    async def refused(
        self,
        codes: frozenset[str],
        content: bytes,
        *,
        headers: dict[str, str] = JSON,
        calls: list[Call] | None = None,
    ) -> None:
        """Every call answers with one of `codes`, and repeats nothing."""
        for call in self.calls if calls is None else calls:
            response = await self.client.request(
                call.method, call.path(), content=content, headers=headers
            )
            code = response.json().get("code")
            assert code in codes, f"{call}: {response.text}"
            problem(response, code)
            assert SENTINEL not in response.text, call
            assert SENTINEL not in str(response.headers), call
        assert SENTINEL not in self.log.getvalue()


@pytest.fixture
async def any_sender(client: httpx.AsyncClient, log: io.StringIO) -> Sender:
    """A sender for an application with one of everything."""
    await make_something_of_everything(client)
    return Sender(client, log)


@pytest.fixture
def sender(any_sender: Sender, application: FastAPI) -> Iterator[Sender]:
    """A sender whose bodies must not store anything."""
    before = all_rows(manager_of(application))
    yield any_sender
    assert all_rows(manager_of(application)) == before


def test_the_calls_that_write_are_known() -> None:
    writing = {str(call) for call in all_calls() if call.takes_body}
    assert {
        "POST /api/projects",
        "PUT /api/projects/{project_id}",
        "PATCH /api/projects/{project_id}",
        "PUT /api/projects/{project_id}/configuration",
        "PATCH /api/projects/{project_id}/configuration",
        "POST /api/projects/{project_id}/secrets",
        "PUT /api/projects/{project_id}/secrets",
        "PUT /api/projects/{project_id}/secrets/{key}",
    } <= writing


@pytest.mark.parametrize("codes", [MALFORMED, INVALID], ids=["malformed", "invalid"])
async def test_what_is_no_request_is_refused(sender: Sender, codes: frozenset[str]) -> None:
    for kind, (raw, expected) in RAW.items():
        if codes <= expected:
            content = raw.replace(b"%s", SENTINEL.encode())
            # Some calls work without a body.
            optional = kind in ("nothing", "null")
            calls = [call for call in sender.calls if call.needs_body or not optional]
            await sender.refused(expected, content, calls=calls)


async def test_json_must_be_declared(sender: Sender) -> None:
    code = frozenset({"unsupported_media_type"})

    body = json.dumps({"unknown": SENTINEL}).encode()
    for declared in WRONG_TYPES:
        # Some calls take another type besides.
        kind = declared.partition(";")[0].strip().lower()
        calls = [c for c in sender.calls if kind not in c.operation["requestBody"]["content"]]
        assert len(calls) >= len(sender.calls) - 1
        await sender.refused(code, body, headers={"Content-Type": declared}, calls=calls)
    await sender.refused(code, body, headers={})


async def test_a_compressed_body_is_refused_and_named(
    sender: Sender, client: httpx.AsyncClient
) -> None:
    plain = json.dumps({"unknown": SENTINEL}).encode()
    code = frozenset({"unsupported_media_type"})
    for coding in ("gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "identity, gzip", SENTINEL):
        headers = {**JSON, "Content-Encoding": coding}
        # Whether the body is really compressed or not.
        for body in (gzip.compress(plain), plain):
            await sender.refused(code, body, headers=headers)
        response = await client.post("/api/projects", content=plain, headers=headers)
        assert "Content-Encoding" in problem(response, "unsupported_media_type")["detail"]
        assert response.headers["accept-encoding"] == "identity"
    for coding in ("identity", "Identity", "identity, identity", ""):
        await sender.refused(INVALID, plain, headers={**JSON, "Content-Encoding": coding})


async def test_every_call_that_takes_no_body_refuses_one(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await make_something_of_everything(client)
    before = all_rows(manager_of(application))
    tried = 0
    for call in all_calls():
        if call.method != "GET" and not call.takes_body:
            for body in (b'{"dry_run": true}', b"garbage", b"[]"):
                answer = await client.request(call.method, call.path(), content=body, headers=JSON)
                [error] = problem(answer, "validation_failed")["errors"]
                assert error["code"] == "unexpected_body", call
            tried += 1
    assert tried > 5
    assert all_rows(manager_of(application)) == before
    # A body without content is accepted.
    assert (await client.post("/api/projects/1/restore", json={})).status_code == 200


async def test_every_route_with_a_body_refuses_a_compressed_one(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    before = all_rows(manager_of(application))
    tried = 0
    for call in all_calls():
        # Deliveries are signed: see tests/webhooks. For what takes lines, see tests/logs.
        takes_gzip = POLICIES[call.method, call.template].lines is not None
        if call.takes_body and not call.template.endswith("/github") and not takes_gzip:
            response = await client.request(
                *(call.method, call.path()),
                content=gzip.compress(b"{}"),
                headers={**JSON, "Content-Encoding": "gzip"},
            )
            problem(response, "unsupported_media_type")
            tried += 1
    assert tried > 20
    assert all_rows(manager_of(application)) == before


@pytest.mark.shared
@pytest.mark.parametrize(
    ("encoding", "named"),
    [
        ("utf-8-sig", "a byte order mark"),
        ("utf-16", "UTF-16"),
        ("utf-16-le", "UTF-16"),
        ("utf-16-be", "UTF-16"),
        ("utf-32", "UTF-32"),
        ("utf-32-le", "UTF-32"),
        ("utf-32-be", "UTF-32"),
    ],
)
async def test_what_is_wrong_with_the_encoding_is_named(
    client: httpx.AsyncClient, encoding: str, named: str
) -> None:
    for text in (f'{{"name": "{SENTINEL}"}}', f'["{SENTINEL}\u00e9"]', "{}", f" {SENTINEL}"):
        response = await client.post("/api/projects", content=text.encode(encoding), headers=JSON)
        document = problem(response, "malformed_json")
        assert named in document["detail"], (text, document)
        assert SENTINEL not in response.text


async def test_a_mark_inside_a_string_is_a_character(client: httpx.AsyncClient) -> None:
    body = json.dumps(new_project(settings={"planning_statement": "\ufeffa"}), ensure_ascii=False)
    response = await client.post("/api/projects", content=body.encode(), headers=JSON)
    assert response.status_code == 201


async def test_json_may_be_declared_in_these_ways(sender: Sender) -> None:
    body = b'{"unknown": 1}'
    for declared in ANY_TYPE:
        await sender.refused(INVALID, body, headers={"Content-Type": declared})


async def test_a_body_may_not_be_larger_than_is_said(sender: Sender) -> None:
    text = SENTINEL * (2_000_000 // len(SENTINEL))
    body = json.dumps({"name": text}).encode()
    assert len(body) > 1_900_000
    await sender.refused(frozenset({"body_too_large"}), body)
    exact = b'{"unknown": "' + b"x" * (1_048_576 - 15) + b'"}'
    assert len(exact) == 1_048_576
    await sender.refused(INVALID, exact)
    await sender.refused(frozenset({"body_too_large"}), exact + b" ")


async def test_a_declared_length_beyond_counting_is_too_large(sender: Sender) -> None:
    for length in ("9" * 19, "9" * 5000):
        await sender.refused(
            frozenset({"body_too_large"}),
            b"{}",
            headers={**JSON, "Content-Length": length},
        )


WRONG_EVERYWHERE: list[Any] = [
    f"{SENTINEL}\0",
    2**63,
    -(2**63) - 1,
    10**300,
    1.5,
    [[SENTINEL]],
    [{"key": SENTINEL}],
    {"key": {SENTINEL: 1}},
    SENTINEL * 70_000,
]


async def test_no_field_takes_what_can_not_be_stored(sender: Sender) -> None:
    objects = frozenset({"object", "array"})
    for wrong in WRONG_EVERYWHERE:
        for call in sender.calls:
            if not call.template.startswith("/api/projects"):
                continue
            for field, schema in call.body_schema["properties"].items():
                if schema.get("readOnly"):
                    # Ignored, whatever it is.
                    continue
                options = schema.get("anyOf", [schema])
                types = {call.resolved(option).get("type") for option in options}
                if types & objects and isinstance(wrong, dict | list):
                    continue
                body = json.dumps({**call.example, field: wrong}).encode()
                await sender.refused(INVALID | {"body_too_large"}, body, calls=[call])


async def test_every_code_that_was_answered_is_documented_for_its_call(
    any_sender: Sender, client: httpx.AsyncClient
) -> None:
    for call in any_sender.calls:
        for raw, _ in RAW.values():
            if len(raw) > 10_000:
                continue
            response = await client.request(call.method, call.path(), content=raw, headers=JSON)
            assert response.status_code < 500
            if response.status_code >= 400:
                code = response.json()["code"]
                documented = call.responses[str(ERROR_TABLE[code][0])]
                assert f"`{code}`" in documented["description"], f"{call}: {code}"
