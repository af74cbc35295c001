"""An image contains everything that was synced, and of the rest what a disk may have."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.history import History
from tests.faults.images import Disk
from tests.faults.test_trace import hexed
from tests.faults.trace import UnreadableTrace, parse_trace

ROOT = "/disk/data"
FILE = f"{ROOT}/f"
START = [
    f'1 mkdir("{hexed(ROOT)}", 0700) = 0',
    f"1 fsync(9<{hexed('/disk')}>) = 0",
    f'1 openat(AT_FDCWD<{hexed("/")}>, "{hexed(FILE)}", O_RDWR|O_CREAT, 0600) = 3<{hexed(FILE)}>',
    f"1 fsync(9<{hexed(ROOT)}>) = 0",
]
SYNC = f"1 fdatasync(3<{hexed(FILE)}>) = 0"


def put(text: str, at: int, thread: int = 1) -> str:
    return f'{thread} pwrite64(3<{hexed(FILE)}>, "{hexed(text)}", {len(text)}, {at}) = {len(text)}'


def history(*lines: str) -> History:
    return History(Path(ROOT), parse_trace(f"{line}\n" for line in lines))


class Images:
    """The possible contents of a disk after the last of these lines, sampled with many seeds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def of(self, *lines: str, syncs: bool = True) -> Iterator[Path]:
        """The directory `data` of each image."""
        happened = history(*lines)
        for seed in range(60):
            self._count += 1
            parent = self._folder / str(self._count)
            parent.mkdir()
            Disk(happened, len(lines), random.Random(seed), syncs=syncs).write(parent)  # noqa: S311
            yield parent / "data"

    def contents(self, *lines: str, syncs: bool = True) -> set[bytes | None]:
        """The possible contents of the file; `None` when it may be missing."""
        files = [image / "f" for image in self.of(*lines, syncs=syncs)]
        return {file.read_bytes() if file.exists() else None for file in files}


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(tmp_path)


def test_what_was_synced_is_there(images: Images) -> None:
    assert images.contents(*START, put("one", 0), SYNC) == {b"one"}


def test_what_was_not_synced_may_be_missing(images: Images) -> None:
    found = images.contents(*START, put("one", 0), SYNC, put("two", 3))
    assert found == {b"one", b"onetwo"}


def test_a_later_write_may_be_there_without_an_earlier_one(images: Images) -> None:
    found = images.contents(*START, put("a", 0), put("b", 1))
    assert found == {b"", b"a", b"\0b", b"ab"}


def test_a_write_that_began_before_the_sync_ended_is_not_sure(images: Images) -> None:
    during = [f"1 fdatasync(3<{hexed(FILE)}> <unfinished ...>", put("x", 0, thread=2)]
    found = images.contents(*START, *during, "1 <... fdatasync resumed>) = 0")
    assert found == {b"", b"x"}


def test_a_sync_that_has_not_ended_makes_nothing_sure(images: Images) -> None:
    begun = f"1 fdatasync(3<{hexed(FILE)}> <unfinished ...>"
    assert images.contents(*START, put("x", 0), begun) == {b"", b"x"}


def test_a_sync_that_failed_makes_nothing_sure(images: Images) -> None:
    failed = SYNC.replace("= 0", "= -1 EIO (Input/output error)")
    assert images.contents(*START, put("x", 0), failed) == {b"", b"x"}


def test_a_large_write_may_be_torn_at_a_sector(images: Images) -> None:
    found = images.contents(*START, put("a" * 1024, 0))
    assert b"a" * 512 in found
    assert b"\0" * 512 + b"a" * 512 in found
    assert {len(content or b"") for content in found} == {0, 512, 1024}


def test_a_name_lasts_only_with_its_directory(images: Images) -> None:
    without = [line for line in START if hexed(ROOT) + ">" not in line]
    assert images.contents(*without, put("one", 0), SYNC) == {b"one", None}


def test_a_file_that_is_removed_may_be_there_until_its_directory_is_synced(images: Images) -> None:
    lines = [*START, put("one", 0), SYNC, f'1 unlink("{hexed(FILE)}") = 0']
    assert images.contents(*lines) == {b"one", None}
    assert images.contents(*lines, f"1 fsync(9<{hexed(ROOT)}>) = 0") == {None}


def test_nothing_follows_a_change_of_length_that_is_missing(images: Images) -> None:
    cut = f"1 ftruncate(3<{hexed(FILE)}>, 1) = 0"
    found = images.contents(*START, put("abc", 0), SYNC, cut, put("z", 2))
    assert found == {b"abc", b"a", b"a\0z"}


def test_what_is_appended_stands_at_the_end(images: Images) -> None:
    opened = START[2].replace("O_RDWR", "O_RDWR|O_APPEND")
    line = f'1 write(3<{hexed(FILE)}>, "{hexed("x")}", 1) = 1'
    assert images.contents(*START, put("ab", 0), opened, line, line, SYNC) == {b"abxx"}


def test_without_syncs_what_was_acknowledged_is_lost(images: Images) -> None:
    for image in images.of(*START, put("one", 0), SYNC, syncs=False):
        assert not image.exists()


def test_answers_are_known_by_their_request() -> None:
    answer = hexed("HTTP/1.1 201 Created\r\ndate: now\r\nx-request-id: w000007\r\n\r\n{}")
    happened = history(*START, f'1 write(8<{hexed("socket:[5]")}>, "{answer}", 9) = 9')
    assert happened.answers == {"w000007": (201, len(START))}


@pytest.mark.parametrize(
    "line",
    [
        f'1 write(4<{hexed(FILE)}>, "{hexed("x")}", 1) = 1',
        f'1 link("{hexed(FILE)}", "{hexed(FILE + "2")}") = 0',
    ],
)
def test_what_is_not_modelled_is_told(line: str) -> None:
    with pytest.raises(UnreadableTrace):
        history(*START, line)


def test_what_was_there_before_the_recording_is_on_the_disk(tmp_path: Path) -> None:
    before = tmp_path / "before"
    (before / "inner").mkdir(parents=True)
    (before / "f").write_bytes(b"before")
    (before / "inner" / "g").write_bytes(b"inner")
    lines = [put("AFTER!", 0), f"1 fdatasync(3<{hexed(FILE)}>) = -1 EIO (Input/output error)"]
    happened = History(Path(ROOT), parse_trace(f"{line}\n" for line in lines), before)
    found = set()
    for seed in range(60):
        parent = tmp_path / str(seed)
        parent.mkdir()
        Disk(happened, len(lines), random.Random(seed)).write(parent)  # noqa: S311
        assert (parent / "data" / "inner" / "g").read_bytes() == b"inner"
        found.add((parent / "data" / "f").read_bytes())
    assert found == {b"before", b"AFTER!"}
