"""Heads of requests that could be understood in two ways, and bodies that are framed wrongly."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from backend.main import create_app
from config.settings import Settings
from tests.http.raw import Answer, Wire
from tests.support.clients import token_of_first_start
from tests.support.http import all_rows, make_project, manager_of, new_project, problem
from tests.support.routes import calls
from tests.support.servers import RunningServer

HOST = b"Host: strongroom.test\r\n"
ORIGIN = "https://app.example.com"
NO_NAMES = ("1%2F2", "1%2f2", "%2F", "a%2Fb%2fc")


async def test_an_encoded_slash_is_refused_on_every_route(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient, application: FastAPI
) -> None:
    before = all_rows(manager_of(application))
    for call in calls(application):
        paths = [re.sub(r"\{\w+\}", text, call.path) for text in NO_NAMES]
        paths.append(re.sub(r"\{\w+\}", "1", call.path.replace("/", "%2f").replace("%2f", "/", 1)))
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
    # `%25` is a percent sign, and what comes behind it is not read again.
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
    """As everywhere, with a front end of another origin."""
    return settings.model_copy(update={"cors_origins": (ORIGIN,)})


@pytest.fixture
def token(server: RunningServer, settings: Settings) -> str:
    """The admin's."""
    assert server.url
    return token_of_first_start(settings)


HEADS: dict[str, tuple[bytes, int, str]] = {
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
    "two hosts": (b"GET / HTTP/1.1\r\n" + HOST + b"Host: b.test\r\n\r\n", 400, "bad_request"),
    "one host twice": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400, "bad_request"),
    "two hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\n" + HOST * 2 + b"\r\n", 400, "bad_request"),
    "two hosts in one": (b"GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400, "bad_request"),
    "a host of 10 kB": (
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 10_000 + b"\r\n\r\n",
        *(400, "bad_request"),
    ),
    "a host with a user": (b"GET / HTTP/1.1\r\nHost: a@b.test\r\n\r\n", 400, "bad_request"),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: a.test/b\r\n\r\n", 400, "bad_request"),
    "a host of two words": (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400, "bad_request"),
    "a host with two ports": (b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400, "bad_request"),
    "a port that is no number": (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400, "bad_request"),
    "an open bracket": (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400, "bad_request"),
    "an address without brackets": (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400, "bad_request"),
    "raw bytes in the host": (b"GET / HTTP/1.1\r\nHost: \xc3\xa9\r\n\r\n", 400, "bad_request"),
    "two tokens": (
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n",
        *(400, "bad_request"),
    ),
    "two media types": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Type: a/b\r\nContent-Type: c/d\r\n\r\n",
        *(400, "bad_request"),
    ),
    "two lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        *(400, "bad_request"),
    ),
    "one length twice": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
        *(400, "bad_request"),
    ),
    "a list of lengths": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na",
        *(400, "bad_request"),
    ),
    "a length with a sign": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na",
        *(400, "bad_request"),
    ),
    "a length and chunks": (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "chunks and a length": (
        b"POST / HTTP/1.1\r\n"
        + HOST
        + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "chunks in HTTP/1.0": (
        b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "compressed chunks": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "another coding": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
        *(400, "bad_request"),
    ),
    "almost chunked": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        *(400, "bad_request"),
    ),
    "a folded header": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400, "bad_request"),
    "a bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400, "bad_request"),
    "a bare LF in headers": (b"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, "bad_request"),
    "a bare CR": (b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", 400, "bad_request"),
    "a space before the colon": (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, "bad_request"),
    "a space before the name": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, "bad_request"),
    "a name with brackets": (b"GET / HTTP/1.1\r\n" + HOST + b"X(): 1\r\n\r\n", 400, "bad_request"),
    "no name": (b"GET / HTTP/1.1\r\n" + HOST + b": 1\r\n\r\n", 400, "bad_request"),
    "no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"X\r\n\r\n", 400, "bad_request"),
    "a NUL": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0\r\n\r\n", 400, "bad_request"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400, "bad_request"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
    "a method in small letters": (b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a fragment": (b"GET /health#x HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a user in the URL": (b"GET http://u:p@a/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a URL of another scheme": (
        b"GET ftp://a.test/health HTTP/1.1\r\n" + HOST + b"\r\n",
        *(400, "bad_request"),
    ),
    "a URL without a host": (
        b"GET http:///health HTTP/1.1\r\n" + HOST + b"\r\n",
        400,
        "bad_request",
    ),
    "nothing but a scheme": (b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "no path": (b"GET health HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a tunnel": (b"CONNECT a.test:1 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "an encoded slash": (b"GET /api%2fprojects HTTP/1.1\r\n" + HOST + b"\r\n", 400, "bad_request"),
    "a path of 70 kB": (
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        *(414, "uri_too_long"),
    ),
    "a query of 70 kB": (
        b"GET /health?" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        *(414, "uri_too_long"),
    ),
    "a header of 100 kB": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 100_000 + b"\r\n\r\n",
        *(431, "headers_too_large"),
    ),
    "headers of 100 kB": (
        b"GET /health HTTP/1.1\r\n" + HOST + b"X: x\r\n" * 17_000 + b"\r\n",
        *(431, "headers_too_large"),
    ),
}


def received(server: RunningServer, data: bytes, *, at_once: bool = True) -> Answer:
    """The answer to these bytes, sent at once or in two parts."""
    with Wire(server) as wire:
        if not at_once:
            wire.send(data[: len(data) // 2])
            data = data[len(data) // 2 :]
        wire.send(data)
        return wire.answer()


def is_problem(answer: Answer) -> bool:
    """Whether it is a whole problem document."""
    document = answer.document
    return (
        answer.headers["content-type"] == "application/problem+json"
        and answer.headers["x-request-id"] == document["request_id"]
        and document["status"] == answer.status
        and "x-content-type-options" in answer.headers
    )


@pytest.fixture(scope="module")
def shared(
    database_template: Path, tmp_path_factory: pytest.TempPathFactory, master_keys: str
) -> Iterator[RunningServer]:
    """A server for tests that only read."""
    directory = tmp_path_factory.mktemp("heads")
    (directory / database_template.name).write_bytes(database_template.read_bytes())
    settings = Settings(
        _env_file=None,
        environment="testing",
        data_dir=directory,
        master_keys=SecretStr(master_keys),
        cors_origins=(ORIGIN,),
    )
    with RunningServer(create_app(settings)) as server:
        yield server


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_that_can_be_read_in_two_ways_is_refused(shared: RunningServer, kind: str) -> None:
    data, status, code = HEADS[kind]
    for at_once in (True, False):
        answer = received(shared, data, at_once=at_once)
        assert (answer.status, answer.document["code"]) == (status, code)
        assert is_problem(answer)


@pytest.mark.parametrize("coding", ["identity", "gzip", "xchunked", "chunked;q=1"])
def test_a_coding_that_is_not_known_is_named(shared: RunningServer, coding: str) -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: %s\r\n\r\n" % coding.encode()
    detail = received(shared, head + b"2\r\n{}\r\n0\r\n\r\n").document["detail"]
    assert detail == "the only Transfer-Encoding is chunked, in HTTP/1.1"


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


CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "no size": b"zz\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-1\r\n{}\r\n0\r\n\r\n",
    "a size in C": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size beyond counting": b"fffffffffffffffff\r\n{}",
    "a space behind the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "a bare LF": b"2\n{}\r\n0\r\n\r\n",
    "more than the size": b"2\r\n{}{}\r\n0\r\n\r\n",
    "a bad chunk behind a good one": b"2\r\n{}\r\nxx\r\n\r\n",
    "a bad trailer": b"2\r\n{}\r\n0\r\nX y\r\n\r\n",
}


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
            # Nothing that comes behind it is taken for a request.
            wire.send(b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n")
            with pytest.raises((ConnectionError, ValueError)):
                wire.answer()
    assert all_rows(manager_of(shared.app))["projects"] == before


def test_a_bad_chunk_is_answered_on_every_route(server: RunningServer, token: str) -> None:
    before = all_rows(manager_of(server.app))
    for call in calls(server.app):
        path = re.sub(r"\{\w+\}", "1", call.path)
        with Wire(server, token) as wire:
            wire.head(call.method, path, "Content-Type: application/json", *_CHUNKED)
            wire.send(b"zz\r\n")
            answer = wire.answer()
            # A route that looks at no body may answer before it is there.
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
        # Before its body.
        assert wire.answer().status == 401
        wire.send(b"zz\r\n")
        with pytest.raises(ConnectionError):
            wire.answer()
