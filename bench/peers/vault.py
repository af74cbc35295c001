"""Strongroom's encryption for peers in Python, with the benchmark's own key."""

import base64
from datetime import UTC, datetime

from pydantic import SecretStr

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.crypto.keyring import Keyring
from backend.crypto.vault import Vault
from database.base import time_text

# A constant, because a copied database needs the same key. It protects no real data.
_KEY = base64.b64encode(bytes(range(32))).decode()


class PeerVault:
    """Seals values under a key for each project."""

    def __init__(self) -> None:
        self._vault = Vault(Keyring.parse(f"bench:{_KEY}"), "bench")

    def new_key(self, project_id: int) -> str:
        """A wrapped key for the project."""
        return self._vault.new_project_key(project_id, project_id).wrapped

    def seal(self, project_id: int, wrapped: str, name: str, value: SecretStr) -> str:
        """The value in its stored form."""
        key = StoredProjectKey(id=project_id, project_id=project_id, wrapped=wrapped)
        return self._vault.seal(
            key, SecretContext(project_id=project_id, name=name, version=1), value
        )


def now() -> str:
    """The present time as stored text."""
    return time_text(datetime.now(UTC))
