"""The way to the endpoint of an ordinary route, without what FastAPI does for all the others."""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.datastructures import DefaultPlaceholder
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

Handler = Callable[[Request], Awaitable[Response]]

_OTHER_PARTS = (
    "dependencies",
    "query_params",
    "header_params",
    "cookie_params",
    "http_connection_param_name",
    "background_tasks_param_name",
    "security_scopes_param_name",
)
_OPTIONS = ("include", "exclude", "exclude_unset", "exclude_defaults", "exclude_none")


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


def is_ordinary(route: APIRoute) -> bool:
    """Whether a route takes nothing but names in its path, a JSON body that must be there, the
    request, and the response for its headers and status; and answers with one model."""
    dependant, body = route.dependant, route.body_field
    return (
        inspect.iscoroutinefunction(dependant.call)
        and not any(getattr(dependant, part) for part in _OTHER_PARTS)
        and all(field.name in route.param_convertors for field in dependant.path_params)
        # Several parameters share a body that is the parameter of none.
        and dependant.body_params == ([] if body is None else [body])
        and (body is None or body.field_info.is_required())
        and route.response_field is not None
        and isinstance(route.response_class, DefaultPlaceholder)
        and route.response_model_by_alias
        and not any(getattr(route, f"response_model_{option}") for option in _OPTIONS)
    )
