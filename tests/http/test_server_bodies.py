"""Bodies over a real connection: without a length, with a wrong length, or never complete."""

import io
import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest

from backend.cli.connections import ConnectionLimits
from config.settings import Settings
from tests.http.raw import Answer, Wire
from tests.support.clients import token_of_first_start
from tests.support.http import all_rows, manager_of, new_project
from tests.support.routes import Call, all_calls
from tests.support.servers import PATIENCE, RunningServer

SENTINEL = b"hunter2-sentinel"
JSON = "Content-Type: application/json"
HEALTH = b"GET /health HTTP/1.1\r\nHost: strongroom.test\r\n\r\n"
HEAD_BYTES, URL_BYTES = ConnectionLimits().head_bytes, ConnectionLimits().url_bytes
ABANDONED = re.compile(r'_count\{.*status="499"\} 1')
WRITING = [
    call
    for call in all_calls()
    if call.method != "GET" and call.template.startswith("/api/projects")
]


@pytest.fixture
def token(server: RunningServer, settings: Settings) -> str:
    """The admin token."""
    assert server.url
    return token_of_first_start(settings)


@pytest.fixture
def client(server: RunningServer, token: str) -> Iterator[httpx.Client]:
    """A client of the server with the admin token, and a project with a secret."""
    with server.client(token) as client:
        body = new_project(secrets=[{"key": "KEY", "value": "v"}])
        assert client.post("/api/projects", json=body).json()["id"] == 1
        yield client


def too_large(answer: Answer) -> None:
    """The answer is a complete problem document with this error."""
    assert (answer.status, answer.document["code"]) == (413, "body_too_large")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.document["request_id"]
    assert SENTINEL not in answer.body


@pytest.mark.usefixtures("client")
def test_two_megabytes_are_refused_with_and_without_a_length(
    server: RunningServer, token: str, log: io.StringIO
) -> None:
    before = all_rows(manager_of(server.app))
    part = SENTINEL * 4096
    parts = [part] * (2_000_000 // len(part))
    for call in WRITING:
        with Wire(server, token) as wire:
            wire.head(call.method, call.path(), JSON, "Transfer-Encoding: chunked")
            wire.chunks(parts)
            too_large(wire.answer())
        with Wire(server, token) as wire:
            wire.head(call.method, call.path(), JSON, "Content-Length: 2000000")
            # The answer comes before the body is sent.
            too_large(wire.answer())
    assert all_rows(manager_of(server.app)) == before
    assert SENTINEL.decode() not in log.getvalue()


@pytest.mark.usefixtures("client")
def test_a_body_without_a_length_is_read_like_any_other(server: RunningServer, token: str) -> None:
    body = json.dumps(new_project(name="in chunks")).encode()
    with Wire(server, token) as wire:
        wire.head("POST", "/api/projects", JSON, "Transfer-Encoding: chunked")
        wire.chunks(body[index : index + 7] for index in range(0, len(body), 7))
        answer = wire.answer()
        assert (answer.status, answer.document["name"]) == (201, "in chunks")
        # The connection stays usable.
        wire.head("GET", "/api/projects/1")
        assert wire.answer().status == 200


@pytest.mark.usefixtures("client")
def test_a_refused_request_leaves_its_connection_in_order(
    server: RunningServer, token: str
) -> None:
    with Wire(server, token) as wire:
        for raw in (b"{", b'{"unknown": 1}', b"[" * 100_000, b"\xff", b" " * 1_048_577):
            wire.head("POST", "/api/projects", JSON, f"Content-Length: {len(raw)}")
            wire.send(raw)
            assert 400 <= wire.answer().status < 500
        wire.head("GET", "/api/projects/1")
        assert wire.answer().document["id"] == 1


@pytest.mark.usefixtures("client")
def test_a_client_that_leaves_in_the_middle_of_a_body_did_nothing_and_is_no_error(
    server: RunningServer, token: str, log: io.StringIO
) -> None:
    before = all_rows(manager_of(server.app))
    calls = [call for call in WRITING if call.takes_body]
    for call in calls:
        _abandon(server, token, call)
    # When all abandoned requests are counted, each one has its log line.
    until = time.monotonic() + PATIENCE
    with server.client() as client:
        metrics = client.get("/metrics").text
        while len(ABANDONED.findall(metrics)) < len(calls):
            assert time.monotonic() < until
            metrics = client.get("/metrics").text
    assert all_rows(manager_of(server.app)) == before
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert {line["level"] for line in lines} <= {"info", "debug"}
    assert 'status="500"' not in metrics
    assert SENTINEL.decode() not in log.getvalue()


def _abandon(server: RunningServer, token: str, call: Call) -> None:
    with Wire(server, token) as wire:
        wire.head(call.method, call.path(), JSON, "Content-Length: 1000")
        wire.send(b'{"name": "' + SENTINEL)


@pytest.mark.usefixtures("client")
def test_bytes_that_are_no_http_do_not_disturb_the_server(
    server: RunningServer, token: str
) -> None:
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/projects HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/projects HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"POST /api/projects HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \0\r\n\r\n",
    ):
        with Wire(server) as wire:
            wire.send(nonsense)
            wire.half_close()
            try:
                assert 400 <= wire.answer().status < 500
            except ConnectionError:
                continue
    with Wire(server, token) as wire:
        wire.head("GET", "/api/projects/1")
        assert wire.answer().status == 200


@pytest.mark.usefixtures("client")
def test_a_query_has_no_raw_bytes(server: RunningServer, token: str) -> None:
    for query in ("q=\u00c3\u00a9", "q=\u00ff"):
        with Wire(server, token) as wire:
            wire.head("GET", f"/api/projects?{query}")
            answer = wire.answer()
            assert answer.status == 400
            if answer.headers["content-type"] == "application/problem+json":
                assert answer.document["code"] == "bad_request"


@pytest.mark.usefixtures("client")
def test_head_has_the_headers_of_get_and_no_body(server: RunningServer, token: str) -> None:
    with Wire(server, token) as wire:
        for path in ("/api/projects/1", "/api/projects/1/secrets/KEY/value", "/api/projects/9"):
            wire.head("GET", path)
            get = wire.answer()
            wire.head("HEAD", path)
            head = wire.answer(head_only=True)
            assert head.status == get.status
            assert head.headers["content-length"] == get.headers["content-length"]
            assert head.headers.get("cache-control") == get.headers.get("cache-control")


def test_the_edge_bounds_what_is_read(client: httpx.Client) -> None:
    exact = b'{"unknown": "' + b"x" * (1_048_576 - 15) + b'"}'
    headers = {"Content-Type": "application/json"}
    assert client.post("/api/projects", content=exact, headers=headers).status_code == 422
    assert client.post("/api/projects", content=exact + b" ", headers=headers).status_code == 413


def test_headers_without_end_are_refused(server: RunningServer) -> None:
    for begun in (b"GET /health HTTP/1.1\r\nX-Long: ", HEALTH + b"GET / HTTP/1.1\r\nX: "):
        with Wire(server) as wire:
            wire.send(begun)
            if begun.startswith(HEALTH):
                assert wire.answer().status == 200
            wire.send(b"x" * (HEAD_BYTES + 1))
            answer = wire.answer()
            assert (answer.status, answer.document["code"]) == (431, "headers_too_large")
            assert str(HEAD_BYTES) in answer.document["detail"]


def test_a_url_without_end_is_refused(server: RunningServer) -> None:
    for before in (b"", HEALTH):
        with Wire(server) as wire:
            wire.send(before + b"GET /")
            if before:
                assert wire.answer().status == 200
            wire.send(b"x" * (URL_BYTES + 1))
            answer = wire.answer()
            assert (answer.status, answer.document["code"]) == (414, "uri_too_long")
            assert str(URL_BYTES) in answer.document["detail"]


def test_trailers_without_end_are_refused(server: RunningServer, token: str) -> None:
    with Wire(server, token) as wire:
        # The answer to the expectation shows that the request is being served.
        wire.head(
            *("POST", "/api/projects", JSON, "Transfer-Encoding: chunked", "Expect: 100-continue")
        )
        assert wire.answer().status == 100
        wire.chunks([b"{}"], end=False)
        wire.send(b"0\r\nX-Long: ")
        for _ in range(8):
            wire.send(b"x" * HEAD_BYTES)
        answer = wire.answer()
        assert (answer.status, answer.document["code"]) == (431, "headers_too_large")
        with pytest.raises(ConnectionError):
            wire.answer()


def test_many_small_chunks_are_no_headers(server: RunningServer, token: str) -> None:
    body = json.dumps(new_project(settings={"planning_statement": "x" * 30_000})).encode()
    with Wire(server, token) as wire:
        wire.head("POST", "/api/projects", JSON, "Transfer-Encoding: chunked")
        wire.chunks(body[index : index + 1] for index in range(len(body)))
        assert wire.answer().status == 201
