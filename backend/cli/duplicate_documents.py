"""Combines lines of one file that are about the same project into one document.

Imported one after the other, they would undo each other's changes at every import of the file.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from backend.cli.import_lines import read_chunks
from backend.schemas.projects import ProjectDocument
from backend.services.projects.documents import ImportOutcome, merged
from database.text_keys import text_key


@dataclass(slots=True)
class Group:
    """The lines about one repository, and the combined document of those read so far."""

    waiting: int
    """The number of lines that were not read yet."""
    lines: list[int] = field(default_factory=list)
    document: ProjectDocument | None = None

    def add(self, number: int, document: ProjectDocument) -> None:
        """Add a line's document. Its fields take precedence over those of earlier lines."""
        self.lines.append(number)
        self.document = document if self.document is None else merged(self.document, document)

    def outcomes(self, outcome: ImportOutcome) -> Iterator[ImportOutcome]:
        """The outcome of each line, after importing the group had this `outcome`."""
        yield outcome
        following = ImportOutcome.UPDATED if outcome is ImportOutcome.CREATED else outcome
        yield from [following] * (len(self.lines) - 1)


def find_groups(stream: BinaryIO) -> dict[int, Group]:
    """The groups of more than one line, by the number of each of their lines.

    Reads the file once and returns to the old position. Finds no groups in a pipe, which can't be
    read twice.
    """
    if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        return {}
    start = stream.tell()
    # Digests need less memory than the names of a hundred thousand repositories.
    first_lines: dict[bytes, int] = {}
    groups: dict[int, Group] = {}
    for lines, _ in read_chunks(stream):
        for line in lines:
            digest = _repository(line.text)
            if digest is None:
                continue
            first = first_lines.setdefault(digest, line.number)
            if first != line.number:
                group = groups.setdefault(first, Group(waiting=1))
                group.waiting += 1
                groups[line.number] = group
    stream.seek(start)
    return groups


def _repository(text: bytes | None) -> bytes | None:
    """A digest of the line's repository; `None` for a line that will be rejected anyway."""
    try:
        value = json.loads(text or b"")
        names = text_key(value["github_owner"]), text_key(value["github_repo"])
        return hashlib.blake2b("\n".join(names).encode(), digest_size=16).digest()
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None
