"""The chain that holds the audit together: a MAC over each row and the MAC of the one before it.

    mac(n) = HMAC-SHA256(key, field("sa2") || field(mac(n-1)) || field(column 1) || …)

in hexadecimal. The key is derived from the installation's key with the label `audit-chain`. The
columns are those of `AuditRow` in their order. A field is its length in bytes, four bytes
big-endian, and its UTF-8; a number is its decimal digits; null is the length 2^32-1 and no bytes.
The MAC before the first row is 64 times `0`.

Rows that an earlier version wrote have the format `sa1`, without the last three columns. Since each
MAC covers its format and the MAC before it, a row of one format can't pass for one of the other.
"""

from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from backend.repositories.audit_repository import AuditRow

FORMAT = "sa2"
EARLIER_FORMAT = "sa1"
ORIGIN = "0" * 64
"""The previous MAC of the first row."""

_NULL = b"\xff\xff\xff\xff"


class AuditChain:
    """Computes MACs of rows. Safe to use from any thread."""

    __slots__ = ("_begun", "_begun_earlier")

    def __init__(self, key: bytes) -> None:
        # Copying the state after the common prefix takes half the time of a new HMAC.
        self._begun = HMAC(key, SHA256())
        self._begun.update(_field(FORMAT))
        self._begun_earlier = HMAC(key, SHA256())
        self._begun_earlier.update(_field(EARLIER_FORMAT))

    def mac(self, previous_mac: str, row: AuditRow) -> str:
        """The MAC of the row that follows the one with `previous_mac`, in hexadecimal."""
        mac = self._begun.copy()
        mac.update(_first_columns(previous_mac, row) + _kept_fields(*row[9:]))
        return mac.finalize().hex()

    def earlier_mac(self, previous_mac: str, row: AuditRow) -> str | None:
        """The same in the format of earlier versions; `None` when the row has a value in a column
        that the format does not cover."""
        if row[9:] != (None, None, None):
            return None
        mac = self._begun_earlier.copy()
        mac.update(_first_columns(previous_mac, row))
        return mac.finalize().hex()


def _first_columns(previous_mac: str, row: AuditRow) -> bytes:
    """The MAC before the row, and the nine columns that both formats have."""
    # Every write of the service waits for this.
    id, at, actor, actor_token_id, action, target, project_id, fields, request_id = row[:9]
    return b"".join(
        (
            _field(previous_mac),
            _field(id),
            _field(at),
            _kept_fields(actor, actor_token_id, action),
            _field(target),
            _kept_fields(project_id, fields),
            _field(request_id),
        )
    )


@lru_cache(maxsize=1024, typed=True)
def _kept_fields(*values: str | int | None) -> bytes:
    """Fields that many rows share, encoded once."""
    return b"".join(map(_field, values))


def _field(value: str | int | None) -> bytes:
    if value is None:
        return _NULL
    data = str(value).encode()
    return len(data).to_bytes(4, "big") + data
