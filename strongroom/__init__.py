"""Strongroom: `AsyncClient` and `Client` for programs; `python -m strongroom` is the command.

This package imports nothing of the server, whose modules other programs do not see. Its own names
are imported when they are used, so that nothing waits for what it does not need. `make schema`
writes this file.
"""

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from strongroom._async.client import AsyncClient as AsyncClient
    from strongroom._errors import ClientClosed as ClientClosed
    from strongroom._errors import Conflict as Conflict
    from strongroom._errors import ConnectionFailed as ConnectionFailed
    from strongroom._errors import FieldError as FieldError
    from strongroom._errors import NotConfigured as NotConfigured
    from strongroom._errors import NotFound as NotFound
    from strongroom._errors import NotModified as NotModified
    from strongroom._errors import StreamReset as StreamReset
    from strongroom._errors import StrongroomError as StrongroomError
    from strongroom._errors import TimedOut as TimedOut
    from strongroom._errors import Unavailable as Unavailable
    from strongroom._errors import UnexpectedAnswer as UnexpectedAnswer
    from strongroom._pages import Page as Page
    from strongroom._problems import AgentRunNotFound as AgentRunNotFound
    from strongroom._problems import BadCursor as BadCursor
    from strongroom._problems import BadRequest as BadRequest
    from strongroom._problems import BodyTooLarge as BodyTooLarge
    from strongroom._problems import ChangedOutside as ChangedOutside
    from strongroom._problems import DatabaseBusy as DatabaseBusy
    from strongroom._problems import DatabaseFull as DatabaseFull
    from strongroom._problems import DeliveryNotFound as DeliveryNotFound
    from strongroom._problems import Forbidden as Forbidden
    from strongroom._problems import HeadersTooLarge as HeadersTooLarge
    from strongroom._problems import IdempotencyInProgress as IdempotencyInProgress
    from strongroom._problems import IdempotencyKeyReused as IdempotencyKeyReused
    from strongroom._problems import Internal as Internal
    from strongroom._problems import InvalidTransition as InvalidTransition
    from strongroom._problems import LeaseLost as LeaseLost
    from strongroom._problems import MalformedJson as MalformedJson
    from strongroom._problems import MethodNotAllowed as MethodNotAllowed
    from strongroom._problems import ProjectExists as ProjectExists
    from strongroom._problems import ProjectNotFound as ProjectNotFound
    from strongroom._problems import RateLimited as RateLimited
    from strongroom._problems import RotationRunning as RotationRunning
    from strongroom._problems import SecretExists as SecretExists
    from strongroom._problems import SecretNotFound as SecretNotFound
    from strongroom._problems import SecretUnreadable as SecretUnreadable
    from strongroom._problems import SnapshotExists as SnapshotExists
    from strongroom._problems import SnapshotNotFound as SnapshotNotFound
    from strongroom._problems import TokenNotFound as TokenNotFound
    from strongroom._problems import TooManyConnections as TooManyConnections
    from strongroom._problems import TooManyStreams as TooManyStreams
    from strongroom._problems import Unauthenticated as Unauthenticated
    from strongroom._problems import UnsupportedMediaType as UnsupportedMediaType
    from strongroom._problems import UriTooLong as UriTooLong
    from strongroom._problems import ValidationFailed as ValidationFailed
    from strongroom._problems import VersionDestroyed as VersionDestroyed
    from strongroom._problems import VersionMismatch as VersionMismatch
    from strongroom._problems import VersionNotFound as VersionNotFound
    from strongroom._problems import WebhookNotFound as WebhookNotFound
    from strongroom._sync.client import Client as Client
    from strongroom._values import UNSET as UNSET
    from strongroom._values import SecretValues as SecretValues
    from strongroom._values import Unset as Unset

__all__ = [
    "UNSET",
    "AgentRunNotFound",
    "AsyncClient",
    "BadCursor",
    "BadRequest",
    "BodyTooLarge",
    "ChangedOutside",
    "Client",
    "ClientClosed",
    "Conflict",
    "ConnectionFailed",
    "DatabaseBusy",
    "DatabaseFull",
    "DeliveryNotFound",
    "FieldError",
    "Forbidden",
    "HeadersTooLarge",
    "IdempotencyInProgress",
    "IdempotencyKeyReused",
    "Internal",
    "InvalidTransition",
    "LeaseLost",
    "MalformedJson",
    "MethodNotAllowed",
    "NotConfigured",
    "NotFound",
    "NotModified",
    "Page",
    "ProjectExists",
    "ProjectNotFound",
    "RateLimited",
    "RotationRunning",
    "SecretExists",
    "SecretNotFound",
    "SecretUnreadable",
    "SecretValues",
    "SnapshotExists",
    "SnapshotNotFound",
    "StreamReset",
    "StrongroomError",
    "TimedOut",
    "TokenNotFound",
    "TooManyConnections",
    "TooManyStreams",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "Unset",
    "UnsupportedMediaType",
    "UriTooLong",
    "ValidationFailed",
    "VersionDestroyed",
    "VersionMismatch",
    "VersionNotFound",
    "WebhookNotFound",
]

_PLACES = {
    "AgentRunNotFound": "strongroom._problems",
    "AsyncClient": "strongroom._async.client",
    "BadCursor": "strongroom._problems",
    "BadRequest": "strongroom._problems",
    "BodyTooLarge": "strongroom._problems",
    "ChangedOutside": "strongroom._problems",
    "Client": "strongroom._sync.client",
    "ClientClosed": "strongroom._errors",
    "Conflict": "strongroom._errors",
    "ConnectionFailed": "strongroom._errors",
    "DatabaseBusy": "strongroom._problems",
    "DatabaseFull": "strongroom._problems",
    "DeliveryNotFound": "strongroom._problems",
    "FieldError": "strongroom._errors",
    "Forbidden": "strongroom._problems",
    "HeadersTooLarge": "strongroom._problems",
    "IdempotencyInProgress": "strongroom._problems",
    "IdempotencyKeyReused": "strongroom._problems",
    "Internal": "strongroom._problems",
    "InvalidTransition": "strongroom._problems",
    "LeaseLost": "strongroom._problems",
    "MalformedJson": "strongroom._problems",
    "MethodNotAllowed": "strongroom._problems",
    "NotConfigured": "strongroom._errors",
    "NotFound": "strongroom._errors",
    "NotModified": "strongroom._errors",
    "Page": "strongroom._pages",
    "ProjectExists": "strongroom._problems",
    "ProjectNotFound": "strongroom._problems",
    "RateLimited": "strongroom._problems",
    "RotationRunning": "strongroom._problems",
    "SecretExists": "strongroom._problems",
    "SecretNotFound": "strongroom._problems",
    "SecretUnreadable": "strongroom._problems",
    "SecretValues": "strongroom._values",
    "SnapshotExists": "strongroom._problems",
    "SnapshotNotFound": "strongroom._problems",
    "StreamReset": "strongroom._errors",
    "StrongroomError": "strongroom._errors",
    "TimedOut": "strongroom._errors",
    "TokenNotFound": "strongroom._problems",
    "TooManyConnections": "strongroom._problems",
    "TooManyStreams": "strongroom._problems",
    "UNSET": "strongroom._values",
    "Unauthenticated": "strongroom._problems",
    "Unavailable": "strongroom._errors",
    "UnexpectedAnswer": "strongroom._errors",
    "Unset": "strongroom._values",
    "UnsupportedMediaType": "strongroom._problems",
    "UriTooLong": "strongroom._problems",
    "ValidationFailed": "strongroom._problems",
    "VersionDestroyed": "strongroom._problems",
    "VersionMismatch": "strongroom._problems",
    "VersionNotFound": "strongroom._problems",
    "WebhookNotFound": "strongroom._problems",
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(place), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
