"""Suites of other programs, as the text of their modules."""

SYNC = """
import json, time, urllib.error, urllib.request
from datetime import UTC, datetime, timedelta

import pytest


def ask(server, token, path, body=None):
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, headers)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())


PROJECT = {"name": "p", "github_owner": "o", "github_repo": "r"}


@pytest.mark.parametrize("turn", range(2))
def test_each_test_has_an_empty_store(strongroom_server, strongroom_admin_token, turn):
    assert ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)["id"] == 1


def test_tokens(strongroom_server, strongroom_admin_token, strongroom_token):
    ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
    token = strongroom_token(["projects:read"], projects=[1])
    me = ask(strongroom_server, token, "/api/me")
    assert (me["scopes"], me["project_ids"]) == (["projects:read"], [1])


def test_the_clock(strongroom_server, strongroom_clock, strongroom_admin_token):
    before = datetime.now(UTC)
    assert strongroom_clock.move(timedelta(days=2)) - before >= timedelta(days=2)
    assert strongroom_clock.set(datetime(2040, 1, 1, tzinfo=UTC)).year == 2040
    made = ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
    assert made["created_at"].startswith("2040-01-01T")
    assert strongroom_clock.reset().year < 2040
    with pytest.raises(ValueError, match="give a time with a zone"):
        strongroom_clock.set(datetime(2040, 1, 1))
    strongroom_clock.set(datetime(2040, 1, 1, tzinfo=UTC))


def test_faults(strongroom_server, strongroom_faults, strongroom_admin_token):
    def refused(code):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
        with refusal.value as answer:
            return json.loads(answer.read())["code"] == code

    strongroom_faults.fail_next_commit()
    assert refused("database_busy")
    strongroom_faults.disk_full()
    assert refused("database_full")
    strongroom_faults.disk_full(False)
    strongroom_faults.lose_next_answer()
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        ask(strongroom_server, strongroom_admin_token, "/api/projects", PROJECT)
    assert len(ask(strongroom_server, strongroom_admin_token, "/api/projects")["projects"]) == 1
    strongroom_faults.slow(30)
    began = time.monotonic()
    ask(strongroom_server, strongroom_admin_token, "/api/projects")
    assert time.monotonic() - began >= 0.03


def test_no_fault_and_no_time_is_left(strongroom_server):
    token = strongroom_server.reset()
    made = ask(strongroom_server, token, "/api/projects", PROJECT)
    assert not made["created_at"].startswith("2040")
"""
"""Each fixture but those with the client."""

FAILING = """
def test_fails(strongroom_server, strongroom_token):
    strongroom_token(["projects:read"])
    assert strongroom_server.url == "elsewhere"


def test_wrong_scope(strongroom_token):
    strongroom_token(["everything"])


def test_without_the_server():
    assert False
"""
"""Failures, of which only those with the server show its log."""

CLIENT = """
import logging

import pytest
from strongroom import AsyncClient, DatabaseBusy

LOUD = logging.getLogger("program")
VALUE = "a value that \\"must\\" stay private"


async def test_the_client_and_the_project(strongroom_client, strongroom_project):
    assert isinstance(strongroom_client, AsyncClient)
    assert strongroom_project.id == 1
    assert await strongroom_client.projects.get(1) == strongroom_project


async def test_another_store(strongroom_client, strongroom_leaks):
    assert [one async for one in strongroom_client.projects.list()] == []


async def test_a_fault_that_the_client_gets_over(strongroom_client, strongroom_faults):
    strongroom_faults.fail_next_commit()
    strongroom_faults.lose_next_answer()
    made = await strongroom_client.projects.create(name="n", github_owner="o", github_repo="r")
    assert made.id == 1


async def test_nothing_leaks(strongroom_client, strongroom_project, strongroom_leaks, tmp_path):
    secrets = strongroom_client.secrets
    await secrets.put(strongroom_project.id, "API_KEY", value=VALUE)
    assert dict(await secrets.reveal(strongroom_project.id)) == {"API_KEY": VALUE}
    LOUD.warning("all is well")
    (tmp_path / "notes").write_text("nothing")
"""
"""The client, and a test without leaks."""

LEAKING = """
import logging

import pytest

VALUE = "a value that \\"must\\" stay private"


@pytest.fixture(autouse=True)
async def stored(strongroom_client, strongroom_project):
    await strongroom_client.secrets.put(1, "API_KEY", value=VALUE)


async def test_line(strongroom_leaks):
    logging.getLogger("program").warning("the key is %s", VALUE)


async def test_file(strongroom_leaks, tmp_path):
    (tmp_path / "notes").write_text(VALUE)


async def test_answer(strongroom_leaks, strongroom_client):
    # The webhook's URL is no secret, and an answer shows it.
    url = "https://example.com/" + VALUE.replace(" ", "%20").replace('"', "%22")
    await strongroom_client.projects.update(1, webhook_url=url)


async def test_what_is_left_of_an_earlier_test_is_not_its_own(strongroom_leaks):
    pass
"""
"""Tests that leak, and one that does not."""

ASYNC = """
import asyncio

import pytest

loops = set()


@pytest.fixture(scope="module")
def seen():
    return set()


async def test_one(strongroom_server, strongroom_admin_token, strongroom_clock, strongroom_faults):
    assert asyncio.get_running_loop()
    assert strongroom_admin_token.startswith("sr_1_")


async def test_two(strongroom_admin_token, seen):
    assert strongroom_admin_token not in seen
    seen.add(strongroom_admin_token)
"""
"""Coroutines on the event loop of a plugin."""

SENDING = """
import base64, json, logging, urllib.parse

import pytest

VALUE = "a long \\"value\\" to be found"


async def in_project(client):
    await client.projects.create(
        name="n", github_owner="o", github_repo="r", secrets={"API_KEY": VALUE}
    )
    await client.projects.delete(2, purge=True)


async def in_list(client):
    await client.secrets.update(1, {"API_KEY": VALUE})
    await client.secrets.delete(1, "API_KEY", purge=True)


async def in_dotenv(client):
    await client.secrets.import_dotenv(1, f"# keys\\nexport API_KEY='{VALUE}'\\n")
    await client.secrets.delete(1, "API_KEY", purge=True)


async def in_webhook(client):
    await client.webhooks.create(
        1,
        webhook_type="custom",
        webhook_url="https://example.com/",
        events=["push"],
        secret_token=VALUE,
    )


async def by_another_client(client):
    token = client._transport.options.headers["Authorization"].removeprefix("Bearer ")
    async with type(client)(client.url, token) as other:
        await other.secrets.put(1, "API_KEY", value=VALUE)


@pytest.mark.parametrize(
    "form",
    [
        VALUE,
        json.dumps(VALUE),
        urllib.parse.quote(VALUE, safe=""),
        base64.b64encode(VALUE.encode()).decode(),
        "",
    ],
    ids=["plain", "json", "url", "base64", "nothing"],
)
@pytest.mark.parametrize("send", [in_project, in_list, in_dotenv, in_webhook, by_another_client])
async def test_sent(strongroom_client, strongroom_project, strongroom_leaks, send, form):
    await send(strongroom_client)
    logging.getLogger("program").warning("logged: %s", form)
"""
"""Every way to send a secret, and every form in which its value may be logged."""
