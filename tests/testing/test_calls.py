"""Where the calls for tests exist, who may use them, and how strict they are."""

import stat
from pathlib import Path

import pytest

from backend.http.state import state_of
from backend.main import create_app
from tests.support.clients import bearer, client_of
from tests.testing.conftest import ForTests, MakeSettings

CALLS = ("/testing/reset", "/testing/clock", "/testing/faults")
UNKNOWN = "/testing/unknown"


@pytest.mark.parametrize(
    "given",
    [
        {"environment": "development"},
        {"environment": "production"},
        {"host": "0.0.0.0"},  # noqa: S104 - not a loopback address, on purpose
        {"host": "strongroom.example.com"},
    ],
    ids=["development", "production", "any address", "a name"],
)
async def test_other_servers_have_no_such_path(
    given: dict[str, str], make_settings: MakeSettings, tmp_path: Path
) -> None:
    app = create_app(make_settings(tmp_path / "data", **given))
    async with app.router.lifespan_context(app), client_of(app, base_url="http://localhost") as c:
        answers = [await c.post(path, json={}) for path in (UNKNOWN, *CALLS)]
        answers += [await c.get(path) for path in (UNKNOWN, *CALLS)]
        told = {
            (answer.status_code, answer.json()["code"], answer.json()["detail"])
            for answer in answers
        }
        assert len(told) == 1
        assert told.pop()[:2] == (404, "not_found")
    assert not (tmp_path / "data" / "testing.token").exists()
    assert not app.user_middleware


def test_no_document_names_them(for_tests: ForTests) -> None:
    with for_tests.server.client() as client:
        assert not [
            path for path in client.get("/openapi.json").json()["paths"] if "testing" in path
        ]
        assert client.get("/testing/reset").headers["Allow"] == "POST"


@pytest.mark.parametrize("path", CALLS)
def test_the_token_of_the_file_is_needed(for_tests: ForTests, path: str) -> None:
    admin = (for_tests.data_dir / "admin.token").read_text(encoding="ascii").strip()
    with for_tests.server.client() as client:
        for authorization in (
            b"",
            f"Bearer {admin}".encode(),
            f"Bearer {for_tests.token[:-1]}".encode(),
            f"Basic {for_tests.token}".encode(),
            b"Bearer \xe9",
        ):
            answer = client.post(path, json={}, headers={b"Authorization": authorization})
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
            assert "testing.token" in answer.json()["detail"]


def test_the_token_opens_nothing_else(for_tests: ForTests) -> None:
    with for_tests.server.client(for_tests.token) as client:
        assert client.get("/api/projects").status_code == 401


@pytest.mark.parametrize("path", CALLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "strongroom.example.com"},
        {"Origin": "https://example.com"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_pages_of_others_are_refused(
    for_tests: ForTests, path: str, headers: dict[str, str]
) -> None:
    answer = for_tests.call(path.rpartition("/")[2], {}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_the_token_is_made_at_each_start_for_the_owner_alone(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path / "data")
    file = settings.data_dir / "testing.token"
    tokens = set()
    for _ in range(2):
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            tokens.add(file.read_text(encoding="ascii"))
    assert len(tokens) == 2


async def test_a_store_of_another_server_is_never_emptied(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    ordinary = make_settings(tmp_path / "data", environment="development")
    app = create_app(ordinary)
    async with app.router.lifespan_context(app):
        pass
    admin = (ordinary.data_dir / "admin.token").read_text(encoding="ascii").strip()
    app = create_app(make_settings(ordinary.data_dir))
    async with app.router.lifespan_context(app):
        token = (ordinary.data_dir / "testing.token").read_text(encoding="ascii").strip()
        async with client_of(app, token, base_url="http://localhost") as client:
            answer = await client.post("/testing/reset")
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "--data-dir" in answer.json()["detail"]
            assert (await client.post("/testing/faults", json={})).status_code == 200
        async with client_of(app, admin) as client:
            assert (await client.get("/api/me")).status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "pointer"),
    [
        ("reset", {"all": True}, ""),
        ("clock", {}, ""),
        ("clock", {"reset": True, "move_seconds": 1}, ""),
        ("clock", {"reset": False}, "/reset"),
        ("clock", {"move_seconds": "1"}, "/move_seconds"),
        ("clock", {"move_seconds": 1e300}, "/move_seconds"),
        ("clock", {"move_seconds": 1e12}, "/move_seconds"),
        ("clock", {"at": "2030-01-01T00:00:00"}, "/at"),
        ("clock", {"at": "9999-01-01T00:00:00Z"}, "/at"),
        ("clock", {"at": "0001-01-01T00:00:00Z"}, "/at"),
        ("clock", {"now": 1}, "/now"),
        ("faults", {"fail_next_commits": -1}, "/fail_next_commits"),
        ("faults", {"disk_full": 1}, "/disk_full"),
        ("faults", {"lose_next_answers": True}, "/lose_next_answers"),
        ("faults", {"slow_ms": 60_001}, "/slow_ms"),
        ("faults", {"other": 1}, "/other"),
        ("faults", [], ""),
    ],
)
def test_bodies_are_read_strictly(
    for_tests: ForTests, name: str, body: object, pointer: str
) -> None:
    answer = for_tests.call(name, body)
    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("name", ["reset", "clock", "faults"])
def test_they_take_no_query(for_tests: ForTests, name: str) -> None:
    body: object = None if name == "reset" else {}
    answer = for_tests.call(name, body, params={"all": "1"})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/all")


def test_a_body_must_be_json(for_tests: ForTests) -> None:
    for options, code in (
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, "malformed_json"),
        ({"content": b"{}"}, "unsupported_media_type"),
        ({}, "malformed_json"),
    ):
        assert for_tests.call("clock", **options).json()["code"] == code


def test_an_idempotency_key_is_ignored(for_tests: ForTests) -> None:
    key = {"Idempotency-Key": "same"}
    tokens = {for_tests.call("reset", headers=key).json()["token"] for _ in range(2)}
    assert len(tokens) == 2


def test_they_take_no_slot_and_have_no_limit(for_tests: ForTests) -> None:
    state = state_of(for_tests.server.app)
    before = dict(state.queues)
    try:
        state.queues.clear()
        assert for_tests.change("faults")["slow_ms"] == 0
    finally:
        state.queues.update(before)


async def test_a_store_without_tokens_is_emptied_too(
    make_settings: MakeSettings, tmp_path: Path
) -> None:
    settings = make_settings(tmp_path / "data", auth="off")
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app, base_url="http://localhost") as c:
        body = {"name": "p", "github_owner": "o", "github_repo": "r"}
        for _ in range(2):
            token = (settings.data_dir / "testing.token").read_text(encoding="ascii").strip()
            answer = await c.post("/testing/reset", headers=bearer(token))
            assert answer.status_code == 200, answer.text
            assert (await c.get("/api/projects")).json()["projects"] == []
            assert (await c.post("/api/projects", json=body)).json()["id"] == 1
