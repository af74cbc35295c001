"""All errors that a client can get: one hierarchy, and one table from code to HTTP status."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

ERROR_TABLE: dict[str, tuple[int, str]] = {
    "malformed_json": (400, "The body is not valid JSON"),
    "bad_cursor": (400, "The cursor does not belong to this list"),
    "bad_request": (400, "The request can't be understood"),
    "unauthenticated": (401, "A valid token is required"),
    "forbidden": (403, "This is not permitted"),
    "not_found": (404, "Nothing was found at this path"),
    "project_not_found": (404, "The project does not exist"),
    "secret_not_found": (404, "The secret does not exist"),
    "version_not_found": (404, "The version does not exist"),
    "version_destroyed": (404, "The version's value was destroyed"),
    "snapshot_not_found": (404, "The snapshot does not exist"),
    "webhook_not_found": (404, "The webhook does not exist"),
    "delivery_not_found": (404, "The delivery does not exist"),
    "agent_run_not_found": (404, "The agent run does not exist"),
    "token_not_found": (404, "The token does not exist"),
    "method_not_allowed": (405, "The method is not allowed here"),
    "project_exists": (409, "The repository belongs to another project"),
    "snapshot_exists": (409, "The run already has this snapshot"),
    "secret_exists": (409, "The secret already exists"),
    "secret_unreadable": (409, "The secret's value can't be decrypted"),
    "changed_outside": (409, "The stored data was changed outside the service"),
    "invalid_transition": (409, "The current status does not allow this change"),
    "rotation_running": (409, "A key rotation is already running"),
    "lease_lost": (409, "Another worker holds the run's lease"),
    "version_mismatch": (412, "The resource has another version by now"),
    "idempotency_in_progress": (409, "A request with this Idempotency-Key is still running"),
    "body_too_large": (413, "The body is too large"),
    "uri_too_long": (414, "The URL is too long"),
    "unsupported_media_type": (415, "This call does not take the body's media type or encoding"),
    "validation_failed": (422, "The request has invalid values"),
    "idempotency_key_reused": (422, "Another request was sent with this Idempotency-Key"),
    "rate_limited": (429, "Too many requests"),
    "headers_too_large": (431, "The headers are too large"),
    "internal": (500, "Something went wrong on the server"),
    "database_busy": (503, "The database is busy"),
    "too_many_connections": (503, "The server has reached its connection limit"),
    "too_many_streams": (503, "The server has reached its limit of open streams"),
    "database_full": (507, "The database's disk is full"),
}
"""The HTTP status and the title of the problem document, by code."""


Places = Sequence[Sequence[str | int]]


class StrongroomError(Exception):
    """Base of the errors that become answers. `detail` says what to do and repeats no input."""

    code: ClassVar[str] = "internal"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra
        """Further members of the problem document, such as `existing_id`."""

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status of the answer."""
        return HTTPStatus(ERROR_TABLE[self.code][0])


class NotRecorded(StrongroomError):
    """A secret is not revealed, because the reveal can't be recorded outside of the database."""

    code = "database_busy"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class NoRoomToRecord(NotRecorded):
    code = "database_full"


class MalformedJson(StrongroomError):
    code = "malformed_json"


class BadCursor(StrongroomError):
    code = "bad_cursor"

    def __init__(self) -> None:
        super().__init__(
            "send next_cursor unchanged, with the same filters and sort, or leave the cursor out "
            "to start again"
        )


class BadRequest(StrongroomError):
    code = "bad_request"


class Unauthenticated(StrongroomError):
    code = "unauthenticated"

    def __init__(self, detail: str = "send a valid token: Authorization: Bearer sr_…") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="strongroom"'})


class BadSignature(Unauthenticated):
    """The signature that replaces a token is missing or wrong."""

    def __init__(
        self,
        detail: str = "sign the body with the webhook's secret token, in X-Hub-Signature-256",
    ) -> None:
        super().__init__(detail)
        self.headers = {"WWW-Authenticate": 'HMAC-SHA256 header="X-Hub-Signature-256"'}


class Forbidden(StrongroomError):
    code = "forbidden"

    def __init__(self, scope: str, detail: str | None = None) -> None:
        super().__init__(detail or f"the token needs the scope {scope}", scope=scope)


class Refused(StrongroomError):
    """The request is refused for its host or its page's origin, not for a missing scope."""

    code = "forbidden"


class NotFound(StrongroomError):
    """A resource does not exist. `places` are the places in the request body that name it."""

    code = "not_found"

    def __init__(self, detail: str, places: Places = (), **extra: Any) -> None:
        details = [{"loc": place, "type": self.code, "msg": detail} for place in places]
        super().__init__(detail, **extra)
        if details:
            self.extra["errors"] = field_errors(details)


class _Missing(NotFound):
    """A resource of one kind does not exist, which is told in its own words."""

    told: ClassVar[str]

    def __init__(self, places: Places = (), **extra: Any) -> None:
        super().__init__(self.told, places, **extra)


class ProjectNotFound(_Missing):
    code = "project_not_found"
    told = "no project has this id or repository"


class SecretNotFound(_Missing):
    code = "secret_not_found"
    told = "the project has no secret with this key"


class VersionNotFound(_Missing):
    code = "version_not_found"
    told = "no such version is kept: the list of versions names those that are"


class VersionDestroyed(_Missing):
    code = "version_destroyed"
    told = "the value of this version was destroyed for good: use another version"


class AgentRunNotFound(_Missing):
    code = "agent_run_not_found"
    told = "no agent run has this id"


class TokenNotFound(_Missing):
    code = "token_not_found"
    told = "no active token has this id"


class InvalidTransition(StrongroomError):
    """The status of a run or a snapshot does not allow the requested change."""

    code = "invalid_transition"

    def __init__(self, detail: str, *, current: str, allowed: list[str]) -> None:
        super().__init__(detail, current=current, allowed=allowed)


class LeaseLost(StrongroomError):
    code = "lease_lost"

    def __init__(self) -> None:
        super().__init__(
            "this lease token does not match the run's current lease: stop working on the run"
        )


class SnapshotNotFound(_Missing):
    code = "snapshot_not_found"
    told = "no snapshot has this id"


class WebhookNotFound(NotFound):
    code = "webhook_not_found"

    def __init__(self, detail: str = "no webhook has this id") -> None:
        super().__init__(detail)


class DeliveryNotFound(_Missing):
    code = "delivery_not_found"
    told = "the webhook has no delivery with this id"


class ProjectExists(StrongroomError):
    code = "project_exists"

    def __init__(self, existing_id: int | None) -> None:
        super().__init__(
            "another project already uses this repository: change that project, or delete it first",
            existing_id=existing_id,
        )


class SnapshotExists(StrongroomError):
    code = "snapshot_exists"

    def __init__(self, existing_id: int | None) -> None:
        super().__init__(
            "the run already has a snapshot with this snapshot_id: change that snapshot instead",
            existing_id=existing_id,
        )


class SecretExists(StrongroomError):
    code = "secret_exists"

    def __init__(self) -> None:
        super().__init__("the project has a secret with this key: use PUT to change its value")


class SecretUnreadable(StrongroomError):
    code = "secret_unreadable"

    def __init__(self, **extra: Any) -> None:
        super().__init__(
            "the stored value can't be decrypted with the configured master keys, or was changed "
            "outside the service: restore the key or the database, or set the value again",
            **extra,
        )


class ChangedOutside(StrongroomError):
    """A guarded row is not as the record of changes left it."""

    code = "changed_outside"

    def __init__(self, thing: str, way_out: str = "send all of its fields to replace it") -> None:
        """`thing` is the word for such a row."""
        super().__init__(
            f"the {thing} was changed in the database file by something other than the service: "
            f"restore a backup, or {way_out}"
        )


class IdempotencyInProgress(StrongroomError):
    code = "idempotency_in_progress"

    def __init__(self) -> None:
        super().__init__("send the same request again later", headers={"Retry-After": "1"})


class IdempotencyKeyReused(StrongroomError):
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("send a new key with each new request; with the same key, repeat it as is")


class RotationRunning(StrongroomError):
    code = "rotation_running"

    def __init__(self) -> None:
        super().__init__("wait until it ends: GET /api/keys shows its progress")


_REVALIDATED = {"Cache-Control": "private, no-cache"}


class VersionMismatch(StrongroomError):
    """A precondition of the request does not hold."""

    code = "version_mismatch"

    def __init__(self, etag: str | None) -> None:
        """`etag` is the present entity tag; `None` when the resource does not exist."""
        super().__init__(
            "the precondition does not hold, and nothing was done: read the resource, decide "
            "again, and send its present ETag",
            headers={"ETag": etag, **_REVALIDATED} if etag is not None else {},
            etag=etag,
        )


class BodyTooLarge(StrongroomError):
    code = "body_too_large"


class HeadersTooLarge(StrongroomError):
    code = "headers_too_large"


class UnsupportedMediaType(StrongroomError):
    code = "unsupported_media_type"


class UnsupportedEncoding(UnsupportedMediaType):
    """The body is compressed, or in a way that the route does not take."""

    def __init__(self, *, takes_gzip: bool = False) -> None:
        others = ", or with Content-Encoding: gzip" if takes_gzip else ""
        super().__init__(
            f"send the body unencoded, without Content-Encoding{others}",
            headers={"Accept-Encoding": "gzip, identity" if takes_gzip else "identity"},
        )


class RateLimited(StrongroomError):
    code = "rate_limited"

    def __init__(self, detail: str, retry_after: int = 1) -> None:
        """`retry_after` is in seconds."""
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class TooManyStreams(RateLimited):
    code = "too_many_streams"


class ValidationFailed(StrongroomError):
    """The request breaks validation rules. `details` are errors in pydantic's form."""

    code = "validation_failed"

    def __init__(self, details: Sequence[Mapping[str, Any]], **extra: Any) -> None:
        super().__init__("see errors", errors=field_errors(details), **extra)


class InvalidField(ValidationFailed):
    """One value breaks a rule that depends on other data."""

    def __init__(
        self, location: Sequence[str | int], kind: str, message: str, **extra: Any
    ) -> None:
        super().__init__([{"loc": location, "type": kind, "msg": message}], **extra)


MAX_FIELD_ERRORS = 100
_OBJECT = "must be a JSON object"
_PLAINER: Final = {"model_type": _OBJECT, "model_attributes_type": _OBJECT, "dict_type": _OBJECT}
"""Messages instead of those that speak of Python's types."""
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")


def field_errors(details: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The first `MAX_FIELD_ERRORS` errors with their places, and never a value."""
    return [
        {
            "pointer": pointer(detail["loc"], unknown=detail["type"] == "extra_forbidden"),
            "code": str(detail["type"]),
            "message": _PLAINER.get(detail["type"], str(detail["msg"])),
        }
        for detail in details[:MAX_FIELD_ERRORS]
    ]


def pointer(location: Sequence[str | int], *, unknown: bool = False) -> str:
    """The JSON pointer of a place in a body; `/query/…` or `/path/…` for a parameter.

    With `unknown`, the client made up the last name. It is left out unless it looks like the name
    of a field, since it could be a value in the wrong place.
    """
    if unknown and not _FIELD_NAME.fullmatch(str(location[-1])):
        location = location[:-1]
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in location)
