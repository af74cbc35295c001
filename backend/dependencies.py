"""What routes ask for, and how errors become answers."""

import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from backend.access import ANY_QUERY, OPEN, ROUTE_SCOPES
from backend.admission import Seats
from backend.direct_call import DirectCall, Handler, application, is_ordinary
from backend.errors import (
    ERROR_TABLE,
    NotFound,
    NotRunning,
    Refused,
    StrongroomError,
    Unauthenticated,
    ValidationFailed,
)
from backend.missing_paths import MissingPaths
from backend.rate_limits import RequestLimits
from backend.request_head import read_head
from backend.services.database_service import DatabaseService
from backend.services.principal import EVERYBODY, Principal, acting_as
from backend.strict_query import StrictQuery
from backend.token_checks import read_body, require_valid, valid_to_the_end
from database.errors import DatabaseBusy, DatabaseError, InvalidValue
from models import MAX_INT64, Scope

PROBLEM_JSON = "application/problem+json"
PATIENCE_SECONDS = 1.0
"""Whose request has waited for longer is asked whether it still wants the answer."""


def _decimal(value: object) -> object:
    # Pydantic reads " 1", "+1", "01", "1_0" and "1.0" as well: one thing would have many addresses.
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise PydanticCustomError("int_parsing", "Input should be an integer in plain digits")
    return value


_DECIMAL = re.compile(r"0|-?[1-9][0-9]{0,18}")
PlainDigits = BeforeValidator(_decimal)


def _boolean(value: object) -> object:
    # Pydantic reads "1", "on", "yes" and "T" as well, and what is purged does not come back.
    if isinstance(value, str) and value not in ("true", "false"):
        raise PydanticCustomError("bool_parsing", "Input should be true or false")
    return value


Flag = Annotated[bool, BeforeValidator(_boolean)]
"""A boolean in a query."""
Id = Annotated[int, Field(ge=1, le=MAX_INT64), PlainDigits]
"""An id in a path or a query."""
Service = Annotated[DatabaseService, "the application's"]
"""The parameter of a route that is given the service, by `GuardedRoute`."""
ProjectId = Annotated[Id, Path(description="The project's id.", examples=[1])]
RunId = Annotated[Id, Path(description="The run's id.", examples=[1])]
Choice = TypeVar("Choice", bound=StrEnum)


def _distinct(choices: tuple[Choice, ...]) -> tuple[Choice, ...]:
    """One order for one list: cursors and kept answers go by it."""
    return tuple(sorted(set(choices)))


AnyOf = Annotated[tuple[Choice, ...], AfterValidator(_distinct)]
"""A filter that may be given more than once, and means any of its values; all when it is not."""
Limit = Annotated[
    int,
    Field(ge=1, le=500),
    PlainDigits,
    Query(description="The most items that a page may have."),
]
Cursor = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before, with the same filters."),
]


class GuardedRoute(APIRoute):
    """A route that knows its scope, checks it before anything else, and reads JSON strictly."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, _with_service(endpoint), **options)
        if is_ordinary(self):
            self.app = application(self._guard(DirectCall(self)))

    def get_route_handler(self) -> Handler:  # type: ignore[override]
        """The handler. Raises `KeyError` for a route that the table of scopes does not have."""
        return self._guard(super().get_route_handler())

    def _guard(self, handle: Handler) -> Handler:
        (method,) = self.methods or {"GET"}
        scope = ROUTE_SCOPES[method, self.path_format]
        query = StrictQuery.of(self.dependant)
        if (method, self.path_format) in ANY_QUERY:
            return handle
        if scope is OPEN:
            return _with_strict_query(handle, query)
        body = self.body_field
        required = body.field_info.is_required() if body is not None else None
        metrics = self.path_format == "/metrics"
        # What reads waits for no COMMIT, however slow the disk is. A reveal is recorded.
        reading = method == "GET" and scope != Scope.SECRETS_REVEAL
        kind = "reading" if reading else "writing"
        if reading:
            handle = valid_to_the_end(handle)

        async def guarded(request: Request) -> Response:
            state = request.app.state
            if metrics and _is_open(request):
                principal = EVERYBODY
            else:
                principal = await authenticate(request)
                principal.require(scope)
            query.check(request)
            await read_body(request, principal, required=required)
            if metrics:
                # Never waits: when there is much to do, it tells so.
                return await handle(request)
            seats: Seats = state.seats[kind]
            # Now, and not before: whoever sends a body slowly keeps nobody from working.
            waited = None
            client = principal.token_id or client_address(request)
            if not seats.take(client):
                waited = await seats.wait(client)
            try:
                if waited is not None:
                    if waited > PATIENCE_SECONDS and await request.is_disconnected():
                        raise ClientDisconnect
                    await require_valid(request, principal)
                with acting_as(principal):
                    return await handle(request)
            finally:
                seats.give_back(client)

        return guarded


def _with_strict_query(handle: Handler, query: StrictQuery) -> Handler:
    async def strict(request: Request) -> Response:
        query.check(request)
        return await handle(request)

    return strict


def running_service(request: Request) -> DatabaseService:
    """The application's service. Raises `NotRunning` before its lifespan has begun, and
    `WrongEventLoop` on another event loop than the lifespan's."""
    service: DatabaseService | None = request.app.state.service
    if service is None:
        raise NotRunning
    service.db_manager.async_pool.check_loop()
    return service


def _is_open(request: Request) -> bool:
    """Whether `/metrics` needs no token. Raises `Refused` for a request without one that is no
    business of this machine's."""
    state = request.app.state
    if not state.open_metrics:
        return False
    headers, _ = read_head(request.scope)
    refusal: str | None = state.own_origin.refusal(request.scope["scheme"], headers)
    if refusal is not None and b"authorization" not in headers:
        raise Refused(refusal)
    return refusal is None


def _with_service(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    """The endpoint, given its `Service` from the request.

    A dependency of FastAPI's would do it, and take a tenth of the time of a small request.
    """
    signature = inspect.signature(endpoint)
    names = {id(p.annotation): name for name, p in signature.parameters.items()}
    name = names.get(id(Service))
    if name is None:
        return endpoint
    # FastAPI gives the request to one parameter only, which may be the endpoint's own.
    own = names.get(id(Request))

    @functools.wraps(endpoint)
    async def call(**arguments: Any) -> Any:
        request = arguments[own] if own is not None else arguments.pop("_request")
        arguments[name] = running_service(request)
        return await endpoint(**arguments)

    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
        if parameter.name != name
    ]
    if own is None:
        parameters.append(
            inspect.Parameter("_request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)
        )
    call.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return call


def problems(*codes: str, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route: these codes, and those that every route may answer."""
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
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, found in sorted(by_status.items())
    }


def client_address(request: Request) -> str:
    """Where the request comes from, as a trusted proxy tells or the connection; the empty text
    when that is not known."""
    return request.client.host if request.client is not None else ""


async def authenticate(request: Request) -> Principal:
    """Who sends the request. Raises `Unauthenticated` and `RateLimited`, and what
    `running_service` raises."""
    service = running_service(request)
    state = request.app.state
    if not state.auth_required:
        return EVERYBODY
    header = request.headers.get("authorization")
    if header is None:
        raise Unauthenticated
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    limits: RequestLimits = state.limits
    try:
        principal = await service.authenticate(token.strip())
    except Unauthenticated:
        limits.count_failure(client_address(request))
        raise
    limits.count_request(principal.token_id)
    return principal


def json_response(content: bytes | str) -> Response:
    """An answer that is JSON already."""
    return Response(content, media_type="application/json")


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
    """The answer to an error that clients may know of; `None` for any other."""
    if isinstance(error, StrongroomError):
        return problem(
            request_id, error.code, error.detail, headers=error.headers, extra=error.extra
        )
    if isinstance(error, RequestValidationError):
        return problem_of(request_id, ValidationFailed(_details(error)))
    if isinstance(error, HTTPException):
        return _http_problem(request_id, error)
    if isinstance(error, InvalidValue):
        # No rule of a request knows it, and no place is known.
        detail = {"loc": (), "type": "value_error", "msg": str(error)}
        return problem_of(request_id, ValidationFailed([detail]))
    if isinstance(error, DatabaseError) and error.code != "internal":
        headers = {}
        if isinstance(error, DatabaseBusy):
            headers["Retry-After"] = str(error.retry_after)
        return problem(request_id, error.code, str(error), headers=headers)
    return None


_HTTP_CODES = {
    400: ("bad_request", "the request can't be understood"),
    405: ("method_not_allowed", "see the Allow header"),
    413: ("body_too_large", "send less at once"),
}


_ALLOWED: dict[str, list[str]] = {}
for _method, _path in ROUTE_SCOPES:
    _ALLOWED.setdefault(_path, []).extend(["GET", "HEAD"] if _method == "GET" else [_method])


def _allow_header(request: Request, error: HTTPException) -> Mapping[str, str] | None:
    # Each route has one method, and Starlette names those of the first one that has the path.
    path = getattr(request.scope.get("route"), "path_format", "")
    return {"Allow": ", ".join(_ALLOWED[path])} if path in _ALLOWED else error.headers


def _http_problem(request_id: str, error: HTTPException) -> Response | None:
    # What frameworks say in `detail` may repeat the input; the text here does not.
    known = _HTTP_CODES.get(error.status_code)
    if known is None:
        return None
    code, detail = known
    return problem(request_id, code, detail, headers=dict(error.headers or {}))


def _details(error: RequestValidationError) -> list[dict[str, Any]]:
    """What pydantic tells, with places in the body as seen from the body itself, and each
    parameter of the query once, whichever of its values are wrong."""
    details: list[dict[str, Any]] = []
    parameters: set[tuple[str | int, ...]] = set()
    for item in error.errors():
        place = item["loc"]
        if place[:1] == ("body",):
            place = place[1:]
        elif place[:1] == ("query",):
            # Of a list, its own place is not told.
            place = place[:2]
            if place in parameters:
                continue
            parameters.add(place)
        details.append({**item, "loc": place})
    return details


def install_error_handlers(app: FastAPI) -> None:
    """Answer every error that clients may know of with its problem document."""

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException):
            if error.status_code == 405:
                error.headers = _allow_header(request, error)
            if error.status_code == 404:
                missing: MissingPaths = request.app.state.missing_paths
                error = NotFound(missing.detail(request.scope["path"]))
        answer = problem_of(request.scope["strongroom.request_id"], error)
        if answer is None:
            raise error
        return answer

    for kind in (StrongroomError, DatabaseError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, handle)
