"""The progress of checks that SQLite does in one statement, such as PRAGMA integrity_check.

SQLite does not tell how far such a statement is. It reads the pages of the file first, and then
each row of the tables in a loop of its virtual machine. The bytes that this process has read tell
the first part, if the system counts them, and the number of the machine's steps the second: EXPLAIN
tells about how many steps each loop has.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

OnShare = Callable[[float], None]
"""Is told which share of the work is done, from 0 to 1, on any thread."""

PAGES_SHARE: Final = 0.1
"""The share of a check's time that goes by while pages are read, about."""
_STEPS: Final = 50_000
"""The steps between two looks."""
_EXECUTED: Final = 0.3
"""The share of a loop's steps that each round executes, about: the others are for faults."""
_SPARSE: Final = 200
"""Pages do not have more rows than this, so such ids are not dense."""
_LOOK_SECONDS: Final = 0.25
_IO: Final = Path("/proc/self/io")


def nothing_told(share: float) -> None:
    """Ignores the share."""


@contextmanager
def told_progress(
    connection: sqlite3.Connection, statement: str, on_share: OnShare, *, reads_pages: bool
) -> Iterator[None]:
    """Tell the progress of `statement`, which is executed once on this connection in the block.
    `reads_pages` says whether it reads all pages before it reads rows."""
    if on_share is nothing_told:
        yield
        return
    pages = PAGES_SHARE if reads_pages else 0.0
    expected = max(1.0, _expected_steps(connection, statement))
    steps = 0

    def look() -> int:
        nonlocal steps
        steps += _STEPS
        on_share(pages + (1 - pages) * min(0.99, steps / expected))
        return 0

    reading = _PagesRead(
        _size(connection), lambda share: on_share(pages * share), lambda: steps > 0
    )
    connection.set_progress_handler(look, _STEPS)
    if reads_pages:
        reading.start()
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
        reading.stop()
    on_share(1.0)


def _expected_steps(connection: sqlite3.Connection, statement: str) -> float:
    """About how many steps the statement takes."""
    tables = {
        row[1]: row[0]
        for row in connection.execute(
            "SELECT name, rootpage FROM sqlite_schema WHERE type = 'table' AND rootpage > 0"
        )
    }
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    steps, opened = 0.0, dict[int, str]()
    for address, opcode, cursor, target, *_ in connection.execute(
        f"EXPLAIN {statement}"
    ).fetchall():
        if opcode == "OpenRead":
            # A number of a cursor is used again for the next table.
            opened[cursor] = tables.get(target, "")
        elif opcode == "Next" and opened.get(cursor):
            rows = id_span(connection, opened[cursor])
            if rows > _SPARSE * pages:
                # FTS5 gives the blocks of its indexes such ids, and each block takes a page.
                rows = pages
            steps += _EXECUTED * (address - target) * rows
    return steps


def id_span(connection: sqlite3.Connection, table: str, column: str = "rowid") -> int:
    """An upper bound on the rows of a table or view, from its ids; 0 for a table without."""
    name = '"' + table.replace('"', '""') + '"'
    try:
        first, last = connection.execute(
            f"SELECT (SELECT min({column}) FROM {name}), (SELECT max({column}) FROM {name})"  # noqa: S608
        ).fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(last) - int(first) + 1 if first is not None else 0


def _size(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (page,) = connection.execute("PRAGMA page_size").fetchone()
    return max(1, int(pages * page))


class _PagesRead:
    """Tells how many of a file's bytes this process has read, on a thread of its own."""

    def __init__(self, size: int, on_share: OnShare, is_over: Callable[[], bool]) -> None:
        self._size, self._on_share, self._is_over = size, on_share, is_over
        self._end = threading.Event()
        self._before = _bytes_read()
        self._thread = threading.Thread(target=self._run, name="strongroom-pages-read", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        if self._before is not None:
            self._thread.start()

    def stop(self) -> None:
        """Tell no more."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(_LOOK_SECONDS) and not self._is_over():
            read = _bytes_read()
            if read is None or self._before is None:
                return
            self._on_share(min(1.0, (read - self._before) / self._size))


def _bytes_read() -> int | None:
    """The bytes that this process has read; `None` if the system does not count them."""
    try:
        text = _IO.read_text("ascii")
    except OSError:
        return None
    return int(text.split("rchar:", 1)[1].split(None, 1)[0])
