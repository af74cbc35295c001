"""Many logs over real HTTP, of which one in a hundred has the value of a secret in some form; and a
search of every byte that the service keeps or answers.

`python -m tests.redaction.leaking --logs 1000000` does the same as the test with as many logs.
"""

import argparse
import gzip
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import ahocorasick
import httpx

from tests.redaction.encodings import forms, traces
from tests.support.clients import bearer, client_at
from tests.support.processes import Serving, environment
from tests.support.routes import all_calls

BATCH = 1000
LEAKS = 100
"""One of so many logs has a value."""
PART = 16
"""No part of a value with so many characters may stay."""
CHUNK = 1 << 20
HIDDEN = {
    "PASSWORD": 'p+"\u00e9\\k3Y/ \U0001f511%zq&4=x',
    "TOKEN": "qhs_7Yk2Lm9Xw4Rt8Vb3Nc6Zj1Fd5Gp0",
    "KEY_OF_LINES": "\n".join(f"Jx{n}vT+q7/uW{n}yZ8==kQ{n}rM3pL" for n in range(1, 7)),
}
"""Values that must not stay."""
SHOWN = "vis+ble/Zt5'Qw 8Hd2\u00fcMn7!"
"""A value that is not redacted, so that the search has something to find."""


class Search:
    """Looks for the parts of values, and of all forms of them, in bytes of any number."""

    def __init__(self) -> None:
        self._automaton = automaton()
        self.found: dict[str, set[str]] = {}
        """The keys by where their values were found."""
        self.searched: dict[str, int] = {}
        """The bytes that were looked through, by where."""

    def through(self, where: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, which follow one another, after they were looked through."""
        before = ""
        for chunk in chunks:
            text = before + chunk.decode("latin-1")
            self.searched[where] = self.searched.get(where, 0) + len(chunk)
            for _, key in self._automaton.iter(text):
                self.found.setdefault(where, set()).add(key)
            before = text[1 - PART :]
            yield chunk

    def data(self, where: str, data: bytes) -> None:
        """Look through bytes that stand alone."""
        for _ in self.through(where, [data]):
            pass

    def file(self, path: Path) -> None:
        """Look through a file."""
        with path.open("rb") as file:
            for _ in self.through(path.name, iter(lambda: file.read(CHUNK), b"")):
                pass


def needles(value: str) -> set[str]:
    """Every part of `PART` bytes of the value's encodings, as it stands in a text and in JSON.
    Bytes are characters here."""
    texts = {trace.decode() for trace in traces(value)}
    # At the ends of these, there may be nothing of the value.
    texts |= {form for name, form in forms(value) if not name.startswith("base64")}
    texts |= {json.dumps(text)[1:-1] for text in texts}
    texts |= {json.dumps(text, ensure_ascii=False)[1:-1] for text in texts}
    parts = set()
    for text in texts:
        data = text.encode().decode("latin-1")
        parts |= {data[start : start + PART] for start in range(len(data) - PART + 1)}
    return parts


@cache
def automaton() -> Any:
    """Finds the parts of all values, each with its key, without what encodings have in common."""
    found = {key: needles(value) for key, value in {**HIDDEN, "SHOWN": SHOWN}.items()}
    counted = Counter(itertools.chain.from_iterable(found.values()))
    made = ahocorasick.Automaton()
    for key, parts in found.items():
        for needle in parts:
            if counted[needle] == 1:
                made.add_word(needle, key)
    made.make_automaton()
    return made


def leaks() -> Iterator[tuple[str, str]]:
    """Forms of all values in turn, each with its key, without end."""
    values = {**HIDDEN, "SHOWN": SHOWN}
    every = [(key, form) for key, value in values.items() for _, form in forms(value)]
    # So that a few logs have some of each value.
    random.Random(1).shuffle(every)  # noqa: S311 - repeatable, not secret
    return itertools.cycle(every)


def logs(count: int) -> Iterator[dict[str, Any]]:
    """Logs of the first project. One of a hundred has a value, in the message, or in a string or a
    name of the context."""
    leaking, places = leaks(), itertools.cycle(range(4))
    for number in range(count):
        message, context = f"step {number} of the work is done", dict[str, Any](number=number)
        made: dict[str, Any] = {"level": "INFO", "project_id": 1, "correlation_id": f"{number:x}"}
        if number % LEAKS == LEAKS // 2:
            (_, form), place = next(leaking), next(places)
            if place == 0:
                message += f": sent {form} to the server"
            elif place == 1:
                message = form
            elif place == 2:
                context |= {"request": {"headers": ["a", f"x {form}"]}}
            else:
                context |= {form: True}
        yield {**made, "message": message, "context": context}


def bodies(count: int) -> Iterator[tuple[dict[str, str], bytes]]:
    """The requests with these logs: as JSON, as lines and compressed, in turns."""
    left = logs(count)
    for number in itertools.count():
        batch = list(itertools.islice(left, BATCH))
        if not batch:
            return
        lines = "".join(f"{json.dumps(log)}\n" for log in batch).encode()
        ndjson = {"Content-Type": "application/x-ndjson"}
        yield (
            ({"Content-Type": "application/json"}, json.dumps({"logs": batch}).encode()),
            (ndjson, lines),
            ({**ndjson, "Content-Encoding": "gzip"}, gzip.compress(lines, 1)),
        )[number % 3]


@dataclass
class Follower:
    """Reads the stream of logs, and looks through it, until it is told which log is the last."""

    url: str
    token: str
    search: Search
    received: int = 0
    last_id: int | None = None
    ready: threading.Event = field(default_factory=threading.Event)
    read_id: int = 0
    cut_off: int = 0

    def run(self) -> None:
        """Read, and go on after the last log when the stream ends: a slow reader is cut off."""
        for _ in self.search.through("stream of logs", self._chunks()):
            pass

    def _chunks(self) -> Iterator[bytes]:
        while self.last_id is None or self.read_id < self.last_id:
            try:
                yield from self._lines()
            except IncompleteRead:
                # A reader that is too slow is cut off, and goes on after what it has read.
                self.cut_off += 1

    def _lines(self) -> Iterator[bytes]:
        headers = {**bearer(self.token), "Accept": "text/event-stream"}
        if self.read_id:
            headers["Last-Event-ID"] = str(self.read_id)
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            connection.request("GET", "/api/logs?project_id=1", headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.status
            for line in answer:
                if line.startswith(b"data: ") and b'"message":' in line:
                    self.received += 1
                if line.startswith(b"id: "):
                    self.read_id = int(line[4:].rpartition(b"-")[2])
                self.ready.set()
                yield line
                if self.last_id is not None and self.read_id >= self.last_id:
                    return


def search_lists(client: httpx.Client, search: Search) -> int:
    """Look through all pages of all lists, and all that can be read by the first id of its kind.
    Returns the number of logs that were listed."""
    listed = 0
    for call in all_calls():
        if (
            call.method != "GET"
            or call.template == "/api/projects/{project_id}/secrets/{key}/value"
        ):
            continue
        params: dict[str, str] = {"limit": "500"} if "limit" in call.query else {}
        while True:
            answer = client.get(call.path(), params=params)
            search.data(f"answers of {call}", answer.content)
            search.data("headers", repr(answer.headers.raw).encode())
            if "limit" not in call.query or answer.status_code != 200:
                break
            page = answer.json()
            if call.template == "/api/logs":
                listed += sum(log["project_id"] == 1 for log in page["logs"])
            if page["next_cursor"] is None:
                break
            params["cursor"] = page["next_cursor"]
    return listed


@dataclass(frozen=True)
class Result:
    """What was searched and found."""

    search: Search
    stored: int
    streamed: int
    shown: int
    """How often a scan has found the value that is not redacted."""
    scanned: set[str]
    """The keys that a scan has found."""
    leaked: set[str]
    """The keys that events tell of, as leaked into logs."""


def leak(directory: Path, count: int, say: Callable[[str], None] = lambda _: None) -> Result:
    """Send so many logs, and search everything. `directory` must be empty."""
    search = Search()
    data = directory / "data"
    env = environment(KEEP_LOGS="0")
    began = time.monotonic()

    def told(what: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {what}")

    with Serving(data, env=env) as server, client_at(server.url) as client:
        token = (data / "admin.token").read_text("ascii").strip()
        client.headers.update(bearer(token))
        secrets = [{"key": key, "value": value} for key, value in HIDDEN.items()]
        secrets.append({"key": "SHOWN", "value": SHOWN, "redact": False})  # type: ignore[dict-item]
        project = {"name": "p", "github_owner": "o", "github_repo": "r", "secrets": secrets}
        assert client.post("/api/projects", json=project).status_code == 201
        run = {"project_id": 1, "target_text": "t", "metadata": HIDDEN}
        assert client.post("/api/agent-runs", json=run).status_code == 201
        follower = Follower(server.url, token, search)
        following = threading.Thread(target=follower.run)
        following.start()
        assert follower.ready.wait(60)
        for headers, body in bodies(count):
            answer = client.post("/api/logs", content=body, headers=headers)
            assert answer.status_code == 201, answer.text
            search.data("answers to logs", answer.content)
        told(f"{count} logs are stored")
        [newest] = client.get("/api/logs?project_id=1&limit=1").json()["logs"]
        follower.last_id = newest["id"]
        # The stream may have shown it already, and then waits for another one.
        last = {"level": "INFO", "message": "the end", "project_id": 1}
        assert client.post("/api/logs", json=last).status_code == 201
        following.join(600)
        assert not following.is_alive()
        streamed = follower.received - (follower.read_id > follower.last_id)
        told(f"{streamed} logs were streamed, with {follower.cut_off} interruptions")
        listed = search_lists(client, search)
        told(f"{listed} logs were listed")
        shown, scanned = scan(client)
        told("a scan has looked through all")
        kinds = urlencode({"kind": "secret.leaked"})
        leaked = {
            event["resource"].rpartition("/")[2]
            for event in client.get(f"/api/events?{kinds}&limit=500").json()["events"]
            if event["fields"] == ["logs"]
        }
        for file in sorted(data.rglob("*")):
            search.file(file)
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            search.file(file)
    told(f"{sum(search.searched.values()):,} bytes were searched")
    return Result(search, listed - 1, streamed, shown, scanned, leaked)


def scan(client: httpx.Client) -> tuple[int, set[str]]:
    """How often a scan finds the value that is not redacted, and the keys of all that it finds."""
    keys: set[str] = set()
    shown, params = 0, dict[str, str]()
    while True:
        answer = client.post("/api/projects/1/secrets/scan", params=params).json()
        for found in answer["found"]:
            keys.add(found["key"])
            shown += found["count"] if found["key"] == "SHOWN" else 0
        if answer["next_cursor"] is None:
            return shown, keys
        params = {"cursor": answer["next_cursor"]}


def check(result: Result, count: int) -> None:
    """Check that all logs are there, and nothing of a value that is redacted."""
    search = result.search
    assert result.stored == result.streamed == count
    assert {where: keys for where, keys in search.found.items() if keys != {"SHOWN"}} == {}
    # The search finds what is there: in the file, in answers, and in the stream.
    assert {"answers of GET /api/logs", "stream of logs"} <= search.found.keys()
    # What is in the log of the database is copied into its file later.
    assert {"strongroom.db", "strongroom.db-wal"} & search.found.keys()
    assert search.searched.keys() >= {"data.log", "audit.heads", "headers", "answers to logs"}
    assert result.scanned == {"SHOWN"}
    sent = [key for key, _ in itertools.islice(leaks(), count // LEAKS)]
    assert result.shown == sent.count("SHOWN") > 0
    assert result.leaked == HIDDEN.keys()


def say(text: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{text}\n")


def main() -> None:
    """Run it, and print what was searched."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1_000_000)
    count = parser.parse_args().logs
    with tempfile.TemporaryDirectory() as directory:
        result = leak(Path(directory), count, say)
        check(result, count)
    for where, size in sorted(result.search.searched.items(), key=lambda one: -one[1])[:12]:
        say(f"{size:14,} bytes  {where}")


if __name__ == "__main__":
    main()
