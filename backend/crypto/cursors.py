"""Page cursors: a position, sealed together with the list that it belongs to."""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Sequence

from backend.errors import BadCursor
from database.engine import Value

_MAC_BYTES = 16


class CursorCodec:
    """Writes positions as opaque text and reads them back.

    A cursor grants nothing: filters and permissions are applied to every page anew. The MAC is
    there so that an altered cursor, or one of another list, is told instead of followed.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def encode(self, position: Sequence[Value], list_name: str, *filters: object) -> str:
        """The cursor of the page behind `position` in the list with these filters."""
        # Not escaped: a name's position would be up to six times as long as the name.
        payload = json.dumps(list(position), ensure_ascii=False, separators=(",", ":")).encode()
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
        # Base64 leaves bits of its last character unused: two texts, one meaning.
        if _text(data) != cursor:
            raise BadCursor
        position: list[Value] = json.loads(payload)
        return tuple(position)

    def _mac(self, payload: bytes, list_name: str, filters: tuple[object, ...]) -> bytes:
        # JSON keeps the parts apart, so that no two lists share a text.
        bound = json.dumps([list_name, *filters], default=str).encode()
        return hmac.digest(self._key, bound + b"\0" + payload, hashlib.sha256)[:_MAC_BYTES]


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
