"""Reading the frames of a write-ahead log's file, to find transactions that SQLite skips.

SQLite reads a log up to the first frame with a wrong checksum, and ignores the rest silently. After
a power failure, the rest may be part of a transaction that was never acknowledged. If more
transactions follow, the file was changed after they were written.
"""

import struct
import sys
import time
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from database.errors import DatabaseUnavailable

_HEADER = struct.Struct(">8I")
_FRAME = struct.Struct(">6I")
_MAGIC = 0x377F0682
"""The last bit of the stored number is set if checksums are over big-endian words."""
_BIG_MACHINE = sys.byteorder == "big"
_PAGE_SIZES = {512 << n for n in range(8)}
_CHUNK_FRAMES = 1024
_LANE = 0xFFFF_FFFF
_ATTEMPTS = 20
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class LostFrames:
    """The transactions that SQLite skips."""

    frame: int
    """The number of the first invalid frame, counted from 1; 0 for the log's header."""
    transactions: int
    """The number of complete transactions after it, as a lower bound."""

    def __str__(self) -> str:
        where = f"frame {self.frame}" if self.frame else "the header"
        if self.transactions == 1:
            return (
                f"{where} of the write-ahead log is invalid, and the transaction that continues "
                "after it is lost: the file was damaged, or the power failed before the "
                "transaction was acknowledged"
            )
        return (
            f"{where} of the write-ahead log is invalid, and {self.transactions} acknowledged "
            "transactions after it are lost"
        )


@dataclass(frozen=True, slots=True)
class _Frame:
    number: int
    salts: tuple[int, int]
    commits: bool
    follows: bool
    """Whether its checksum continues that of the frame before it."""
    pair: tuple[int, int]
    """The checksum in the file."""


def lost_frames(log: Path) -> LostFrames | None:
    """The transactions in the log that SQLite skips, or `None`. Works while the log is written.

    Raises `DatabaseUnavailable` when the file can't be read.
    """
    found: LostFrames | None = None
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE_SECONDS)
        before, found = found, _look(log)
        # A frame that was being written at the first reading is complete a moment later.
        if found is None or found == before:
            break
    return found


def _look(log: Path) -> LostFrames | None:
    try:
        with log.open("rb") as file:
            return _lost_in(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DatabaseUnavailable(f"{log} can't be read ({error.strerror})") from None


def _lost_in(file: BinaryIO) -> LostFrames | None:
    raw = file.read(_HEADER.size)
    if len(raw) < _HEADER.size:
        return None
    magic, _, page_bytes, _, *rest = _HEADER.unpack(raw)
    salts, pair = (rest[0], rest[1]), (rest[2], rest[3])
    swapped = bool(magic & 1)
    start = _sums(array("I", raw[:24]), swapped, (0, 0))
    broken: int | None = None
    if start != pair or magic & ~1 != _MAGIC or page_bytes not in _PAGE_SIZES:
        # Take the salts from the frames, and assume the page size of this program's databases.
        broken, page_bytes, swapped = 0, 4096, _BIG_MACHINE
        salts = (0, 0)
    transactions = 0
    for frame in _frames(file, page_bytes, swapped, pair):
        if broken is None:
            if frame.salts != salts or not frame.follows:
                broken = frame.number
            continue
        if broken == 0 and salts == (0, 0):
            salts = frame.salts
        # Frames of a rolled-back transaction have no commit mark, or other salts.
        if frame.commits and frame.follows and frame.salts == salts:
            transactions += 1
    return LostFrames(broken, transactions) if broken is not None and transactions else None


def _frames(
    file: BinaryIO, page_bytes: int, swapped: bool, pair: tuple[int, int]
) -> Iterator[_Frame]:
    size = _FRAME.size + page_bytes
    number = 0
    computed = pair
    # A truncated frame does not count.
    while count := len(chunk := file.read(size * _CHUNK_FRAMES)) // size:
        heads = [_FRAME.unpack_from(chunk, size * n) for n in range(count)]
        stored = [(head[4], head[5]) for head in heads]
        sums = _all_sums(chunk, size, [pair, *stored[:-1]], swapped)
        for n, head in enumerate(heads):
            number += 1
            follows = sums[n] == stored[n]
            if not follows and n and sums[n - 1] != stored[n - 1]:
                # Perhaps only the stored checksum before it was changed.
                follows = _frame_sum(chunk, size, n, computed, swapped) == stored[n]
            computed = sums[n]
            yield _Frame(number, (head[2], head[3]), head[1] != 0, follows, stored[n])
        pair = stored[-1]


def _frame_sum(
    chunk: bytes, size: int, n: int, start: tuple[int, int], swapped: bool
) -> tuple[int, int]:
    frame = chunk[size * n : size * (n + 1)]
    return _sums(array("I", frame[:8] + frame[_FRAME.size :]), swapped, start)


def _sums(words: "array[int]", swapped: bool, start: tuple[int, int]) -> tuple[int, int]:
    """SQLite's checksum of some words, after `start`."""
    if swapped != _BIG_MACHINE:
        words.byteswap()
    first, second = start
    for n in range(0, len(words), 2):
        first = (first + words[n] + second) & _LANE
        second = (second + words[n + 1] + first) & _LANE
    return first, second


def _all_sums(
    chunk: bytes, size: int, starts: list[tuple[int, int]], swapped: bool
) -> list[tuple[int, int]]:
    """The checksum of each frame in the chunk, each with its own start.

    Computes all frames at once: one integer holds a word of each frame in lanes of 64 bits, so that
    one addition adds to all of them. It takes a fifth of the time of a loop over the frames.
    """
    count = len(starts)
    words = array("I", chunk[: size * count])
    if swapped != _BIG_MACHINE:
        words.byteswap()
    pairs = memoryview(words).cast("B").cast("Q")
    stride = size // 8
    lanes = int.from_bytes(array("Q", [_LANE] * count).tobytes(), sys.byteorder)
    first = int.from_bytes(array("Q", [a for a, _ in starts]).tobytes(), sys.byteorder)
    second = int.from_bytes(array("Q", [b for _, b in starts]).tobytes(), sys.byteorder)
    header = _FRAME.size // 8
    for word in (0, *range(header, stride)):
        both = int.from_bytes(pairs[word::stride].tobytes(), sys.byteorder)
        one, other = both & lanes, both >> 32 & lanes
        if _BIG_MACHINE:
            one, other = other, one
        first = (first + one + second) & lanes
        second = (second + other + first) & lanes
    ends = [array("Q", number.to_bytes(8 * count, sys.byteorder)) for number in (first, second)]
    return list(zip(*ends, strict=True))
