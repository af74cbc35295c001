"""Group commit on the writer's thread: many units of work in one transaction."""

import contextlib
import copy
import sqlite3
import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

from database.errors import (
    CommitOutcomeUnknown,
    DatabaseBusy,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    FilesReplaced,
    StatementError,
    TransactionLost,
)
from database.sqlite.connection import ConnectionConfig
from database.sqlite.jobs import Job, JobQueue
from database.sqlite.journal import Journal
from database.sqlite.loop_pause import LoopPause
from database.sqlite.open_files import OpenFiles
from database.sqlite.savepoints import Savepoints
from database.sqlite.statements import (
    MustRunAgain,
    commit,
    control,
    require_transaction,
    roll_back,
    still_open,
)
from database.sqlite.together import MOST_TOGETHER, run_together
from database.sqlite.transaction import write_entries, write_gathered
from database.sqlite.wal import Checkpointer
from database.sqlite.write_lock import WriteLock
from database.sqlite.writer_stats import WriterStats

Batch = list[Job[Any]]


class BatchRunner:
    """Runs batches and commits on the writer's connection. Call every method on the writer's thread
    while the write lock is held.

    `answer` is called with each finished batch, and `poison` when writing can't continue.
    """

    def __init__(
        self,
        config: ConnectionConfig,
        write_lock: WriteLock,
        answer: Callable[[Batch], None],
        poison: Callable[[DatabaseError], None],
        files: OpenFiles,
        checkpointer: Checkpointer,
        journal: Journal,
    ) -> None:
        self._stats = WriterStats()
        self._config = config
        self._write_lock = write_lock
        self._answer = answer
        self._poison = poison
        self._files = files
        self._checkpointer = checkpointer
        self._journal = journal
        self.savepoints = Savepoints()
        self._log_bytes = 0
        self.refused_at: float | None = None
        """When a full disk last refused a write, on the monotonic clock; `None` once a later write
        has succeeded."""
        self._changes = 0

    @property
    def stats(self) -> WriterStats:
        """The current counters."""
        self._stats.checkpoints = self._checkpointer.checkpoints
        self._stats.wal_truncations = self._checkpointer.truncations
        return self._stats

    def serve(self, raw: sqlite3.Connection, queue: JobQueue, pause: LoopPause) -> None:
        """Run the waiting jobs, up to the limits of a batch, in one transaction, and answer them.

        The pause ends before the COMMIT, which waits for the disk.
        """
        job = queue.take()
        if job is None:
            return
        started = time.monotonic()
        batch = [job]
        # The answer if an unexpected exception ends the batch.
        failure: DatabaseError | None = DatabaseUnavailable("the batch was aborted")
        try:
            self._run(raw, batch, queue, pause)
            failure = None
        except DatabaseError as error:
            failure = error
        finally:
            if failure is not None:
                _fail(batch, failure)
            failed = sum(job.error is not None for job in batch)
            self._stats.failed_units += failed
            self._stats.units += len(batch) - failed
            self._note_room(raw, batch if failed else [])
            if failure is not None and still_open(raw):
                self._poison(DatabaseUnavailable("a batch could not be rolled back"))
            self._answer(batch)
        if failure is None:
            self._checkpoint_if_due(raw)
        elif isinstance(failure, DatabaseFull) and not still_open(raw):
            self._checkpoint(partial(self._checkpointer.make_room, raw))
        self._stats.busy_total += time.monotonic() - started

    def _run(
        self, raw: sqlite3.Connection, batch: Batch, queue: JobQueue, pause: LoopPause
    ) -> None:
        """Run the batch's first job and further waiting jobs, and commit.

        Raises `DatabaseError` when the whole batch was rolled back.
        """
        self.begin(raw)
        self.savepoints.everywhere = False
        now = time.monotonic()
        deadline = now + self._config.batch_seconds
        job: Job[Any] | None = batch[0]
        while job is not None:
            alike, following = self._take_alike(queue, job, self._config.batch_units - len(batch))
            batch += alike
            jobs = [job, *alike]
            self._stats.wait_total += sum(now - one.queued_at for one in jobs)
            try:
                self._run_next(raw, batch, jobs)
            except BaseException:
                # It is no longer in the queue, so it fails with the batch.
                batch += [following] if following is not None else []
                raise
            now = time.monotonic()
            if following is None:
                if len(batch) >= self._config.batch_units or now >= deadline:
                    break
                following = queue.take()
            if following is not None:
                batch.append(following)
            job = following
        self._stats.largest_batch = max(self._stats.largest_batch, len(batch))
        if not self._write_gathered(raw):
            self._run_again(raw, batch, self._journal.gathering)
        try:
            self._write_entries(raw)
            pause.end()
            self._commit(raw)
        except DatabaseError as error:
            alone = sum(job.error is None for job in batch) == 1
            raise error if alone else _reason_for_others(error) from None

    def _take_alike(
        self, queue: JobQueue, job: Job[Any], room: int
    ) -> tuple[list[Job[Any]], Job[Any] | None]:
        if job.together is None or self.savepoints.needs_one(job.kind):
            return [], None
        return queue.take_alike(job, min(room, MOST_TOGETHER - 1))

    def _run_next(self, raw: sqlite3.Connection, batch: Batch, jobs: Sequence[Job[Any]]) -> None:
        """Run the last jobs of the batch, which are alike, once nothing is gathered that they may
        read."""
        kind = jobs[0].kind
        if self._journal.is_due_before(kind) and not self._write_gathered(raw):
            self._run_again(raw, batch, self._journal.gathering)
        else:
            self._journal.gathering = kind
            self._run_jobs(raw, batch, jobs)

    def _run_jobs(self, raw: sqlite3.Connection, batch: Batch, jobs: Sequence[Job[Any]]) -> None:
        """Run the last jobs of the batch, which are alike if there are several."""
        kind, together = jobs[0].kind, jobs[0].together
        if len(jobs) > 1 and together is not None:
            try:
                left = run_together(together, jobs, raw, self._config, self._journal)
                self._stats.units_together += len(jobs) - len(left)
                jobs = left
            except MustRunAgain:
                self._run_again(raw, batch, kind)
                return
            except BaseException as error:  # noqa: BLE001 - it has ended the transaction
                raise _reason_for_others(error) from None
        for job in jobs:
            self._run_job(raw, job)
            if isinstance(job.error, MustRunAgain):
                # If the second run does not reach this unit, it has failed like the batch.
                job.error = None
                self._run_again(raw, batch, kind)
                return

    def _run_job(self, raw: sqlite3.Connection, job: Job[Any]) -> None:
        job.run(raw)
        if not raw.in_transaction:
            reason = job.error
            if isinstance(reason, MustRunAgain):
                # There is nothing left to run again, so the unit fails like the others.
                job.error, reason = None, reason.__cause__
            # Also if the unit swallowed the error, because later statements would autocommit.
            raise _reason_for_others(reason)

    def _write_gathered(self, raw: sqlite3.Connection) -> bool:
        """Write what the units gathered. Returns False when that failed and the units have to run
        again, each of which then gets its own error."""
        try:
            write_gathered(self._journal, raw)
        except BaseException as error:  # noqa: BLE001 - the second run raises it where it belongs
            if not raw.in_transaction:
                raise _reason_for_others(error) from None
            return False
        return True

    def _run_again(self, raw: sqlite3.Connection, batch: Batch, kind: Hashable) -> None:
        """Undo the whole batch, in which a unit of this kind failed late, and run it in savepoints.

        Units that join the batch later get one too, so that no batch is run a third time.
        """
        self._stats.repeated_batches += 1
        self.savepoints.failed_late(kind)
        self.savepoints.everywhere = True
        roll_back(raw)
        self.begin(raw)
        for job in batch:
            self._run_job(raw, job)

    def _note_room(self, raw: sqlite3.Connection, failed: Batch) -> None:
        if any(isinstance(job.error, DatabaseFull) for job in failed):
            self.refused_at = time.monotonic()
            self._changes = raw.total_changes
        elif self.refused_at is not None and raw.total_changes != self._changes:
            self.refused_at = None

    def begin(self, raw: sqlite3.Connection) -> None:
        """Begin a writing transaction."""
        self._journal.begin()
        try:
            control(raw, "BEGIN IMMEDIATE")
        except StatementError as error:
            # BEGIN itself is correct, so the connection is closed or in an unknown transaction.
            unusable = DatabaseUnavailable(f"the writer's connection can't be used: {error}")
            self._poison(unusable)
            raise unusable from None

    def _write_entries(self, raw: sqlite3.Connection) -> None:
        """Write what the units appended. On failure, roll everything back and raise the error."""
        try:
            write_entries(self._journal, raw)
            require_transaction(raw)
        except DatabaseError:
            # If this fails too, `in_transaction` shows it to the next user of the connection.
            with contextlib.suppress(DatabaseError):
                roll_back(raw)
            raise

    def _commit(self, raw: sqlite3.Connection) -> None:
        is_committed = False
        try:
            self._require_files(raw)
            with self._write_lock.committing(raw):
                commit(raw)
            is_committed = True
            self._log_bytes = self._files.after_commit()
        except DatabaseError as error:
            self._stats.failed_commits += 1
            if isinstance(error, FilesReplaced):
                error.is_committed = is_committed
            if isinstance(error, (CommitOutcomeUnknown, FilesReplaced)):
                self._poison(error)
            raise
        self._stats.commits += 1
        self._journal.committed()

    def _require_files(self, raw: sqlite3.Connection) -> None:
        try:
            self._files.before_commit()
        except FilesReplaced:
            roll_back(raw)
            raise

    def commit_alone(self, raw: sqlite3.Connection) -> None:
        """Commit a transaction that belongs to one caller."""
        try:
            require_transaction(raw)
            self._write_entries(raw)
            self._commit(raw)
        except DatabaseError:
            self._stats.failed_units += 1
            raise
        self._stats.units += 1
        self._checkpoint_if_due(raw)

    def _checkpoint_if_due(self, raw: sqlite3.Connection) -> None:
        self._checkpoint(partial(self._checkpointer.run_if_due, raw, self._log_bytes))

    def _checkpoint(self, checkpoint: Callable[[], None]) -> None:
        try:
            checkpoint()
        except DatabaseError as error:
            self._poison(error)

    def truncate_wal(self, raw: sqlite3.Connection) -> bool:
        """Copy the write-ahead log into the database file and empty it. Returns whether it is
        empty."""
        try:
            return self._checkpointer.truncate(raw)
        except FilesReplaced as error:
            self._poison(error)
            raise


def _fail(batch: Batch, error: DatabaseError) -> None:
    """Give each job the error of a batch that was rolled back or whose outcome is unknown."""
    for job in batch:
        # A unit that failed on its own keeps its error, because it had no effect in any case.
        if job.error is None:
            # Copies, because an exception raised in many tasks collects all their tracebacks.
            job.error = copy.copy(error)


def _reason_for_others(cause: BaseException | None) -> DatabaseError:
    """The error for the other units of a failed transaction. It reports a failure of the database,
    but not a failure of the one unit."""
    if isinstance(cause, (DatabaseBusy, DatabaseFull, DatabaseUnavailable)):
        return cause
    return TransactionLost("the transaction was rolled back: another unit of work broke it")
