"""Page cursors: a position with a MAC over the position and its list."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from backend.errors import BadCursor
from database.engine import MalformedText, Value

_MAC_BYTES = 16
# `json.dumps` would make a new encoder for each cursor.
_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_readable = json.JSONEncoder(default=str).encode


class CursorCodec:
    """Writes positions as opaque text and reads them back.

    A cursor grants nothing: filters and permissions are applied to every page. The MAC lets
    `decode` refuse an altered cursor and one of another list.
    """

    def __init__(self, key: bytes) -> None:
        # Copied for each cursor. `hmac.digest` would let another thread run each time, for which
        # the event loop would have to wait.
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)

    def encode(self, position: Sequence[Value], list_name: str, *filters: object) -> str:
        """The cursor of the page after `position` in the list with these filters."""
        # Not escaped: `\uXXXX` would make a position up to six times as long as its name.
        values = [*map(_written, position)]
        payload = _compact(values).encode()
        return _text(self._mac(payload, list_name, filters) + payload)

    def decode(self, cursor: str, list_name: str, *filters: object) -> tuple[Value, ...]:
        """The position. Raises `BadCursor` unless `encode` made it for this list and filters."""
        try:
            data = base64.b64decode(
                cursor.encode("ascii") + b"=" * (-len(cursor) % 4), altchars=b"-_", validate=True
            )
        except (UnicodeEncodeError, binascii.Error):
            raise BadCursor from None
        mac, payload = data[:_MAC_BYTES], data[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(payload, list_name, filters)):
            raise BadCursor
        # Base64 ignores some bits of its last character, so several texts decode to the same data.
        if _text(data) != cursor:
            raise BadCursor
        return tuple(map(_read, json.loads(payload)))

    def _mac(self, payload: bytes, list_name: str, filters: tuple[object, ...]) -> bytes:
        # JSON separates the parts, so that no two lists have the same text.
        bound = _readable([list_name, *filters]).encode()
        mac = self._keyed.copy()
        mac.update(bound + b"\0" + payload)
        return mac.digest()[:_MAC_BYTES]


def _written(value: Value) -> object:
    # A list, because no value is one.
    return [value.stored.hex()] if isinstance(value, MalformedText) else value


def _read(value: Any) -> Value:
    return MalformedText(bytes.fromhex(value[0])) if isinstance(value, list) else value


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
