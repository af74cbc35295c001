"""Units of work that are alike, run as one."""

import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from database.engine import ALONE, Call, Together
from database.errors import DatabaseError, UnitOfWorkError
from database.sqlite.connection import guarded
from database.sqlite.jobs import Job
from database.sqlite.journal import Journal
from database.sqlite.statements import MustRunAgain
from database.sqlite.transaction import drive

logger = logging.getLogger("strongroom.database")

MOST_TOGETHER = 32
"""The most units that run as one. Their rows fit into single statements, and the batch looks at the
clock after them."""


def run_together(
    together: Together,
    jobs: Sequence[Job[Any]],
    connection: sqlite3.Connection,
    owner: object,
    journal: Journal,
) -> Sequence[Job[Any]]:
    """Run the jobs as one unit without a savepoint, and store their results. Returns the jobs that
    have to run on their own: those that `together` left, or all of them if it failed.

    Raises `MustRunAgain` if it failed after it had changed something, and its error if that ended
    the transaction.
    """
    calls = [job.call for job in jobs]
    try:
        outcomes = guarded(
            lambda raw: drive(
                lambda: _outcomes(together, calls), raw, owner, journal, savepoint=False
            ),
            connection,
        )
    except MustRunAgain:
        raise
    except BaseException as error:
        if not connection.in_transaction:
            raise
        if isinstance(error, UnitOfWorkError) or not isinstance(error, DatabaseError):
            # A fault of the function: each unit will succeed, only slower.
            logger.exception("units that are alike could not run as one")
        return jobs
    alone: list[Job[Any]] = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome is ALONE:
            alone.append(job)
        else:
            job.result, job.error = outcome, None
    return alone


async def _outcomes(together: Together, calls: Sequence[Call]) -> Sequence[Any]:
    outcomes = await together(calls)
    if len(outcomes) != len(calls):
        raise UnitOfWorkError(f"{len(calls)} units that ran as one have {len(outcomes)} outcomes")
    return outcomes
