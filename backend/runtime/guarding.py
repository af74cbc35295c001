"""Guards the rows of an installation of an earlier version at its first start."""

import asyncio

from backend.observability.log import get_logger
from backend.runtime.audit_heads import HeadsFile
from backend.runtime.installation import DataDirectory, StartRefused
from backend.services.audit.guarding import guarding_is_due, guarding_problem
from backend.services.database_service import DatabaseService

logger = get_logger("strongroom.start")


async def guard_rows(service: DatabaseService, directory: DataDirectory) -> None:
    """Guard the rows of an installation of an earlier version, or finish an interrupted guarding.

    Raises `StartRefused` when the audit is not whole, because rows that were changed outside the
    service could then pass for genuine ones.
    """
    if not guarding_is_due(service.db_manager):
        return
    heads = HeadsFile(directory.audit_heads).heads()
    problem = await asyncio.to_thread(
        guarding_problem, service.db_manager, service.audit.chain, heads
    )
    if problem is not None:
        raise StartRefused(
            f"the rows of this database can't be guarded, because {problem}: restore a backup"
        )
    logger.info("guarding the rows of an earlier version")
    logger.info("all rows are guarded", rows=await service.guarding.run())
