"""The tables of settings and of secrets."""

import pytest

from backend.errors import SecretExists
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.project_secrets_repository import SecretRow, StoredSecret
from database.errors import ForeignKeyViolation, InvalidValue, UniqueViolation
from models import Project, ProjectSecret
from tests.repositories.project_keys import add_key, as_it_is
from tests.support.clocks import SetClock


async def test_a_project_without_settings_has_none(
    repositories: Repositories, project: Project
) -> None:
    assert await repositories.settings.get_by_project_id(project.id) is None
    assert await repositories.settings.get_by_project_id(99) is None


async def test_settings_are_made_and_changed_by_the_same_call(
    repositories: Repositories, project: Project, clock: SetClock
) -> None:
    settings = repositories.settings
    made = await settings.upsert(project.id, {"planning_statement": "p"})
    assert (made.planning_statement, made.branch_name, made.version) == ("p", "main", 1)
    assert made.created_at == made.updated_at == clock.text()
    assert await settings.get_by_project_id(project.id) == made
    later = clock.advance()
    changed = await settings.upsert(project.id, {"setup_commands": "s", "branch_name": "b"})
    assert changed == made.model_copy(
        update={"setup_commands": "s", "branch_name": "b", "version": 2, "updated_at": later}
    )
    cleared = await settings.upsert(project.id, {"planning_statement": None})
    assert (cleared.planning_statement, cleared.setup_commands) == (None, "s")
    again = await settings.upsert(project.id, {})
    assert (again.setup_commands, again.version) == ("s", 4)
    assert await settings.count() == 1


async def test_settings_of_no_project_are_refused(repositories: Repositories) -> None:
    with pytest.raises(ForeignKeyViolation):
        await repositories.settings.upsert(99, {})
    with pytest.raises(InvalidValue):
        await repositories.settings.upsert(1, {"version": 7})
    assert await repositories.settings.count() == 0


@pytest.fixture
async def key_id(repositories: Repositories, project: Project) -> int:
    """The id of the project's key."""
    await repositories.keys.add_canary("master", "canary")
    return await add_key(repositories, project.id, "master")


async def add(repositories: Repositories, key_id: int, name: str) -> ProjectSecret:
    return await repositories.secrets.add(
        1, name, project_key_id=key_id, ciphertext=f"sealed {name}"
    )


async def test_a_secret_comes_with_the_key_that_it_is_under(
    repositories: Repositories, key_id: int
) -> None:
    made = await add(repositories, key_id, "A")
    assert (made.version, made.ciphertext, made.project_key_id) == (1, "sealed A", key_id)
    stored = await repositories.secrets.get(1, "A")
    assert stored is not None
    assert stored.secret == made
    assert (stored.key.id, stored.key.project_id, stored.key.wrapped) == (key_id, 1, "wrapped")
    assert "sealed" not in repr(stored)
    assert "wrapped'" not in repr(stored)


async def test_what_is_not_there_is_none(repositories: Repositories, key_id: int) -> None:
    await add(repositories, key_id, "A")
    for project_id, name in ((1, "B"), (2, "A"), (1, "a")):
        assert await repositories.secrets.get(project_id, name) is None
        assert await repositories.secrets.remove(project_id, name) is False
    assert await repositories.secrets.rows_of(1, []) == {}
    assert await repositories.secrets.rows_of(2, ["A"]) == {}


async def test_a_key_is_added_once(repositories: Repositories, key_id: int) -> None:
    made = await add(repositories, key_id, "A")
    with pytest.raises(SecretExists):
        await add(repositories, key_id, "A")
    with pytest.raises(ForeignKeyViolation):
        await repositories.secrets.add(99, "A", project_key_id=key_id, ciphertext="c")
    with pytest.raises(ForeignKeyViolation):
        await repositories.secrets.add(1, "B", project_key_id=99, ciphertext="c")
    assert await repositories.secrets.list() == [made]


async def test_a_value_is_replaced_from_the_version_before_it_only(
    repositories: Repositories, key_id: int, clock: SetClock
) -> None:
    made = await add(repositories, key_id, "A")
    replace = repositories.secrets.replace
    for version in (1, 3, 0):
        assert (
            await replace(made.id, version=version, project_key_id=key_id, ciphertext="x") is None
        )
    later = clock.advance()
    replaced = await replace(made.id, version=2, project_key_id=key_id, ciphertext="new")
    assert replaced == made.model_copy(
        update={"ciphertext": "new", "version": 2, "updated_at": later}
    )
    assert await replace(made.id, version=2, project_key_id=key_id, ciphertext="late") is None
    assert await replace(99, version=2, project_key_id=key_id, ciphertext="x") is None


async def test_many_are_replaced_whichever_key_they_were_under(
    repositories: Repositories, key_id: int, clock: SetClock
) -> None:
    for name in ("A", "B", "C", "D"):
        await add(repositories, key_id, name)
    await repositories.executor.execute(
        "UPDATE project_keys SET retired_at = ? WHERE id = ?", (clock.text(), key_id)
    )
    new = await add_key(repositories, 1, "master")
    later = clock.advance()
    replace_all = repositories.secrets.replace_all
    present = await repositories.secrets.rows_of(1, ["A", "B"])
    await replace_all([(present["B"], new, "B2")])
    present = await repositories.secrets.rows_of(1, ["A", "B"])
    rows = await replace_all([(present[key], new, f"{key}{n}") for key, n in (("A", 2), ("B", 3))])
    assert {row.id: row.values for row in rows} == await repositories.guarded_rows.values(
        SECRETS, [row.id for row in rows if row.id is not None]
    )
    assert {
        item.secret.key_name: (item.secret.version, item.secret.ciphertext, item.key.id)
        for item in await repositories.secrets.all_of(1)
    } == {
        "A": (2, "A2", new),
        "B": (3, "B3", new),
        "C": (1, "sealed C", key_id),
        "D": (1, "sealed D", key_id),
    }
    stored = await repositories.secrets.get(1, "B")
    assert stored is not None
    assert stored.secret.updated_at == later


async def test_any_number_is_replaced_wherever_the_rows_are(
    repositories: Repositories, key_id: int, clock: SetClock
) -> None:
    names = [f"K{number}" for number in range(40)]
    for name in names:
        await add(repositories, key_id, name)
    # Neighbours in one order, neighbours in another, and rows far from one another.
    for some in (names[:35], names[20:3:-1], names[::7], names[:1]):
        before = await repositories.secrets.rows_of(1, names)
        clock.advance()
        texts = {name: f"{name} at {clock.text()}" for name in some}
        rows = await repositories.secrets.replace_all(
            [(before[name], key_id, text) for name, text in texts.items()]
        )
        expected = {
            name: row._replace(
                ciphertext=texts[name], updated_at=clock.text(), version=row.version + 1
            )
            if name in texts
            else row
            for name, row in before.items()
        }
        assert await repositories.secrets.rows_of(1, names) == expected
        assert [row.values for row in rows] == [expected[name] for name in some]


async def test_many_are_found_by_their_keys(repositories: Repositories, key_id: int) -> None:
    for name in ("A", "B", "C"):
        await add(repositories, key_id, name)
    found = await repositories.secrets.rows_of(1, ["C", "A", "absent"])
    assert sorted(found) == ["A", "C"]
    row = found["C"]
    stored = await repositories.secrets.get(1, "C")
    assert stored is not None
    assert (row.id, row.key_name, row.ciphertext) == (stored.secret.id, "C", "sealed C")
    assert "sealed" not in repr(row)
    assert SecretRow._fields == SECRETS.columns


async def test_pages_are_newest_first(repositories: Repositories, key_id: int) -> None:
    names = [f"K{number}" for number in range(7)]
    for name in names:
        await add(repositories, key_id, name)
    everything = await repositories.secrets.all_of(1)
    assert [item.secret.key_name for item in everything] == names[::-1]
    for limit in (1, 3, 7, 50):
        seen: list[StoredSecret] = []
        after = None
        while True:
            page = await repositories.secrets.page(1, as_it_is, limit=limit, after=after)
            seen += page.items
            after = page.next_position
            if after is None:
                break
        assert seen == everything
    assert await repositories.secrets.all_of(2) == []
    assert (await repositories.secrets.page(2, as_it_is, limit=5, after=None)).items == []


async def test_a_removed_secret_is_gone(repositories: Repositories, key_id: int) -> None:
    first = await add(repositories, key_id, "A")
    assert await repositories.secrets.remove(1, "A") is True
    assert await repositories.secrets.get(1, "A") is None
    # Its ciphertext was bound to its id, so the id is not used again.
    assert (await add(repositories, key_id, "A")).id > first.id


async def test_no_project_key_has_the_id_of_another_one(
    repositories: Repositories, project: Project, clock: SetClock
) -> None:
    keys = repositories.keys
    await keys.add_canary("master", "canary")
    first = await add_key(repositories, project.id, "master")
    with pytest.raises(UniqueViolation):
        await add_key(repositories, project.id, "master")
    await repositories.executor.execute(
        "UPDATE project_keys SET retired_at = ? WHERE id = ?", (clock.text(), first)
    )
    second = await add_key(repositories, project.id, "master")
    assert await keys.current_project_key(project.id) == (second, project.id, "wrapped")
    assert [key.id for key in await keys.project_keys_of(project.id)] == [first, second]
    assert await keys.project_keys_of(99) == []
    await repositories.projects.purge(project.id)
    assert await keys.next_project_key_id() > second > first
