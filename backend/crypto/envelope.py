"""What encrypted values and keys look like when they are stored.

    sr1:A256GCM:<key id>:<base64url, unpadded, of nonce (12) || ciphertext || tag (16)>

All are tuples: there are some for every value that is written or compared, and dataclasses take
twice the time, six times when they are looked up in a cache.
"""

import binascii
import re
from typing import NamedTuple, Self

FORMAT = "sr1"
ALGORITHM = "A256GCM"
NONCE_BYTES = 12
OF_SECRETS = "secret"
"""The purpose of what a project keeps under names."""

_TAG_BYTES = 16
_HEAD = re.compile(rf"{FORMAT}:{ALGORITHM}:([A-Za-z0-9_-]{{1,32}}):")
# What binascii reads and writes has two other characters than stored text, and padding.
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


class Envelope(NamedTuple):
    """Stored text, taken apart."""

    key_id: str
    nonce: bytes
    sealed: bytes
    """Ciphertext and tag."""

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The parts of `text`; None for anything that `encode` would not have written."""
        head = _HEAD.match(text)
        data = decoded(text[head.end() :]) if head is not None else None
        if head is None or data is None:
            return None
        return cls(head[1], data[:NONCE_BYTES], data[NONCE_BYTES:])

    def encode(self) -> str:
        """The text to store."""
        return prefix(self.key_id) + encoded(self.nonce + self.sealed)

    def __repr__(self) -> str:
        return f"Envelope(key_id={self.key_id!r})"


class SecretContext(NamedTuple):
    """Where a value belongs. Sealed in one place, it opens in no other."""

    project_id: int
    name: str
    version: int
    purpose: str = OF_SECRETS
    """The kind of value; two kinds of record never share one."""


class StoredProjectKey(NamedTuple):
    """A project's key as its row holds it: wrapped under a master key."""

    id: int
    project_id: int
    wrapped: str

    @property
    def key_id(self) -> str:
        """What stored values call this key: `p<id>`."""
        return f"p{self.id}"

    @property
    def master_key_id(self) -> str | None:
        """The id of the master key it is wrapped under; None when the text can't be read."""
        envelope = Envelope.parse(self.wrapped)
        return None if envelope is None else envelope.key_id

    def __repr__(self) -> str:
        return f"StoredProjectKey(id={self.id!r}, project_id={self.project_id!r})"


def prefix(key_id: str) -> str:
    """What stands before the encoded part of all that is under this key."""
    return f"{FORMAT}:{ALGORITHM}:{key_id}:"


def encoded(data: bytes) -> str:
    """Nonce, ciphertext and tag, as text."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def decoded(text: str) -> bytes | None:
    """What `encoded` made this text of; None when it made it of nothing that has a nonce and a
    tag."""
    if not text.isascii():
        return None
    try:
        # More padding than there has to be is skipped.
        data = binascii.a2b_base64(text.encode().translate(_FROM_URL) + b"==")
    except binascii.Error:
        return None
    # The decoder skips what it does not know, so only what would be written again is taken.
    return data if len(data) >= NONCE_BYTES + _TAG_BYTES and encoded(data) == text else None
