"""The directories that a start creates are durable."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backend.runtime.backups import BackupFolder
from backend.runtime.installation import DataDirectory


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bool]:
    """Whether a directory was synced."""
    seen: set[int] = set()
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        seen.add(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    return lambda path: path.stat().st_ino in seen


def test_a_new_data_directory_is_named_durably(
    tmp_path: Path, synced: Callable[[Path], bool]
) -> None:
    path = tmp_path / "above" / "data"
    DataDirectory(path).make()
    assert synced(path.parent)
    assert synced(tmp_path)


def test_so_is_one_whose_making_was_cut_short(
    tmp_path: Path, synced: Callable[[Path], bool]
) -> None:
    path = tmp_path / "data"
    path.mkdir()
    DataDirectory(path).make()
    assert synced(tmp_path)


def test_the_folder_of_backups_is_named_durably(
    tmp_path: Path, synced: Callable[[Path], bool]
) -> None:
    BackupFolder(DataDirectory(tmp_path)).new(datetime.now(UTC))
    assert synced(tmp_path)
