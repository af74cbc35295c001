"""Cached answers are never older than the last commit, and never belong to another caller."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from backend.errors import ChangedOutside, ProjectNotFound
from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate, ProjectUpdate
from backend.schemas.secrets import SecretCreate, SecretsUpsert
from backend.services.base import Kit
from backend.services.database_service import DatabaseService
from backend.services.principal import Principal, acting_as
from backend.services.response_cache import MAX_ANSWERS, ResponseCache
from database.changes import any_change
from database.connection_manager import DatabaseManager
from database.sqlite.table_versions import TableVersions
from tests.support.api import KEYS


class Counting:
    """Produces answers and counts them."""

    def __init__(self, answer: bytes = b"{}") -> None:
        self.made = 0
        self.answer = answer

    async def __call__(self) -> bytes:
        self.made += 1
        return self.answer


async def test_an_answer_is_made_once_until_something_changes() -> None:
    versions = TableVersions()
    answers, make = ResponseCache(versions.counting(any_change("a"))), Counting()
    for _ in range(3):
        assert await answers.of(1, make) == b"{}"
    assert make.made == 1
    await answers.of(2, make)
    assert make.made == 2
    with versions.anything():
        await answers.of(1, make)
        await answers.of(1, make)
        assert make.made == 4
    for _ in range(3):
        await answers.of(1, make)
    assert make.made == 5


async def test_what_changed_while_it_was_made_is_not_kept() -> None:
    versions = TableVersions()
    answers, make = ResponseCache(versions.counting(any_change("a"))), Counting()

    async def overtaken() -> bytes:
        with versions.anything():
            pass
        return b"old"

    async def in_the_middle() -> bytes:
        begun.enter_context(versions.anything())
        return b"old"

    assert await answers.of(1, overtaken) == b"old"
    assert await answers.of(1, make) == b"{}"
    with versions.anything():
        pass
    with contextlib.ExitStack() as begun:
        assert await answers.of(1, in_the_middle) == b"old"
    assert await answers.of(1, make) == b"{}"
    assert make.made == 2


async def test_memory_is_bounded() -> None:
    answers = ResponseCache(TableVersions().counting(any_change("a")), max_bytes=1000)
    make = Counting(b"x" * 100)
    for asked in range(15):
        await answers.of(asked, make)
    for asked in range(5, 15):
        await answers.of(asked, make)
    assert make.made == 15
    await answers.of(0, make)
    assert make.made == 16
    large = Counting(b"x" * 1001)
    await answers.of("large", large)
    await answers.of("large", large)
    assert large.made == 2


async def test_many_small_answers_are_bounded_in_number() -> None:
    answers, make = ResponseCache(TableVersions().counting(any_change("a"))), Counting()
    for asked in range(MAX_ANSWERS + 10):
        await answers.of(asked, make)
    assert len(answers._kept) == MAX_ANSWERS
    await answers.of(MAX_ANSWERS + 9, make)
    assert make.made == MAX_ANSWERS + 10


async def test_an_error_is_not_kept() -> None:
    answers = ResponseCache(TableVersions().counting(any_change("a")))

    async def fail() -> bytes:
        raise ProjectNotFound

    with pytest.raises(ProjectNotFound):
        await answers.of(1, fail)
    assert await answers.of(1, Counting()) == b"{}"


async def test_a_caller_in_a_loop_lets_others_run() -> None:
    answers = ResponseCache(TableVersions().counting(any_change("a")))
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    while not stop.is_set():
        await answers.of(1, Counting())


def project(number: int, **fields: Any) -> ProjectCreate:
    return ProjectCreate(name=f"n{number}", github_owner="o", github_repo=f"r{number}", **fields)


def cold(service: DatabaseService) -> DatabaseService:
    """The same service with an empty cache."""
    keys = replace(KEYS, row_digests=service.kit.keys.row_digests)
    return DatabaseService(Kit(service.db_manager, service.kit.vault, keys))


async def everything(service: DatabaseService, ids: list[int]) -> list[object]:
    """Every answer that can be cached, with errors by their codes."""
    found: list[object] = []
    asked: list[Callable[[], Awaitable[bytes]]] = []
    for id in ids:
        asked += [
            lambda id=id: service.projects.get_json(id),  # type: ignore[misc]
            lambda id=id: service.projects.get_settings_json(id),  # type: ignore[misc]
            lambda id=id: service.projects.get_full_json(id),  # type: ignore[misc]
        ]
    asked += [service.projects.page_json, lambda: service.projects.page_json(owner="o", limit=1)]
    for ask in asked:
        try:
            answer = json.loads(await ask())
        except (ProjectNotFound, ChangedOutside) as error:
            answer = error.code
        if isinstance(answer, dict):
            # Each service encrypts its cursors with its own key.
            answer.pop("next_cursor", None)
        found.append(answer)
    return found


async def test_after_every_change_each_kept_answer_equals_a_new_one(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    first = (await service.projects.create(project(1))).id
    second = (await service.projects.create(project(2))).id
    secret = SecretCreate.model_validate({"key": "A", "value": "v"})
    upsert = SecretsUpsert.model_validate({"secrets": [{"key": "B", "value": "w"}]})
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: service.projects.update(first, ProjectUpdate(name="other")),
        lambda: service.repositories.projects.update_webhook_url(first, "https://example.com"),
        lambda: service.projects.update_settings(first, ProjectSettingsUpdate(branch_name="dev")),
        lambda: service.projects.update_settings(
            first, ProjectSettingsUpdate(planning_statement="Plan")
        ),
        lambda: service.secrets.create(first, secret),
        lambda: service.secrets.upsert(first, upsert.secrets),
        lambda: service.secrets.delete(first, "A"),
        lambda: service.projects.delete(second),
        lambda: service.projects.restore(second),
        lambda: service.projects.delete(second),
        lambda: service.projects.purge(second),
        lambda: service.projects.create(project(3)),
        lambda: asyncio.to_thread(
            manager.execute_command, "UPDATE project_keys SET wrapped = 'sr1:A256GCM:gone:AAAA'"
        ),
        lambda: asyncio.to_thread(
            manager.execute_command, "UPDATE project_secrets SET version = 7 WHERE key_name = 'B'"
        ),
        lambda: asyncio.to_thread(manager.execute_command, "DELETE FROM project_settings"),
    ]
    before = await everything(service, [first, second])
    for number, change in enumerate(changes):
        await change()
        after = await everything(service, [first, second])
        assert after == await everything(cold(service), [first, second]), number
        assert after != before, number
        before = after


async def test_no_reader_sees_less_than_what_was_acknowledged(service: DatabaseService) -> None:
    id = (await service.projects.create(project(0))).id
    acknowledged = 0
    writing = True

    async def write() -> None:
        nonlocal acknowledged, writing
        for number in itertools.count(1):
            await service.projects.update(id, ProjectUpdate(name=str(number)))
            acknowledged = number
            if number == 200:
                writing = False
                return

    async def read() -> None:
        last = 0
        while writing:
            known = acknowledged
            seen = json.loads(await service.projects.get_json(id))["name"].removeprefix("n")
            assert int(seen) >= max(known, last)
            last = int(seen)

    await asyncio.gather(write(), *(read() for _ in range(16)))


async def test_a_kept_answer_is_only_for_callers_who_may_see_it(service: DatabaseService) -> None:
    mine = (await service.projects.create(project(1))).id
    other = (await service.projects.create(project(2))).id
    reads = [
        service.projects.get_json,
        service.projects.get_settings_json,
        service.projects.get_full_json,
    ]
    for read in reads:
        await read(other)
    whole = await service.projects.page_json()
    with acting_as(Principal("bound", frozenset({"projects:read"}), 5, frozenset({mine}))):
        for read in reads:
            await read(mine)
            with pytest.raises(ProjectNotFound):
                await read(other)
        listed = json.loads(await service.projects.page_json())["projects"]
        assert [project["id"] for project in listed] == [mine]
    assert await service.projects.page_json() == whole
