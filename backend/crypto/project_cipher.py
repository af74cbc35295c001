"""Seals, opens and compares values under one project's key.

Errors are raised in frames that hold no plaintext, no key and no exception with either, so that a
traceback with local variables reveals nothing.
"""

import hmac
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from backend.crypto.envelope import (
    ALGORITHM,
    FORMAT,
    NONCE_BYTES,
    OF_SECRETS,
    decoded,
    encoded,
    prefix,
)
from backend.errors import SecretUnreadable

MAX_VALUE_BYTES = 64 * 1024
"""The longest value, in bytes of UTF-8."""


class ProjectCipher:
    """Seals and opens values under a project's key. Safe to use from any thread.

    Each value is bound to its name, its version and its purpose. It does not open under others.
    """

    # Every value that is written or compared goes through here, so the parts that all values of a
    # project share are computed once.
    __slots__ = ("_aead", "_end", "_home", "_prefix")

    def __init__(self, key: bytes, key_id: str, home: bytes) -> None:
        """`home` is the part of the additional data that names the installation and project."""
        self._aead = AESGCM(key)
        self._prefix = prefix(key_id)
        self._home = home
        self._end = field(ALGORITHM) + field(key_id)

    def seal(self, name: str, version: int, value: SecretStr, purpose: str = OF_SECRETS) -> str:
        """The text to store for `value`; never the same twice.

        Raises ValueError when the value is not 1 byte to 64 KiB of UTF-8.
        """
        text = self._sealed(name, version, value, purpose)
        if text is None:
            raise ValueError(f"a value must have 1 to {MAX_VALUE_BYTES} bytes of UTF-8")
        return text

    def open(self, name: str, version: int, text: str, purpose: str = OF_SECRETS) -> SecretStr:
        """The value that was sealed as `text` under this name, version and purpose. Raises
        SecretUnreadable."""
        value = self._value(name, version, text, purpose)
        if value is None:
            raise SecretUnreadable
        return value

    def holds(self, name: str, version: int, text: str, value: SecretStr) -> bool:
        """Whether `open` would return this value. The comparison takes constant time."""
        present = self._data(name, version, text, OF_SECRETS)
        return present is not None and hmac.compare_digest(
            present, value.get_secret_value().encode()
        )

    def _sealed(self, name: str, version: int, value: SecretStr, purpose: str) -> str | None:
        """The stored text; None when the value can't be UTF-8 or has the wrong length."""
        try:
            data = value.get_secret_value().encode()
        except UnicodeEncodeError:
            # Not raised from here, because this exception holds the whole value.
            return None
        if not 1 <= len(data) <= MAX_VALUE_BYTES:
            return None
        nonce = os.urandom(NONCE_BYTES)
        bound = self._bound_to(name, version, purpose)
        return self._prefix + encoded(nonce + self._aead.encrypt(nonce, data, bound))

    def _value(self, name: str, version: int, text: str, purpose: str) -> SecretStr | None:
        """The value; None when it does not authenticate or is not UTF-8."""
        data = self._data(name, version, text, purpose)
        try:
            return None if data is None else SecretStr(data.decode())
        except UnicodeDecodeError:
            return None

    def _data(self, name: str, version: int, text: str, purpose: str) -> bytes | None:
        """The sealed bytes; None when the text is under another key or does not authenticate."""
        if not text.startswith(self._prefix):
            return None
        data = decoded(text[len(self._prefix) :])
        if data is None:
            return None
        bound = self._bound_to(name, version, purpose)
        try:
            return self._aead.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
        except InvalidTag:
            return None

    def _bound_to(self, name: str, version: int, purpose: str) -> bytes:
        return b"".join(
            (_FORMAT_FIELD, field(purpose), self._home, field(name), field(version), self._end)
        )

    def __repr__(self) -> str:
        return f"ProjectCipher({self._prefix!r})"


@lru_cache(maxsize=4096)
def field(value: str | int) -> bytes:
    """A field of additional data: its length in four bytes, then its UTF-8."""
    data = str(value).encode()
    return len(data).to_bytes(4, "big") + data


_FORMAT_FIELD = field(FORMAT)
