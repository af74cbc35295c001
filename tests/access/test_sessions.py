"""Sessions of browsers over HTTP: how they begin, and what they may do."""

import io
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from backend.main import create_app
from config.settings import Settings
from tests.support.browsers import MEANT, PERMITTED, admin_token, sign_in
from tests.support.clients import client_of, new_token, token_of_first_start
from tests.support.http import all_rows, make_project, manager_of, new_project, problem, service_of

COOKIE = re.compile(
    r"(strongroom_session_80)=(srs_\d+_[0-9A-Za-z]{49}); Path=/; Max-Age=(\d+); HttpOnly; "
    r"SameSite=Strict"
)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A permitted origin, and guarded metrics."""
    changes = {"cors_origins": (PERMITTED,), "host": "0.0.0.0"}  # noqa: S104 - no socket
    return settings.model_copy(update=changes)


@pytest.fixture
async def browser(application: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a token and without cookies."""
    async with client_of(application) as browser:
        yield browser


async def test_me_tells_what_the_token_is(
    client: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    project = await make_project(client)
    made = (
        await client.post(
            "/api/tokens",
            json={
                "name": "ci",
                "scopes": ["runs:read", "logs:write"],
                "project_ids": [project["id"]],
                "expires_in": "1d",
            },
        )
    ).json()
    answer = await stranger.get("/api/me", headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.json() == {
        "id": made["id"],
        "name": "ci",
        "scopes": ["logs:write", "runs:read"],
        "project_ids": [project["id"]],
        "expires_at": made["expires_at"],
        "session_expires_at": None,
    }
    assert answer.headers["cache-control"] == "no-store"
    assert (await client.get("/api/me")).json() == {
        "id": 1,
        "name": "admin",
        "scopes": ["admin"],
        "project_ids": None,
        "expires_at": None,
        "session_expires_at": None,
    }


async def test_a_session_begins_with_a_cookie_that_scripts_can_not_read(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    response = await browser.post("/api/session", json={"token": admin_token(application)})
    assert (response.status_code, response.content) == (204, b"")
    [cookie] = response.headers.get_list("set-cookie")
    match = COOKIE.fullmatch(cookie)
    assert match is not None, cookie
    assert match[3] == str(12 * 3600)
    assert admin_token(application) not in cookie
    header = {"Cookie": f"{match[1]}={match[2]}"}
    session = (await browser.get("/api/session", headers=header)).json()
    me = (await browser.get("/api/me", headers=header)).json()
    assert session == me
    assert (me["id"], me["name"], me["scopes"], me["expires_at"]) == (1, "admin", ["admin"], None)
    assert me["session_expires_at"] is not None


@pytest.mark.parametrize(
    ("public_url", "name", "is_secure"),
    [
        (None, "strongroom_session_8000", False),
        ("http://strongroom.example.com", "strongroom_session_8000", False),
        ("https://strongroom.example.com", "__Host-strongroom_session_8000", True),
    ],
)
async def test_the_cookie_is_secure_where_browsers_use_https(
    settings: Settings, public_url: str | None, name: str, is_secure: bool
) -> None:
    app = create_app(settings.model_copy(update={"public_url": public_url}))
    async with (
        app.router.lifespan_context(app),
        client_of(app, base_url="http://strongroom.test:8000") as browser,
    ):
        token = token_of_first_start(settings)
        response = await browser.post("/api/session", json={"token": token})
        cookie = response.headers["set-cookie"]
        assert cookie.startswith(f"{name}=srs_")
        assert cookie.endswith("; Secure") is is_secure
        header = {"Cookie": cookie.partition(";")[0]}
        assert (await browser.get("/api/session", headers=header)).status_code == 200
        own = public_url or "http://strongroom.test:8000"
        header |= {"X-Strongroom-Request": "1", "Origin": own}
        ended = await browser.delete("/api/session", headers=header)
        assert ended.headers["set-cookie"].startswith(f"{name}=; Path=/; Max-Age=0; HttpOnly")


async def test_behind_a_proxy_with_https_the_cookie_has_the_port_of_https(
    settings: Settings,
) -> None:
    app = create_app(settings.model_copy(update={"public_url": "https://strongroom.test"}))
    # The proxy speaks HTTP to the service, and is not trusted to tell of another scheme.
    async with (
        app.router.lifespan_context(app),
        client_of(app, base_url="http://strongroom.test") as browser,
    ):
        token = token_of_first_start(settings)
        response = await browser.post("/api/session", json={"token": token})
        cookie = response.headers["set-cookie"].partition(";")[0]
        assert cookie.startswith("__Host-strongroom_session_443=")
        for _ in range(2):
            answer = await browser.get("/api/session", headers={"Cookie": cookie})
            assert answer.status_code == 200


async def test_a_session_may_do_what_its_token_may_and_nothing_else(
    client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    own, other = [await make_project(client) for _ in range(2)]
    token = await new_token(client, "projects:read", project_ids=[own["id"]])
    session = await sign_in(browser, token)
    listed = (await browser.get("/api/projects", headers=session)).json()["projects"]
    assert [project["id"] for project in listed] == [own["id"]]
    answer = await browser.get(f"/api/projects/{other['id']}", headers=session)
    problem(answer, "project_not_found")
    answer = await browser.patch(
        f"/api/projects/{own['id']}", json={"name": "x"}, headers={**session, **MEANT}
    )
    assert problem(answer, "forbidden")["scope"] == "projects:write"
    problem(await browser.get("/api/tokens", headers=session), "forbidden")


async def test_a_token_wins_over_a_session_even_if_it_is_wrong(
    application: FastAPI, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    session = await sign_in(browser, admin_token(application))
    narrow = await new_token(client, "runs:read")
    both = {**session, "Authorization": f"Bearer {narrow}"}
    assert (await browser.get("/api/me", headers=both)).json()["name"] == "t"
    problem(await browser.get("/api/projects", headers=both), "forbidden")
    for wrong in ("Bearer sr_1_no", "Basic x", "", "Bearer"):
        answer = await browser.get("/api/me", headers={**session, "Authorization": wrong})
        problem(answer, "unauthenticated")
    # A token needs neither a header nor an origin, and has no session to end.
    ended = await browser.delete("/api/session", headers=both)
    assert ended.status_code == 204
    # Otherwise the browser would lose the cookie of a session that goes on.
    assert "set-cookie" not in ended.headers
    assert (await browser.get("/api/session", headers=session)).status_code == 200


async def test_a_cookie_is_no_token_and_a_token_no_cookie(
    application: FastAPI, browser: httpx.AsyncClient
) -> None:
    token = admin_token(application)
    session = await sign_in(browser, token)
    value = session["Cookie"].partition("=")[2]
    for _ in range(2):
        assert (await browser.get("/api/me", headers=session)).status_code == 200
        answer = await browser.get("/api/me", headers={"Authorization": f"Bearer {value}"})
        problem(answer, "unauthenticated")
        answer = await browser.get(
            "/api/me", headers={"Cookie": session["Cookie"].replace(value, token)}
        )
        problem(answer, "unauthenticated")
        problem(await browser.post("/api/session", json={"token": value}), "unauthenticated")


async def test_cookies_of_every_kind(application: FastAPI, browser: httpx.AsyncClient) -> None:
    session = await sign_in(browser, admin_token(application))
    name, _, value = session["Cookie"].partition("=")
    good = (
        f"{name}={value}",
        f"a=b; {name}={value}",
        f"a=b;{name}={value};c",
        f"{name}_2=x; {name}={value}; theme=dark; ;=; =x",
        f"strongroom_session_8000=srs_1_x; {name}={value}",
    )
    bad = (
        f"strongroom_session_81={value}",
        f"{name}0={value}",
        f"__Host-{name}={value}",
        f"{name.upper()}={value}",
        f'{name}="{value}"',
        f"{name}={value}x",
        f"{name}={value[:-1]}",
        f"{name}=",
        name,
        f"{name}={value}, {name}={value}",
        f"{name}={value}; {name}={value}",
        f"{name}=srs_2_x; {name}={value}",
        f"{name}={value}; {name}=srs_2_x",
        f"{name}={'x' * 30_000}",
        f"{name}=srs_{'9' * 18}_{value[6:]}",
        f"{name}=\u00e9\u00ff",
        "; ".join(f"a{number}=b" for number in range(2000)),
    )
    for header in good:
        answer = await browser.get("/api/me", headers={"Cookie": header})
        assert answer.status_code == 200, header
    for header in bad:
        answer = await browser.get("/api/me", headers=[(b"Cookie", header.encode("latin-1"))])
        problem(answer, "unauthenticated")
        assert value[6:20] not in answer.text
    apart: list[tuple[str, str]] = [("Cookie", "a=b"), ("Cookie", f"{name}={value}")]
    assert (await browser.get("/api/me", headers=apart)).status_code == 200
    twice: list[tuple[str, str]] = [("Cookie", f"{name}={value}")] * 2
    detail = problem(await browser.get("/api/me", headers=twice), "unauthenticated")["detail"]
    assert "more than once" in detail


class TestLimits:
    """Wrong tokens and wrong sessions, and a token with few requests."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Few attempts and few requests."""
        changes = {"failed_attempts_per_minute": 3, "token_rate_per_minute": 4}
        return settings.model_copy(update=changes)

    async def test_wrong_ones_are_counted_and_limited(
        self, application: FastAPI, browser: httpx.AsyncClient
    ) -> None:
        service = service_of(application)
        token = admin_token(application)
        wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
        problem(await browser.post("/api/session", json={"token": wrong}), "unauthenticated")
        problem(await browser.post("/api/session", json={"token": ""}), "unauthenticated")
        cookie = {"Cookie": "strongroom_session_80=srs_1_x"}
        problem(await browser.get("/api/me", headers=cookie), "unauthenticated")
        assert service.unknown_tokens.refused == 3
        problem(await browser.post("/api/session", json={"token": wrong}), "rate_limited")
        problem(await browser.get("/api/me", headers=cookie), "rate_limited")
        assert (await browser.post("/api/session", json={"token": token})).status_code == 204

    async def test_a_session_shares_the_limit_of_its_token(
        self, application: FastAPI, browser: httpx.AsyncClient, client: httpx.AsyncClient
    ) -> None:
        session = await sign_in(browser, admin_token(application))
        for _ in range(2):
            assert (await browser.get("/api/me", headers=session)).status_code == 200
        assert (await client.get("/api/me")).status_code == 200
        problem(await client.get("/api/me"), "rate_limited")
        problem(await browser.get("/api/me", headers=session), "rate_limited")


async def test_who_signed_in_is_recorded(
    application: FastAPI, browser: httpx.AsyncClient, client: httpx.AsyncClient
) -> None:
    session = await sign_in(browser, admin_token(application))
    meant = {**session, **MEANT, "X-Request-ID": "the-request"}
    await browser.post("/api/projects", json=new_project(), headers=meant)
    await browser.delete("/api/session", headers=meant)
    entries = (await client.get("/api/audit?actor=admin")).json()["entries"]
    assert [(entry["action"], entry["target"]) for entry in entries] == [
        ("session.ended", "sessions/1"),
        ("settings.created", "projects/1/configuration"),
        ("project.created", "projects/1"),
        ("session.created", "sessions/1"),
    ]
    for entry in entries:
        assert (entry["actor_token_id"], entry["address"]) == (1, "127.0.0.1")
    assert {entry["request_id"] for entry in entries[:3]} == {"the-request"}
    assert (await client.get("/api/tokens/1")).json()["last_used_at"] is not None


async def test_without_authentication_everybody_is_anonymous(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"auth": "off", "host": "127.0.0.1"}))
    async with (
        app.router.lifespan_context(app),
        client_of(app, base_url="http://localhost:8000") as browser,
    ):
        for path in ("/api/me", "/api/session"):
            answer = await browser.get(path, headers={"Cookie": "strongroom_session_8000=x"})
            assert answer.json() == {
                "id": None,
                "name": "anonymous",
                "scopes": ["admin"],
                "project_ids": None,
                "expires_at": None,
                "session_expires_at": None,
            }
        token = token_of_first_start(settings)
        answer = await browser.post("/api/session", json={"token": token})
        assert answer.status_code == 204
        problem(await browser.post("/api/session", json={"token": "no"}), "unauthenticated")
        assert (await browser.delete("/api/session")).status_code == 204


async def test_no_log_line_and_no_row_has_the_cookie(
    application: FastAPI, browser: httpx.AsyncClient, log: io.StringIO
) -> None:
    token = admin_token(application)
    session = await sign_in(browser, token)
    value = session["Cookie"].partition("=")[2]
    secret = value.split("_")[2]
    answers = [
        await browser.get("/api/me", headers=session),
        await browser.get("/api/projects", headers={**session, "Origin": "https://evil.example"}),
        await browser.get("/api/me", headers={"Cookie": session["Cookie"] + "x"}),
        await browser.post("/api/session", json={"token": value}),
        await browser.post("/api/session", json={"token": [value]}),
        await browser.post("/api/session", content=value, headers={"Cookie": value}),
        await browser.delete("/api/session", headers={**session, **MEANT}),
        await browser.get("/api/me", headers=session),
    ]
    stored = str(all_rows(manager_of(application)))
    for text in (log.getvalue(), stored, *(str((a.text, a.headers)) for a in answers)):
        for hidden in (secret, secret[:43], token):
            assert hidden not in text
