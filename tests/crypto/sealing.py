"""Vaults for tests, and a second implementation of their format, from its description and the
primitives."""

import base64
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.crypto.keyring import Keyring, MasterKey
from backend.crypto.vault import Vault
from backend.errors import SecretUnreadable

OLD = bytes(range(32))
NEW = bytes(range(1, 33))
HOME = "8b1a9953c4611296"
WHERE = SecretContext(project_id=7, name="API_TOKEN", version=3)
VALUE = "s3cr\u00e9t-\U0001f511-value"


def ring(**keys: bytes) -> Keyring:
    return Keyring(MasterKey(key_id, material) for key_id, material in keys.items())


def vault_with_key(
    keyring: Keyring | None = None, project_id: int = 7, key_id: int = 11
) -> tuple[Vault, StoredProjectKey]:
    vault = Vault(keyring or ring(old=OLD), HOME)
    return vault, vault.new_project_key(project_id, key_id)


def assert_unreadable(
    vault: Vault, key: StoredProjectKey, context: SecretContext, text: str
) -> None:
    with pytest.raises(SecretUnreadable) as caught:
        vault.open(key, context, text)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def bound(*fields: str) -> bytes:
    return b"".join(len(f.encode()).to_bytes(4, "big") + f.encode() for f in fields)


def wrapping_key(master: bytes) -> bytes:
    extracted = hmac.digest(bytes(32), master, hashlib.sha256)
    return hmac.digest(extracted, b"strongroom/project-key-wrapping\x01", hashlib.sha256)


def raw(text: str) -> bytes:
    data = text.split(":")[3]
    return base64.urlsafe_b64decode(data + "=" * (-len(data) % 4))


def written(key_id: str, data: bytes) -> str:
    return f"sr1:A256GCM:{key_id}:{base64.urlsafe_b64encode(data).decode().rstrip('=')}"


def unwrapped(stored: StoredProjectKey, master: bytes, master_id: str) -> bytes:
    data = raw(stored.wrapped)
    name, project = f"p{stored.id}", str(stored.project_id)
    fields = bound("sr1", "project-key", HOME, project, name, "", "A256GCM", master_id)
    return AESGCM(wrapping_key(master)).decrypt(data[:12], data[12:], fields)
