"""Envelope encryption of secrets: what is stored, what it is bound to, and how it is read.

A project key, 256 random bits, encrypts the values of one project. It is stored wrapped under a
key derived from a master key (label `project-key-wrapping`). A new master key therefore means
wrapping the project keys again, and never encrypting values again. All encryption is AES-256-GCM
with a random 96-bit nonce for each message, safe for 2^32 messages under one key. `envelope.py`
describes the stored text. Its key id is a master key's id, or `p<id>` for a project key; the id
chooses the key, and no other key is tried. The additional data are eight fields, each its length
in four bytes, big-endian, and its UTF-8:

    "sr1", purpose, installation id, project id, name, version, algorithm, key id

Numbers are decimal; a field that does not apply is empty. A wrapped project key has the purpose
`project-key` and its own id (`p<id>`) as name. The wrapped key of the installation has the purpose
`installation-key`, and a canary has the purpose `canary`.

Errors are raised in frames that hold no plaintext, no key and no exception with either, so that a
traceback with local variables reveals nothing.
"""

import secrets
from functools import lru_cache
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from backend.crypto.envelope import (
    ALGORITHM,
    FORMAT,
    NONCE_BYTES,
    Envelope,
    SecretContext,
    StoredProjectKey,
)
from backend.crypto.keyring import KEY_BYTES, KeyProvider, MasterKey, configured_key
from backend.crypto.project_cipher import ProjectCipher, field
from backend.errors import SecretUnreadable

WRAPPING_LABEL = "project-key-wrapping"
_CANARY = b"strongroom canary"


_MOST_NEW_KEYS = 100
"""The keys of units that failed stay until then."""


class Vault:
    """Seals and opens the values and keys of one installation. Safe to use from any thread.

    It caches unwrapped project keys by the exact content of their rows.
    """

    def __init__(
        self, provider: KeyProvider, installation_id: str, *, cached_keys: int = 1024
    ) -> None:
        """`cached_keys` limits how many unwrapped project keys are cached.

        Raises ValueError when the installation id is empty.
        """
        if not installation_id:
            raise ValueError("the installation id is empty")
        self._provider = provider
        self._installation_id = installation_id
        self._home = field(installation_id)
        # Deriving the key takes longer than using it.
        self._wrapping_cipher = lru_cache(maxsize=64)(_new_wrapping_cipher)
        self._cipher = lru_cache(maxsize=cached_keys)(self._project_cipher)
        self._new: dict[StoredProjectKey, bytes] = {}
        """New project keys until their first use, which so need not be unwrapped."""

    @property
    def installation_id(self) -> str:
        """The id of the installation that all values are bound to."""
        return self._installation_id

    @property
    def current_master_key_id(self) -> str:
        """The id of the master key that wraps new project keys."""
        return self._provider.current().id

    @property
    def master_key_ids(self) -> tuple[str, ...]:
        """The ids of all configured master keys, the current one first."""
        return self._provider.ids()

    def new_project_key(self, project_id: int, key_id: int) -> StoredProjectKey:
        """A new random key for a project, wrapped under the current master key, to be stored."""
        key = AESGCM.generate_key(KEY_BYTES * 8)
        wrapped = self._wrap(self._provider.current(), project_id, key_id, key)
        stored = StoredProjectKey(key_id, project_id, wrapped)
        if len(self._new) >= _MOST_NEW_KEYS:
            self._new.clear()
        self._new[stored] = key
        return stored

    def project(self, key: StoredProjectKey) -> ProjectCipher:
        """The cipher that seals and opens values under this key. Raises SecretUnreadable when the
        key can't be unwrapped."""
        return self._cipher(key)

    def seal(self, project_key: StoredProjectKey, context: SecretContext, value: SecretStr) -> str:
        """The text to store for `value`; never the same twice.

        Raises ValueError when the value is not 1 byte to 64 KiB of UTF-8, or the key belongs to
        another project; SecretUnreadable when the project key can't be unwrapped.
        """
        if project_key.project_id != context.project_id:
            raise ValueError("the key belongs to another project")
        cipher = self._cipher(project_key)
        return cipher.seal(context.name, context.version, value, context.purpose)

    def open(self, project_key: StoredProjectKey, context: SecretContext, text: str) -> SecretStr:
        """The value that was sealed as `text` under this key in this context.

        Raises SecretUnreadable for anything else: changed or malformed text, a row that was moved,
        another key, a master key that is not configured.
        """
        if project_key.project_id != context.project_id:
            raise SecretUnreadable
        cipher = self._cipher(project_key)
        return cipher.open(context.name, context.version, text, context.purpose)

    def is_readable(self, project_key: StoredProjectKey, context: SecretContext, text: str) -> bool:
        """Whether `open` would return a value."""
        try:
            self.open(project_key, context, text)
        except SecretUnreadable:
            return False
        return True

    def can_unwrap(self, stored: StoredProjectKey) -> bool:
        """Whether values can be sealed and opened with this project key."""
        try:
            self._cipher(stored)
        except SecretUnreadable:
            return False
        return True

    def rewrap(self, stored: StoredProjectKey) -> str | None:
        """The same project key, wrapped under the current master key; None when it already is.

        Values sealed with it stay valid. Raises SecretUnreadable when the key can't be unwrapped.
        """
        master = self._provider.current()
        if stored.master_key_id == master.id:
            return None
        return self._wrap(master, stored.project_id, stored.id, self._unwrap(stored))

    def new_installation_key(self) -> str:
        """A new random root key of the installation, wrapped under the current master key.

        Keys derived from it stay the same when master keys change.
        """
        master = self._provider.current()
        bound = self._installation_data(master.id)
        return _encrypt(self._wrapping_cipher(master), master.id, bound, AESGCM.generate_key(256))

    def installation_key(self, wrapped: str) -> MasterKey:
        """The installation's root key; its `derive` returns a key for each purpose.

        Raises SecretUnreadable when the root key can't be unwrapped.
        """
        return MasterKey("installation", self._unwrap_installation_key(wrapped))

    def rewrap_installation_key(self, wrapped: str) -> str | None:
        """The same root key, wrapped under the current master key; None when it already is.

        Raises SecretUnreadable when the root key can't be unwrapped.
        """
        master = self._provider.current()
        envelope = Envelope.parse(wrapped)
        if envelope is not None and envelope.key_id == master.id:
            return None
        key = self._unwrap_installation_key(wrapped)
        bound = self._installation_data(master.id)
        return _encrypt(self._wrapping_cipher(master), master.id, bound, key)

    def canary(self, key_id: str) -> str:
        """Text to store with the data, so that a later start can check that the key is the same.

        Raises KeyConfigurationError when no master key has this id.
        """
        master = configured_key(self._provider, key_id)
        return _encrypt(self._wrapping_cipher(master), key_id, self._canary_data(key_id), _CANARY)

    def check_canary(self, key_id: str, text: str) -> bool:
        """Whether `text` is a canary of the configured master key with this id.

        False as well when the key is not configured or the text can't be read.
        """
        envelope = Envelope.parse(text)
        master = self._provider.by_id(key_id)
        if envelope is None or master is None or envelope.key_id != key_id:
            return False
        found = _decrypt(self._wrapping_cipher(master), envelope, self._canary_data(key_id))
        return found == _CANARY

    def forget(self) -> None:
        """Drop all cached keys, after a purge or when a master key was removed."""
        self._new.clear()
        self._cipher.cache_clear()
        self._wrapping_cipher.cache_clear()

    def _wrap(self, master: MasterKey, project_id: int, key_id: int, key: bytes) -> str:
        bound = self._key_data(project_id, key_id, master.id)
        return _encrypt(self._wrapping_cipher(master), master.id, bound, key)

    def _unwrap(self, stored: StoredProjectKey) -> bytes:
        envelope = Envelope.parse(stored.wrapped)
        master = None if envelope is None else self._provider.by_id(envelope.key_id)
        if envelope is None or master is None:
            raise SecretUnreadable
        bound = self._key_data(stored.project_id, stored.id, master.id)
        key = _decrypt(self._wrapping_cipher(master), envelope, bound)
        if key is None:
            raise SecretUnreadable
        return key

    def _unwrap_installation_key(self, wrapped: str) -> bytes:
        envelope = Envelope.parse(wrapped)
        master = None if envelope is None else self._provider.by_id(envelope.key_id)
        if envelope is None or master is None:
            raise SecretUnreadable
        key = _decrypt(self._wrapping_cipher(master), envelope, self._installation_data(master.id))
        if key is None:
            raise SecretUnreadable
        return key

    def _project_cipher(self, stored: StoredProjectKey) -> ProjectCipher:
        home = self._home + field(stored.project_id)
        key = self._new.pop(stored, None) or self._unwrap(stored)
        return ProjectCipher(key, stored.key_id, home)

    def _key_data(self, project_id: int, key_id: int, master_key_id: str) -> bytes:
        return self._additional_data("project-key", project_id, f"p{key_id}", master_key_id)

    def _installation_data(self, master_key_id: str) -> bytes:
        return self._additional_data("installation-key", "", "", master_key_id)

    def _canary_data(self, key_id: str) -> bytes:
        return self._additional_data("canary", "", "", key_id)

    def _additional_data(
        self, purpose: str, project_id: int | str, name: str, key_id: str
    ) -> bytes:
        version = ""
        head = field(FORMAT) + field(purpose) + self._home + field(project_id)
        return head + field(name) + field(version) + field(ALGORITHM) + field(key_id)

    def __repr__(self) -> str:
        return f"Vault(installation_id={self._installation_id!r}, keys={self._provider.ids()!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a vault can't be copied or pickled")


def _new_wrapping_cipher(master: MasterKey) -> AESGCM:
    return AESGCM(master.derive(WRAPPING_LABEL))


def _encrypt(cipher: AESGCM, key_id: str, bound: bytes, data: bytes) -> str:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return Envelope(key_id, nonce, cipher.encrypt(nonce, data, bound)).encode()


def _decrypt(cipher: AESGCM, envelope: Envelope, bound: bytes) -> bytes | None:
    try:
        return cipher.decrypt(envelope.nonce, envelope.sealed, bound)
    except InvalidTag:
        return None
