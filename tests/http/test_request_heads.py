"""Heads of requests that could be understood in two ways, and bodies with wrong framing."""

import json
import re

import httpx
import pytest
from fastapi import FastAPI

from config.settings import Settings
from tests.http.heads import BAD_CHUNKS, HEADS, HOST, LONG_FRAMES, ORIGIN
from tests.http.raw import Wire, is_problem, received
from tests.support.clients import token_of_first_start
from tests.support.http import all_rows, make_project, manager_of, new_project, problem
from tests.support.routes import calls
from tests.support.servers import RunningServer

NO_NAMES = ("1%2F2", "1%2f2", "%2F", "a%2Fb%2fc")


async def test_an_encoded_slash_is_refused_on_every_route(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    before = all_rows(manager_of(application))
    for call in calls(application):
        paths = [re.sub(r"\{\w+\}", text, call.template) for text in NO_NAMES]
        paths.append(
            re.sub(r"\{\w+\}", "1", call.template.replace("/", "%2f").replace("%2f", "/", 1))
        )
        for path in (path for path in paths if "%" in path):
            for sender in (client, stranger):
                response = await sender.request(call.method, path)
                problem(response, "bad_request")
    assert all_rows(manager_of(application)) == before


async def test_an_encoded_slash_is_refused_where_there_is_no_route(
    client: httpx.AsyncClient,
) -> None:
    for method in ("GET", "HEAD", "OPTIONS", "TRACE", "POST"):
        for path in ("/nowhere%2f", "/docs%2f", "/api%2Fprojects", "/%2f"):
            assert (await client.request(method, path)).status_code == 400


async def test_a_secret_is_not_revealed_through_an_encoded_slash(
    client: httpx.AsyncClient, application: FastAPI
) -> None:
    await make_project(client, secrets=[{"key": "K", "value": "v"}])
    before = all_rows(manager_of(application))
    for path in ("/api/projects%2f1%2fsecrets%2fK%2fvalue", "/api/projects/1%2Fsecrets/K/value"):
        problem(await client.get(path), "bad_request")
    assert all_rows(manager_of(application)) == before
    assert (await client.get("/api/projects/1/secrets/K/value")).json()["value"] == "v"


async def test_other_escapes_are_what_they_stand_for_once(client: httpx.AsyncClient) -> None:
    await make_project(client, github_owner="acme", github_repo="first")
    path = "/api/projects/by-repo"
    assert (await client.get(f"{path}/%61cme/f%69rst")).status_code == 200
    # `%25` is a percent sign, and the result is not decoded again.
    for repo in ("%252F", "a%252Fb", "%5C", "%2e%2e", "%25"):
        problem(await client.get(f"{path}/acme/{repo}"), "project_not_found")


async def test_dots_and_empty_names_lead_nowhere(server: RunningServer, token: str) -> None:
    for path in (
        *("/api/../api/projects", "/api/./projects", "//api/projects", "/api//projects"),
        *("/health/..", "/docs/../api/projects", "/nowhere/%2e%2e/api/projects"),
    ):
        with Wire(server, token) as wire:
            wire.head("GET", path)
            assert wire.answer().status == 404, path


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The usual settings, with a front end on another origin."""
    return settings.model_copy(update={"cors_origins": (ORIGIN,)})


@pytest.fixture
def token(server: RunningServer, settings: Settings) -> str:
    """The admin token."""
    assert server.url
    return token_of_first_start(settings)


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_can_be_read_in_two_ways_is_refused(shared: RunningServer, kind: str) -> None:
    data, status, code = HEADS[kind]
    for at_once in (True, False):
        answer = received(shared, data, at_once=at_once)
        assert (answer.status, answer.document["code"]) == (status, code)
        assert is_problem(answer)
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("kind", HEADS)
def test_what_follows_a_refused_head_is_no_request(shared: RunningServer, kind: str) -> None:
    data, status, _ = HEADS[kind]
    with Wire(shared) as wire:
        wire.send(data + HEALTH * 3)
        assert wire.answer().status == status
        assert wire.rest() == b""


@pytest.mark.parametrize("coding", ["identity", "gzip", "xchunked", "chunked;q=1"])
def test_a_coding_that_is_not_known_is_named(shared: RunningServer, coding: str) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: %s\r\n\r\n" % coding.encode()
    detail = received(shared, head + b"2\r\n{}\r\n0\r\n\r\n").document["detail"]
    assert detail == "the only Transfer-Encoding accepted is chunked, in HTTP/1.1"


def test_what_is_in_order_is_answered(shared: RunningServer) -> None:
    for data in (
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a_b.test:80\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: a.test:\r\n\r\n",
        b"GET http://a.test/health?x HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET HTTP://a.test:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /health?" + b"x" * 65_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 65_000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + HOST + b"Accept: a/b\r\nAccept: c/d\r\n\r\n",
    ):
        for at_once in (True, False):
            assert received(shared, data, at_once=at_once).status == 200, data[:80]


def test_an_absolute_url_without_a_path_is_that_of_the_root(shared: RunningServer) -> None:
    answer = received(shared, b"GET https://a.test?x=/ HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.document["errors"][0]["pointer"] == "/query/x"


def test_an_absolute_url_without_a_host_header_is_no_host(shared: RunningServer) -> None:
    for hosts in (b"", HOST * 2):
        answer = received(shared, b"GET http://a.test/health HTTP/1.1\r\n" + hosts + b"\r\n")
        assert answer.status == 400


def test_a_page_can_read_why_its_head_is_refused(shared: RunningServer) -> None:
    for kind in ("two tokens", "an encoded slash", "a query of 70 kB", "a header of 100 kB"):
        head, _, _ = HEADS[kind]
        data = head.replace(HOST, HOST + f"Origin: {ORIGIN}\r\n".encode(), 1)
        answer = received(shared, data)
        assert 400 <= answer.status < 500
        assert answer.headers["access-control-allow-origin"] == ORIGIN


HEALTH = b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKS = b"Transfer-Encoding: chunked\r\n"
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(token: str, framing: bytes) -> bytes:
    """The head of a request with a body, including its last empty line."""
    lines = (
        *(b"POST /api/projects HTTP/1.1", HOST.strip(), b"Origin: " + ORIGIN.encode()),
        *(b"Authorization: Bearer " + token.encode(), b"Content-Type: application/json"),
    )
    return b"\r\n".join(lines) + b"\r\n" + framing + b"\r\n"


@pytest.mark.parametrize("kind", LONG_FRAMES)
def test_what_chunks_have_besides_data_is_bounded(shared: RunningServer, kind: str) -> None:
    head = post(token_of_first_start(shared.app.state.settings), CHUNKS)
    data = head + LONG_FRAMES[kind] + HEALTH
    for size in (len(data), 5000):
        with Wire(shared) as wire:
            for begin in range(0, len(data), size):
                wire.send(data[begin : begin + size])
            answer = wire.answer()
            assert (answer.status, answer.document["code"]) == (431, "headers_too_large")
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            assert wire.rest() == b""


@pytest.mark.parametrize("kind", BAD_CHUNKS)
def test_a_bad_chunk_is_answered_and_the_connection_closed(
    shared: RunningServer, kind: str
) -> None:
    token = token_of_first_start(shared.app.state.settings)
    head = b"POST /api/projects HTTP/1.1\r\n%sOrigin: %s\r\nAuthorization: Bearer %s\r\n" % (
        *(HOST, ORIGIN.encode(), token.encode()),
    )
    before = all_rows(manager_of(shared.app))["projects"]
    for parts in ((head + CHUNKED + BAD_CHUNKS[kind],), (head + CHUNKED, BAD_CHUNKS[kind])):
        with Wire(shared) as wire:
            for part in parts:
                wire.send(part)
            answer = wire.answer()
            assert (answer.status, answer.document["code"]) == (400, "bad_request")
            assert "chunk" in answer.document["detail"]
            assert is_problem(answer)
            assert answer.headers["connection"] == "close"
            assert answer.headers["access-control-allow-origin"] == ORIGIN
            # Bytes that follow are not treated as a request.
            wire.send(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
            with pytest.raises((ConnectionError, ValueError)):
                wire.answer()
    assert all_rows(manager_of(shared.app))["projects"] == before


def test_a_bad_chunk_is_answered_on_every_route(server: RunningServer, token: str) -> None:
    before = all_rows(manager_of(server.app))
    for call in calls(server.app):
        path = re.sub(r"\{\w+\}", "1", call.template)
        with Wire(server, token) as wire:
            wire.head(call.method, path, "Content-Type: application/json", *_CHUNKED)
            wire.send(b"zz\r\n")
            answer = wire.answer()
            # A route that reads no body may answer before the body arrives.
            assert answer.status == 400 or call.scope is None, str(call)
    for table, rows in all_rows(manager_of(server.app)).items():
        assert rows == before[table] or table == "api_tokens", table


_CHUNKED = ("Transfer-Encoding: chunked",)


def test_what_comes_behind_a_body_is_no_header(server: RunningServer, token: str) -> None:
    with Wire(server) as wire:
        wire.head("POST", "/api/projects", "Content-Type: application/json", *_CHUNKED)
        wire.send(b"0\r\nAuthorization: Bearer " + token.encode() + b"\r\n\r\n")
        assert wire.answer().status == 401
    with Wire(server, token) as wire:
        wire.head("POST", "/api/projects", *_CHUNKED)
        wire.chunks([b"{}"], end=False)
        wire.send(b"0\r\nContent-Type: application/json\r\n\r\n")
        assert wire.answer().status == 415


def test_a_request_before_the_broken_one_is_answered(server: RunningServer, token: str) -> None:
    for broken in (b"NONSENSE\r\n\r\n", b"GET / HTTP/1.1\r\nX: " + b"x" * 700_000):
        body = json.dumps(new_project()).encode()
        with Wire(server, token) as wire:
            wire.send(
                b"POST /api/projects HTTP/1.1\r\n%sAuthorization: Bearer %s\r\nContent-Type: "
                b"application/json\r\nContent-Length: %d\r\n\r\n%s%s"
                % (HOST, token.encode(), len(body), body, broken)
            )
            assert wire.answer().status == 201
            # The rest may be answered, and ends the connection.
            assert wire.rest().count(b"HTTP/1.1 ") <= 1


def test_nothing_is_answered_twice(server: RunningServer) -> None:
    with Wire(server) as wire:
        wire.head("POST", "/api/projects", "Content-Type: application/json", *_CHUNKED)
        # The answer comes before the body.
        assert wire.answer().status == 401
        wire.send(b"zz\r\n")
        with pytest.raises(ConnectionError):
            wire.answer()
