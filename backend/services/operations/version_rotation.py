"""Encrypting earlier versions of secrets again, under another key of their project."""

import time

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.errors import SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.secret_versions_repository import KeptSecret
from backend.repositories.version_rows import SECRET_VERSIONS
from backend.services.base import Kit


async def move_versions(
    kit: Kit,
    repositories: Repositories,
    old: StoredProjectKey,
    new: StoredProjectKey,
    versions: list[KeptSecret],
    deadline: float,
) -> int:
    """Seal the versions again, until `deadline` on the monotonic clock. Returns the id of the last
    one that was looked at. Those that can't be read, or were changed outside the service, stay as
    they are. The record has no entry of it: a version's own MAC covers the new text."""
    rows = [version.row for version in versions]
    forged = await kit.guard.forged_versions(repositories, SECRET_VERSIONS, rows)
    last_id = 0
    for version in versions:
        sealed = None if version.id in forged else _sealed_again(kit, old, new, version)
        if sealed is not None:
            moved = version._replace(project_key_id=new.id, ciphertext=sealed)
            mac = kit.guard.version_mac(SECRET_VERSIONS, moved.covered)
            await repositories.secret_versions.move(version.id, new.id, sealed, mac)
        last_id = version.id
        if time.monotonic() > deadline:
            break
    return last_id


def _sealed_again(
    kit: Kit, old: StoredProjectKey, new: StoredProjectKey, version: KeptSecret
) -> str | None:
    """The value sealed under the new key; `None` when it can't be read."""
    context = SecretContext(version.project_id, version.key_name, version.version)
    try:
        value = kit.vault.open(old, context, version.ciphertext or "")
    except SecretUnreadable:
        return None
    return kit.vault.seal(new, context, value)
