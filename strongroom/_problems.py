"""An exception for each error code of the service. `make schema` writes this file."""

from collections.abc import Mapping, Sequence
from typing import Any

from strongroom._errors import (
    Conflict,
    FieldError,
    NotFound,
    StrongroomError,
    Unavailable,
    field_errors,
)


class AgentRunNotFound(NotFound):
    """The agent run does not exist (404)."""

    default_code = "agent_run_not_found"


class BadCursor(StrongroomError):
    """The cursor does not belong to this list (400)."""

    default_code = "bad_cursor"


class BadRequest(StrongroomError):
    """The request can't be understood (400)."""

    default_code = "bad_request"


class BodyTooLarge(StrongroomError):
    """The body is too large (413)."""

    default_code = "body_too_large"


class ChangedOutside(Conflict):
    """The stored data was changed outside the service (409)."""

    default_code = "changed_outside"


class DatabaseBusy(Unavailable):
    """The database is busy (503)."""

    default_code = "database_busy"


class DatabaseFull(StrongroomError):
    """The database's disk is full (507)."""

    default_code = "database_full"


class DeliveryNotFound(NotFound):
    """The delivery does not exist (404)."""

    default_code = "delivery_not_found"


class Forbidden(StrongroomError):
    """This is not permitted (403)."""

    default_code = "forbidden"

    @property
    def scope(self) -> str | None:
        """The scope that the token lacks; absent if another scope would not help."""
        found: str | None = self.problem.get("scope")
        return found


class HeadersTooLarge(StrongroomError):
    """The headers are too large (431)."""

    default_code = "headers_too_large"


class IdempotencyInProgress(Conflict):
    """A request with this Idempotency-Key is still running (409)."""

    default_code = "idempotency_in_progress"


class IdempotencyKeyReused(StrongroomError):
    """Another request was sent with this Idempotency-Key (422)."""

    default_code = "idempotency_key_reused"


class Internal(StrongroomError):
    """Something went wrong on the server (500)."""

    default_code = "internal"


class InvalidTransition(Conflict):
    """The current status does not allow this change (409)."""

    default_code = "invalid_transition"

    @property
    def allowed(self) -> Sequence[str]:
        """The statuses to which it can go from there."""
        return list(self.problem.get("allowed", ()))

    @property
    def current(self) -> str:
        """The present status."""
        return str(self.problem.get("current", ""))


class LeaseLost(Conflict):
    """Another worker holds the run's lease (409)."""

    default_code = "lease_lost"


class MalformedJson(StrongroomError):
    """The body is not valid JSON (400)."""

    default_code = "malformed_json"

    @property
    def errors(self) -> Sequence[FieldError]:
        """The place, if the body could be read up to it."""
        return field_errors(self.problem)


class MethodNotAllowed(StrongroomError):
    """The method is not allowed here (405)."""

    default_code = "method_not_allowed"


class ProjectExists(Conflict):
    """The repository belongs to another project (409)."""

    default_code = "project_exists"

    @property
    def existing_id(self) -> int | None:
        """The id of the one that exists; null if it was removed meanwhile."""
        found: int | None = self.problem.get("existing_id")
        return found


class ProjectNotFound(NotFound):
    """The project does not exist (404)."""

    default_code = "project_not_found"


class RateLimited(StrongroomError):
    """Too many requests (429)."""

    default_code = "rate_limited"


class RotationRunning(Conflict):
    """A key rotation is already running (409)."""

    default_code = "rotation_running"


class SecretExists(Conflict):
    """The secret already exists (409)."""

    default_code = "secret_exists"


class SecretNotFound(NotFound):
    """The secret does not exist (404)."""

    default_code = "secret_not_found"

    @property
    def key(self) -> str | None:
        """Its key, if the request asked for several secrets."""
        found: str | None = self.problem.get("key")
        return found


class SecretUnreadable(Conflict):
    """The secret's value can't be decrypted (409)."""

    default_code = "secret_unreadable"

    @property
    def key(self) -> str | None:
        """Its key, if the request asked for several secrets."""
        found: str | None = self.problem.get("key")
        return found


class SnapshotExists(Conflict):
    """The run already has this snapshot (409)."""

    default_code = "snapshot_exists"

    @property
    def existing_id(self) -> int | None:
        """The id of the one that exists; null if it was removed meanwhile."""
        found: int | None = self.problem.get("existing_id")
        return found


class SnapshotNotFound(NotFound):
    """The snapshot does not exist (404)."""

    default_code = "snapshot_not_found"


class TokenNotFound(NotFound):
    """The token does not exist (404)."""

    default_code = "token_not_found"


class TooManyConnections(Unavailable):
    """The server has reached its connection limit (503)."""

    default_code = "too_many_connections"


class TooManyStreams(Unavailable):
    """The server has reached its limit of open streams (503)."""

    default_code = "too_many_streams"


class Unauthenticated(StrongroomError):
    """A valid token is required (401)."""

    default_code = "unauthenticated"


class UnsupportedMediaType(StrongroomError):
    """This call does not take the body's media type or encoding (415)."""

    default_code = "unsupported_media_type"


class UriTooLong(StrongroomError):
    """The URL is too long (414)."""

    default_code = "uri_too_long"


class ValidationFailed(StrongroomError):
    """The request has invalid values (422)."""

    default_code = "validation_failed"

    @property
    def errors(self) -> Sequence[FieldError]:
        """The first 100 invalid places."""
        return field_errors(self.problem)

    @property
    def key(self) -> str | None:
        """Only for a file of secrets: the key of the value that the format can't have."""
        found: str | None = self.problem.get("key")
        return found

    @property
    def rejected(self) -> Sequence[Mapping[str, Any]]:
        """Only for an import: the lines that are wrong."""
        return list(self.problem.get("rejected", ()))


class VersionDestroyed(NotFound):
    """The version's value was destroyed (404)."""

    default_code = "version_destroyed"


class VersionMismatch(StrongroomError):
    """The resource has another version by now (412)."""

    default_code = "version_mismatch"

    @property
    def etag(self) -> str | None:
        """The present entity tag; null when the resource does not exist."""
        found: str | None = self.problem.get("etag")
        return found


class VersionNotFound(NotFound):
    """The version does not exist (404)."""

    default_code = "version_not_found"


class WebhookNotFound(NotFound):
    """The webhook does not exist (404)."""

    default_code = "webhook_not_found"


BY_CODE: dict[str, type[StrongroomError]] = {
    "agent_run_not_found": AgentRunNotFound,
    "bad_cursor": BadCursor,
    "bad_request": BadRequest,
    "body_too_large": BodyTooLarge,
    "changed_outside": ChangedOutside,
    "database_busy": DatabaseBusy,
    "database_full": DatabaseFull,
    "delivery_not_found": DeliveryNotFound,
    "forbidden": Forbidden,
    "headers_too_large": HeadersTooLarge,
    "idempotency_in_progress": IdempotencyInProgress,
    "idempotency_key_reused": IdempotencyKeyReused,
    "internal": Internal,
    "invalid_transition": InvalidTransition,
    "lease_lost": LeaseLost,
    "malformed_json": MalformedJson,
    "method_not_allowed": MethodNotAllowed,
    "not_found": NotFound,
    "project_exists": ProjectExists,
    "project_not_found": ProjectNotFound,
    "rate_limited": RateLimited,
    "rotation_running": RotationRunning,
    "secret_exists": SecretExists,
    "secret_not_found": SecretNotFound,
    "secret_unreadable": SecretUnreadable,
    "snapshot_exists": SnapshotExists,
    "snapshot_not_found": SnapshotNotFound,
    "token_not_found": TokenNotFound,
    "too_many_connections": TooManyConnections,
    "too_many_streams": TooManyStreams,
    "unauthenticated": Unauthenticated,
    "unsupported_media_type": UnsupportedMediaType,
    "uri_too_long": UriTooLong,
    "validation_failed": ValidationFailed,
    "version_destroyed": VersionDestroyed,
    "version_mismatch": VersionMismatch,
    "version_not_found": VersionNotFound,
    "webhook_not_found": WebhookNotFound,
}
