"""Every unit of work runs twice: what it leaves and answers must be the same as after one run."""

import sqlite3
from typing import Any, NoReturn

from database.sqlite import batches
from database.sqlite.batches import BatchRunner
from database.sqlite.jobs import Job
from database.sqlite.statements import MustRunAgain
from database.sqlite.together import run_together


def run_units_twice() -> None:
    """Let the writers of this process take the first success in a batch for a late failure."""
    run_job = BatchRunner._run_job

    def run(self: BatchRunner, raw: sqlite3.Connection, job: Job[object]) -> None:
        run_job(self, raw, job)
        if job.error is None and not self.savepoints.everywhere:
            job.error = MustRunAgain()

    BatchRunner._run_job = run  # type: ignore[method-assign]
    setattr(batches, "run_together", _run_together_and_then_alone)  # noqa: B010 - not exported


def _run_together_and_then_alone(*arguments: Any) -> NoReturn:
    run_together(*arguments)
    raise MustRunAgain
