"""The header `Prefer: wait=N` (RFC 7240)."""

import re
from functools import lru_cache
from typing import Final

from backend.http.request_head import Headers

PREFER: Final = b"prefer"
APPLIED: Final = b"preference-applied"
MAX_SECONDS: Final = 60
"""A longer wait is shortened to this."""
_MAX_BYTES = 512
"""A longer header is ignored."""

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_WORD = rb'(?:%b|"(?:[^"\\]|\\.)*")' % _TOKEN
_PARAMETER = rb"%b(?:[ \t]*=[ \t]*%b?)?" % (_TOKEN, _WORD)
_PREFERENCE = re.compile(
    rb"[ \t]*(?P<name>%b)(?:[ \t]*=[ \t]*(?P<value>%b)?)?(?:[ \t]*;(?:[ \t]*%b)?)*[ \t]*"
    % (_TOKEN, _WORD, _PARAMETER)
)
_PARTS = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
"""What is between commas that are not quoted."""
_SECONDS = re.compile(rb"[0-9]+")


def wait_seconds(headers: Headers) -> int | None:
    """How long the client prefers to wait, at most `MAX_SECONDS`; `None` if it does not say so, or
    not as the RFC demands, which ignores what a server does not understand."""
    value = headers.get(PREFER)
    return _wait_seconds(value) if value is not None else None


@lru_cache(maxsize=256)
def _wait_seconds(value: bytes) -> int | None:
    if len(value) > _MAX_BYTES:
        return None
    for part in _PARTS.findall(value):
        found = _PREFERENCE.fullmatch(part)
        # Only the first of several counts.
        if found is not None and found["name"].lower() == b"wait":
            seconds = (found["value"] or b"").strip(b'"')
            if not _SECONDS.fullmatch(seconds):
                return None
            # Python refuses to read a number with thousands of digits.
            digits = seconds.lstrip(b"0")
            return min(int(digits[:3] or b"0"), MAX_SECONDS)
    return None


def applied(seconds: int) -> tuple[bytes, bytes]:
    """The header of an answer for which the server was ready to wait so long."""
    return APPLIED, b"wait=%d" % seconds
