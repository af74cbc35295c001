"""What goes wrong, as exceptions. `_problems.py` has a class for each error code of the service."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self


class FieldError(NamedTuple):
    """One invalid place in a request. `pointer` is a JSON pointer into its body, or begins with
    `/query/` or `/path/`."""

    pointer: str
    code: str
    message: str


class StrongroomError(Exception):
    """Base of everything that this package raises about the service.

    `status` is the HTTP status, None if there was no answer. `code` is the service's error code;
    `http_<status>` if the answer was no problem document, such as a proxy's page. `problem` is the
    whole document. `request_id` finds the request in the service's log; None if there was none.
    `retry_after` is in seconds; None if the service does not say when to come back.
    """

    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        problem: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or self.default_code
        self.problem: Mapping[str, Any] = problem or {}
        self.request_id = request_id
        self.retry_after = retry_after

    @property
    def detail(self) -> str:
        """What to do, for people to read."""
        return str(self.problem.get("detail") or self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without this, an exception with keywords can't be sent to another process.
        return (_again, (type(self), str(self)), self.__dict__)


def _again(kind: type[StrongroomError], message: str) -> StrongroomError:
    return kind(message)


class NotConfigured(StrongroomError, ValueError):
    """The URL or the token is missing or malformed."""

    default_code = "not_configured"


class ClientClosed(StrongroomError, RuntimeError):
    """The client is used after its end."""

    default_code = "client_closed"


class NotModified(StrongroomError):
    """A read with `if_none_match` has nothing else to tell than what the caller has already."""

    default_code = "not_modified"


class UnexpectedAnswer(StrongroomError):
    """An answer that is not the service's, such as a page of a proxy or of another program."""

    default_code = "unexpected_answer"


class ConnectionFailed(StrongroomError, ConnectionError):
    """No answer came. `may_have_happened` says whether the request may have had its effect."""

    default_code = "connection_failed"
    may_have_happened: bool = False

    @classmethod
    def after(cls, reason: str, *, may_have_happened: bool) -> Self:
        """The error with a sentence about the effect."""
        effect = (
            "the request may have had its effect: look before you send it again"
            if may_have_happened
            else "the request had no effect"
        )
        error = cls(f"{reason}; {effect}")
        error.may_have_happened = may_have_happened
        return error


class TimedOut(ConnectionFailed, TimeoutError):
    """No answer came in time."""

    default_code = "timed_out"


class StreamReset(StrongroomError):
    """A stream can't go on where it was: something in between is missing.

    `reason` is `removed` for what was removed for its age, `epoch` after a backup was restored.
    Read everything again, then go on with the same stream: it has what follows.
    """

    default_code = "stream_reset"
    reason: str = ""

    @classmethod
    def because(cls, reason: str) -> Self:
        """The error for this reason."""
        error = cls(
            "the stream has missed something: read everything again, then go on with the stream"
        )
        error.reason = reason
        return error


class Conflict(StrongroomError):
    """409: the present state does not allow the request."""


class NotFound(StrongroomError):
    """404: there is no such resource, or the token may not see it."""

    default_code = "not_found"

    @property
    def errors(self) -> Sequence[FieldError]:
        """The places in the request's body that name it; empty if its path does."""
        return field_errors(self.problem)


class Unavailable(StrongroomError):
    """503: the service can't answer now."""


def field_errors(problem: Mapping[str, Any]) -> Sequence[FieldError]:
    """The invalid places that a problem document names."""
    found = problem.get("errors")
    return [
        FieldError(str(error.get("pointer")), str(error.get("code")), str(error.get("message")))
        for error in (found if isinstance(found, list) else [])
        if isinstance(error, dict)
    ]
