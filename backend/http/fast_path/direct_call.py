"""The way to the endpoint of an ordinary route, without what FastAPI does for all the others."""

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

Handler = Callable[[Request], Awaitable[Response]]

HONOURED_OPTIONS = frozenset(
    {
        "endpoint",
        "methods",
        "path",
        "response_model",
        "status_code",
        # What is wrong with them shows in the route's description.
        "dependencies",
        # They are for the document.
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
"""The options of a route that a direct call does what FastAPI does about."""
HONOURED_PARTS = frozenset(
    {
        "body_params",
        "call",
        "path_params",
        "request_param_name",
        "response_param_name",
        # They tell how it is a part of another one.
        "name",
        "path",
        "scope",
        "use_cache",
    }
)
"""The same of the parts of FastAPI's description of an endpoint."""
_OPTIONS = inspect.signature(APIRoute.__init__).parameters


class DirectCall:
    """Answers requests for a route as FastAPI's own handler does, which looks in each of them for
    all that any route may have, and takes more than a third of the time of a small one for that."""

    def __init__(self, route: APIRoute) -> None:
        """For a route that `is_ordinary`."""
        dependant = route.dependant
        # They are FastAPI's, and know what it says of a wrong value.
        self._names = [(field.name, field.validate) for field in dependant.path_params]
        self._body = route.body_field
        self._request = dependant.request_param_name
        self._response = dependant.response_param_name
        self._endpoint: Any = dependant.call
        self._answer: Any = route.response_field
        self._status = route.status_code or 200

    async def __call__(self, request: Request) -> Response:
        """The endpoint's answer. Raises `RequestValidationError`, and what the endpoint raises."""
        arguments: dict[str, Any] = {}
        wrong: list[Any] = []
        for name, validate in self._names:
            arguments[name], errors = validate(request.path_params[name], {}, loc=("path", name))
            wrong += errors
        if self._body is not None:
            value = await request.json()
            arguments[self._body.name], errors = self._body.validate(value, {}, loc=("body",))
            wrong += errors
        if wrong:
            raise RequestValidationError(wrong)
        if self._request is not None:
            arguments[self._request] = request
        given = None
        if self._response is not None:
            given = arguments[self._response] = Response(status_code=self._status)
            # The length is that of no body.
            given.raw_headers.clear()
        answer = await self._endpoint(**arguments)
        if isinstance(answer, Response):
            return answer
        value, errors = self._answer.validate(answer, {}, loc=("response",))
        if errors:
            raise ResponseValidationError(errors)
        status = self._status if given is None else given.status_code
        content = self._answer.serialize_json(value)
        response = Response(content, status, media_type="application/json")
        if given is not None and not is_body_allowed_for_status_code(status):
            response.body = b""
        if given is not None:
            response.raw_headers += given.raw_headers
        return response


def application(handle: Handler) -> ASGIApp:
    """Sends what `handle` answers. What it raises is for the middleware around all routes.

    FastAPI's own catches everything twice, and makes two stacks for what dependencies leave open.
    """

    async def send_answer(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handle(Request(scope, receive, send))
        await response(scope, receive, send)

    return send_answer


def is_ordinary(route: APIRoute, options: Mapping[str, Any]) -> bool:
    """Whether a route, made with these options, takes nothing but names in its path, a JSON body
    that must be there, the request, and the response for its headers and status; and answers with
    one model. Whatever else FastAPI knows, or will know, is left to it."""
    dependant = route.dependant
    return (
        inspect.iscoroutinefunction(dependant.call)
        and all(name in HONOURED_OPTIONS or _is_default(name, options[name]) for name in options)
        and all(
            part.name in HONOURED_PARTS or _is_empty(dependant, part) for part in fields(dependant)
        )
        and all(field.name in route.param_convertors for field in dependant.path_params)
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
        # Several parameters share a body that is the parameter of none.
        dependant.body_params == [body]
        # A form is a body of another class.
        and type(body.field_info) is Body
        and body.field_info.media_type == "application/json"
        and body.field_info.is_required()
    )
