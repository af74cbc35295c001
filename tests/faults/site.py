"""An installation under test, and what must hold after every fault."""

import contextlib
import io
import json
import random
import re
import sqlite3
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from backend.cli import main
from tests.faults.ledger import Ledger, Stored
from tests.faults.load import Load
from tests.faults.writes import COMPONENT, SECRET_VALUE, Fate, Kind
from tests.support.forked import Program, run_strongroom
from tests.support.processes import Serving, environment, read_documents

MARKED = {
    Kind.RUN: "SELECT target_text, count(*) FROM agent_runs WHERE target_text LIKE 'w______'",
    Kind.CLAIM: "SELECT lease_worker, count(*) FROM agent_runs WHERE lease_worker LIKE 'w______'",
    Kind.TRANSITION: "SELECT result, count(*) FROM agent_runs WHERE status = 'completed'",
    Kind.RESULTS: "SELECT substr(test_name, 1, 7), count(*) FROM test_results",
    Kind.WEBHOOK: "SELECT substr(webhook_url, -7), count(*) FROM webhooks",
    Kind.TOKEN: "SELECT name, count(*) FROM api_tokens WHERE name LIKE 'w______'",
    Kind.REVOCATION: "SELECT name, count(*) FROM api_tokens WHERE revoked_at IS NOT NULL",
}
"""For each kind, the statement that counts rows by the mark of the write."""


class Skipped(Exception):
    """This machine can't try the fault; the message says why."""


@dataclass(slots=True)
class Tally:
    """What was tried, and with which result."""

    rounds: int = 0
    fates: dict[Fate, int] = field(default_factory=lambda: dict.fromkeys(Fate, 0))
    slowest_start: float = 0.0
    """The longest time in seconds until a process was ready."""
    notes: dict[str, int] = field(default_factory=dict)
    """Other counts, by their names."""

    def note(self, what: str, count: int = 1) -> None:
        """Add to another count."""
        self.notes[what] = self.notes.get(what, 0) + count


class Site:
    """A data directory, the ledger of its clients, and the processes that serve it."""

    program: Program = staticmethod(run_strongroom)
    """The program that serves an installation, unless another one is given."""
    under: Sequence[str] = ()
    """The tracer's command, which runs the command after it."""

    def __init__(self, directory: Path, tally: Tally, seed: int) -> None:
        self.directory = directory
        self.ledger = Ledger()
        self.tally = tally
        self.chance = random.Random(seed)  # noqa: S311

    @contextlib.contextmanager
    def serving(
        self,
        settings: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        program: Program | None = None,
    ) -> Iterator[Serving]:
        """A process that is ready and whose logs match the ledger."""
        began = time.monotonic()
        env = environment(**(settings or {}))
        command = (*under, *self.under) if under else ()
        program = program or self.program
        with Serving(self.directory, env=env, under=command, function=program) as serving:
            with serving.client() as client:
                ready = client.get("/ready")
                assert ready.status_code == 200, ready.text
                took = time.monotonic() - began
                self.tally.slowest_start = max(self.tally.slowest_start, took)
                self.check_logs(client)
            yield serving
        self.check_secrecy(serving.err.encode())

    def load(self, serving: Serving, without: Collection[Kind] = ()) -> Load:
        """The clients of this process, which make every kind of write except `without`."""
        seed = self.chance.randrange(1_000_000)
        return Load(serving.url, serving.token, self.ledger, seed=seed, without=without)

    def pause(self, longest: float) -> None:
        """Wait for a random time of at most `longest` seconds."""
        time.sleep(self.chance.uniform(0, longest))

    def check_logs(self, client: httpx.Client) -> None:
        """The stored logs match the ledger."""
        found: dict[str, list[str]] = {}
        query = {"component": COMPONENT, "limit": "500"}
        while True:
            answer = client.get("/api/logs", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            for log in page["logs"]:
                found.setdefault(log["correlation_id"], []).append(log["message"])
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        wrong = list(self.ledger.wrong_logs(found))
        assert not wrong, wrong[:10]

    def check_secrecy(self, said: bytes = b"") -> None:
        """No secret value is in the output or in any file of the installation: neither in the
        database, its logs and its backups, nor in unfinished files."""
        shown = [str(path) for path in self.directory.rglob("*") if _shows_secret(path)]
        assert not shown, f"values of secrets are in {shown}"
        assert not re.search(SECRET_VALUE, said), "values of secrets are in the log"

    def check(self) -> None:
        """The file, the keys, the secrets and the audit are whole, and the projects match the
        ledger."""
        self.check_secrecy()
        status, out, err = command("verify", "--json", "--data-dir", str(self.directory))
        problems = [check["problem"] for check in json.loads(out)["checks"] if not check["ok"]]
        assert status == 0, f"verify: {problems}, {err}"
        assert not problems
        assert json.loads(out)["ok"] is True
        wrong = list(self.ledger.wrong_projects(self.documents()))
        assert not wrong, wrong[:10]
        wrong = list(self.ledger.wrong_rows(self.stored()))
        assert not wrong, wrong[:10]

    def stored(self) -> Stored:
        """The content of the database file, except projects and logs."""
        with contextlib.closing(sqlite3.connect(self.directory / "strongroom.db")) as connection:

            def counts(sql: str) -> dict[str, int]:
                return dict(connection.execute(f"{sql} GROUP BY 1").fetchall())

            return Stored(
                {kind: counts(sql) for kind, sql in MARKED.items()},
                counts("SELECT request_id, count(*) FROM audit_entries WHERE request_id > ''"),
                counts("SELECT github_repo, count(*) FROM projects"),
            )

    def documents(self) -> list[dict[str, Any]]:
        """Every project with its settings and the values of its secrets."""
        file = self.directory.with_name(f"{self.directory.name}.jsonl")
        status, _, err = command(
            *("export", str(file), "--force", "--reveal-secrets"),
            *("--data-dir", str(self.directory)),
        )
        assert status == 0, err
        return read_documents(file)

    def done(self) -> None:
        """Start again, write, stop in an orderly way, check, and add up."""
        with self.serving() as serving:
            before = self.ledger.count()[Fate.ACKNOWLEDGED]
            with self.load(serving):
                pass
            assert self.ledger.count()[Fate.ACKNOWLEDGED] > before
            assert serving.end() == 0
        self.check()
        self.add_up()

    def add_up(self) -> None:
        """Add this installation's writes to the tally."""
        for fate, count in self.ledger.count().items():
            self.tally.fates[fate] += count


def command(*arguments: str) -> tuple[int, str, str]:
    """Run a command line in this process, while no server runs. Returns its status and its
    output."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(list(arguments))
    said = out.getvalue(), err.getvalue()
    assert not re.search(SECRET_VALUE, "".join(said).encode()), arguments
    return status, *said


def _shows_secret(path: Path) -> bool:
    return path.is_file() and re.search(SECRET_VALUE, path.read_bytes()) is not None
