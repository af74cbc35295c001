"""Creates an installation in a temporary folder, so that it is either complete or absent."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from backend.runtime.installation import (
    DATABASE_FILE,
    MASTER_KEY_FILE,
    DataDirectory,
    StartRefused,
)
from database.errors import ProcessLockHeld
from database.sqlite.backup import TargetExists, is_leftover, publish, workspace
from database.sqlite.process_lock import ProcessLock, in_use

BACKUPS_FOLDER = "backups"
_LOCK_FILE = f"{DATABASE_FILE}.lock"
_HARMLESS = frozenset({MASTER_KEY_FILE, BACKUPS_FOLDER, _LOCK_FILE})


@contextlib.contextmanager
def empty_directory(
    directory: DataDirectory, *, harmless: frozenset[str] = _HARMLESS
) -> Iterator[Path]:
    """A temporary folder in `directory` for the files of its new installation. The directory is
    locked during the block. Afterwards the folder is removed, and so are the remains of an
    interrupted attempt.

    Creates the directory if it is missing. Raises `StartRefused` when it has anything but
    `harmless` files, and `ProcessLockHeld` when another process uses it.
    """
    directory.require_kinds()
    _require_unused(directory)
    directory.make()
    _require_empty(directory, harmless)
    with _locked(directory), workspace(directory.path) as folder:
        # Another process may have filled the directory before the lock was taken.
        _require_empty(directory, harmless)
        yield folder


@contextlib.contextmanager
def installing(directory: DataDirectory) -> Iterator[Path]:
    """A folder for a complete new installation, which moves into `directory` when the block
    succeeds.

    If the block fails, the directory is as empty as before. Raises the errors of
    `empty_directory`.
    """
    moved: list[Path] = []
    try:
        with empty_directory(directory, harmless=frozenset({_LOCK_FILE})) as folder:
            yield folder
            files = [path for path in folder.iterdir() if path.name != _LOCK_FILE]
            # The database comes last, since the other files without it are not an installation.
            for file in sorted(files, key=lambda path: path.name == DATABASE_FILE):
                put_in_place(file, directory)
                moved.append(directory.path / file.name)
            moved.clear()
    finally:
        for path in moved:
            path.unlink(missing_ok=True)


def put_in_place(file: Path, directory: DataDirectory) -> None:
    """Move a complete file into the directory. Raises `StartRefused` when its name is taken."""
    try:
        publish(file, directory.path / file.name)
    except TargetExists:
        raise _not_empty(directory, file.name, _HARMLESS) from None


def _require_unused(directory: DataDirectory) -> None:
    holder = ProcessLock(directory.database).holder()
    if holder is not None:
        raise ProcessLockHeld(
            f"{in_use(holder, directory.path)}: choose another directory with --data-dir",
            holder or None,
        )


@contextlib.contextmanager
def _locked(directory: DataDirectory) -> Iterator[None]:
    lock = ProcessLock(directory.database)
    lock.acquire()
    try:
        yield
        # The database in place is complete, so the first start need not check the whole file.
        lock.in_order = True
    finally:
        lock.release()


def _require_empty(directory: DataDirectory, harmless: frozenset[str]) -> None:
    try:
        others = sorted(
            path.name
            for path in directory.path.iterdir()
            if path.name not in harmless and not is_leftover(path)
        )
    except OSError as error:
        raise StartRefused(f"{directory.path} can't be read ({error.strerror})") from None
    if others:
        raise _not_empty(directory, others[0], harmless)


def _not_empty(directory: DataDirectory, name: str, harmless: frozenset[str]) -> StartRefused:
    permitted = " and ".join(sorted(harmless - {_LOCK_FILE}, reverse=True))
    which = f", which may hold only {permitted}" if permitted else ""
    return StartRefused(
        f"{directory.path} is not empty ({name}): choose a new directory{which}, with --data-dir"
    )
