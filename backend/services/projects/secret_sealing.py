"""Connects the vault with the rows of secrets: the key, the context, whether a row is readable."""

from collections.abc import Sequence

from pydantic import SecretStr

from backend.crypto.envelope import SecretContext, StoredProjectKey
from backend.errors import ProjectNotFound, SecretNotFound, SecretUnreadable
from backend.repositories import Repositories
from backend.repositories.guarded_kinds import SECRETS
from backend.repositories.guarded_rows import GuardedRow, RecordedRow
from backend.repositories.keys_repository import ProjectKey
from backend.repositories.project_secrets_repository import SealedSecret, SecretRow, StoredSecret
from backend.repositories.version_rows import SECRET_VERSIONS
from backend.schemas.secrets import SecretCreate, SecretMetadata
from backend.services.base import Kit, existing_project
from backend.services.kinds import Kind
from backend.services.principal import current_principal
from backend.services.recording import AuditEvent
from backend.services.reveals import require_revealing
from database.engine import Value
from models import ProjectSecret, SecretStatus


class SecretSealing:
    """Steps that several use cases share inside their transactions."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit

    async def recorded(
        self, repositories: Repositories, project_id: int, key: str
    ) -> tuple[StoredSecret, RecordedRow]:
        """The project's secret of this key, and its row with its newest entries. Raises
        `ProjectNotFound` and `SecretNotFound`; `SecretUnreadable` when its row was deleted outside
        the service."""
        if not current_principal().sees(project_id):
            raise ProjectNotFound
        found = await repositories.secrets.get_recorded(project_id, key)
        if found is None:
            await existing_project(repositories, project_id)
            if await self.must_exist(repositories, project_id, key):
                raise SecretUnreadable
            raise SecretNotFound
        return found

    async def must_exist(self, repositories: Repositories, project_id: int, key: str) -> bool:
        """Whether there is a secret of this key by the record: if it has no row, that was deleted
        outside the service."""
        target = secret_target(project_id, key)
        return await self.kit.guard.must_exist(repositories, SECRETS, target, project_id)

    async def add(
        self,
        repositories: Repositories,
        project_id: int,
        key: str,
        value: SecretStr,
        kind: Kind = Kind.SECRET_CREATED,
        *,
        redact: bool = True,
    ) -> ProjectSecret:
        """Encrypt and insert a secret, and record it as `kind`. Raises `SecretExists`."""
        project_key = await self.current_key(repositories, project_id)
        target = secret_target(project_id, key)
        # No version is given twice, so that an earlier value never fits a later row.
        version = await self.kit.guard.last_version(repositories, target) + 1
        sealed = self.sealed(project_key, key, version, value)
        added = await repositories.secrets.add(
            project_id,
            key,
            project_key_id=sealed.project_key_id,
            ciphertext=sealed.ciphertext,
            version=version,
            actor=sealed.actor,
            redact=stored_redact(redact),
        )
        row = GuardedRow(SECRETS, added.id)
        event = AuditEvent(kind, target, project_id, ("value",), version, None, row)
        await self.kit.audit.record_all(repositories, [event])
        return added

    async def replace(
        self,
        repositories: Repositories,
        stored: StoredSecret,
        value: SecretStr | None,
        redact: bool | None = None,
    ) -> ProjectSecret | None:
        """Encrypt, store and record a new value, and whether it is redacted; each stays the same if
        it is `None`. Returns `None` when nothing changes. A row that was changed outside the
        service is replaced by a new one. Raises `SecretUnreadable` when there is no new value and
        the present one is unreadable."""
        secret = stored.secret
        row = await self.genuine_row(repositories, secret)
        if row is None:
            if value is None:
                raise SecretUnreadable
            await repositories.secrets.remove(secret.project_id, secret.key_name)
            return await self.add(
                repositories,
                secret.project_id,
                secret.key_name,
                value,
                redact=redact is not False,
            )
        fields = []
        if value is not None and not self.holds(
            stored.key, secret.key_name, secret.version, secret.ciphertext, value
        ):
            fields.append("value")
        if redact is not None and redact != secret.redact:
            fields.append("redact")
        if not fields:
            return None
        return await self.replace_row(
            repositories,
            secret,
            row,
            value if value is not None else self.open_genuine(stored),
            Kind.SECRET_UPDATED,
            redact=secret.redact if redact is None else redact,
            fields=fields,
        )

    async def genuine_row(
        self, repositories: Repositories, secret: ProjectSecret
    ) -> tuple[Value, ...] | None:
        """The values of the secret's row; `None` if it was changed outside the service."""
        for row in await repositories.guarded_rows.recorded(SECRETS, [secret.id]):
            if self.kit.guard.is_genuine_row(repositories, SECRETS, row):
                return row.values
        return None

    async def replace_row(
        self,
        repositories: Repositories,
        secret: ProjectSecret,
        row: Sequence[Value],
        value: SecretStr,
        kind: Kind,
        *,
        redact: bool | None = None,
        fields: Sequence[str] = ("value",),
    ) -> ProjectSecret | None:
        """Encrypt and store a new value in the place of a genuine row, and record it as `kind`. The
        present version is kept. `redact` is whether the value is redacted, as before by default.
        Returns `None` when the secret is gone."""
        project_key = await self.current_key(repositories, secret.project_id)
        await self.keep(repositories, [row])
        sealed = self.sealed(project_key, secret.key_name, secret.version + 1, value)
        replaced = await repositories.secrets.replace(
            secret.id,
            version=sealed.version,
            project_key_id=sealed.project_key_id,
            ciphertext=sealed.ciphertext,
            actor=sealed.actor,
            redact=stored_redact(secret.redact if redact is None else redact),
        )
        if replaced is not None:
            target = secret_target(secret.project_id, secret.key_name)
            guarded = GuardedRow(SECRETS, replaced.id)
            event = AuditEvent(
                kind, target, secret.project_id, fields, replaced.version, None, guarded
            )
            await self.kit.audit.record_all(repositories, [event])
        return replaced

    async def keep(
        self,
        repositories: Repositories,
        rows: Sequence[Sequence[Value]],
        deleted_at: str | None = None,
    ) -> None:
        """Keep the present versions of secrets, given as the values of their genuine rows, before
        others replace them or they are deleted."""
        end = (deleted_at, None)
        macs = self.kit.guard.version_macs(SECRET_VERSIONS, [(*row, *end) for row in rows])
        ids: list[int] = [row[0] for row in rows]  # type: ignore[misc]
        await repositories.secret_versions.keep(list(zip(ids, macs, strict=True)), deleted_at)

    def sealed(
        self, project_key: StoredProjectKey, key: str, version: int, value: SecretStr
    ) -> SealedSecret:
        """A value, encrypted as this version of the secret."""
        ciphertext = self.kit.vault.project(project_key).seal(key, version, value)
        actor = current_principal().name
        return SealedSecret(key, version, project_key.id, ciphertext, actor)

    def sealed_new(
        self, project_key: StoredProjectKey, secrets: Sequence[SecretCreate], actor: str
    ) -> list[SealedSecret]:
        """The first values of secrets, which `actor` makes, encrypted, in order."""
        seal, id = self.kit.vault.project(project_key).seal, project_key.id
        return [
            SealedSecret(
                one.key, 1, id, seal(one.key, 1, one.value), actor, stored_redact(one.redact)
            )
            for one in secrets
        ]

    def holds(
        self, key: ProjectKey, name: str, version: int, ciphertext: str, value: SecretStr
    ) -> bool:
        """Whether a stored secret has this value; `False` when the secret is unreadable."""
        try:
            cipher = self.kit.vault.project(stored_key(key))
        except SecretUnreadable:
            return False
        return cipher.holds(name, version, ciphertext, value)

    async def current_key(self, repositories: Repositories, project_id: int) -> StoredProjectKey:
        """The key for new values of the project, created if the project has none."""
        key = await repositories.keys.current_project_key(project_id)
        return stored_key(key) if key is not None else await self.new_key(repositories, project_id)

    async def new_key(self, repositories: Repositories, project_id: int) -> StoredProjectKey:
        """Create a key for a project that has none."""
        [key] = await self.new_keys(repositories, [project_id])
        return key

    async def new_keys(
        self, repositories: Repositories, project_ids: Sequence[int]
    ) -> list[StoredProjectKey]:
        """Create a key for each of these projects, which have none. Returns them in order."""
        first = await repositories.keys.next_project_key_id()
        new = self.kit.vault.new_project_key
        keys = [new(project_id, key_id) for key_id, project_id in enumerate(project_ids, first)]
        await repositories.keys.add_project_keys(
            [ProjectKey(*key) for key in keys], self.kit.vault.current_master_key_id
        )
        return keys

    async def open(self, repositories: Repositories, stored: StoredSecret) -> SecretStr:
        """The secret's value. Raises `SecretUnreadable`, also when the row is not as the record
        left it."""
        if not await self.kit.guard.is_genuine(repositories, SECRETS, stored.secret.id):
            raise SecretUnreadable
        return self.open_genuine(stored)

    def open_genuine(self, stored: StoredSecret) -> SecretStr:
        """The value of a secret whose row was compared with the record. Raises
        `SecretUnreadable`."""
        return self.kit.vault.open(
            stored_key(stored.key), secret_context(stored.secret), stored.secret.ciphertext
        )

    async def mark_forged(
        self, repositories: Repositories, secrets: Sequence[SecretMetadata]
    ) -> None:
        """Set the status of those secrets whose rows are not as the record left them."""
        ids = [secret.id for secret in secrets]
        forged = await self.kit.guard.forged(repositories, SECRETS, ids)
        for secret in secrets:
            if secret.id in forged:
                secret.status = SecretStatus.UNREADABLE

    def metadata(self, stored: StoredSecret) -> SecretMetadata:
        """The metadata of a secret, for every principal that may see its project. `mark_forged`
        must follow."""
        readable = self.is_readable(stored)
        return metadata_of(stored.secret, SecretStatus.OK if readable else SecretStatus.UNREADABLE)

    def is_readable(self, stored: StoredSecret) -> bool:
        """Whether `open` would return a value."""
        return self.kit.vault.is_readable(
            stored_key(stored.key), secret_context(stored.secret), stored.secret.ciphertext
        )


def metadata_of(secret: ProjectSecret, status: SecretStatus = SecretStatus.OK) -> SecretMetadata:
    """A secret's row without its value."""
    # Not validated, so that a row that was damaged in the file can be seen and deleted.
    return SecretMetadata.model_construct(
        id=secret.id,
        project_id=secret.project_id,
        key=secret.key_name,
        version=secret.version,
        status=status,
        redact=secret.redact,
        created_at=secret.created_at,
        updated_at=secret.updated_at,
    )


def stored_redact(redact: bool) -> int | None:
    """The stored form of whether a value is redacted."""
    return None if redact else 0


def secret_target(project_id: int, key: str) -> str:
    """The target of a secret's audit rows."""
    return f"projects/{project_id}/secrets/{key}"


def secrets_target(project_id: int) -> str:
    """The target of audit rows about all secrets of a project."""
    return f"projects/{project_id}/secrets"


def secret_created(project_id: int, key: str, version: int, row: GuardedRow) -> AuditEvent:
    """The audit event for a new secret."""
    target = secret_target(project_id, key)
    return AuditEvent(Kind.SECRET_CREATED, target, project_id, ("value",), version, None, row)


def secret_revealed(secret: ProjectSecret | SecretRow, version: int | None = None) -> AuditEvent:
    """The audit event for a value that was revealed, in a method with `reveals`: of an earlier
    `version` or the present one."""
    require_revealing()
    target = secret_target(secret.project_id, secret.key_name)
    version = secret.version if version is None else version
    return AuditEvent(Kind.SECRET_REVEALED, target, secret.project_id, (), version)


def stored_key(key: ProjectKey) -> StoredProjectKey:
    """The vault's view of a project key's row."""
    return StoredProjectKey(key.id, key.project_id, key.wrapped)


def secret_context(secret: ProjectSecret | SecretRow) -> SecretContext:
    """The context that the secret's value is bound to."""
    return SecretContext(secret.project_id, secret.key_name, secret.version)
