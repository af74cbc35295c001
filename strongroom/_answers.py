"""From an answer with an error to an exception."""

import json
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from strongroom import _errors, _problems

M = TypeVar("M", bound=BaseModel)

BY_STATUS: dict[int, type[_errors.StrongroomError]] = {
    400: _problems.BadRequest,
    401: _problems.Unauthenticated,
    403: _problems.Forbidden,
    404: _errors.NotFound,
    409: _errors.Conflict,
    412: _problems.VersionMismatch,
    413: _problems.BodyTooLarge,
    422: _problems.ValidationFailed,
    429: _problems.RateLimited,
    500: _problems.Internal,
    503: _errors.Unavailable,
    507: _problems.DatabaseFull,
}
"""For codes that a newer service has and this package does not know."""
_PROBLEM = "application/problem+json"


def problem_of(response: httpx.Response) -> dict[str, Any] | None:
    """The problem document of an answer that has been read; None if it has none."""
    if response.headers.get("content-type", "").partition(";")[0].strip().lower() != _PROBLEM:
        return None
    try:
        document = json.loads(response.content)
    except ValueError:
        return None
    has_code = isinstance(document, dict) and isinstance(document.get("code"), str)
    return document if has_code else None


def error_of(response: httpx.Response) -> _errors.StrongroomError:
    """The exception for an answer that is no success."""
    status = response.status_code
    request_id = response.headers.get("x-request-id")
    if status == httpx.codes.NOT_MODIFIED:
        return _errors.NotModified(
            "there is nothing else than the answer that you have",
            status=status,
            request_id=request_id,
        )
    problem = problem_of(response)
    if problem is None:
        return _errors.UnexpectedAnswer(
            f"the answer has the status {status} and is not the service's: "
            "is the URL right, and the proxy in front of it?",
            status=status,
            code=f"http_{status}",
            request_id=request_id,
            retry_after=retry_after(response),
        )
    code = problem["code"]
    kind = _problems.BY_CODE.get(code) or BY_STATUS.get(status, _errors.StrongroomError)
    return kind(
        _message(problem),
        status=status,
        code=code,
        problem=problem,
        request_id=problem.get("request_id") or request_id,
        retry_after=retry_after(response),
    )


def retry_after(response: httpx.Response) -> float | None:
    """The seconds in `Retry-After`; None if there are none, or a date."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _message(problem: dict[str, Any]) -> str:
    # The service repeats no submitted value in an error.
    places = "; ".join(
        f"{error.pointer or 'the body'}: {error.message}"
        for error in _errors.field_errors(problem)[:5]
    )
    title = problem.get("title") or problem["code"]
    return f"{title}: {places or problem.get('detail')}"


def model_of(kind: type[M], content: bytes | str, response: httpx.Response | None = None) -> M:
    """JSON as a model. What does not fit is told by its places, without any value."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        places = [
            ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
    # Outside of `except`, since that error has the content in it.
    raise _errors.UnexpectedAnswer(
        "the answer is not what this version of the package expects: " + "; ".join(places[:5]),
        status=None if response is None else response.status_code,
        request_id=None if response is None else response.headers.get("x-request-id"),
    )
