"""Frames of the write-ahead log that SQLite would ignore are found in its file."""

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path

import pytest

from database.errors import DatabaseUnavailable
from database.sqlite import log_frames
from database.sqlite.log_frames import lost_frames

HEADER, PAGE = 32, 4096
FRAME = 24 + PAGE


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is being written, so there is no reason to wait."""
    monkeypatch.setattr(log_frames, "_PAUSE_SECONDS", 0)


def written(folder: Path, rows: int = 12) -> Path:
    """A log with some transactions, as a SIGKILL leaves it."""
    path = folder / "source.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL").close()
        connection.execute("PRAGMA wal_autocheckpoint = 0").close()
        connection.execute("CREATE TABLE t (body TEXT)").close()
        for number in range(rows):
            connection.execute("INSERT INTO t VALUES (?)", ("x" * (number * 900),)).close()
        shutil.copyfile(f"{path}-wal", folder / "log")
    return folder / "log"


def flip(log: Path, at: int) -> None:
    """Flip one bit."""
    content = bytearray(log.read_bytes())
    content[at] ^= 1
    log.write_bytes(content)


def place(frame: int, offset: int) -> int:
    """The position of a frame's byte in the file; frames are numbered from 1."""
    return HEADER + (frame - 1) * FRAME + offset


def commits(log: Path) -> list[int]:
    """The numbers of the frames that end a transaction."""
    content = log.read_bytes()
    ends = range(HEADER, len(content), FRAME)
    return [n for n, at in enumerate(ends, 1) if struct.unpack_from(">I", content, at + 4)[0]]


def test_a_log_that_is_whole_has_lost_nothing(tmp_path: Path) -> None:
    assert lost_frames(written(tmp_path)) is None


@pytest.mark.parametrize("offset", [0, 5, 9, 14, 17, 22, 24, 2000, 24 + PAGE - 1])
def test_a_bit_in_any_part_of_any_frame_but_the_last_is_told(tmp_path: Path, offset: int) -> None:
    log = written(tmp_path)
    whole, ends = log.read_bytes(), commits(log)
    for frame in range(1, ends[-1], 3):
        log.write_bytes(whole)
        flip(log, place(frame, offset))
        lost = lost_frames(log)
        behind = sum(end > frame for end in ends)
        assert lost is not None, frame
        assert lost.frame == frame
        # With a changed checksum, a commit in the next frame is verified from the frame before.
        assert lost.transactions == behind
        assert f"frame {frame} of the write-ahead log" in str(lost)


@pytest.mark.parametrize("at", [0, 3, 9, 13, 17, 25, 31])
def test_a_bit_in_the_header_is_told(tmp_path: Path, at: int) -> None:
    log = written(tmp_path)
    flip(log, at)
    lost = lost_frames(log)
    assert lost is not None
    assert lost.frame == 0
    assert lost.transactions >= len(commits(log)) - 1


def test_the_rest_of_one_transaction_may_be_of_a_loss_of_power(tmp_path: Path) -> None:
    log = written(tmp_path)
    before, last = commits(log)[-2:]
    assert last - before > 1
    flip(log, place(before + 1, 100))
    lost = lost_frames(log)
    assert lost is not None
    assert lost.transactions == 1
    assert "or the power failed before the transaction was acknowledged" in str(lost)
    flip(log, place(before + 1, 100))
    flip(log, place(before - 1, 100))
    assert "acknowledged transactions" in str(lost_frames(log))


def test_what_a_cut_leaves_out_can_not_be_known(tmp_path: Path) -> None:
    log = written(tmp_path)
    whole = log.read_bytes()
    for size in (0, 10, HEADER, HEADER + 7, place(2, 0), place(3, 500), len(whole) - 1):
        log.write_bytes(whole[:size])
        assert lost_frames(log) is None
    log.unlink()
    assert lost_frames(log) is None


def test_what_an_earlier_log_or_a_rollback_has_left_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "source.db"
    log = Path(f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in ("journal_mode = WAL", "wal_autocheckpoint = 0", "cache_size = 5"):
            connection.execute(f"PRAGMA {setting}").close()
        connection.execute("CREATE TABLE t (body TEXT)").close()
        for _ in range(40):
            connection.execute("INSERT INTO t VALUES (?)", ("x" * 9000,)).close()
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        # The log starts again over frames that were copied into the database.
        connection.execute("INSERT INTO t VALUES ('short')").close()
        assert lost_frames(log) is None
        connection.execute("BEGIN").close()
        for _ in range(50):
            connection.execute("INSERT INTO t VALUES (?)", ("y" * 9000,)).close()
        connection.execute("ROLLBACK").close()
        size = log.stat().st_size
        connection.execute("INSERT INTO t VALUES ('after')").close()
        assert log.stat().st_size == size
        assert lost_frames(log) is None


def test_a_log_of_a_machine_with_the_other_order_of_bytes_is_read_too(tmp_path: Path) -> None:
    log = written(tmp_path)
    swap_checksums(log)
    assert lost_frames(log) is None
    frames = log.stat().st_size // FRAME
    flip(log, place(3, 1000))
    lost = lost_frames(log)
    assert lost is not None
    assert (lost.frame, lost.transactions) == (3, sum(end > 3 for end in commits(log)))
    # SQLite ends the log at the same frame.
    path = tmp_path / "other.db"
    shutil.copyfile(tmp_path / "source.db", path)
    shutil.copyfile(log, f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        taken = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    assert taken[1] <= 3 < frames


def swap_checksums(log: Path) -> None:
    """Recompute all checksums, over words in the opposite byte order."""
    content = bytearray(log.read_bytes())
    (magic,) = struct.unpack_from(">I", content)
    struct.pack_into(">I", content, 0, magic ^ 1)
    order = ">" if magic & 1 == 0 else "<"
    pair = _checksum(bytes(content[:24]), order, (0, 0))
    struct.pack_into(">2I", content, 24, *pair)
    for at in range(HEADER, len(content), FRAME):
        head, page = bytes(content[at : at + 8]), bytes(content[at + 24 : at + FRAME])
        pair = _checksum(head + page, order, pair)
        struct.pack_into(">2I", content, at + 16, *pair)
    log.write_bytes(content)


def _checksum(content: bytes, order: str, pair: tuple[int, int]) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    first, second = pair
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) % 2**32
        second = (second + other + first) % 2**32
    return first, second


def test_a_log_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match="can't be read"):
        lost_frames(tmp_path)
