"""Random operations on configurations and secrets, compared with a model after each of them."""

import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr

from backend.errors import (
    SecretExists,
    SecretNotFound,
    StrongroomError,
    VersionDestroyed,
    VersionNotFound,
)
from backend.schemas.projects import ProjectSettingsUpdate
from backend.schemas.runs import AgentRunCreate
from backend.schemas.secrets import SecretCreate, SecretUpsert
from backend.services.base import KeptVersions
from backend.services.operations.pruner import Pruner
from backend.services.projects.configuration_changes import CONTENT
from tests.guard.replay import faults_of
from tests.retention.data import limits
from tests.support.api import Api
from tests.support.clocks import SetClock

KEPT = KeptVersions(configurations=5, secrets=4)
LIMITS = limits(
    configuration_versions=(None, 5), secret_versions=(None, 4), deleted_secrets=(30, None)
)
KEYS = ("A", "B", "C")
DAYS_30 = timedelta(days=30)


@dataclass
class Secret:
    """What is known of a key."""

    values: dict[int, str | None] = field(default_factory=dict)
    """The value of each version; `None` when it was destroyed."""
    last: int = 0
    is_there: bool = False
    deleted_at: Any = None

    def kept(self, version: int) -> bool:
        """Whether this version can be asked for."""
        return version in self.values and version > self.last - 4

    def add(self, value: str) -> None:
        """A new version."""
        self.last += 1
        self.values[self.last] = value
        self.is_there = True

    def error(self, version: int) -> type[StrongroomError] | None:
        """Why the value of a version can't be had."""
        if not self.kept(version):
            return VersionNotFound
        return VersionDestroyed if self.values[version] is None else None


class Model:
    """The configuration and the secrets of a project, as they should be."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.configurations = {1: content}
        self.fields: dict[int, list[str]] = {1: []}
        self.last = 1
        self.runs: list[int] = []
        self.secrets = {key: Secret() for key in KEYS}

    def configure(self, content: dict[str, Any]) -> None:
        """A new version of the configuration."""
        before = self.configurations[self.last]
        self.last += 1
        self.configurations[self.last] = content
        self.fields[self.last] = sorted(name for name in CONTENT if content[name] != before[name])

    def kept_configurations(self) -> list[int]:
        """The versions that can be read, newest first."""
        used = set(self.runs)
        return [
            n for n in sorted(self.configurations, reverse=True) if n > self.last - 5 or n in used
        ]


class Walk:
    """Does the same operation in the service and in the model, and compares the outcomes."""

    def __init__(self, api: Api, clock: SetClock, model: Model, seed: int) -> None:
        self.service = api.service
        self.clock = clock
        self.model = model
        self.random = random.Random(seed)  # noqa: S311 - for repetition, not for secrets
        self.done: Counter[str] = Counter()

    async def step(self) -> None:
        """One operation."""
        [name] = self.random.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))
        outcome = await getattr(self, name)()
        self.done[name if outcome is None else f"{name}: {outcome.__name__}"] += 1

    async def expect(self, call: Any, error: type[StrongroomError] | None) -> Any:
        """The result of the call, which raises this error if one is given."""
        if error is None:
            return await call
        with pytest.raises(error):
            await call
        return None

    def text(self) -> str:
        return self.random.choice(("x", "y", "z", "x\ny\n"))

    def key(self) -> tuple[str, Secret]:
        key = self.random.choice(KEYS)
        return key, self.model.secrets[key]

    async def patch(self) -> None:
        given = {name: self.text() for name in CONTENT[:3] if self.random.random() < 0.4}
        content = self.model.configurations[self.model.last] | given
        if content != self.model.configurations[self.model.last]:
            self.model.configure(content)
        update = ProjectSettingsUpdate.model_validate(given)
        changed = await self.service.projects.update_settings(1, update)
        assert changed.version == self.model.last

    async def configuration_rollback(self) -> type[StrongroomError] | None:
        version = self.random.randint(1, self.model.last)
        error = None if version in self.model.kept_configurations() else VersionNotFound
        call = self.service.configuration_history.roll_back(1, version)
        rolled = await self.expect(call, error)
        if error is None:
            self.model.configure(self.model.configurations[version])
            assert rolled.version == self.model.last
        return error

    async def new_run(self) -> None:
        await self.service.runs.create(AgentRunCreate(project_id=1, target_text="t"))
        self.model.runs.append(self.model.last)

    async def put(self) -> None:
        key, secret = self.key()
        value = self.text()
        if not secret.is_there or secret.values[secret.last] != value:
            secret.add(value)
        metadata, _ = await self.service.secrets.put(1, key, SecretStr(value))
        assert metadata.version == secret.last

    async def upsert(self) -> None:
        given = {key: self.text() for key in KEYS if self.random.random() < 0.6}
        for key, value in given.items():
            secret = self.model.secrets[key]
            if not secret.is_there or secret.values[secret.last] != value:
                secret.add(value)
        await self.service.secrets.upsert(
            1, [SecretUpsert(key=key, value=SecretStr(value)) for key, value in given.items()]
        )

    async def create(self) -> type[StrongroomError] | None:
        key, secret = self.key()
        error = SecretExists if secret.is_there else None
        new = SecretCreate(key=key, value=SecretStr(self.text()))
        made = await self.expect(self.service.secrets.create(1, new), error)
        if error is None:
            secret.add(new.value.get_secret_value())
            assert made.version == secret.last
        return error

    async def delete(self) -> type[StrongroomError] | None:
        key, secret = self.key()
        error = None if secret.is_there else SecretNotFound
        await self.expect(self.service.secrets.delete(1, key), error)
        if error is None:
            secret.is_there, secret.deleted_at = False, self.clock.now
        return error

    def is_restorable(self, secret: Secret) -> bool:
        return secret.deleted_at is not None and self.clock.now - secret.deleted_at <= DAYS_30

    async def restore(self) -> type[StrongroomError] | None:
        key, secret = self.key()
        error: type[StrongroomError] | None = None
        if not secret.is_there and not (
            self.is_restorable(secret) and secret.values.get(secret.last) is not None
        ):
            error = SecretNotFound
        restored = await self.expect(self.service.secret_history.restore(1, key), error)
        if error is None:
            secret.is_there = True
            assert restored.version == secret.last
        return error

    async def rollback(self) -> type[StrongroomError] | None:
        key, secret = self.key()
        version = self.random.randint(max(1, secret.last - 5), secret.last + 1)
        has_value = any(value is not None for value in secret.values.values())
        if not secret.is_there and not (self.is_restorable(secret) and has_value):
            error: type[StrongroomError] | None = SecretNotFound
        else:
            error = secret.error(version)
        rolled = await self.expect(self.service.secret_history.roll_back(1, key, version), error)
        if error is None:
            value = secret.values[version]
            assert value is not None
            secret.add(value)
            assert rolled.version == secret.last
        return error

    async def purge(self) -> type[StrongroomError] | None:
        key, secret = self.key()
        has_value = any(value is not None for value in secret.values.values())
        error = None if has_value else SecretNotFound
        await self.expect(self.service.secret_history.purge(1, key), error)
        secret.values = dict.fromkeys(secret.values)
        secret.is_there = False
        return error

    async def destroy(self) -> type[StrongroomError] | None:
        key, secret = self.key()
        version = self.random.randint(max(1, secret.last - 3), secret.last + 1)
        error: type[StrongroomError] | None = None
        if secret.last == 0:
            error = SecretNotFound
        elif version not in secret.values:
            error = VersionNotFound
        await self.expect(self.service.secret_history.destroy(1, key, version), error)
        if error is None:
            secret.values[version] = None
            if secret.is_there and version == secret.last:
                secret.is_there, secret.deleted_at = False, self.clock.now
        return error

    async def prune(self) -> None:
        await Pruner(self.service.retention, LIMITS, considerate=False).start()
        for secret in self.model.secrets.values():
            secret.values = {n: value for n, value in secret.values.items() if secret.kept(n)}
            if not secret.is_there and not self.is_restorable(secret):
                secret.values = dict.fromkeys(secret.values)
        kept = self.model.kept_configurations()
        self.model.configurations = {n: self.model.configurations[n] for n in kept}

    async def rotate(self) -> None:
        await self.service.rotation.begin(reencrypt=True)
        progress = await self.service.rotation.run()
        assert progress is not None
        assert progress.failed == 0

    async def wait(self) -> None:
        self.clock.advance(self.random.choice((1, 3600, 86_400 * 11)))

    async def check_configuration(self) -> None:
        """Compare the list, a version, and the configuration of a run."""
        history = self.service.configuration_history
        page = await history.page(1, limit=500, cursor=None)
        kept = self.model.kept_configurations()
        assert [one.version for one in page.versions] == kept
        assert [one.fields for one in page.versions] == [self.model.fields[n] for n in kept]
        version = self.random.choice(kept)
        assert content_of(await history.get(1, version)) == self.model.configurations[version]
        if self.model.runs:
            run = self.random.randrange(len(self.model.runs))
            shown = await history.of_run(run + 1)
            assert content_of(shown) == self.model.configurations[self.model.runs[run]]

    async def check_secret(self) -> None:
        """Compare the list of a key, and the values that it has."""
        key, secret = self.key()
        history = self.service.secret_history
        call = history.page(1, key, limit=500, cursor=None)
        page = await self.expect(call, None if secret.last else SecretNotFound)
        if page is not None:
            kept = [number for number in sorted(secret.values, reverse=True) if secret.kept(number)]
            assert [(one.version, one.status) for one in page.versions] == [
                (number, "ok" if secret.values[number] is not None else "destroyed")
                for number in kept
            ]
        for version in range(max(1, secret.last - 5), secret.last + 2):
            error = secret.error(version) if secret.is_there else SecretNotFound
            revealed = await self.expect(history.reveal(1, key, version), error)
            if revealed is not None:
                assert revealed.value == secret.values[version]


WEIGHTS = {
    "patch": 8,
    "configuration_rollback": 4,
    "new_run": 1,
    "put": 10,
    "upsert": 5,
    "create": 3,
    "delete": 3,
    "restore": 3,
    "rollback": 6,
    "purge": 1,
    "destroy": 3,
    "prune": 1,
    "rotate": 0.2,
    "wait": 3,
}


def content_of(settings: Any) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in CONTENT}


@pytest.mark.parametrize(
    ("operations", "seed"),
    [(500, 1), pytest.param(10_000, 2, marks=pytest.mark.long_form)],
)
async def test_random_operations_do_what_the_model_does(
    api: Api, clock: SetClock, operations: int, seed: int
) -> None:
    api.service.kit.kept_versions = KEPT
    model = Model(content_of(await api.service.projects.get_settings(1)))
    walk = Walk(api, clock, model, seed)
    for number in range(operations):
        await walk.step()
        await walk.check_configuration()
        if number % 3 == 0:
            await walk.check_secret()
    assert faults_of(api.service) == []
    for kind_of_step in WEIGHTS:
        assert any(name.partition(":")[0] == kind_of_step for name in walk.done), kind_of_step
    # Each way of failing has occurred, too.
    failures = {name.partition(": ")[2] for name in walk.done} - {""}
    assert failures == {"SecretExists", "SecretNotFound", "VersionNotFound", "VersionDestroyed"}
