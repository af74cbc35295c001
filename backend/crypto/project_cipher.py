"""Seals, opens and compares values under one project's key.

Errors are raised in frames that hold no plaintext, no key and no exception with either, so that a
traceback with local variables reveals nothing.
"""

import hmac
import os
from collections.abc import Sequence
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
    loosely_decoded,
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
    # project share are computed once, and lists are gone through without a call for each value.
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
        return self.seal_all([(name, version, value)], purpose)[0]

    def seal_all(
        self, values: Sequence[tuple[str, int, SecretStr]], purpose: str = OF_SECRETS
    ) -> list[str]:
        """The same for several values, each with its name and version."""
        texts = self._sealed(values, purpose)
        if texts is None:
            raise ValueError(f"a value must have 1 to {MAX_VALUE_BYTES} bytes of UTF-8")
        return texts

    def open(self, name: str, version: int, text: str, purpose: str = OF_SECRETS) -> SecretStr:
        """The value that was sealed as `text` under this name, version and purpose. Raises
        SecretUnreadable."""
        value = self._value(name, version, text, purpose)
        if value is None:
            raise SecretUnreadable
        return value

    def holds(self, name: str, version: int, text: str, value: SecretStr) -> bool:
        """Whether `text` holds this value of a secret. The comparison takes constant time."""
        return self.holding([(name, version, text, value)])[0]

    def holding(self, secrets: Sequence[tuple[str, int, str, SecretStr]]) -> list[bool]:
        """The same for several secrets: each name and version, the stored text, and the value."""
        head, end = self._head(OF_SECRETS), self._end
        prefix, start, decrypt = self._prefix, len(self._prefix), self._aead.decrypt
        holding = []
        for name, version, text, value in secrets:
            is_equal = False
            if text.startswith(prefix):
                bound = head + field(name) + field(version) + end
                try:
                    data = loosely_decoded(text[start:])
                    present = decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
                    given = value.get_secret_value().encode()
                    is_equal = hmac.compare_digest(present, given) and encoded(data) == text[start:]
                except (InvalidTag, ValueError):
                    # The text does not authenticate, or one of both is not UTF-8.
                    is_equal = False
            holding.append(is_equal)
        return holding

    def seal_bytes(self, bound_to: bytes, data: bytes, purpose: str) -> bytes:
        """The bytes to store for `data`, of any length: nonce, ciphertext and tag. They open only
        with the same `bound_to` and purpose."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, data, self._bound(bound_to, purpose))

    def open_bytes(self, bound_to: bytes, sealed: bytes, purpose: str) -> bytes:
        """What `seal_bytes` has sealed. Raises SecretUnreadable."""
        data = self._opened(bound_to, sealed, purpose)
        if data is None:
            raise SecretUnreadable
        return data

    def _opened(self, bound_to: bytes, sealed: bytes, purpose: str) -> bytes | None:
        bound = self._bound(bound_to, purpose)
        try:
            return self._aead.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):
            # It does not authenticate, or is too short.
            return None

    def _bound(self, bound_to: bytes, purpose: str) -> bytes:
        return b"".join(
            [self._head(purpose), len(bound_to).to_bytes(4, "big"), bound_to, self._end]
        )

    def _sealed(
        self, values: Sequence[tuple[str, int, SecretStr]], purpose: str
    ) -> list[str] | None:
        """The stored texts; None when a value can't be UTF-8 or has the wrong length."""
        head, end = self._head(purpose), self._end
        prefix, encrypt = self._prefix, self._aead.encrypt
        nonces = os.urandom(NONCE_BYTES * len(values))
        texts = []
        for at, (name, version, value) in zip(
            range(0, len(nonces), NONCE_BYTES), values, strict=True
        ):
            try:
                data = value.get_secret_value().encode()
            except UnicodeEncodeError:
                # Not raised from here, because this exception holds the whole value.
                return None
            if not 1 <= len(data) <= MAX_VALUE_BYTES:
                return None
            nonce = nonces[at : at + NONCE_BYTES]
            bound = head + field(name) + field(version) + end
            texts.append(prefix + encoded(nonce + encrypt(nonce, data, bound)))
        return texts

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
        bound = self._head(purpose) + field(name) + field(version) + self._end
        try:
            return self._aead.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], bound)
        except InvalidTag:
            return None

    def _head(self, purpose: str) -> bytes:
        """The additional data before the name."""
        return _FORMAT_FIELD + field(purpose) + self._home

    def __repr__(self) -> str:
        return f"ProjectCipher({self._prefix!r})"


@lru_cache(maxsize=4096)
def field(value: str | int) -> bytes:
    """A field of additional data: its length in four bytes, then its UTF-8."""
    data = str(value).encode()
    return len(data).to_bytes(4, "big") + data


_FORMAT_FIELD = field(FORMAT)
