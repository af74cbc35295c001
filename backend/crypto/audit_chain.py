"""The chain that holds the audit together: a MAC over each row and the MAC of the one before it.

    mac(n) = HMAC-SHA256(key, field("sa2") || field(mac(n-1)) || field(column 1) || …)

in hexadecimal. The key is derived from the installation's key with the label `audit-chain`. The
columns are those of `AuditRow` in their order. A field is its length in bytes, four bytes
big-endian, and its UTF-8; a number is its decimal digits; null is the length 2^32-1 and no bytes.
The MAC before the first row is 64 times `0`.

Rows that an earlier version wrote have the format `sa1`, without the last three columns. Since each
MAC covers its format and the MAC before it, a row of one format can't pass for one of the other.

Once old rows were removed, the chain begins at an anchor: the id and the MAC of the last row that
was passed. Some of the passed rows stay. The anchor covers them as a set, so that none can be
removed, added, or replaced by an older one that was genuine once:

    share(row) = HMAC-SHA256(key, field("sk1") || field(mac of the row))
    mask       = HMAC-SHA256(key, field("sn1") || field(nonce) || field(last_id) || field(last_mac)
                                  || field(kept))
    mac        = nonce || (mask + the sum of the shares) mod 2^128

The nonce is 16 random bytes, and of each HMAC the first 16 bytes count, as a number. A sum can be
changed by one row without reading the others, and the mask hides it: sums in plain text would give
the shares away one after the other. This is MSet-Add-Hash of Clarke et al., "Incremental Multiset
Hash Functions and Their Application to Memory Integrity Checking" (2003).
"""

import os
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from backend.repositories.audit_repository import AuditAnchor, AuditRow

FORMAT = "sa2"
EARLIER_FORMAT = "sa1"
_SHARE_FORMAT = "sk1"
_ANCHOR_FORMAT = "sn1"
ORIGIN = "0" * 64
"""The previous MAC of the first row."""

_NULL = b"\xff\xff\xff\xff"
_MAC_LENGTH = (64).to_bytes(4, "big")
_LENGTHS = [length.to_bytes(4, "big") for length in range(256)]
_NONCE_BYTES = 16
_SUM_BYTES = 16
_MODULUS = 1 << 8 * _SUM_BYTES


class AuditChain:
    """Computes MACs of rows and of anchors. Safe to use from any thread."""

    __slots__ = ("_begun", "_begun_anchor", "_begun_earlier", "_begun_share")

    def __init__(self, key: bytes) -> None:
        def begun(label: str) -> HMAC:
            # Copying the state after the common prefix takes half the time of a new HMAC.
            mac = HMAC(key, SHA256())
            mac.update(_field(label))
            return mac

        self._begun = begun(FORMAT)
        self._begun_earlier = begun(EARLIER_FORMAT)
        self._begun_share = begun(_SHARE_FORMAT)
        self._begun_anchor = begun(_ANCHOR_FORMAT)

    def mac(self, previous_mac: str, row: AuditRow | tuple[Any, ...]) -> str:
        """The MAC of the row, with the columns of `AuditRow`, that follows the one with
        `previous_mac`, in hexadecimal."""
        return self.macs(previous_mac, (row,))[0]

    def macs(self, previous_mac: str, rows: Iterable[AuditRow | tuple[Any, ...]]) -> list[str]:
        """The MACs of rows that follow one another, the first after the one with `previous_mac`."""
        # Every write of the service waits for this, so the loop calls as few functions as it can.
        # What several rows share is cached; a look-up that fails costs more than the field.
        copy, lengths, kept, several = self._begun.copy, _LENGTHS, _kept_field, _kept_fields
        macs: list[str] = []
        of: tuple[int | None, str | None] | None = None
        previous, project_field, request_field = _field(previous_mac), b"", b""
        for row in rows:
            id, at, actor, token, action, target, project, fields, request, version, seal, ip = row
            if (project, request) != of:
                # Rows of one request follow one another.
                of = project, request
                project_field, request_field = _field(project), _field(request)
            number, place = b"%d" % id, target.encode()
            size = len(place)
            mac = copy()
            mac.update(
                b"".join(
                    (
                        previous,
                        lengths[len(number)],
                        number,
                        several(at, actor, token, action),
                        lengths[size] if size < 256 else size.to_bytes(4, "big"),
                        place,
                        project_field,
                        kept(fields),
                        request_field,
                        kept(version),
                        _field(seal),
                        kept(ip),
                    )
                )
            )
            hexadecimal = mac.finalize().hex()
            previous = _MAC_LENGTH + hexadecimal.encode()
            macs.append(hexadecimal)
        return macs

    def earlier_mac(self, previous_mac: str, row: AuditRow) -> str | None:
        """The same in the format of earlier versions; `None` when the row has a value in a column
        that the format does not cover."""
        if row[9:] != (None, None, None):
            return None
        mac = self._begun_earlier.copy()
        mac.update(b"".join(map(_field, (previous_mac, *row[:9]))))
        return mac.finalize().hex()

    def share(self, mac: str) -> int:
        """What a row that stays below the anchor adds to the sum of the anchor."""
        return _number(self._begun_share, _field(mac))

    def anchor(self, last_id: int, last_mac: str, kept: int, shares: int) -> AuditAnchor:
        """The anchor after the row `last_id`, below which `kept` rows stay, whose shares have this
        sum."""
        nonce = os.urandom(_NONCE_BYTES).hex()
        mask = self._mask(nonce, last_id, last_mac, kept)
        total = (mask + shares) % _MODULUS
        return AuditAnchor(last_id, last_mac, kept, f"{nonce}{total:0{2 * _SUM_BYTES}x}")

    def shares(self, anchor: AuditAnchor) -> int:
        """The sum of the shares of the rows that have stayed up to the anchor; any other number if
        the anchor was not made with this key, or was changed."""
        nonce, total = anchor.mac[: 2 * _NONCE_BYTES], anchor.mac[2 * _NONCE_BYTES :]
        mask = self._mask(nonce, anchor.last_id, anchor.last_mac, anchor.kept)
        try:
            return (int(total, 16) - mask) % _MODULUS
        except ValueError:
            return -1

    def covers(self, anchor: AuditAnchor, shares: int) -> bool:
        """Whether the anchor is as it was made, for rows whose shares have this sum."""
        return self.shares(anchor) == shares % _MODULUS

    def _mask(self, nonce: str, last_id: int, last_mac: str, kept: int) -> int:
        fields = (_field(nonce), _field(last_id), _field(last_mac), _field(kept))
        return _number(self._begun_anchor, b"".join(fields))


def _number(begun: HMAC, fields: bytes) -> int:
    mac = begun.copy()
    mac.update(fields)
    return int.from_bytes(mac.finalize()[:_SUM_BYTES], "big")


def _field(value: str | int | None) -> bytes:
    if value is None:
        return _NULL
    data = str(value).encode()
    length = len(data)
    return (_LENGTHS[length] if length < 256 else length.to_bytes(4, "big")) + data


_kept_field = lru_cache(maxsize=1024)(_field)
"""For values that many rows have."""


@lru_cache(maxsize=1024)
def _kept_fields(*values: str | int | None) -> bytes:
    """For values that many rows have together."""
    return b"".join(map(_field, values))
