"""The stored form of encrypted values and keys.

    sr1:A256GCM:<key id>:<base64url, unpadded, of nonce (12) || ciphertext || tag (16)>

The classes are tuples because several are made for every value that is written or compared: a
dataclass takes twice the time, and six times as a cache key.
"""

import binascii
import re
from typing import NamedTuple, Self

FORMAT = "sr1"
ALGORITHM = "A256GCM"
NONCE_BYTES = 12
OF_SECRETS = "secret"
"""The purpose of a project's secrets."""

_TAG_BYTES = 16
_HEAD = re.compile(rf"{FORMAT}:{ALGORITHM}:([A-Za-z0-9_-]{{1,32}}):")
# Stored text is URL-safe and unpadded; binascii uses the standard alphabet with padding.
_FROM_URL = bytes.maketrans(b"-_", b"+/")
_TO_URL = bytes.maketrans(b"+/", b"-_")


class Envelope(NamedTuple):
    """The parts of a stored text."""

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
    """What a sealed value is bound to. A value that is moved to another context does not open."""

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
        """The key's id in the text of stored values: `p<id>`."""
        return f"p{self.id}"

    @property
    def master_key_id(self) -> str | None:
        """The id of the master key it is wrapped under; None when the text can't be read."""
        envelope = Envelope.parse(self.wrapped)
        return None if envelope is None else envelope.key_id

    def __repr__(self) -> str:
        return f"StoredProjectKey(id={self.id!r}, project_id={self.project_id!r})"


def prefix(key_id: str) -> str:
    """The text before the encoded part of every value under this key."""
    return f"{FORMAT}:{ALGORITHM}:{key_id}:"


def encoded(data: bytes) -> str:
    """Nonce, ciphertext and tag, as text."""
    return binascii.b2a_base64(data, newline=False).translate(_TO_URL, b"=").decode()


def decoded(text: str) -> bytes | None:
    """The data that `encoded` made this text from. None when `encoded` can't have made it, or the
    data is too short for a nonce and a tag."""
    if not text.isascii():
        return None
    try:
        data = loosely_decoded(text)
    except binascii.Error:
        return None
    # The decoder skips unknown characters, so the text must match what `encoded` writes.
    return data if len(data) >= NONCE_BYTES + _TAG_BYTES and encoded(data) == text else None


def loosely_decoded(text: str) -> bytes:
    """The data of a text that `encoded` made; something for most other texts, too. Raises
    ValueError."""
    # The decoder ignores surplus padding.
    return binascii.a2b_base64(text.encode().translate(_FROM_URL) + b"==")
