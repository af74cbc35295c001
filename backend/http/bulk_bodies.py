"""Reads the bodies of routes that take many things at once: JSON, or NDJSON with one thing on each
line, and either of them compressed with gzip."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from backend.errors import (
    BadRequest,
    BodyTooLarge,
    InvalidField,
    MalformedJson,
    StrongroomError,
    UnsupportedEncoding,
)
from backend.http.fast_path.direct_call import Handler
from backend.http.request_head import headers_of
from backend.http.route_policy import Lines, media_type_of
from backend.http.state import state_of
from backend.http.strict_json import (
    JSON,
    check_media_type,
    content_codings,
    parse_json,
    parse_quickly,
    read_checked,
    read_json,
)

NDJSON: Final = "application/x-ndjson"
MAX_GZIP_MEMBERS: Final = 1000
"""A body may be compressed in parts, such as one for each log, but each part costs time."""
_GZIP: Final = ["gzip"], ["x-gzip"]
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS
_PIECE_BYTES: Final = 16 * 1024
"""The body is unpacked in pieces of this size, because what follows a part is copied."""
_BLANKS: Final = b" \t\r"
_SENT_LINES: Final = "strongroom.lines"
"""The scope's key for the `SentLines` of a body."""


def read_bulk(request: Request, body: bytes, lines: Lines, *, required: bool = True) -> None:
    """Read a request's body strictly; afterwards `request.json()` returns its value, for NDJSON an
    object whose member `lines.member` has the values of all lines.

    Raises `UnsupportedMediaType`, `BodyTooLarge`, `BadRequest` for a body that can't be unpacked,
    `MalformedJson`, and `ValidationFailed` for too many lines.
    """
    headers = headers_of(request.scope)
    codings, kind = content_codings(headers), media_type_of(headers.get(b"content-type", b""))
    if not codings and kind != NDJSON:
        read_json(request, body, required=required, others=(NDJSON,))
        return
    if codings and codings not in _GZIP:
        raise UnsupportedEncoding(takes_gzip=True)
    if kind != NDJSON:
        check_media_type(headers, others=(NDJSON,))
    if codings and body:
        body = unpacked(body, state_of(request.app).max_body_bytes)
    if kind != NDJSON:
        read_checked(request, body)
        return
    values, numbers = parse_lines(body, lines)
    request._json = {lines.member: values}
    request.scope[_SENT_LINES] = SentLines(lines.member, numbers)


def declared_as_json(handle: Handler) -> Handler:
    """FastAPI's handler, which does not ask for the value of a body that is declared as NDJSON."""

    async def handle_as_json(request: Request) -> Response:
        if _SENT_LINES in request.scope:
            request._headers = Headers({**request.headers, "content-type": JSON})
        return await handle(request)

    return handle_as_json


def unpacked(body: bytes, limit: int) -> bytes:
    """The content of a body that is compressed with gzip, in one part or several.

    Raises `BodyTooLarge` as soon as it has more than `limit` bytes, and `BadRequest` for another
    format, a broken or incomplete part, and anything behind the last part.
    """
    content = bytearray()
    part, parts = zlib.decompressobj(_GZIP_FORMAT), 1
    for start in range(0, len(body), _PIECE_BYTES):
        piece = body[start : start + _PIECE_BYTES]
        while piece:
            if part.eof:
                part, parts = zlib.decompressobj(_GZIP_FORMAT), parts + 1
                if parts > MAX_GZIP_MEMBERS:
                    raise BadRequest(f"a body may have at most {MAX_GZIP_MEMBERS} gzip members")
            try:
                content += part.decompress(piece, limit - len(content) + 1)
            except zlib.error:
                raise BadRequest(
                    "the body can't be unpacked: send gzip (RFC 1952), and nothing behind it"
                ) from None
            if len(content) > limit:
                raise BodyTooLarge(f"the unpacked body may have at most {limit} bytes")
            piece = part.unused_data
    if not part.eof:
        raise BadRequest("the body can't be unpacked: its gzip is incomplete")
    return bytes(content)


def parse_lines(body: bytes, lines: Lines) -> tuple[list[Any], Sequence[int]]:
    """The values of a text in NDJSON, and the number of the line of each. Lines with nothing but
    blanks are skipped.

    Raises `MalformedJson`, also for a text without values, and `ValidationFailed` for too many.
    """
    texts = body.split(b"\n")
    numbers = [number for number, text in enumerate(texts, 1) if text.strip(_BLANKS)]
    if not numbers:
        raise MalformedJson("the body is empty: send a JSON object on each line")
    if len(numbers) > lines.most:
        message = f"may have at most {lines.most} lines, each with one JSON object"
        raise InvalidField((lines.member,), "too_long", message)
    values = parse_quickly([texts[number - 1] for number in numbers], body) or [
        _value_of_line(texts[number - 1], number, f"/{lines.member}/{index}")
        for index, number in enumerate(numbers)
    ]
    return values, numbers


def _value_of_line(text: bytes, number: int, place: str) -> Any:
    """The value of a line. The error of a wrong one names its place in the whole body."""
    try:
        return parse_json(text, "it", is_line=True)
    except MalformedJson as error:
        told = error.extra.get("errors", [{"pointer": "", "code": "not_json"}])
        raise MalformedJson(
            f"line {number}: {error.detail}",
            errors=[
                {
                    "pointer": place + found["pointer"],
                    "code": found["code"],
                    "message": f"line {number}: {found.get('message', error.detail)}",
                }
                for found in told
            ],
        ) from None


@dataclass(frozen=True, slots=True)
class SentLines:
    """Where the values of a body in NDJSON were."""

    member: str
    numbers: Sequence[int]
    """The number of the line of each value."""

    def told(self, error: dict[str, str]) -> dict[str, str]:
        """The error of one place, whose message names the line."""
        match = re.match(rf"/{self.member}/(\d+)(?:/|$)", error["pointer"])
        if match is None:
            return error
        return {**error, "message": f"line {self.numbers[int(match[1])]}: {error['message']}"}


def with_lines(scope: Scope, error: StrongroomError) -> StrongroomError:
    """The error of a request, which names the lines of the places in it if the body had lines."""
    lines: SentLines | None = scope.get(_SENT_LINES)
    if lines is not None and "errors" in error.extra:
        error.extra["errors"] = [lines.told(place) for place in error.extra["errors"]]
    return error
