"""Searches among a million projects, and what slow reads of one client cost others' look-ups."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from random import Random

from bench import loads, wrk
from bench.client import Client
from bench.contestants import BY_NAME
from bench.options import Options
from bench.processes import BenchError, Server
from bench.results import Results

MANY = 1_000_000
WORDS = 2_000
REQUESTS = 4_000
"""Different searches of each kind, more than there are kept answers."""
SLOW = 6
"""Connections that send slow reads at once."""
HEAD_START_SECONDS = 0.5
INDEXED_SECONDS = 600.0

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_COLUMNS = (
    "name, github_owner, github_repo, name_key, owner_key, repo_key, search_text, created_at,"
    " updated_at"
)
KINDS = ("rare", "word", "common", "absent", "two", "one")
SORTS = {"newest": "-created_at", "name": "name"}
BESIDE = ("nothing", "searches", "pages")
FIELDS = ("per_second", "p50", "p99")
SHARES = ("running", "waiting")
"""Shares of the event loop's time."""

FIGURES = (
    *(f"search.{kind}.{order}.{field}" for kind in KINDS for order in SORTS for field in FIELDS),
    *(f"search.lookup.{beside}.{field}" for beside in BESIDE for field in (*FIELDS, *SHARES)),
    "search.index.per_second",
)


def measure(options: Options, folder: Path, results: Results) -> None:
    """Measure how fast the projects are indexed, each kind of search over one connection, and
    look-ups beside slow reads. Raises `BenchError`."""
    many = max(REQUESTS, round(MANY * options.scale))
    strongroom = BY_NAME["strongroom"]
    data_dir = folder / "data"
    with strongroom.running(data_dir):
        token = strongroom.token(data_dir)
    database = data_dir / "strongroom.db"
    fill(database, many)
    with strongroom.running(data_dir) as server:
        began = time.monotonic()
        _await_index(database, many)
        speed = many / (time.monotonic() - began)
        results.figures.setdefault("search.index.per_second", []).append(speed)
        with Client(server.port, token) as client:
            body = {"name": "neighbour", "scopes": ["admin"]}
            other = client.require("POST", "/api/tokens", body)["token"]
        measured = _Searches(server, options, results, folder)
        for _ in range(options.few_rounds):
            for kind, (order, sort) in product(KINDS, SORTS.items()):
                lines = measured.lines(f"{kind}-{order}", _searches(kind, sort, many))
                measured.load(f"search.{kind}.{order}", wrk.Requests("lines", token, lines=lines))
            measured.lookups(token, other, many)


def fill(database: Path, projects: int) -> None:
    """Insert projects with ids from 1 into a new installation's file, which must not be open. Each
    has two words of its own in its name, and one of a hundred owners."""
    all_words, chance = words(), Random(1)  # noqa: S311

    def rows() -> Iterator[tuple[str, ...]]:
        for number in range(1, projects + 1):
            name, owner, repo = name_of(number, all_words, chance)
            text = f"{name}\n{owner}/{repo}"
            at = f"2026-01-01T{number // 100_000:02}:00:00.{number % 100_000:06}Z"
            yield name, owner, repo, name, owner, repo, text, at, at

    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("PRAGMA cache_size = -262144")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(
            f"INSERT INTO projects ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows()
        )
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def name_of(number: int, words: Sequence[str], chance: Random) -> tuple[str, str, str]:
    """The name, owner and repository of a project with this number."""
    one, other = chance.choice(words), chance.choice(words)
    return f"{one} {number}", f"{words[number % 100]}-team", f"{other}-{number}"


def words() -> list[str]:
    """The words that names are made of."""
    chance = Random(2)  # noqa: S311
    return ["".join(chance.choices(_LETTERS[:24], k=chance.randint(4, 9))) for _ in range(WORDS)]


def _await_index(database: Path, projects: int) -> None:
    connection = sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        until = time.monotonic() + INDEXED_SECONDS
        while time.monotonic() < until:
            row = connection.execute("SELECT indexed_id FROM project_index_state").fetchone()
            if row[0] >= projects:
                return
            time.sleep(0.2)
    finally:
        connection.close()
    raise BenchError("the projects were not indexed in time")


def _searches(kind: str, sort: str, projects: int) -> Iterator[str]:
    """Different searches of a kind, as paths."""
    all_words, chance = words(), Random(3)  # noqa: S311
    texts: dict[str, Callable[[], str]] = {
        # One project in a million, one in a thousand, and each of them.
        "rare": lambda: str(chance.randint(projects // 10, projects)),
        "word": lambda: chance.choice(all_words),
        "common": lambda: "-team",
        "absent": lambda: "zz" + "".join(chance.choices(_LETTERS, k=6)),
        "two": lambda: "".join(chance.choices(_LETTERS, k=2)),
        "one": lambda: chance.choice(_LETTERS),
    }
    for number in range(REQUESTS):
        limit, spelling = 41 + number % 20, number // 20
        path = f"/api/projects?q={texts[kind]()}&{_spelt('sort', spelling)}={sort}"
        yield f"{path}&{_spelt('limit', spelling // 16)}={limit}"


def _spelt(name: str, number: int) -> str:
    """The name, in one of its percent-encoded forms: no two requests are the same, so that none is
    answered from kept answers."""
    return "".join(
        f"%{ord(letter):02x}" if number >> place & 1 else letter
        for place, letter in enumerate(name)
    )


class _Searches:
    """Loads over one connection."""

    def __init__(self, server: Server, options: Options, results: Results, folder: Path) -> None:
        self._server, self._options, self._results = server, options, results
        self._folder = folder

    def lines(self, name: str, paths: Iterator[str]) -> Path:
        """A file with these requests."""
        file = self._folder / f"{name}.lines"
        file.write_text("".join(f"GET\t{path}\t\n" for path in paths), "utf-8")
        return file

    def load(self, name: str, requests: wrk.Requests) -> None:
        """Measure requests over one connection."""
        loads.add(name, self._server, requests, self._options, self._results, connections=1)

    def lookups(self, token: str, other: str, projects: int) -> None:
        """Measure look-ups of projects alone, and beside slow reads of another token."""
        ids = Random(4).sample(range(1, projects + 1), REQUESTS)  # noqa: S311
        lines = self.lines("lookups", (f"/api/projects/{id}" for id in ids))
        lookups = wrk.Requests("lines", token, lines=lines)
        slow = {
            "searches": self.lines("two", _searches("two", "name", projects)),
            "pages": self.lines("pages", _pages(projects)),
        }
        with self._shares("search.lookup.nothing"):
            self.load("search.lookup.nothing", lookups)
        for beside, others in slow.items():
            requests = wrk.Requests("lines", other, lines=others)
            seconds = self._options.seconds + self._options.warm_up + 2 * HEAD_START_SECONDS
            with ThreadPoolExecutor(1) as pool:
                # It begins before the measured load, and ends after it.
                load = pool.submit(
                    wrk.load, self._server.port, requests, connections=SLOW, seconds=seconds
                )
                time.sleep(HEAD_START_SECONDS)
                with self._shares(f"search.lookup.{beside}"):
                    self._beside(f"search.lookup.{beside}", lookups)
                load.result()

    @contextmanager
    def _shares(self, name: str) -> Iterator[None]:
        """Note for the block which share of the time the event loop runs, and which share it could
        run but waits for a processor. The rest, it waits for requests, threads and their lock."""
        (ran, waited), began = self._server.main_thread_seconds(), time.monotonic()
        yield
        (ran_then, waited_then), taken = (
            self._server.main_thread_seconds(),
            time.monotonic() - began,
        )
        for field, seconds in (("running", ran_then - ran), ("waiting", waited_then - waited)):
            self._results.figures.setdefault(f"{name}.{field}", []).append(seconds / taken)

    def _beside(self, name: str, requests: wrk.Requests) -> None:
        seconds = self._options.seconds
        load = wrk.load(self._server.port, requests, connections=1, seconds=seconds)
        loads.note(name, loads.Measured(load, None), self._results)


def _pages(projects: int) -> Iterator[str]:
    """The longest pages of the projects of one owner after another."""
    all_words = words()
    for number in range(REQUESTS):
        owner = f"{all_words[number % min(100, projects)]}-team"
        yield f"/api/projects?{_spelt('limit', number // 100)}=500&owner={owner}"
