"""Random operations of the service, several at once, so that they share batches."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import SecretStr

from backend.errors import StrongroomError
from backend.schemas.projects import (
    ProjectCreate,
    ProjectDocument,
    ProjectSettingsUpdate,
    ProjectUpdate,
)
from backend.schemas.runs import AgentRunCreate, RunClaim, RunTransition
from backend.schemas.secrets import SecretCreate, SecretUpsert
from backend.schemas.tokens import TokenCreate
from backend.schemas.webhooks import WebhookCreate, WebhookUpdate
from backend.services.database_service import DatabaseService
from backend.services.principal import Principal, acting_as
from backend.services.webhooks.deliveries import IncomingDelivery

_AT_ONCE = 8
_KEYS = ("A", "B", "C")
_PROJECTS = 60
"""The number of repositories, so that operations often meet."""

_LATEST = 8
"""The number of resources that operations are about."""

Operation = Callable[["Operations"], Awaitable[object]]


class Operations:
    """Does random operations, of which many are refused."""

    def __init__(self, service: DatabaseService, seed: int) -> None:
        self.service = service
        self.random = random.Random(seed)  # noqa: S311 - for repetition, not for secrets
        self.done: Counter[str] = Counter()
        """The operations that were not refused, by name."""
        self.sessions: list[str] = []
        """What the browsers of all sessions send."""
        self._ids: dict[str, list[int]] = defaultdict(lambda: [1])

    async def do(self, number: int) -> None:
        """Do this many operations."""
        while number > 0:
            some = min(number, self.random.randint(1, _AT_ONCE))
            await asyncio.gather(*(self._one() for _ in range(some)))
            number -= some
            if self.random.random() < 0.01:
                await self._rotate()

    async def _one(self) -> None:
        [operation] = self.random.choices(_OPERATIONS, _WEIGHTS)
        try:
            await operation(self)
        except StrongroomError:
            return
        self.done[operation.__name__.removeprefix("_")] += 1

    async def _rotate(self) -> None:
        await self.service.rotation.begin(reencrypt=True)
        # Other operations run between the steps.
        await asyncio.gather(self.service.rotation.run(), *(self._one() for _ in range(4)))
        self.done["rotate"] += 1

    def id(self, kind: str) -> int:
        """The id of one of the latest resources, which may be gone."""
        return self.random.choice(self._ids[kind][-_LATEST:])

    def text(self) -> str:
        """One of a few texts, so that a change is often none."""
        return self.random.choice(("x", "y", "z"))

    def key(self) -> str:
        """The name of a secret."""
        return self.random.choice(_KEYS)

    def flag(self) -> bool:
        """True or false."""
        return self.random.random() < 0.5

    def maybe(self) -> bool | None:
        """True, false, or neither."""
        return self.random.choice((None, True, False))

    def project(self) -> dict[str, Any]:
        """A project's own fields."""
        return {
            "name": self.text(),
            "github_owner": "acme",
            "github_repo": f"r{self.random.randrange(_PROJECTS)}",
            "auto_merge_enabled": self.flag(),
        }

    def made(self, kind: str, id: int) -> None:
        """Note a new resource."""
        self._ids[kind].append(id)

    def gone(self, kind: str, id: int) -> None:
        """Note that a resource is gone. A few operations still try such ids."""
        if len(self._ids[kind]) > _LATEST:
            self._ids[kind].remove(id)


async def _create_project(to: Operations) -> None:
    secrets = [{"key": key, "value": to.text()} for key in _KEYS[: to.random.randint(0, 3)]]
    body = {**to.project(), "settings": {"setup_commands": to.text()}, "secrets": secrets}
    made = await to.service.projects.create(ProjectCreate.model_validate(body))
    to.made("project", made.id)


async def _update_project(to: Operations) -> None:
    body = to.project() if to.flag() else {"name": to.text()}
    await to.service.projects.update(to.id("project"), ProjectUpdate.model_validate(body))


async def _delete_project(to: Operations) -> None:
    await to.service.projects.delete(to.id("project"))


async def _restore_project(to: Operations) -> None:
    await to.service.projects.restore(to.id("project"))


async def _purge_project(to: Operations) -> None:
    project_id = to.id("project")
    await to.service.projects.purge(project_id)
    to.gone("project", project_id)


async def _update_settings(to: Operations) -> None:
    body = {to.random.choice(("setup_commands", "planning_statement")): to.text()}
    update = ProjectSettingsUpdate.model_validate(body)
    await to.service.projects.update_settings(to.id("project"), update)


async def _import_document(to: Operations) -> None:
    settings = {"repository_rules": to.text()} if to.flag() else None
    secrets = {key: to.text() for key in _KEYS if to.flag()}
    body = {**to.project(), "settings": settings, "secrets": secrets}
    await to.service.documents.import_one(ProjectDocument.model_validate(body))


async def _create_secret(to: Operations) -> None:
    secret = SecretCreate.model_validate({"key": to.key(), "value": to.text()})
    await to.service.secrets.create(to.id("project"), secret)


async def _put_secret(to: Operations) -> None:
    value = SecretStr(to.text())
    await to.service.secrets.put(to.id("project"), to.key(), value, to.maybe())


async def _put_secrets(to: Operations) -> None:
    secrets = [
        SecretUpsert.model_validate({"key": key, "value": to.text(), "redact": to.maybe()})
        for key in _KEYS
        if to.flag()
    ]
    await to.service.secrets.upsert(to.id("project"), secrets)


async def _delete_secret(to: Operations) -> None:
    await to.service.secrets.delete(to.id("project"), to.key())


async def _reveal_secret(to: Operations) -> None:
    await to.service.secrets.reveal(to.id("project"), to.key())


async def _export_values(to: Operations) -> None:
    await to.service.documents.reveal(limit=5, after=None)


async def _create_webhook(to: Operations) -> None:
    body = {"webhook_type": "custom", "secret_token": "a made-up token" if to.flag() else None}
    made = await to.service.webhooks.create(to.id("project"), WebhookCreate.model_validate(body))
    to.made("webhook", made.id)


async def _update_webhook(to: Operations) -> None:
    body = to.random.choice(
        (
            {"events": [to.text()]},
            {"is_active": to.flag()},
            {"secret_token": f"a made-up token {to.text()}" if to.flag() else None},
        )
    )
    await to.service.webhooks.update(to.id("webhook"), WebhookUpdate.model_validate(body))


async def _delete_webhook(to: Operations) -> None:
    webhook_id = to.id("webhook")
    await to.service.webhooks.delete(webhook_id)
    to.gone("webhook", webhook_id)


async def _deliver(to: Operations) -> None:
    target = await to.service.deliveries.target(to.id("webhook"))
    guid = f"g{to.random.randrange(50)}"
    await to.service.deliveries.receive(target, IncomingDelivery(guid, "push", None, "{}", 2))


async def _create_token(to: Operations) -> None:
    ids = [to.id("project")] if to.flag() else None
    body = {"name": to.text(), "scopes": ["projects:read"], "project_ids": ids}
    made = await to.service.tokens.create(TokenCreate.model_validate(body))
    to.made("token", made.id)


async def _revoke_token(to: Operations) -> None:
    await to.service.tokens.revoke(to.id("token"))


async def _begin_session(to: Operations) -> None:
    token = Principal("t", frozenset({"projects:read"}), token_id=to.id("token"))
    to.sessions.append((await to.service.sessions.begin(token)).value)


async def _end_session(to: Operations) -> None:
    if to.sessions:
        session = await to.service.sessions.authenticate(to.random.choice(to.sessions[-_LATEST:]))
        with acting_as(session):
            await to.service.sessions.end()


async def _create_run(to: Operations) -> None:
    run = AgentRunCreate(project_id=to.id("project"), target_text="t")
    to.made("run", (await to.service.runs.create(run)).id)


async def _claim_runs(to: Operations) -> None:
    await to.service.claims.claim(RunClaim(worker="w", count=to.random.randint(1, 3)))


async def _start_run(to: Operations) -> None:
    step = RunTransition.model_validate({"to": "running"})
    await to.service.runs.transition(to.id("run"), step)


_OPERATIONS: tuple[Any, ...] = tuple(
    function
    for name, function in list(globals().items())
    if name.startswith("_") and asyncio.iscoroutinefunction(function)
)
_RARE = (_purge_project, _delete_project, _delete_webhook, _export_values)
_WEIGHTS = tuple(1 if operation in _RARE else 4 for operation in _OPERATIONS)
NAMES = {"rotate", *(function.__name__.removeprefix("_") for function in _OPERATIONS)}
"""The names of all operations."""
