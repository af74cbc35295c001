"""The writes of the clients and their answers, kept outside the database, and what they mean for
the content of the database."""

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.faults.writes import LOGS, RESULTS, Fate, Kind, Write

ROWS = {
    Kind.RUN: 1,
    Kind.CLAIM: 1,
    Kind.TRANSITION: 1,
    Kind.RESULTS: RESULTS,
    Kind.WEBHOOK: 1,
    Kind.TOKEN: 1,
    Kind.REVOCATION: 1,
}
"""How many rows a completed write of each kind leaves with its mark: for these kinds, all its
rows."""
NO_CONTENT = 204
"""The status of a claim that found no run."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The database's content, except projects and logs."""

    rows: Mapping[Kind, Mapping[str, int]]
    """The number of rows by the kind of write, and by the write's mark."""
    audited: Mapping[str, int]
    """The number of audit entries by request id."""
    repositories: Collection[str]
    """The repositories of the stored projects."""


@dataclass(slots=True)
class Ledger:
    """Every write of an installation's clients. Safe to use from several threads."""

    writes: list[Write] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intend(self, kind: Kind, repository: str = "", target: int = 0, of: str = "") -> Write:
        """Add a write before it is sent. Its fate is unknown until it is settled."""
        with self._lock:
            write = Write(len(self.writes) + 1, kind, repository, target, of)
            if kind is Kind.PROJECT:
                write.repository = write.mark
            self.writes.append(write)
        return write

    def settle(self, write: Write, status: int) -> None:
        """Note the status of the answer: a success is a promise, and so is an error."""
        write.status = status
        write.fate = Fate.ACKNOWLEDGED if 200 <= status < 300 else Fate.REFUSED

    def count(self) -> Counter[Fate]:
        """The number of writes by fate."""
        with self._lock:
            return Counter(write.fate for write in self.writes)

    def statuses(self) -> Counter[int | None]:
        """The number of writes by status; `None` without an answer."""
        with self._lock:
            return Counter(write.status for write in self.writes)

    def wrong_projects(self, documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """The faults of the exported documents, one sentence for each."""
        stored: dict[str, Mapping[str, Any]] = {}
        for document in documents:
            if document["github_repo"] in stored:
                yield f"{document['github_repo']} is there twice"
            stored[document["github_repo"]] = document
        for writes in self._histories():
            found = stored.pop(writes[0].repository, None)
            yield from _wrong_project(writes, found)
        yield from (f"{name} is there, but no write made it" for name in stored)

    def _histories(self) -> Iterator[list[Write]]:
        """The writes of each project, beginning with the one that creates it."""
        histories: dict[str, list[Write]] = {}
        for write in self.writes:
            if write.kind in (Kind.PROJECT, Kind.SECRETS, Kind.PURGE):
                histories.setdefault(write.repository, []).append(write)
        yield from histories.values()

    def wrong_rows(self, stored: Stored) -> Iterator[str]:
        """The faults of runs, test results, webhooks, tokens and the audit, one sentence for
        each."""
        left = {kind: dict(stored.rows[kind]) for kind in ROWS}
        for write in self.writes:
            if write.kind in ROWS:
                found = left[write.kind].pop(write.of or write.mark, 0)
                purged = write.repository != "" and write.repository not in stored.repositories
                yield from _wrong_rows(write, found, purged=purged)
                unknown = write.fate is Fate.UNKNOWN and not purged
                if unknown and bool(found) is not (write.mark in stored.audited):
                    yield f"{write.kind} {write.mark} is there, or in the audit, and not both"
            yield from _wrong_audit(write, stored.audited.get(write.mark, 0))
        for kind, marks in left.items():
            yield from (f"there is a {kind} of {mark}, which no write asked for" for mark in marks)

    def wrong_logs(self, messages: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """The faults of the stored logs, which are given as messages by correlation id."""
        left = dict(messages)
        for write in self.writes:
            if write.kind is not Kind.LOGS:
                continue
            found = left.pop(write.mark, ())
            if not found:
                if write.fate is Fate.ACKNOWLEDGED:
                    yield f"{write.mark} was acknowledged, and its logs are not there"
            elif write.fate is Fate.REFUSED:
                yield f"{write.mark} was answered with {write.status}, and logs of it are there"
            elif sorted(found) != write.messages():
                yield f"{write.mark} has {len(found)} logs, not each of {LOGS} once"
        yield from (f"there are logs of {mark}, which no write sent" for mark in left)


def _wrong_rows(write: Write, found: int, *, purged: bool) -> Iterator[str]:
    what, whole = f"{write.kind} {write.mark}", ROWS[write.kind]
    if purged:
        # `wrong_projects` checks whether the project may be gone.
        if found:
            yield f"{what} is there, and its project is not"
    elif found not in (0, whole):
        yield f"{what} has {found} rows of {whole}"
    elif write.fate is Fate.ACKNOWLEDGED:
        if bool(found) is _found_no_run(write):
            yield f"{what} was acknowledged, and is not there as it was told"
    elif write.fate is Fate.REFUSED and found:
        yield f"{what} was answered with {write.status}, and is there"


def _found_no_run(write: Write) -> bool:
    return write.kind is Kind.CLAIM and write.status == NO_CONTENT


def _wrong_audit(write: Write, entries: int) -> Iterator[str]:
    silent = write.kind is Kind.LOGS or _found_no_run(write)
    if write.fate is Fate.ACKNOWLEDGED and not silent and not entries:
        yield f"{write.kind} {write.mark} was acknowledged, and the audit has no entry of it"
    if write.fate is Fate.REFUSED and entries:
        yield f"{write.kind} {write.mark} was answered with {write.status}, and is in the audit"


def _wrong_project(writes: Sequence[Write], found: Mapping[str, Any] | None) -> Iterator[str]:
    made = writes[0]
    purges = {write.fate for write in writes if write.kind is Kind.PURGE}
    if found is None:
        if made.fate is Fate.ACKNOWLEDGED and not purges - {Fate.REFUSED}:
            yield f"project {made.mark} was acknowledged, and is not there"
        return
    if Fate.ACKNOWLEDGED in purges:
        yield f"project {made.mark} was purged, and is there"
    if made.fate is Fate.REFUSED:
        yield f"project {made.mark} was answered with {made.status}, and is there"
    if found["name"] != made.mark or found["settings"]["planning_statement"] != made.statement:
        yield f"project {made.mark} is not whole"
    yield from _wrong_secrets(writes, found)


def _wrong_secrets(writes: Sequence[Write], found: Mapping[str, Any]) -> Iterator[str]:
    possible: list[Write] = []
    for write in (write for write in writes if write.kind is not Kind.PURGE):
        if write.fate is Fate.ACKNOWLEDGED:
            possible = [write]
        elif write.fate is Fate.UNKNOWN:
            possible.append(write)
    if all(found["secrets"] != write.secrets for write in possible):
        marks = ", ".join(write.mark for write in possible)
        values = {key: value.split(" ")[0] for key, value in found["secrets"].items()}
        yield f"the secrets of {writes[0].mark} are {values}, not all those of one of {marks}"
