"""Turns errors into answers: problem documents (RFC 9457)."""

import json
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from backend.errors import ERROR_TABLE, NotFound, StrongroomError, ValidationFailed
from backend.http.bulk_bodies import with_lines
from backend.http.json_answer import JsonAnswer
from backend.http.missing_paths import MissingPaths
from backend.http.openapi.problem_schemas import schema_of
from database.errors import DatabaseBusy, DatabaseError, FilesReplaced, InvalidValue

PROBLEM_JSON = "application/problem+json"


def problems(*codes: str, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route: these codes, and the codes that all routes share."""
    common = ["unauthenticated", "forbidden", "validation_failed", "rate_limited", "internal"]
    common.append("database_busy")
    if body:
        common += ["malformed_json", "body_too_large", "unsupported_media_type", "database_full"]
    return problem_responses([*codes, *common])


def problem_responses(codes: Sequence[str]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of these codes, by status; `x-codes` has the codes for machines."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(ERROR_TABLE[code][0], []).append(code)
    return {
        status: {
            "description": "; ".join(f"`{code}`: {ERROR_TABLE[code][1]}" for code in found),
            "x-codes": found,
            "content": {PROBLEM_JSON: {"schema": schema_of(found)}},
        }
        for status, found in sorted(by_status.items())
    }


def json_response(content: bytes | str, *, location: str | None = None) -> Response:
    """An answer with `content`, which is already JSON: 200, or 201 for a new resource at
    `location`."""
    content = content.encode() if isinstance(content, str) else content
    return JsonAnswer(content, 200 if location is None else 201, location)


def problem(
    request_id: str,
    code: str,
    detail: str,
    *,
    headers: dict[str, str] | None = None,
    extra: dict[str, Any] | None = None,
) -> Response:
    """The problem document of an error code (RFC 9457)."""
    status, title = ERROR_TABLE[code]
    document = {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
        **(extra or {}),
    }
    return Response(
        json.dumps(document, ensure_ascii=False).encode("utf-8", "replace"),
        status_code=status,
        headers=headers,
        media_type=PROBLEM_JSON,
    )


def problem_of(request_id: str, error: Exception) -> Response | None:
    """The answer to an error that clients may see; `None` for any other error."""
    if isinstance(error, StrongroomError):
        return problem(
            request_id, error.code, error.detail, headers=error.headers, extra=error.extra
        )
    if isinstance(error, HTTPException):
        return _http_problem(request_id, error)
    if isinstance(error, InvalidValue):
        # No rule of the request model found it, so its place is unknown.
        detail = {"loc": (), "type": "value_error", "msg": str(error)}
        return problem_of(request_id, ValidationFailed([detail]))
    if isinstance(error, DatabaseError) and error.code != "internal":
        headers = {}
        if isinstance(error, DatabaseBusy):
            headers["Retry-After"] = str(error.retry_after)
        # A path of the server is for its operator, who finds it in the log.
        text = _FILES_REPLACED if isinstance(error, FilesReplaced) else str(error)
        return problem(request_id, error.code, text, headers=headers)
    return None


_FILES_REPLACED = "a file of the database was removed or replaced: the service is ending"
_HTTP_CODES = {
    400: ("bad_request", "the request can't be understood"),
    405: ("method_not_allowed", "see the Allow header"),
    413: ("body_too_large", "send less at once"),
}


def _http_problem(request_id: str, error: HTTPException) -> Response | None:
    # A framework's `detail` may repeat the input; the text here does not.
    known = _HTTP_CODES.get(error.status_code)
    if known is None:
        return None
    code, detail = known
    return problem(request_id, code, detail, headers=dict(error.headers or {}))


def _details(error: RequestValidationError) -> list[dict[str, Any]]:
    """Pydantic's errors. Places in the body start at the body itself, and each query parameter
    appears once, even if several of its values are wrong."""
    details: list[dict[str, Any]] = []
    parameters: set[tuple[str | int, ...]] = set()
    for item in error.errors():
        place = item["loc"]
        if place[:1] == ("body",):
            place = place[1:]
        elif place[:1] == ("query",):
            # The index in a list is left out.
            place = place[:2]
            if place in parameters:
                continue
            parameters.add(place)
        details.append({**item, "loc": place})
    return details


def install_error_handlers(app: FastAPI, missing: MissingPaths) -> None:
    """Answer every error that clients may see with its problem document."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            if error.status_code == 405:
                # Each route has one method, and Starlette names only the first route's.
                methods = missing.methods(request.scope["path"])
                error.headers = {"Allow": methods} if methods is not None else error.headers
            if error.status_code == 404:
                error = NotFound(missing.detail(request.scope["path"]))
        if isinstance(error, RequestValidationError):
            error = ValidationFailed(_details(error))
        if isinstance(error, StrongroomError):
            error = with_lines(request.scope, error)
        answer = problem_of(request.scope["strongroom.request_id"], error)
        if answer is None:
            raise error
        return answer

    for kind in (StrongroomError, DatabaseError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
