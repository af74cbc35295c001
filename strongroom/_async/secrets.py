"""The secrets of projects, and their versions."""

from collections.abc import Iterable
from typing import Any, Literal

import httpx

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import (
    UNSET,
    Pairs,
    Secret,
    SecretValues,
    Unset,
    fields,
    filters,
    secret_pairs,
    segment,
)
from strongroom.models import (
    FoundSecret,
    RevealFormat,
    SecretImport,
    SecretList,
    SecretMetadata,
    SecretReveal,
    SecretScanResult,
    SecretsReveal,
    SecretUpsertResult,
    SecretVersion,
    SecretVersionList,
)


class Secrets(Resource):
    """`client.secrets`."""

    @operation("createSecret")
    async def create(
        self,
        project_id: int,
        *,
        key: str,
        value: Secret,
        redact: bool | Unset = UNSET,
        idempotency_key: str | None = None,
    ) -> SecretMetadata:
        """Create a secret. With `redact=False` its value stays readable in logs."""
        response = await self._transport.post(
            f"/api/projects/{project_id}/secrets",
            fields(key=key, value=value, redact=redact),
            idempotency_key=idempotency_key,
        )
        return parsed(SecretMetadata, response)

    @operation("getSecret")
    async def get(
        self,
        project_id: int,
        key: str,
        *,
        if_none_match: int | str | None = None,
        wait: float | None = None,
    ) -> SecretMetadata:
        """A secret without its value."""
        response = await self._transport.get(
            f"/api/projects/{project_id}/secrets/{segment(key)}",
            if_none_match=if_none_match,
            wait=wait,
        )
        return parsed(SecretMetadata, response)

    @operation("listSecrets")
    def list(
        self, project_id: int, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[SecretMetadata, SecretList]:
        """Secrets, newest first, without their values."""
        return Pages(
            self._transport,
            f"/api/projects/{project_id}/secrets",
            filters(limit=limit, cursor=cursor),
            SecretList,
            lambda page: page.secrets,
        )

    @operation("putSecret")
    async def put(
        self,
        project_id: int,
        key: str,
        *,
        value: Secret | Unset = UNSET,
        redact: bool | Unset = UNSET,
        if_match: int | str | None = None,
        if_none_match: Literal["*"] | None = None,
    ) -> SecretMetadata:
        """Set a secret's value; create the secret if the key is new. With `if_none_match="*"` it
        creates, and never replaces."""
        response = await self._transport.change(
            "PUT",
            f"/api/projects/{project_id}/secrets/{segment(key)}",
            fields(value=value, redact=redact),
            if_match=if_match,
            if_none_match=if_none_match,
        )
        return parsed(SecretMetadata, response)

    @operation("upsertSecrets")
    async def update(self, project_id: int, secrets: Pairs) -> SecretUpsertResult:
        """Set all these secrets (`{"KEY": "value"}`) in one transaction, and leave the others.
        A list of `{"key": …, "value": …}` may have `redact` as well."""
        response = await self._transport.change(
            "PUT", f"/api/projects/{project_id}/secrets", fields(secrets=secret_pairs(secrets))
        )
        return parsed(SecretUpsertResult, response)

    @operation("deleteSecret")
    async def delete(
        self,
        project_id: int,
        key: str,
        *,
        purge: bool | None = None,
        if_match: int | str | None = None,
    ) -> None:
        """Delete a secret, which `restore` takes back within 30 days, or purge it, also after it
        was deleted."""
        await self._transport.change(
            "DELETE",
            f"/api/projects/{project_id}/secrets/{segment(key)}",
            None,
            filters(purge=purge),
            if_match=if_match,
        )

    @operation("restoreSecret")
    async def restore(
        self,
        project_id: int,
        key: str,
        *,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> SecretMetadata:
        """Take a secret back that was deleted in the last 30 days, in its last version; one that is
        not deleted stays as it is."""
        response = await self._transport.post(
            f"/api/projects/{project_id}/secrets/{segment(key)}/restore",
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(SecretMetadata, response)

    @operation("rollbackSecret")
    async def rollback(
        self,
        project_id: int,
        key: str,
        *,
        version: int,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> SecretMetadata:
        """Give the secret the value of this version, always as a new version. A deleted secret
        exists again."""
        response = await self._transport.post(
            f"/api/projects/{project_id}/secrets/{segment(key)}/rollback",
            fields(version=version),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(SecretMetadata, response)

    @operation("revealSecret")
    async def value(self, project_id: int, key: str) -> SecretReveal:
        """A secret's value. Caches must not store it."""
        response = await self._transport.get(
            f"/api/projects/{project_id}/secrets/{segment(key)}/value"
        )
        return parsed(SecretReveal, response)

    @operation("revealSecrets")
    async def reveal(self, project_id: int, keys: Iterable[str] | None = None) -> SecretValues:
        """The values of all secrets, or of those with these keys, at one moment: a dict, whose
        `repr` does not show them. Each is recorded as revealed."""
        response = await self._reveal(project_id, keys, {})
        found = parsed(SecretsReveal, response)
        return SecretValues(found.secrets, found.versions)

    @operation("revealSecrets")
    async def reveal_text(
        self, project_id: int, keys: Iterable[str] | None = None, *, form: RevealFormat
    ) -> str:
        """The same as a file: `dotenv` for python-dotenv and `sh`, `docker` for `--env-file`."""
        response = await self._reveal(project_id, keys, filters(format=form))
        return response.content.decode()

    async def _reveal(
        self, project_id: int, keys: Iterable[str] | None, query: dict[str, Any]
    ) -> httpx.Response:
        body = None if keys is None else fields(keys=keys)
        return await self._transport.ask(f"/api/projects/{project_id}/secrets/reveal", body, query)

    @operation("importSecrets")
    async def import_dotenv(
        self,
        project_id: int,
        dotenv: Secret,
        *,
        dry_run: bool | None = None,
        idempotency_key: str | None = None,
    ) -> SecretImport:
        """Set the secrets of a dotenv file (its content) in one transaction, and leave the others.
        If any line is wrong, nothing is stored, and `ValidationFailed.rejected` names the lines.
        With `dry_run` nothing is stored in any case."""
        response = await self._transport.post(
            f"/api/projects/{project_id}/secrets/import",
            fields(dotenv=dotenv),
            filters(dry_run=dry_run),
            idempotency_key=idempotency_key,
        )
        return parsed(SecretImport, response)

    @operation("scanSecrets")
    def scan(
        self, project_id: int, *, cursor: str | None = None
    ) -> Pages[FoundSecret, SecretScanResult]:
        """Where the present values of the project's secrets stand in texts that are stored. Only
        what the token may read is searched."""
        return Pages(
            self._transport,
            f"/api/projects/{project_id}/secrets/scan",
            filters(cursor=cursor),
            SecretScanResult,
            lambda page: page.found,
            is_posted=True,
        )

    @operation("listSecretVersions")
    def versions(
        self, project_id: int, key: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Pages[SecretVersion, SecretVersionList]:
        """Versions without their values, newest first, also of a deleted secret."""
        return Pages(
            self._transport,
            f"/api/projects/{project_id}/secrets/{segment(key)}/versions",
            filters(limit=limit, cursor=cursor),
            SecretVersionList,
            lambda page: page.versions,
        )

    @operation("revealSecretVersion")
    async def version_value(self, project_id: int, key: str, version: int) -> SecretReveal:
        """The value of a version of a secret that is not deleted. Caches must not store it."""
        response = await self._transport.get(
            f"/api/projects/{project_id}/secrets/{segment(key)}/versions/{version}/value"
        )
        return parsed(SecretReveal, response)

    @operation("destroySecretVersion")
    async def destroy_version(
        self, project_id: int, key: str, version: int, *, if_match: int | str | None = None
    ) -> None:
        """Destroy the value of this version for good. With the present version, the secret is
        deleted."""
        await self._transport.change(
            "DELETE",
            f"/api/projects/{project_id}/secrets/{segment(key)}/versions/{version}",
            if_match=if_match,
        )
