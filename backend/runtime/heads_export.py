"""Exports the head of the audit, and finds losses at its end."""

import asyncio
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from backend.observability.log import get_logger
from backend.repositories.audit_reading import AuditReader
from backend.repositories.audit_repository import AuditHead
from backend.runtime.audit_heads import HeadsFile
from backend.runtime.heads_writer import HeadsWriter
from backend.services.audit.audit import Audit
from backend.services.audit.verification import ExportedHead
from database.connection_manager import DatabaseManager

_CHUNK = 500

logger = get_logger("strongroom.audit")


class HeadsExport:
    """Writes the audit's head to the file: before a reveal is answered, and when `export` is
    called."""

    def __init__(self, path: Path, audit: Audit) -> None:
        self.path = path
        self._audit = audit
        self._writer = HeadsWriter(path, audit.kit.now)
        audit.end.keeper = self._writer

    async def compare(self) -> None:
        """Report, in the log and in the audit, when exported entries are missing. From now on, the
        present end of the audit is known.

        Raises `OSError` and `DatabaseError`.
        """
        newest = await asyncio.to_thread(HeadsFile(self.path).newest)
        if newest is not None:
            problem = await self._audit.find_loss(newest)
            if problem is None:
                self._writer.begin(AuditHead(newest.id, newest.mac))
            else:
                logger.error(
                    "the audit has lost entries, and the database the changes they record: find "
                    "out what happened, restore a backup if necessary, and move the file away to "
                    "go on without them",
                    file=str(self.path),
                    problem=str(problem),
                )
        await self._audit.look_at_end()

    async def export(self) -> None:
        """Look for a loss at the end of the audit, and add the head to the file, durably, if it has
        changed.

        Raises `DatabaseError`, and `OSError` when the file can't be synced. The log tells when it
        can't be written.
        """
        try:
            await self._audit.look_at_end()
        finally:
            await asyncio.to_thread(self._write)

    def _write(self) -> None:
        self._audit.end.keep()
        self._writer.sync()

    async def spare(self) -> None:
        """Rewrite a large file without most of its earlier lines. Raises `OSError` and
        `DatabaseError`."""
        await asyncio.to_thread(self._writer.rewrite_if_due, self._spared)

    def _spared(self, heads: Iterable[ExportedHead]) -> Iterator[ExportedHead]:
        return spared(with_losses(self._audit.db_manager, iter(heads)))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def with_losses(
    db_manager: DatabaseManager, heads: Iterator[ExportedHead]
) -> Iterator[tuple[ExportedHead, bool]]:
    """Each head, and whether it proves a loss: its entry is not in the audit, and was not removed
    as an old one. Raises `DatabaseError`."""
    reader = AuditReader(db_manager)
    while chunk := list(islice(heads, _CHUNK)):
        macs = reader.macs([head.id for head in chunk])
        anchor = reader.anchor()
        removed = anchor.last_id if anchor is not None else 0
        for head in chunk:
            yield head, macs.get(head.id) != head.mac and head.id > removed


def spared(marked: Iterable[tuple[ExportedHead, bool]]) -> Iterator[ExportedHead]:
    """The heads worth keeping among old ones: the last of each day, and, of successive ones that
    prove a loss, the first and the last."""
    before: tuple[ExportedHead, bool] | None = None
    is_first = False
    for head, is_lost in marked:
        was_lost = before is not None and before[1]
        if before is not None:
            is_last_of_day = before[0].at[:10] != head.at[:10]
            if is_last_of_day or (was_lost and (is_first or not is_lost)):
                yield before[0]
        is_first = is_lost and not was_lost
        before = head, is_lost
    if before is not None:
        yield before[0]
