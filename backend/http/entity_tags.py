"""Entity tags (RFC 9110, section 8.8.3): reading them from headers, and making those of answers."""

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

from backend.errors import BadRequest
from backend.http.request_head import Headers
from backend.services.preconditions import EntityTags, Preconditions

IF_MATCH = b"if-match"
IF_NONE_MATCH = b"if-none-match"
ETAG = b"etag"

_TAG = re.compile(rb'[ \t]*(?:(W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*)?(?:,|\Z)')
_VERSION = re.compile(rb'"version":(?:(-?\d+)[,}]|)')
_FEW_BYTES = 256
"""Headers up to this size are remembered once they are read."""
_MOST_BYTES = 8192
"""Each tag takes time, and a client knows few of them."""
_AT_ONCE = 2047
"""For more bytes, `hashlib` lets other threads run, and the event loop would have to wait."""
_DIGITS = 27


def read_tags(name: bytes, value: bytes) -> EntityTags:
    """The tags in the value of a header. Raises `BadRequest` for a malformed one."""
    if len(value) > _MOST_BYTES:
        raise BadRequest(f"the header {_title(name)} may have at most {_MOST_BYTES} bytes")
    return _remembered(name, value) if len(value) <= _FEW_BYTES else _read(name, value)


def _read(name: bytes, value: bytes) -> EntityTags:
    if value.strip(b" \t") == b"*":
        return EntityTags(frozenset(), is_any=True)
    strong: set[str] = set()
    weak: set[str] = set()
    place = 0
    while place < len(value):
        found = _TAG.match(value, place)
        if found is None:
            raise _malformed(name)
        if found[2] is not None:
            (weak if found[1] else strong).add(found[2].decode("latin-1"))
        place = found.end()
    if not strong and not weak:
        raise _malformed(name)
    return EntityTags(frozenset(strong), frozenset(weak))


_remembered = lru_cache(1024)(_read)


def _malformed(name: bytes) -> BadRequest:
    return BadRequest(
        f"the header {_title(name)} must be * or a list of entity tags in double quotes, such as "
        f'"v3": send the ETag of an earlier answer unchanged, with its quotes'
    )


def _title(name: bytes) -> str:
    return name.decode().title()


def preconditions_of(headers: Headers) -> Preconditions:
    """The preconditions of a request that changes something. Raises `BadRequest`."""
    if_match, if_none_match = headers.get(IF_MATCH), headers.get(IF_NONE_MATCH)
    return Preconditions(
        read_tags(IF_MATCH, if_match) if if_match is not None else None,
        read_tags(IF_NONE_MATCH, if_none_match) if if_none_match is not None else None,
    )


def is_known(if_none_match: bytes, etag: bytes) -> bool:
    """Whether a client that sends this `If-None-Match` has the answer with the tag already. Raises
    `BadRequest`."""
    # Nearly always the tag is sent back as it was.
    return if_none_match == etag or read_tags(IF_NONE_MATCH, if_none_match).have_weakly(
        etag.decode("latin-1")
    )


def is_tag_known(if_none_match: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """The same for an answer with these headers; False if it has no tag."""
    etag = etag_of(headers)
    return etag is not None and is_known(if_none_match, etag)


_OF_THE_BODY = frozenset({b"content-length", b"content-type", b"content-encoding"})


def headers_of_304(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of the answer 304 that stands for an answer with these."""
    return [header for header in headers if header[0] not in _OF_THE_BODY]


def etag_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The `ETag` among the headers of an answer, if it has one."""
    for name, value in headers:
        if name == ETAG:
            return value
    return None


def version_tag_of(body: bytes) -> bytes | None:
    """The tag of a versioned resource, by the JSON of its answer; `None` if another program has
    damaged the version in the file.

    The first member of this name is the resource's own: a text can't contain it, because its
    quotes are escaped, and `Tagging` refuses shapes with an object in front of it.
    """
    found = _VERSION.search(body)
    return b'"v%b"' % found[1] if found is not None and found[1] is not None else None


def content_tag_of(body: bytes, left_out: re.Pattern[bytes] | None) -> bytes:
    """The weak tag of an answer: of its bytes without what matches `left_out`."""
    if left_out is not None:
        body = left_out.sub(b"", body)
    digest = hashlib.sha256()
    for start in range(0, len(body), _AT_ONCE):
        digest.update(body[start : start + _AT_ONCE])
    return b'W/"%b"' % digest.hexdigest()[:_DIGITS].encode()


def members(names: Iterable[str]) -> re.Pattern[bytes]:
    """A pattern for members of JSON objects with these names, whose values are texts or null."""
    alternatives = "|".join(map(re.escape, sorted(names)))
    return re.compile(rf'"(?:{alternatives})":(?:null|"[^"\\]*")'.encode())
