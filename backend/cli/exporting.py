"""Exports all projects as documents, page by page."""

import errno
import json
import os
import secrets
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from backend.cli.common import given_path
from backend.cli.failures import CommandFailed
from backend.cli.offline_writes import offline_service
from backend.repositories.paging import Position
from backend.runtime import find_keyring, inspection
from backend.runtime.installation import StartRefused
from backend.services.projects.documents import ExportedDocument, ExportPage
from config.settings import Settings
from strongroom._commands.terminal import printable_json

PAGE = 50
LISTED_SECRETS = 1000


TWICE_STANDARD_OUTPUT = "--json and - would both write to standard output: name a file"


@dataclass(slots=True)
class ExportReport:
    """Counts of what was written."""

    exported: int = 0
    secrets: int = 0
    """The number of secret values if they were requested, else of secret names."""
    unreadable_secrets: int = 0
    unreadable: list[str] = field(default_factory=list)
    """The first unreadable secrets, as `owner/repository KEY`."""

    def add(self, document: ExportedDocument) -> None:
        """Count a document."""
        content = document.content
        self.exported += 1
        self.secrets += len(content.get("secrets", content.get("secret_keys", ())))
        self.unreadable_secrets += len(document.unreadable)
        name = f"{content['github_owner']}/{content['github_repo']}"
        room = LISTED_SECRETS - len(self.unreadable)
        self.unreadable += [f"{name} {key}" for key in document.unreadable[:room]]


async def export_stream(
    settings: Settings,
    stream: BinaryIO,
    report: ExportReport,
    advance: Callable[[int], None],
    *,
    reveal: bool,
) -> None:
    """Write every project that is not deleted to `stream`, one line each.

    Each line shows one moment, but the file as a whole does not. This works while the server runs,
    except with `reveal`, since revealing writes to the audit. Raises `CommandFailed`,
    `StartRefused` and `DatabaseError`.
    """
    async with _pages(settings, reveal=reveal) as next_page:
        after = None
        while True:
            page = await next_page(limit=PAGE, after=after)
            for document in page.documents:
                stream.write(encoded(document.content))
                report.add(document)
            advance(len(page.documents))
            after = page.next_position
            if after is None:
                return


class NextPage(Protocol):
    """The use case that returns the documents after a position."""

    def __call__(self, *, limit: int, after: Position | None) -> Awaitable[ExportPage]: ...


@asynccontextmanager
async def _pages(settings: Settings, *, reveal: bool) -> AsyncIterator[NextPage]:
    if not reveal:
        # Names can be exported without a key. With it, a forged project is refused.
        async with inspection(settings, find_keyring(settings), check=False) as opened:
            yield opened.service.documents.export
        return
    if find_keyring(settings) is None:
        raise StartRefused(
            "secrets can't be read without a master key: set STRONGROOM_MASTER_KEYS_FILE"
        )
    call = "GET /api/projects/{id}/secrets/{key}/value for each secret"
    async with offline_service(settings, call, issue_first_token=False) as service:
        yield service.documents.reveal


def encoded(content: dict[str, Any]) -> bytes:
    """A document as one line, which is safe for line readers and terminals."""
    return printable_json(json.dumps(content, ensure_ascii=False)).encode() + b"\n"


@contextmanager
def output(target: str, *, force: bool, private: bool) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file `target` when the block succeeds; `-` is standard
    output.

    The file appears complete, or nothing changes. Only its owner can read a `private` file. Raises
    `CommandFailed` when the file exists and `force` is not set, and when it can't be written.
    """
    if target == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = given_path(target, "FILE.jsonl")
    _check_target(path, force=force)
    temporary = path.with_name(f".{path.name[:200]}.{secrets.token_hex(6)}.tmp")
    try:
        with open(temporary, "xb", opener=_private if private else None) as file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                _put_in_place(temporary, path, force=force)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CommandFailed(
            f"{target} can't be written ({error.strerror}): choose another file, or free some space"
        ) from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)


def _check_target(path: Path, *, force: bool) -> None:
    if not (path.exists() or path.is_symlink()):
        return
    if not path.is_file() or path.is_symlink():
        raise CommandFailed(f"{path} is not an ordinary file: choose another name, or - for a pipe")
    if not force:
        raise CommandFailed(f"{path} exists: choose another name, or replace it with --force")


def _put_in_place(temporary: Path, path: Path, *, force: bool) -> None:
    if force:
        temporary.replace(path)
    else:
        try:
            # Unlike a rename, a link fails if another process has created the file meanwhile.
            path.hardlink_to(temporary)
        except FileExistsError:
            _check_target(path, force=False)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            temporary.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
