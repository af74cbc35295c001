"""Calls the endpoint of an ordinary route without the work that FastAPI does for other routes."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.params import Body
from fastapi.routing import APIRoute
from fastapi.utils import is_body_allowed_for_status_code
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.http.fast_path.query_values import QueryValue, is_simple
from backend.http.json_answer import JsonAnswer

Handler = Callable[[Request], Awaitable[Response]]

HONOURED_OPTIONS = frozenset(
    {
        "endpoint",
        "methods",
        "path",
        "response_model",
        "status_code",
        # Dependencies show in the route's description, whose parts are checked as well.
        "dependencies",
        # Only the OpenAPI document uses these.
        "callbacks",
        "deprecated",
        "description",
        "generate_unique_id_function",
        "include_in_schema",
        "name",
        "openapi_extra",
        "operation_id",
        "response_description",
        "responses",
        "summary",
        "tags",
    }
)
"""The options of a route that a direct call treats as FastAPI does."""
HONOURED_PARTS = frozenset(
    {
        "body_params",
        "call",
        "path_params",
        "query_params",
        "request_param_name",
        "response_param_name",
        # These describe an endpoint as a dependency of another one.
        "name",
        "path",
        "scope",
        "use_cache",
    }
)
"""The parts of FastAPI's description of an endpoint that a direct call treats as FastAPI does."""
_OPTIONS = inspect.signature(APIRoute.__init__).parameters


class DirectCall:
    """Answers the requests of a route as FastAPI's own handler does, but faster. FastAPI's handler
    checks each request for every feature, which costs over a third of a small request's time."""

    def __init__(self, route: APIRoute) -> None:
        """`route` must be one for which `is_ordinary` is true."""
        dependant = route.dependant
        # FastAPI's own validators, so that the errors for wrong values are the same.
        self._names = [(field.name, field.validate) for field in dependant.path_params]
        self._query = [QueryValue(field) for field in dependant.query_params]
        self._body = route.body_field
        self._request = dependant.request_param_name
        self._response = dependant.response_param_name
        self._endpoint: Any = dependant.call
        self._answer: Any = route.response_field
        self._status = route.status_code or 200

    async def __call__(self, request: Request) -> Response:
        """The endpoint's answer. Raises `RequestValidationError`, `ResponseValidationError`, and
        the endpoint's own errors."""
        arguments, wrong = self._parameters(request)
        if self._body is not None:
            # A guarded route has read it already.
            value = request._json if hasattr(request, "_json") else await request.json()
            arguments[self._body.name], errors = self._body.validate(value, {}, loc=("body",))
            wrong += errors
        if wrong:
            raise RequestValidationError(wrong)
        if self._request is not None:
            arguments[self._request] = request
        given = None
        if self._response is not None:
            given = arguments[self._response] = Response(status_code=self._status)
            # Its only header is the length of an empty body.
            given.raw_headers.clear()
        answer = await self._endpoint(**arguments)
        if isinstance(answer, Response):
            return answer
        value, errors = self._answer.validate(answer, {}, loc=("response",))
        if errors:
            raise ResponseValidationError(errors)
        status = self._status if given is None else given.status_code
        content = self._answer.serialize_json(value)
        if given is None:
            return JsonAnswer(content, status)
        response = Response(content, status, media_type="application/json")
        if not is_body_allowed_for_status_code(status):
            response.body = b""
        response.raw_headers += given.raw_headers
        return response

    def _parameters(self, request: Request) -> tuple[dict[str, Any], list[Any]]:
        """The values of the path and the query by name, and the errors that were found in them."""
        arguments: dict[str, Any] = {}
        wrong: list[Any] = []
        for name, validate in self._names:
            arguments[name], errors = validate(request.path_params[name], {}, loc=("path", name))
            wrong += errors
        for parameter in self._query:
            arguments[parameter.name], errors = parameter.read(request.query_params)
            wrong += errors
        return arguments, wrong


def application(handle: Handler) -> ASGIApp:
    """An ASGI application that sends the answer of `handle`. Errors go to the middleware around all
    routes.

    FastAPI's own application catches every error twice, and opens two exit stacks for
    dependencies.
    """

    async def send_answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handle(Request(scope, receive, send))
        await response(scope, receive, send)

    return send_answer


def is_ordinary(route: APIRoute, options: Mapping[str, Any]) -> bool:
    """Whether a route with these options is simple enough for a `DirectCall`. Such a route takes
    only path parameters, simple query parameters, a required JSON body, the request, and the
    response for its headers and status; and it answers with one model. FastAPI handles every other
    route."""
    dependant = route.dependant
    return (
        inspect.iscoroutinefunction(dependant.call)
        and all(name in HONOURED_OPTIONS or _is_default(name, options[name]) for name in options)
        and all(
            part.name in HONOURED_PARTS or _is_empty(dependant, part) for part in fields(dependant)
        )
        and all(field.name in route.param_convertors for field in dependant.path_params)
        and all(is_simple(field) for field in dependant.query_params)
        and _has_ordinary_body(route)
        and route.response_field is not None
    )


def _is_default(option: str, value: object) -> bool:
    return option in _OPTIONS and bool(value == _OPTIONS[option].default)


def _is_empty(dependant: Dependant, part: "Field[Any]") -> bool:
    default = part.default if part.default_factory is MISSING else part.default_factory()
    return bool(getattr(dependant, part.name) == default)


def _has_ordinary_body(route: APIRoute) -> bool:
    dependant, body = route.dependant, route.body_field
    if body is None:
        return not dependant.body_params
    return (
        # Several body parameters share one body, which is not a parameter itself.
        dependant.body_params == [body]
        # A form has another class of body.
        and type(body.field_info) is Body
        and body.field_info.media_type == "application/json"
        and body.field_info.is_required()
    )
