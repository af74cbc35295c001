"""Records reveals that are refused to the holder of a valid token."""

import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from backend.errors import Forbidden, ProjectNotFound
from backend.http.authentication import running_service
from backend.observability.log import get_logger
from backend.services.principal import Principal
from database.errors import DatabaseError
from models import KEY_PATTERN, MAX_INT64

Work = Callable[[Request, Principal], Awaitable[Response]]
"""The rest of a route's work for the principal of the request."""

logger = get_logger("strongroom.reveals")

_ID = re.compile(r"[1-9][0-9]{0,18}")
_KEY = re.compile(KEY_PATTERN)


def recording_refusals(work: Work) -> Work:
    """The work of a route that reveals a secret. Its answers stay as they are."""

    async def work_and_record(request: Request, principal: Principal) -> Response:
        try:
            return await work(request, principal)
        except (Forbidden, ProjectNotFound) as refusal:
            await _record(request, principal, is_missing=isinstance(refusal, ProjectNotFound))
            raise

    return work_and_record


async def _record(request: Request, principal: Principal, *, is_missing: bool) -> None:
    place = _place(request)
    # A project that is missing for every token is no refusal.
    if place is None or (is_missing and principal.sees(place[0])):
        return
    try:
        await running_service(request).refused_reveals.record(principal, *place)
    except DatabaseError as error:
        # The reveal was refused in any case, and the client must see no difference.
        logger.warning("a refused reveal could not be recorded", cause=str(error))


def _place(request: Request) -> tuple[int, str | None] | None:
    """The project and the key in the path, which has no key when several secrets are asked for;
    `None` when no secret can be there."""
    project_id = str(request.path_params.get("project_id"))
    key: str | None = request.path_params.get("key")
    if not _ID.fullmatch(project_id) or (key is not None and not _KEY.fullmatch(key)):
        return None
    return (int(project_id), key) if int(project_id) <= MAX_INT64 else None
