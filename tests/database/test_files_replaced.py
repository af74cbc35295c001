"""Files of an open database that are removed, replaced or overwritten: no further commit is
acknowledged."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from database.connection_manager import DatabaseManager
from database.errors import DatabaseClosed, DatabaseError, FilesReplaced
from database.sqlite import writer
from tests.database.engine import adding, make_database, names, outcomes

NAME = "engine.db"


def removed(file: Path) -> None:
    """Remove the file."""
    file.unlink()


def renamed(file: Path) -> None:
    """Rename the file."""
    file.rename(file.with_name("elsewhere"))


def replaced(file: Path) -> None:
    """Put a copy in the file's place, as `mv` and editors do."""
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    copy.replace(file)


def recreated(file: Path) -> None:
    """Put an empty file in its place."""
    file.unlink()
    file.touch()


def emptied(file: Path) -> None:
    """Remove the content, as `>` does in a shell."""
    os.truncate(file, 0)


def looped(file: Path) -> None:
    """Put a symbolic link to itself in its place."""
    file.unlink()
    file.symlink_to(file.name)


def directory_renamed(file: Path) -> None:
    """Rename the directory."""
    file.parent.rename(file.parent.with_name("renamed"))


def directory_replaced(file: Path) -> None:
    """Put a copy of the directory in its place."""
    directory_renamed(file)
    shutil.copytree(file.parent.with_name("renamed"), file.parent)


def directory_removed(file: Path) -> None:
    """Remove the directory and its files."""
    shutil.rmtree(file.parent)


def overwritten_by_itself(file: Path) -> None:
    """Write the same content again, as `cp` does when it restores a copy."""
    file.write_bytes(file.read_bytes())


def overwritten_by_another(file: Path) -> None:
    """Write another database's content into the file, as `cp` and `rsync --inplace` do."""
    other = file.parent / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE others AS SELECT randomblob(9000)")
        connection.commit()
        file.write_bytes(other.with_name(other.name + file.name.removeprefix(NAME)).read_bytes())


def patched(file: Path) -> None:
    """Overwrite its beginning with zeros, as `dd conv=notrunc` does."""
    with file.open("r+b") as stream:
        stream.write(bytes(512))


def halved(file: Path) -> None:
    """Cut off half of it."""
    os.truncate(file, file.stat().st_size // 2)


def grown(file: Path) -> None:
    """Append zeros."""
    os.truncate(file, file.stat().st_size + 4096)


class Watched:
    """An open manager that records why it stopped writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.errors: list[DatabaseError] = []
        self.manager = DatabaseManager(path, on_poison=self.errors.append)
        self.pool = self.manager.async_pool


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watched]:
    monkeypatch.setattr(writer, "UNTOLD_SECONDS", 0)
    (tmp_path / "data").mkdir()
    make_database(tmp_path / "data" / NAME)
    watched = Watched(tmp_path / "data" / NAME)
    async with watched.manager:
        await watched.pool.run_unit(adding(watched.pool, "before"))
        yield watched


CHANGES = [
    *((change, suffix) for change in (removed, renamed, replaced) for suffix in ("", "-wal")),
    (recreated, ""),
    (recreated, "-wal"),
    (emptied, ""),
    (emptied, "-wal"),
    (halved, ""),
    (halved, "-wal"),
    (grown, ""),
    (patched, ""),
    (overwritten_by_itself, ""),
    (overwritten_by_another, ""),
    (looped, ""),
    (looped, "-wal"),
    (directory_renamed, ""),
    (directory_replaced, ""),
    (directory_removed, ""),
]


@pytest.mark.parametrize(("change", "suffix"), CHANGES)
async def test_the_next_commit_after_a_change_of_files_is_not_acknowledged(
    watched: Watched, change: Callable[[Path], None], suffix: str
) -> None:
    pool = watched.pool
    change(watched.path.with_name(NAME + suffix))
    results = await outcomes([pool.run_unit(adding(pool, f"after {n}")) for n in range(3)])
    assert all(isinstance(result, DatabaseClosed) for result in results)
    assert isinstance(pool.writer.poisoned, FilesReplaced)
    assert watched.errors == [pool.writer.poisoned]
    assert NAME in str(pool.writer.poisoned)
    for refused in (pool.execute("DELETE FROM items"), pool.writer.checkpoint()):
        with pytest.raises(DatabaseClosed):
            await refused


SEEN_BEFORE_A_COMMIT = [
    *((change, suffix) for change in (removed, replaced, looped) for suffix in ("", "-wal")),
    *((change, "-wal") for change in (emptied, halved)),
    *((change, "") for change in (directory_renamed, directory_replaced, directory_removed)),
]


@pytest.mark.parametrize(("change", "suffix"), SEEN_BEFORE_A_COMMIT)
async def test_a_write_to_files_that_are_gone_is_refused_at_once(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], suffix: str
) -> None:
    # The answer to a commit with an unknown outcome would never come.
    monkeypatch.setattr(writer, "UNTOLD_SECONDS", 10**6)
    change(watched.path.with_name(NAME + suffix))
    async with asyncio.timeout(60):
        with pytest.raises(FilesReplaced):
            await watched.pool.run_unit(adding(watched.pool, "after"))
    assert watched.manager.async_pool.writer.stats.commits == 1


async def test_a_write_to_files_that_are_gone_has_no_effect_on_them(watched: Watched) -> None:
    directory_renamed(watched.path)
    with pytest.raises(FilesReplaced):
        await watched.pool.run_unit(adding(watched.pool, "after"))
    moved = watched.path.parent.with_name("renamed") / NAME
    with closing(sqlite3.connect(moved)) as connection:
        assert connection.execute("SELECT name FROM items").fetchall() == [("before",)]


async def test_a_write_that_was_committed_before_the_files_were_gone_stays_untold(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "UNTOLD_SECONDS", 10**6)
    files = watched.pool.writer._files
    look = files.after_commit

    def remove_and_look() -> int:
        watched.path.unlink()
        return look()

    monkeypatch.setattr(files, "after_commit", remove_and_look)
    write = asyncio.create_task(watched.pool.run_unit(adding(watched.pool, "after")))
    async with asyncio.timeout(60):
        while not watched.errors:
            await asyncio.sleep(0.001)
    assert not write.done()
    write.cancel()


@pytest.mark.parametrize(
    ("change", "suffix"),
    [
        *CHANGES,
        *((change, suffix) for change in (removed, replaced) for suffix in ("-shm", ".lock")),
    ],
)
async def test_a_change_of_files_is_found_without_a_write(
    watched: Watched, change: Callable[[Path], None], suffix: str
) -> None:
    pool = watched.pool
    change(watched.path.with_name(NAME + suffix))
    await pool.look_at_files()
    assert isinstance(pool.writer.poisoned, FilesReplaced)
    with pytest.raises(DatabaseClosed):
        await pool.run_unit(adding(pool, "after"))
    # The callback runs once, in the next turn of the event loop.
    await asyncio.sleep(0)
    assert watched.errors == [pool.writer.poisoned]


async def test_an_interactive_transaction_is_not_acknowledged_either(watched: Watched) -> None:
    async def transaction() -> None:
        async with watched.pool.transaction() as tx:
            await tx.execute("INSERT INTO items (name) VALUES ('after')")
            watched.path.unlink()

    with pytest.raises(FilesReplaced):
        await transaction()
    assert isinstance(watched.pool.writer.poisoned, FilesReplaced)


async def test_what_the_service_does_itself_is_no_change_of_files(watched: Watched) -> None:
    pool = watched.pool
    for number in range(3):
        await pool.execute("INSERT INTO parts (body) VALUES (?)", ("x" * 100_000,))
        assert await pool.writer.checkpoint()
        await pool.run_alone(lambda raw: raw.execute("VACUUM").close())
        with watched.manager.sync_pool.connection(read_only=True) as connection:
            connection.execute("SELECT count(*) FROM items").fetchone()
        await pool.look_at_files()
        await pool.run_unit(adding(pool, f"n{number}"))
    assert watched.errors == []
    assert await names(pool) == ["before", "n0", "n1", "n2"]


async def test_files_that_can_not_be_looked_at_are_no_reason_to_end(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> os.stat_result:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refuse)
        await watched.pool.look_at_files()
        await watched.pool.run_unit(adding(watched.pool, "after"))
    assert watched.errors == []


@pytest.mark.parametrize("change", [patched, overwritten_by_another])
async def test_a_log_whose_beginning_is_written_is_found(
    watched: Watched, change: Callable[[Path], None]
) -> None:
    change(watched.path.with_name(f"{NAME}-wal"))
    await watched.pool.look_at_files()
    assert isinstance(watched.pool.writer.poisoned, FilesReplaced)
    assert f"{NAME}-wal was " in str(watched.pool.writer.poisoned)


async def test_an_index_that_is_shortened_is_found(watched: Watched) -> None:
    await watched.pool.look_at_files()
    index = watched.path.with_name(f"{NAME}-shm")
    content = index.read_bytes()
    halved(index)
    await watched.pool.look_at_files()
    # SQLite has mapped the file into memory, and would not see the rest.
    index.write_bytes(content)
    assert f"{NAME}-shm was shortened" in str(watched.pool.writer.poisoned)


async def test_a_changed_file_is_found_before_a_checkpoint_writes_it(watched: Watched) -> None:
    content = watched.path.read_bytes()
    watched.path.write_bytes(content)
    with pytest.raises(FilesReplaced, match="was written by another program"):
        await watched.pool.writer.checkpoint()
    assert isinstance(watched.pool.writer.poisoned, FilesReplaced)
    assert watched.path.read_bytes() == content


@pytest.mark.parametrize("mode", ["PASSIVE", "FULL", "RESTART", "TRUNCATE"])
@pytest.mark.parametrize("looks", [False, True])
async def test_a_checkpoint_of_another_program_is_no_change_of_files(
    watched: Watched, mode: str, looks: bool
) -> None:
    pool = watched.pool
    for number in range(3):
        await pool.execute("INSERT INTO parts (body) VALUES (?)", ("x" * 20_000,))
        before = watched.path.stat()
        with closing(sqlite3.connect(watched.path)) as connection:
            assert connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0] == 0
        assert watched.path.stat().st_mtime_ns != before.st_mtime_ns
        if looks:
            await pool.look_at_files()
        await pool.run_unit(adding(pool, f"n{number}"))
    assert watched.errors == []
    # Later changes are still noticed.
    overwritten_by_itself(watched.path)
    await pool.look_at_files()
    assert isinstance(pool.writer.poisoned, FilesReplaced)
