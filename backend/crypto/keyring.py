"""Master keys: read from text, chosen by their id, and shown nowhere.

A key is written `id:base64key`, and commas separate several keys. The first key encrypts, all of
them decrypt. A master key is never used on data directly: each purpose has its own key, derived
with HKDF-SHA256 (RFC 5869), without salt and with `strongroom/<label>` as info. So a leaked key of
one purpose reveals no other.

No error repeats its input: the input may be a key that was pasted in the wrong place. The text is
dropped before an error is raised, so that a traceback with local variables does not show it
either. A message names an id only if the whole entry was read.
"""

import base64
import re
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NoReturn, Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
"""The length of every key, in bytes."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9./-]{0,63}")
_BASE64 = re.compile(r"([A-Za-z0-9+/_-]+)={0,2}")
_ID_RULE = "a key id is 1 to 32 letters, digits, '_' or '-'"
_FORM = "write id:base64key, with commas between keys and no spaces"
_MAKE_ONE = "`strongroom keys generate` makes one"


class KeyConfigurationError(ValueError):
    """The configured master keys can't be used. The text says which one and what to do, and shows
    no key."""


class MasterKey:
    """A 256-bit key, and the id that names it in stored text. `repr` shows only the id."""

    __slots__ = ("_id", "_material")

    def __init__(self, id: str, material: bytes) -> None:
        """Raises KeyConfigurationError when the id is malformed or the key is weak."""
        self._id = id
        self._material = bytes(material)
        problem = None if _ID.fullmatch(id) else _ID_RULE
        problem = problem or _weakness(self._material)
        if problem:
            del id, material
            self._id, self._material = "refused", b""
            raise KeyConfigurationError(problem)

    @property
    def id(self) -> str:
        """The key's name, 1 to 32 characters."""
        return self._id

    def derive(self, label: str) -> bytes:
        """The 32-byte key for the purpose `label`; always the same one for the same label.

        Raises ValueError when the label is not lower-case letters, digits, '.', '/' or '-'.
        """
        if not _LABEL.fullmatch(label):
            raise ValueError(f"a label must match {_LABEL.pattern}")
        info = b"strongroom/" + label.encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(
            self._material
        )

    def same_material(self, other: "MasterKey") -> bool:
        """Whether both hold the same key, whatever their ids."""
        return secrets.compare_digest(self.derive("comparison"), other.derive("comparison"))

    def __repr__(self) -> str:
        return f"MasterKey(id={self._id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a master key can't be copied or pickled")


class KeyProvider(Protocol):
    """Where master keys come from. Safe to call from any thread."""

    def current(self) -> MasterKey:
        """The key that encrypts new data."""

    def by_id(self, key_id: str) -> MasterKey | None:
        """The key with this id; None when it is not configured."""

    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the current one first."""


class Keyring:
    """The configured master keys, in their order. Immutable."""

    __slots__ = ("_by_id", "_current")

    def __init__(self, keys: Iterable[MasterKey]) -> None:
        """Raises KeyConfigurationError when there are no keys, or an id or a key occurs twice."""
        by_id = self._by_id = dict[str, MasterKey]()
        for key in keys:
            if key.id in by_id:
                raise KeyConfigurationError(
                    f"two master keys have the id {key.id!r}; give one of them another id"
                )
            for other in by_id.values():
                if key.same_material(other):
                    raise KeyConfigurationError(
                        f"{other.id!r} and {key.id!r} are the same key; "
                        f"remove one, or replace the new one: {_MAKE_ONE}"
                    )
            by_id[key.id] = key
        if not by_id:
            raise KeyConfigurationError(f"there is no master key; {_MAKE_ONE}")
        self._current = next(iter(by_id.values()))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The keys of `id:base64key[,id:base64key…]`; white space around an entry is ignored.

        The base64 may be standard or URL-safe, padded or not. Raises KeyConfigurationError, which
        names the entry by its position or its id, says what to do, and repeats no part of a key.
        """
        keys: list[MasterKey] = []
        problem: str | None = None
        entries = text.split(",") if text.strip() else []
        for position, entry in enumerate(entries, start=1):
            key = _read_entry(entry.strip())
            if isinstance(key, str):
                problem = f"master key {position} of {len(entries)}: {key}"
                break
            keys.append(key)
        text = entry = ""
        entries.clear()
        if problem:
            raise KeyConfigurationError(problem)
        return cls(keys)

    def current(self) -> MasterKey:
        """The first key, which encrypts new data."""
        return self._current

    def by_id(self, key_id: str) -> MasterKey | None:
        """The key with this id; None when it is not configured."""
        return self._by_id.get(key_id)

    def ids(self) -> tuple[str, ...]:
        """The ids of all keys, the current one first."""
        return tuple(self._by_id)

    def derive(self, label: str) -> bytes:
        """The current key's 32-byte key for the purpose `label`. See MasterKey.derive."""
        return self._current.derive(label)

    def __repr__(self) -> str:
        return f"Keyring(ids={self.ids()!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a keyring can't be copied or pickled")


def configured_key(provider: KeyProvider, key_id: str) -> MasterKey:
    """The key with this id. Raises KeyConfigurationError, which names the id, if there is no such
    key."""
    key = provider.by_id(key_id)
    if key is None:
        name = repr(key_id) if _ID.fullmatch(key_id) else "with this id"
        raise KeyConfigurationError(f"the master key {name} is not configured; add it again")
    return key


def generate_master_key(
    key_id: str | None = None, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> str:
    """A new random master key as `id:base64key`. The text is the secret itself.

    Without an id, the id is made from the day and two random bytes, such as `k20261123a1b2`.
    Raises KeyConfigurationError when the id is malformed.
    """
    if key_id is None:
        key_id = f"k{now():%Y%m%d}{secrets.token_hex(2)}"
    if not _ID.fullmatch(key_id):
        raise KeyConfigurationError(_ID_RULE)
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def _read_entry(entry: str) -> MasterKey | str:
    """The key of an entry, or what is wrong with the entry."""
    if not entry:
        return "it is empty; remove the extra comma"
    key_id, colon, encoded = entry.partition(":")
    if not colon:
        return f"it has no ':'; {_FORM}"
    if not _ID.fullmatch(key_id):
        return f"{_ID_RULE}; {_FORM}"
    material = _decode(encoded)
    if isinstance(material, str):
        return material
    return _weakness(material) or MasterKey(key_id, material)


def _decode(encoded: str) -> bytes | str:
    """The bytes of canonical base64 in either alphabet, or what is wrong with it."""
    match = _BASE64.fullmatch(encoded)
    if match is None:
        return f"the key is not base64; {_FORM}"
    digits = match[1].replace("-", "+").replace("_", "/")
    padded = digits + "=" * (-len(digits) % 4)
    if len(digits) % 4 == 1 or (encoded.endswith("=") and len(encoded) != len(padded)):
        return "the key's base64 is incomplete; copy it again, to the last character"
    material = base64.b64decode(padded)
    if len(material) == KEY_BYTES and base64.b64encode(material).decode() != padded:
        # The spare bits of the last digit are not zero, so a digit was mistyped.
        return "the key's last character can't be right; copy it again"
    return material


def _weakness(material: bytes) -> str | None:
    """Why these bytes can't be a master key; None when they can."""
    if len(material) != KEY_BYTES:
        return f"the key has {len(material)} bytes but must have {KEY_BYTES}; {_MAKE_ONE}"
    if len(set(material)) == 1:
        return f"the key is one byte repeated, not a random key; {_MAKE_ONE}"
    return None
