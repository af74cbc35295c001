"""What clients asked for and what they were told, kept outside the database, and what that means
for what the database must hold."""

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

OWNER = "faults"
"""The owner of every repository that the clients make a project for."""
COMPONENT = "faults"
"""The component of every log that the clients send."""
KEYS = ("ALPHA", "BETA", "GAMMA")
"""The secrets of each project; a write sets all of them, to values that name it."""
SECRET_VALUE = b"(?:%s) s{20}" % "|".join(KEYS).encode()
"""Tells the values of secrets from everything else that is written."""
LOGS = 3
"""How many logs a write of logs sends."""


class Kind(StrEnum):
    """What a write asks for; each touches several rows in one transaction."""

    PROJECT = "project"
    """A new project with settings and secrets."""
    SECRETS = "secrets"
    """New values of all secrets of a project, which belongs to one client."""
    LOGS = "logs"
    """Some logs, which nothing but the write itself tells from the same ones sent again."""


class Fate(StrEnum):
    """What the client knows of its write."""

    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


@dataclass(slots=True)
class Write:
    """A write that was intended."""

    number: int
    kind: Kind
    repository: str
    """That of the project which it makes or changes."""
    fate: Fate = Fate.UNKNOWN
    status: int | None = None
    """The status of the answer, if there was one."""

    @property
    def mark(self) -> str:
        """What everything that it writes is named after."""
        return f"w{self.number:06d}"

    @property
    def secrets(self) -> dict[str, str]:
        """The values that it gives to secrets."""
        return {key: f"{self.mark} {key} " + "s" * 200 for key in KEYS}

    @property
    def statement(self) -> str:
        """The planning statement of the project that it makes."""
        return f"{self.mark} " + "p" * 1000

    def messages(self) -> list[str]:
        """The messages of the logs that it sends."""
        return [f"{self.mark} {n} " + "m" * 200 for n in range(LOGS)]

    def request(self, project_id: int) -> tuple[str, str, dict[str, Any]]:
        """Method, path and body; `project_id` is that of the project that it changes, if any."""
        if self.kind is Kind.LOGS:
            common = {"level": "INFO", "component": COMPONENT, "correlation_id": self.mark}
            logs = [{"message": message, **common} for message in self.messages()]
            return "POST", "/api/logs", {"logs": logs}
        secrets = [{"key": key, "value": value} for key, value in self.secrets.items()]
        if self.kind is Kind.SECRETS:
            return "PUT", f"/api/projects/{project_id}/secrets", {"secrets": secrets}
        return (
            "POST",
            "/api/projects",
            {
                "name": self.mark,
                "github_owner": OWNER,
                "github_repo": self.repository,
                "settings": {"planning_statement": self.statement},
                "secrets": secrets,
            },
        )


@dataclass(slots=True)
class Ledger:
    """Every write of an installation's clients. Safe to use from several threads."""

    writes: list[Write] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intend(self, kind: Kind, repository: str = "") -> Write:
        """A new write, before it is sent; its fate is unknown until it is settled."""
        with self._lock:
            write = Write(len(self.writes) + 1, kind, repository)
            if kind is Kind.PROJECT:
                write.repository = write.mark
            self.writes.append(write)
        return write

    def settle(self, write: Write, status: int) -> None:
        """Note the answer: a success is a promise, and so is an error."""
        write.status = status
        write.fate = Fate.ACKNOWLEDGED if 200 <= status < 300 else Fate.REFUSED

    def count(self) -> Counter[Fate]:
        """How many writes had which fate."""
        with self._lock:
            return Counter(write.fate for write in self.writes)

    def statuses(self) -> Counter[int | None]:
        """How many writes were answered with which status; None without an answer."""
        with self._lock:
            return Counter(write.status for write in self.writes)

    def wrong_projects(self, documents: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        """What is wrong with the exported documents: a sentence for each."""
        stored: dict[str, Mapping[str, Any]] = {}
        for document in documents:
            if document["github_repo"] in stored:
                yield f"{document['github_repo']} is there twice"
            stored[document["github_repo"]] = document
        for writes in self._histories():
            found = stored.pop(writes[0].repository, None)
            yield from _wrong_project(writes, found)
        yield from (f"{name} is there, and nobody made it" for name in stored)

    def _histories(self) -> Iterator[list[Write]]:
        """The writes of each project, the one that makes it first."""
        histories: dict[str, list[Write]] = {}
        for write in self.writes:
            if write.kind is not Kind.LOGS:
                histories.setdefault(write.repository, []).append(write)
        yield from histories.values()

    def wrong_logs(self, messages: Mapping[str, Sequence[str]]) -> Iterator[str]:
        """What is wrong with the stored logs, given as messages by correlation id."""
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
        yield from (f"there are logs of {mark}, and nobody sent them" for mark in left)


def _wrong_project(writes: Sequence[Write], found: Mapping[str, Any] | None) -> Iterator[str]:
    made = writes[0]
    if found is None:
        if made.fate is Fate.ACKNOWLEDGED:
            yield f"project {made.mark} was acknowledged, and is not there"
        return
    if made.fate is Fate.REFUSED:
        yield f"project {made.mark} was answered with {made.status}, and is there"
    if found["name"] != made.mark or found["settings"]["planning_statement"] != made.statement:
        yield f"project {made.mark} is not whole"
    possible: list[Write] = []
    for write in writes:
        if write.fate is Fate.ACKNOWLEDGED:
            possible = [write]
        elif write.fate is Fate.UNKNOWN:
            possible.append(write)
    if all(found["secrets"] != write.secrets for write in possible):
        marks = ", ".join(write.mark for write in possible)
        values = {key: value.split(" ")[0] for key, value in found["secrets"].items()}
        yield f"the secrets of {made.mark} are {values}, not all those of one of {marks}"
