"""Unique values, sent in every way, and searched for everywhere.

A value may be returned only by the call that reveals it. It is in no other answer, no header, no
log line and no file, in no readable form.
"""

import base64
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from pydantic import SecretStr

from backend.errors import StrongroomError
from backend.schemas.secrets import SecretCreate
from backend.services.database_service import DatabaseService
from models import MAX_SECRET_BYTES
from tests.http.sentinels import Sentinels, files_in
from tests.support.http import JSON, new_project
from tests.support.processes import Serving, environment


def test_a_value_is_found_in_every_form() -> None:
    sentinels = Sentinels()
    value = sentinels.new("here")
    for hidden in (
        f"x{value}y",
        json.dumps({"a": value}),
        repr({"a": value}),
        base64.b64encode(b"12" + value.encode() + b"3").decode(),
        quote(f"a={value}"),
        value.encode().hex(),
    ):
        assert sentinels.found_in(hidden.encode()) == ["here"], hidden
    assert sentinels.found_in(value[:-1].encode()) == []


TEXT = {"Content-Type": "text/plain"}


class Caller:
    """Sends requests, and keeps all answers except revealed values."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.answers = io.BytesIO()

    def __call__(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer; its headers and body are kept."""
        response = self._client.request(method, path, **request)
        for name, value in response.headers.raw:
            self.answers.write(name + b": " + value + b"\n")
        self.answers.write(response.content + b"\n")
        return response

    def reveal(self, path: str) -> str:
        """The value of a secret; the answer is not kept."""
        value: str = self._client.get(f"{path}/value").json()["value"]
        return value

    def reveal_all(self, path: str) -> dict[str, str]:
        """The values of all secrets; the answers, as JSON and as files, are not kept."""
        for query in ("?format=dotenv", "?format=docker"):
            assert self._client.post(f"{path}/reveal{query}").is_success
        values: dict[str, str] = self._client.post(f"{path}/reveal").json()["secrets"]
        return values


def send_what_is_taken(call: Caller, sentinels: Sentinels) -> None:
    """Send valid values in every possible way, and read each one back."""
    new = sentinels.new
    body = new_project(secrets=[{"key": "MADE", "value": new("POST project")}])
    path = f"/api/projects/{call('POST', '/api/projects', json=body).json()['id']}/secrets"
    call("POST", path, json={"key": "POSTED", "value": new("POST secret")})
    call("POST", path, json={"key": "POSTED", "value": new("POST secret again")})
    call("PUT", f"{path}/PUT", json={"value": new("PUT secret")})
    call("PUT", f"{path}/PUT", json={"value": new("PUT secret again")})
    upsert = [
        {"key": "PUT", "value": new("upsert of an old one")},
        {"key_name": "UPSERTED", "value": new("upsert of a new one")},
    ]
    call("PUT", path, json={"secrets": upsert})
    call("PUT", path, json={"secrets": upsert})
    file = f"PUT='{new('import of an old one')}'\nIMPORTED='{new('import of a new one')}'\n"
    for query in ("?dry_run=true", ""):
        call("POST", f"{path}/import{query}", content=file.encode(), headers=TEXT)
        call("POST", f"{path}/import{query}", json={"dotenv": file})
    webhook = {"webhook_type": "custom", "secret_token": new("POST webhook")}
    hooks = path.replace("/secrets", "/webhooks")
    id = call("POST", hooks, json=webhook).json()["id"]
    call("PATCH", f"/api/webhooks/{id}", json={"secret_token": new("PATCH webhook")})
    call("GET", f"/api/webhooks/{id}")
    keys = ("IMPORTED", "MADE", "POSTED", "PUT", "UPSERTED")
    revealed = {key: call.reveal(f"{path}/{key}") for key in keys}
    assert revealed == call.reveal_all(path)
    assert revealed == {
        "IMPORTED": sentinels.given["import of a new one"],
        "MADE": sentinels.given["POST project"],
        "POSTED": sentinels.given["POST secret"],
        "PUT": sentinels.given["import of an old one"],
        "UPSERTED": sentinels.given["upsert of a new one"],
    }
    call("GET", path)
    call("GET", f"{path}/MADE")
    call("GET", path.replace("/secrets", "/full"))
    call("DELETE", f"{path}/MADE")
    call("DELETE", path.replace("/secrets", ""), params={"purge": "true"})


def send_what_is_refused(call: Caller, sentinels: Sentinels) -> None:
    """Send values in invalid bodies, and in places where no value belongs."""
    new = sentinels.new
    body = new_project(secrets=[{"key": "KEY", "value": "v"}])
    path = f"/api/projects/{call('POST', '/api/projects', json=body).json()['id']}/secrets"
    targets = (("POST", path), ("PUT", path), ("PUT", f"{path}/KEY"), ("POST", "/api/projects"))
    for method, target in targets:
        for kind, wrong in wrong_secrets(f"{method} {target}", sentinels):
            sent: Any = wrong
            if target.endswith("/KEY") and isinstance(wrong, dict):
                sent = {name: value for name, value in wrong.items() if name != "key"}
                if sent == {"value": wrong.get("value")} and kind == "a wrong key":
                    continue
            elif (method, target) == ("PUT", path):
                sent = {"secrets": [{"key": "FINE", "value": new(f"beside {kind}")}, wrong]}
            elif target == "/api/projects":
                sent = new_project(secrets=[wrong])
            response = call(method, target, json=sent)
            assert 400 <= response.status_code < 500, (kind, method, target)
        for kind, raw in malformed(f"{method} {target}", sentinels):
            response = call(method, target, content=raw, headers=JSON)
            assert response.status_code == 400, kind
        value = new(f"{method} {target}: no content type")
        call(method, target, content=json.dumps({"key": "A", "value": value}).encode())
        call(method, target, json={}, headers={"Content-Type": quote(new(f"type {target}"))})
        call(method, target, json={}, params={"value": new(f"query {target}")})
        call(method, target, content=value.encode() * 100_000, headers=JSON)
    send_wrong_files(call, path, sentinels)
    call("GET", f"{path}/{quote(new('path'), safe='')}/value")
    call("GET", f"/{quote(new('unknown path'), safe='')}")
    for name in ("q", "owner", "cursor", "limit", "status", "sort", "unknown"):
        call("GET", "/api/projects", params={name: new(f"query {name}")})
    for scheme in ("Bearer", "Basic", ""):
        token = quote(new(f"token {scheme}"))
        call("GET", "/api/projects", headers={"Authorization": f"{scheme} {token}".strip()})
    call("GET", "/api/projects", headers={"X-Request-ID": quote(new("request id"))})
    call("GET", "/api/projects", headers={"Cookie": quote(new("cookie"))})


def send_wrong_files(call: Caller, path: str, sentinels: Sentinels) -> None:
    """Send files with wrong lines, and a wrong key to reveal."""
    new = sentinels.new
    for query in ("?dry_run=true", ""):
        lines = (new(f"line {query}"), f"A={new(f'NUL {query}')}\0", f"B='{new(f'open {query}')}")
        for file in ("\n".join(lines), *lines):
            assert call("POST", f"{path}/import{query}", json={"dotenv": file}).is_success == (
                query != ""
            )
            sent = call("POST", f"{path}/import{query}", content=file.encode(), headers=TEXT)
            assert sent.is_success == (query != "")
            call("POST", f"{path}/import{query}", content=file.encode("utf-16"), headers=TEXT)
    call("POST", f"{path}/reveal", json={"keys": [new("reveal")]})


def wrong_secrets(target: str, sentinels: Sentinels) -> Iterator[tuple[str, Any]]:
    """Secrets that break a rule, each with a value in them."""

    def new(kind: str) -> str:
        return sentinels.new(f"{target}: {kind}")

    long = new("too long")
    yield "too long", {"key": "A", "value": long * (MAX_SECRET_BYTES // len(long) + 1)}
    yield "a NUL", {"key": "A", "value": new("a NUL") + "\0"}
    yield "a wrong key", {"key": 5, "value": new("a wrong key")}
    yield "a list", {"key": "A", "value": [new("a list")]}
    yield "an object", {"key": "A", "value": {"v": new("an object")}}
    yield "an unknown field", {"key": "A", "value": "v", "unknown": new("an unknown field")}
    yield "an unknown name", {"key": "A", "value": "v", new("an unknown name"): 1}
    yield "only a text", new("only a text")


def malformed(target: str, sentinels: Sentinels) -> Iterator[tuple[str, bytes]]:
    """Bodies that are not JSON, each with a value in them."""
    for kind, raw in (
        ("cut off", '{"key": "A", "value": "%s'),
        ("repeated", '{"value": "%s", "value": "x"}'),
        ("NaN", '{"value": "%s", "key": NaN}'),
        ("surrogate", '{"key": "\\ud800", "value": "%s"}'),
        ("bare", "%s"),
    ):
        value = json.dumps(sentinels.new(f"{target}: {kind}"))[1:-1]
        yield kind, (raw % value).encode()


def test_no_value_is_anywhere_but_where_it_is_asked_for(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    sentinels = Sentinels()
    env = environment(LOG_LEVEL="DEBUG", LOG_FORMAT="json", ENVIRONMENT="development")
    with Serving(directory, env=env) as serving:
        with serving.client() as client:
            call = Caller(client)
            send_what_is_taken(call, sentinels)
            send_what_is_refused(call, sentinels)
            for path in ("/metrics", "/openapi.json", "/ready", "/api/audit", "/api/projects"):
                assert call("GET", path, params={}).status_code == 200
        looked_at = {
            "the answers": call.answers.getvalue(),
            "the log": serving.err.encode(),
            **dict(files_in(directory)),
        }
        assert {"strongroom.db", "strongroom.db-wal", "strongroom.db-shm"} <= looked_at.keys()
        token = serving.token.encode()
        serving.end()
        looked_at["the output"] = "\n".join(serving.lines).encode()
        looked_at["the log to the end"] = serving.err.encode()
        looked_at |= {f"{name} at rest": data for name, data in files_in(directory)}
    assert len(sentinels.given) > 90
    assert looked_at["the log"].count(b"\n") > 100
    for name, data in looked_at.items():
        assert sentinels.found_in(data) == [], name
    # The same holds for the admin token and the master key.
    master_key = (directory / "master.key").read_bytes().strip().partition(b":")[2]
    for name, data in looked_at.items():
        assert name.startswith("admin.token") or token not in data, name
        assert name.startswith("master.key") or master_key not in data, name


async def test_no_error_of_the_service_tells_a_value(
    service: DatabaseService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sentinels = Sentinels()
    value = sentinels.new("service")
    project = await service.create_project_with_settings(
        {"name": "n", "github_owner": "o", "github_repo": "r"}, {}
    )
    secret = SecretCreate(key="A", value=SecretStr(value))
    await service.secrets.create(project.id, secret)
    told: list[str] = [caplog.text, repr(secret), str(secret)]
    attempts = (
        service.secrets.create(project.id, secret),
        service.secrets.create(99, secret),
        service.secrets.put(99, "A", SecretStr(value)),
        service.update_project_secrets(99, [{"key": "A", "value": value}]),
        service.update_project_secrets(project.id, [{"key": "1", "value": value}]),
        service.update_project_secrets(project.id, [{"key": "A", "value": value + "\0"}]),
        service.update_project_secrets(project.id, [{"key": "A", "value": value, "x": value}]),
        service.create_project_with_settings({"name": value, "unknown": value}, {"x": value}),
    )
    for attempt in attempts:
        with pytest.raises(StrongroomError) as caught:
            await attempt
        chain: BaseException | None = caught.value
        while chain is not None:
            told += [str(chain), repr(chain), repr(chain.args), repr(vars(chain))]
            chain = chain.__cause__ or chain.__context__
    assert sentinels.found_in("\n".join(told).encode()) == []
