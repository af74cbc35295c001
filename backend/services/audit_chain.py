"""The chain that holds the audit together: a MAC over each row and the MAC of the one before it.

    mac(n) = HMAC-SHA256(key, field("sa1") || field(mac(n-1)) || field(column 1) || …)

in hexadecimal. The key is derived from the installation's key with the label `audit-chain`. The
columns are those of `AuditRow` in their order. A field is its length in bytes, four bytes
big-endian, and its UTF-8; a number is its decimal digits; null is the length 2^32-1 with nothing
behind it. Before the first row the MAC is 64 times `0`.
"""

import hmac

from backend.repositories.audit_repository import AuditRow

FORMAT = "sa1"
ORIGIN = "0" * 64
"""What the first row has in the place of its predecessor's MAC."""

_NULL = b"\xff\xff\xff\xff"


class AuditChain:
    """Computes MACs of rows. Safe to use from any thread."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mac(self, previous_mac: str, row: AuditRow) -> str:
        """The MAC of the row that follows the one with `previous_mac`, in hexadecimal."""
        # By its name the digest is computed by one call into OpenSSL.
        return hmac.digest(self._key, _message(previous_mac, row), "sha256").hex()


def _message(previous_mac: str, row: AuditRow) -> bytes:
    # Every write of the service waits for this: hence one loop, and lengths made before.
    parts: list[bytes] = []
    for value in (FORMAT, previous_mac, *row):
        if value is None:
            parts.append(_NULL)
        else:
            data = str(value).encode()
            length = len(data)
            parts.append(_LENGTHS[length] if length < len(_LENGTHS) else _length(length))
            parts.append(data)
    return b"".join(parts)


def _length(length: int) -> bytes:
    return length.to_bytes(4, "big")


_LENGTHS = tuple(_length(length) for length in range(1024))
