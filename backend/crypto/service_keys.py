"""The keys that the service uses besides the vault's, derived from the installation's key."""

from dataclasses import dataclass, field
from typing import Self

from backend.crypto.keyring import MasterKey


@dataclass(frozen=True, slots=True)
class ServiceKeys:
    """One key for each purpose, 32 bytes each. They stay the same when master keys change."""

    cursors: bytes = field(repr=False)
    token_macs: bytes = field(repr=False)
    session_macs: bytes = field(repr=False)
    audit_chain: bytes = field(repr=False)
    row_digests: bytes = field(repr=False)
    idempotency: bytes = field(repr=False)

    @classmethod
    def derived_from(cls, root: MasterKey) -> Self:
        """The keys of the installation whose key is `root`."""
        return cls(
            cursors=root.derive("cursors"),
            token_macs=root.derive("token-macs"),
            session_macs=root.derive("session-macs"),
            audit_chain=root.derive("audit-chain"),
            row_digests=root.derive("row-digests"),
            idempotency=root.derive("idempotency"),
        )
