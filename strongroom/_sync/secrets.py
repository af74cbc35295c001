# Made of strongroom/_async by `make schema`: change it there.
"""The secrets of projects, and their versions."""

from collections.abc import Mapping
from typing import Literal

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.transport import parsed
from strongroom._values import Secret, fields, filters, secret_pairs, segment
from strongroom.models import (
    SecretList,
    SecretMetadata,
    SecretReveal,
    SecretUpsertResult,
    SecretVersion,
    SecretVersionList,
)


class Secrets(Resource):
    """`client.secrets`."""

    @operation("createSecret")
    def create(
        self, project_id: int, *, key: str, value: Secret, idempotency_key: str | None = None
    ) -> SecretMetadata:
        """Create a secret."""
        response = self._transport.post(
            f"/api/projects/{project_id}/secrets",
            fields(key=key, value=value),
            idempotency_key=idempotency_key,
        )
        return parsed(SecretMetadata, response)

    @operation("getSecret")
    def get(
        self,
        project_id: int,
        key: str,
        *,
        if_none_match: int | str | None = None,
        wait: float | None = None,
    ) -> SecretMetadata:
        """A secret without its value."""
        response = self._transport.get(
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
    def put(
        self,
        project_id: int,
        key: str,
        *,
        value: Secret,
        if_match: int | str | None = None,
        if_none_match: Literal["*"] | None = None,
    ) -> SecretMetadata:
        """Set a secret's value; create the secret if the key is new. With `if_none_match="*"` it
        creates, and never replaces."""
        response = self._transport.change(
            "PUT",
            f"/api/projects/{project_id}/secrets/{segment(key)}",
            fields(value=value),
            if_match=if_match,
            if_none_match=if_none_match,
        )
        return parsed(SecretMetadata, response)

    @operation("upsertSecrets")
    def update(self, project_id: int, secrets: Mapping[str, Secret]) -> SecretUpsertResult:
        """Set all these secrets (`{"KEY": "value"}`) in one transaction, and leave the others."""
        response = self._transport.change(
            "PUT", f"/api/projects/{project_id}/secrets", fields(secrets=secret_pairs(secrets))
        )
        return parsed(SecretUpsertResult, response)

    @operation("deleteSecret")
    def delete(
        self,
        project_id: int,
        key: str,
        *,
        purge: bool | None = None,
        if_match: int | str | None = None,
    ) -> None:
        """Delete a secret, which `restore` takes back within 30 days, or purge it, also after it
        was deleted."""
        self._transport.change(
            "DELETE",
            f"/api/projects/{project_id}/secrets/{segment(key)}",
            None,
            filters(purge=purge),
            if_match=if_match,
        )

    @operation("restoreSecret")
    def restore(
        self,
        project_id: int,
        key: str,
        *,
        if_match: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> SecretMetadata:
        """Take a secret back that was deleted in the last 30 days, in its last version; one that is
        not deleted stays as it is."""
        response = self._transport.post(
            f"/api/projects/{project_id}/secrets/{segment(key)}/restore",
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(SecretMetadata, response)

    @operation("rollbackSecret")
    def rollback(
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
        response = self._transport.post(
            f"/api/projects/{project_id}/secrets/{segment(key)}/rollback",
            fields(version=version),
            if_match=if_match,
            idempotency_key=idempotency_key,
        )
        return parsed(SecretMetadata, response)

    @operation("revealSecret")
    def value(self, project_id: int, key: str) -> SecretReveal:
        """A secret's value. Caches must not store it."""
        response = self._transport.get(f"/api/projects/{project_id}/secrets/{segment(key)}/value")
        return parsed(SecretReveal, response)

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
    def version_value(self, project_id: int, key: str, version: int) -> SecretReveal:
        """The value of a version of a secret that is not deleted. Caches must not store it."""
        response = self._transport.get(
            f"/api/projects/{project_id}/secrets/{segment(key)}/versions/{version}/value"
        )
        return parsed(SecretReveal, response)

    @operation("destroySecretVersion")
    def destroy_version(
        self, project_id: int, key: str, version: int, *, if_match: int | str | None = None
    ) -> None:
        """Destroy the value of this version for good. With the present version, the secret is
        deleted."""
        self._transport.change(
            "DELETE",
            f"/api/projects/{project_id}/secrets/{segment(key)}/versions/{version}",
            if_match=if_match,
        )
