"""Which values are looked for: those that the project's secrets have at the moment of storing."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from backend.errors import ProjectNotFound
from backend.schemas.logs import LogEntry
from backend.schemas.secrets import SecretUpsert
from backend.services.base import UseCases, unit_of_work
from backend.services.database_service import DatabaseService
from backend.services.redaction import redactor
from tests.redaction.encodings import KEY, MARKER
from tests.redaction.support import SECRETS, leaks, put
from tests.support.api import Api, open_api
from tests.support.clocks import SetClock
from tests.support.logs import log, messages, send

FIRST, SECOND = "the first value", "the second value"


async def stored(api: Api) -> str:
    """How a log with both values is stored."""
    await send(api, log(f"{FIRST}, {SECOND}", project_id=1))
    return (await messages(api))[0]


async def test_the_present_value_counts(api: Api) -> None:
    assert await stored(api) == f"{FIRST}, {SECOND}"
    await put(api, value=FIRST)
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await put(api, value=SECOND)
    assert await stored(api) == f"{FIRST}, {MARKER}"
    await api.post(f"{SECRETS}/{KEY}/rollback", {"version": 1})
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await api.call("DELETE", f"{SECRETS}/{KEY}", status=204)
    assert await stored(api) == f"{FIRST}, {SECOND}"
    await api.post(f"{SECRETS}/{KEY}/restore")
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await api.call("DELETE", f"{SECRETS}/{KEY}?purge=true", status=204)
    assert await stored(api) == f"{FIRST}, {SECOND}"
    await api.post(SECRETS, {"key": KEY, "value": SECOND}, 201)
    assert await stored(api) == f"{FIRST}, {MARKER}"
    await api.call("PUT", f"{SECRETS}/{KEY}", {"value": FIRST})
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await api.call("DELETE", f"{SECRETS}/{KEY}/versions/5", status=204)
    assert await stored(api) == f"{FIRST}, {SECOND}"


async def test_a_new_project_has_its_secrets(api: Api) -> None:
    id = await api.new_project("other", secrets=[{"key": "NEW", "value": FIRST}])
    await send(api, log(FIRST, project_id=id), log(FIRST, project_id=1))
    assert await messages(api) == [FIRST, "[secret:NEW]"]


async def test_a_deleted_project_keeps_its_secrets_and_a_purged_one_has_none(api: Api) -> None:
    await put(api, value=FIRST)
    await stored(api)
    await api.call("DELETE", "/api/projects/1", status=204)
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await api.call("DELETE", "/api/projects/1?purge=true", status=204)
    known = api.service.secrets.kit.redactor
    assert 1 not in known._known
    assert known._bytes == sum(patterns.bytes for patterns in known._known.values())


async def test_values_are_found_after_a_rotation_of_keys(api: Api) -> None:
    await put(api, value=FIRST)
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await api.service.rotation.begin(reencrypt=True)
    await api.service.rotation.run()
    assert await stored(api) == f"{MARKER}, {SECOND}"
    await put(api, value=SECOND)
    assert await stored(api) == f"{FIRST}, {MARKER}"


class Steps(UseCases):
    """Several use cases in one unit."""

    def __init__(self, service: DatabaseService) -> None:
        super().__init__(service.secrets.kit)
        self._service = service

    async def set(self, value: str, **fields: Any) -> None:
        secret = SecretUpsert(key=KEY, value=SecretStr(value), **fields)
        await self._service.secrets.upsert(1, [secret])

    async def log(self) -> None:
        entry = LogEntry.model_validate(log(f"{FIRST}, {SECOND}", project_id=1))
        await self._service.logs.append([entry])

    @unit_of_work
    async def set_and_log(self, *values: str, fails: bool = False) -> None:
        """A log before the first value, and one after each."""
        await self.log()
        for value in values:
            await self.set(value)
            await self.log()
        if fails:
            raise ProjectNotFound


async def test_a_secret_that_the_transaction_has_set_counts(api: Api) -> None:
    steps = Steps(api.service)
    await steps.set_and_log(FIRST, SECOND)
    expected = [f"{FIRST}, {MARKER}", f"{MARKER}, {SECOND}", f"{FIRST}, {SECOND}"]
    assert await messages(api) == expected
    assert await stored(api) == f"{FIRST}, {MARKER}"


async def test_a_secret_that_was_rolled_back_does_not_count(api: Api) -> None:
    steps = Steps(api.service)
    for before in (f"{FIRST}, {SECOND}", f"{MARKER}, {SECOND}"):
        with pytest.raises(ProjectNotFound):
            await steps.set_and_log(SECOND, fails=True)
        assert await stored(api) == before
        await put(api, value=FIRST)
    # What was rolled back is not remembered for the next one with as many entries.
    with pytest.raises(ProjectNotFound):
        await steps.set_and_log(SECOND, fails=True)
    await steps.set_and_log("neither of both")
    assert (await messages(api))[:2] == [f"{FIRST}, {SECOND}", f"{MARKER}, {SECOND}"]


async def test_an_unreadable_secret_is_passed_over(api: Api, database_path: Path) -> None:
    await put(api, value=FIRST)
    damage = (
        "ciphertext = 'x'",
        "ciphertext = CAST(x'ff80' AS TEXT)",
        "ciphertext = substr(ciphertext, 1, 20)",
        "key_name = CAST(x'ff' AS TEXT)",
        "key_name = ''",
        "version = -9223372036854775808",
        "updated_at = ''",
    )
    for number in range(len(damage)):
        await put(api, f"OTHER_{number}", f"{SECOND}{number}" if number < 6 else "x" * 12)
    with sqlite3.connect(database_path) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        for number, change in enumerate(damage):
            db.execute(
                f"UPDATE project_secrets SET {change} WHERE key_name = ?",  # noqa: S608
                (f"OTHER_{number}",),
            )
    assert await stored(api) == f"{MARKER}, {SECOND}"
    for number in range(6):
        await send(api, log(f"{SECOND}{number}", project_id=1))
        assert (await messages(api))[0] == f"{SECOND}{number}"


async def test_a_project_whose_key_is_unreadable_has_logs(database_path: Path) -> None:
    async with open_api(database_path, SetClock()) as api:
        await api.new_project("payments")
        await put(api, value=FIRST)
    with sqlite3.connect(database_path) as db:
        db.execute("UPDATE project_keys SET wrapped = 'x'")
    async with open_api(database_path, SetClock()) as api:
        assert await stored(api) == f"{FIRST}, {SECOND}"


async def test_the_newest_secrets_of_very_many_are_looked_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redactor, "MOST_SECRETS", 2)
    for key, value in (("OLD", "the oldest value"), ("A", FIRST), ("B", SECOND)):
        await put(api, key, value)
    assert await stored(api) == "[secret:A], [secret:B]"
    await send(api, log("the oldest value", project_id=1))
    assert (await messages(api))[0] == "the oldest value"
    monkeypatch.setattr(redactor, "MOST_BYTES", 1)
    await put(api, "B", f"{SECOND}!")
    assert await stored(api) == f"{FIRST}, {SECOND}"
    await send(api, log(f"{SECOND}!", project_id=1))
    assert (await messages(api))[0] == "[secret:B]"


async def test_memory_is_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [
        await api.new_project(f"p{number}", secrets=[{"key": "A", "value": FIRST}])
        for number in range(8)
    ]
    known = api.service.secrets.kit.redactor
    for most, of_projects in ((3, 2**30), (100, 10_000)):
        monkeypatch.setattr(redactor, "MOST_PROJECTS", most)
        monkeypatch.setattr(redactor, "MOST_BYTES", of_projects)
        for id in ids:
            await send(api, log(FIRST, project_id=id))
            assert (await messages(api, limit=1)) == ["[secret:A]"]
        assert ids[-1] in known._known
        assert 1 < len(known._known) < 8
        assert known._bytes == sum(patterns.bytes for patterns in known._known.values())
        assert len(known._known) <= most
        assert known._bytes <= of_projects
    monkeypatch.setattr(redactor, "MOST_BYTES", 1)
    await send(api, log(FIRST, project_id=ids[0]))
    assert list(known._known) == [ids[0]]
    await put(api, value=FIRST)
    assert len(await leaks(api)) == 8
