"""Conditional requests (RFC 9110, section 13): one mechanism for all routes.

What a route answers decides how its answers are tagged: a versioned resource by its version, and a
list, or several resources in one, weakly by its content. `GuardedRoute` adds the tags. The answer
304 is made where answers are sent, from kept ones too (`Exchange`, `KeptPath`). The preconditions
of a write are looked at in its unit of work (`backend.services.preconditions`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self, get_args, get_origin

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from backend.errors import VersionMismatch
from backend.http.entity_tags import (
    ETAG,
    IF_MATCH,
    IF_NONE_MATCH,
    content_tag_of,
    members,
    preconditions_of,
    version_tag_of,
)
from backend.http.fast_path.direct_call import Handler
from backend.http.request_head import Headers, headers_of
from backend.http.route_policy import OPEN, RoutePolicy
from backend.services.preconditions import demanding
from models import UNVERSIONED

_KEPT_PRIVATELY = (b"cache-control", b"private, no-cache")
"""A browser may keep the answer, but has to ask whether it is still valid."""


@dataclass(frozen=True, slots=True)
class Tagging:
    """How the answers of a route are tagged, and which preconditions it takes."""

    is_versioned: bool = False
    """The answer is a versioned resource, with a strong tag."""
    is_content: bool = False
    """The answer has a weak tag of its content."""
    takes_preconditions: bool = False
    """The route changes a versioned resource, if the preconditions of the request permit it."""
    left_out: re.Pattern[bytes] | None = None
    """What does not count as content."""

    @property
    def has_tag(self) -> bool:
        """Whether the answers have a tag."""
        return self.is_versioned or self.is_content

    @classmethod
    def of(cls, route: APIRoute, policy: RoutePolicy) -> Self:
        """The tagging of a route. Raises `TypeError` if the version of its answer can't be read."""
        if policy.scope is OPEN or not policy.is_conditional:
            return cls()
        (method,) = route.methods or {"GET"}
        shape = route.response_model
        is_model = isinstance(shape, type) and issubclass(shape, BaseModel)
        if is_model and _is_versioned(shape):
            _require_early_version(shape)
            # A POST with 201 makes another resource than the one that it is sent to.
            changes = method != "GET" and route.status_code != 201
            return cls(is_versioned=True, takes_preconditions=changes)
        if method == "GET" and is_model and _is_several(shape):
            names = UNVERSIONED.intersection(_names(shape, set()))
            return cls(is_content=True, left_out=members(names) if names else None)
        return cls(takes_preconditions=method == "DELETE" or policy.may_change)

    def tag(self, answer: Response) -> bytes | None:
        """The tag of an answer; `None` if it has none."""
        if answer.status_code not in (200, 201) or isinstance(answer, StreamingResponse):
            return None
        body = bytes(answer.body)
        if self.is_versioned:
            return version_tag_of(body)
        return content_tag_of(body, self.left_out) if self.is_content else None


def conditional(handle: Handler, tagging: Tagging) -> Handler:
    """The handler of a route, which looks at the preconditions and tags the answer."""
    if not (tagging.is_versioned or tagging.is_content or tagging.takes_preconditions):
        return handle
    tag_of, takes = tagging.tag, tagging.takes_preconditions

    async def handle_and_tag(request: Request) -> Response:
        headers = headers_of(request.scope)
        if takes and (IF_MATCH in headers or IF_NONE_MATCH in headers):
            with demanding(preconditions_of(headers)):
                answer = await handle(request)
        else:
            answer = await handle(request)
        tag = tag_of(answer)
        if tag is not None:
            answer.raw_headers += ((ETAG, tag), _KEPT_PRIVATELY)
            if request.method == "GET" and (IF_MATCH in headers or IF_NONE_MATCH in headers):
                _check_read(headers, tag)
        return answer

    return handle_and_tag


def _check_read(headers: Headers, tag: bytes) -> None:
    """Raises `VersionMismatch` unless the tag is the one that a reader demands, and `BadRequest`
    for a malformed header."""
    # `If-None-Match` is compared where the answer is sent.
    demanded = preconditions_of(headers).if_match
    present = tag.decode("latin-1")
    if demanded is not None and not demanded.have_strongly(present):
        raise VersionMismatch(present)


def _is_versioned(shape: type[BaseModel]) -> bool:
    # A value that was revealed has a version too, but is no resource.
    return {"id", "version"} <= shape.model_fields.keys()


def _is_several(shape: type[BaseModel]) -> bool:
    """Whether the shape is a list, or has versioned resources among its members."""
    return "next_cursor" in shape.model_fields or any(
        _is_versioned(part)
        for field in shape.model_fields.values()
        for part in _models_in(field.annotation)
    )


def _require_early_version(shape: type[BaseModel]) -> None:
    for name, field in shape.model_fields.items():
        if name == "version":
            return
        if any(kind in (dict, list) for kind in _classes_in(field.annotation)) or any(
            _models_in(field.annotation)
        ):
            raise TypeError(f"{shape.__name__}: declare `version` before `{name}`")


def _classes_in(annotation: Any) -> Iterator[Any]:
    """The classes in an annotation, also those inside unions, containers and `Annotated`."""
    yield get_origin(annotation) or annotation
    for part in get_args(annotation):
        yield from _classes_in(part)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    for kind in _classes_in(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield kind


def _names(shape: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[str]:
    """The names of all members that the JSON of the shape has, at any depth."""
    seen.add(shape)
    for name, field in shape.model_fields.items():
        if field.exclude is not True:
            yield name
            for part in _models_in(field.annotation):
                if part not in seen:
                    yield from _names(part, seen)
