"""Imports a stream of project documents."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

from backend.cli.duplicate_documents import Group, find_groups
from backend.cli.failures import CommandFailed, interrupted_at_once, sentence
from backend.cli.import_lines import CHUNK_LINES, Line, LineRejected, parse_line, read_chunks
from backend.cli.report import ImportReport
from backend.errors import StrongroomError
from backend.runtime import Runtime, connection_config
from backend.schemas.projects import ProjectDocument
from backend.services.database_service import DatabaseService
from backend.services.projects.documents import ImportOutcome
from config.settings import Settings
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError, InvalidValue

PATIENCE_SECONDS = 600.0
"""How long a document may wait for earlier documents, which may be large."""


async def import_stream(
    settings: Settings, stream: BinaryIO, report: ImportReport, advance: Callable[[int], None]
) -> None:
    """Import every line of `stream` into the installation, which must not be running.

    Adds each line's outcome to `report`, and calls `advance` with the number of processed bytes.
    Raises the errors of `Runtime.start`, and `CommandFailed` when the database can't go on: then
    only the lines that the report counts are stored.
    """
    # No other caller waits here, so a batch may take all lines of a chunk.
    config = replace(
        connection_config(settings),
        readers=1,
        queue_timeout=PATIENCE_SECONDS,
        batch_units=CHUNK_LINES,
        batch_seconds=PATIENCE_SECONDS,
    )
    manager = DatabaseManager(config)
    runtime = await Runtime.start(settings, manager=manager, issue_first_token=False)
    try:
        importer = Importer(runtime.service, find_groups(stream), report)
        for lines, size in _read(stream):
            await importer.add(lines)
            advance(size)
    finally:
        await runtime.stop()


def _read(stream: BinaryIO) -> Iterator[tuple[list[Line], int]]:
    """The result of `read_chunks`. An interruption does not wait for the next line."""
    chunks = read_chunks(stream)
    while True:
        with interrupted_at_once():
            part = next(chunks, None)
        if part is None:
            return
        yield part


class Importer:
    """Imports lines in parts, and adds the outcome of each line to the report."""

    def __init__(
        self, service: DatabaseService, groups: dict[int, Group], report: ImportReport
    ) -> None:
        self._service = service
        self._groups = groups
        self._report = report

    async def add(self, lines: list[Line]) -> None:
        """Import all `lines` together, so that they share a COMMIT; one writer keeps their order.

        Raises `CommandFailed` when the database can't go on.
        """
        ready = [group for line in lines if (group := self._read(line)) is not None]
        outcomes = await asyncio.gather(
            *(
                self._service.documents.import_one(group.document)
                for group in ready
                if group.document
            ),
            return_exceptions=True,
        )
        failure: tuple[int, BaseException] | None = None
        for group, outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, ImportOutcome):
                for each in group.outcomes(outcome):
                    self._report.add(each)
            elif isinstance(outcome, StrongroomError | InvalidValue):
                for number in group.lines:
                    self._report.reject(number, sentence(outcome) or "")
            else:
                failure = failure or (group.lines[-1], outcome)
        if failure is not None:
            self._give_up(*failure)

    def _read(self, line: Line) -> Group | None:
        """The group that ends with this line; `None` when more lines follow, or when all of its
        lines were rejected."""
        group = self._groups.pop(line.number, None) or Group(waiting=1)
        group.waiting -= 1
        try:
            document = parse_line(line)
        except LineRejected as error:
            self._report.reject(line.number, str(error))
        else:
            self._note(document)
            group.add(line.number, document)
        return group if group.document is not None and not group.waiting else None

    def _note(self, document: ProjectDocument) -> None:
        self._report.secret_keys_ignored += len(document.secret_keys)
        for name in document.model_extra or ():
            self._report.note_unknown(name)

    def _give_up(self, number: int, failure: BaseException) -> None:
        if not isinstance(failure, DatabaseError):
            raise failure
        raise CommandFailed(
            f"line {number}: {sentence(failure)}; {self._report.stored} lines are stored; import "
            "the file again to go on with the rest"
        ) from failure
