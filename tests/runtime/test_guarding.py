"""The first start after an upgrade guards all rows, whatever interrupts it, and only then."""

# ruff: noqa: S608 - the number is a constant

import asyncio
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from backend.observability.log import configure_logging
from backend.repositories.guarded_kinds import GUARDED_KINDS
from backend.runtime import Runtime, StartRefused
from backend.schemas.projects import ProjectCreate
from backend.schemas.secrets import SecretCreate
from backend.schemas.webhooks import WebhookCreate
from backend.services.database_service import DatabaseService
from config.settings import Settings
from tests.support.earlier import EXTEND_AUDIT, GUARD_ROWS, make_earlier
from tests.support.forked import Forked
from tests.support.http import new_project
from tests.support.processes import environment, run

PROJECTS = 4_000
KEY = "API_KEY"


async def fill(service: DatabaseService) -> None:
    """Make at least one row of every guarded kind."""
    document = {**new_project(), "secrets": [{"key": KEY, "value": "first"}]}
    project = await service.projects.create(ProjectCreate.model_validate(document))
    await service.secrets.create(
        project.id, SecretCreate.model_validate({"key": "OTHER", "value": "second"})
    )
    await service.webhooks.create(
        project.id,
        WebhookCreate.model_validate({"webhook_type": "custom", "secret_token": "t" * 16}),
    )


@pytest.fixture(params=[EXTEND_AUDIT, GUARD_ROWS])
def before(request: pytest.FixtureRequest) -> int:
    """The first migration that the earlier version does not know."""
    return int(request.param)


@pytest.fixture
async def earlier(settings: Settings, before: int) -> Settings:
    """An installation of an earlier version."""
    runtime = await Runtime.start(settings)
    await fill(runtime.service)
    key = runtime.service.kit.keys.audit_chain
    await runtime.stop()
    make_earlier(runtime.manager.config.path, key, before=before)
    return settings


def variables(settings: Settings) -> dict[str, str]:
    """The environment of a process with these settings."""
    assert settings.master_keys is not None
    keys = settings.master_keys.get_secret_value()
    return environment(DATA_DIR=str(settings.data_dir), MASTER_KEYS=keys)


def command(*arguments: str | Path, settings: Settings) -> None:
    """Run a command that must succeed."""
    ran = run(*arguments, cwd=settings.data_dir.parent, env=variables(settings))
    assert ran.status == 0, ran.err


async def forged(service: DatabaseService) -> list[str]:
    """The rows that are not as the record left them."""
    found: list[str] = []
    for kind in GUARDED_KINDS:
        page = await service.row_verification.rows(kind, after_id=0, limit=100_000)
        found += page.problems
    return [*found, *(await service.row_verification.entries(after_id=0, limit=100_000)).problems]


def actions(settings: Settings) -> list[str]:
    """The actions of the record, oldest first."""
    with closing(sqlite3.connect(settings.data_dir / "strongroom.db")) as connection:
        rows = connection.execute("SELECT action FROM audit_entries ORDER BY id").fetchall()
    return [row[0] for row in rows]


def change(settings: Settings, *statements: str) -> None:
    """Change the file behind the service's back."""
    with closing(sqlite3.connect(settings.data_dir / "strongroom.db")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


async def test_the_first_start_guards_every_row_once(earlier: Settings) -> None:
    for _ in range(2):
        runtime = await Runtime.start(earlier)
        assert await forged(runtime.service) == []
        revealed = await runtime.service.secrets.reveal(1, KEY)
        assert revealed.value == "first"
        await runtime.stop()
    recorded = actions(earlier)
    # A token, a project, its configuration, two secrets and a webhook.
    assert recorded.count("rows.guarded") == 6
    assert recorded.count("rows.guarding_started") == recorded.count("rows.guarding_finished") == 1


async def test_the_command_migrate_guards_too(earlier: Settings) -> None:
    command("migrate", settings=earlier)
    assert "rows.guarding_finished" in actions(earlier)


async def test_a_guarding_that_was_interrupted_is_pending(earlier: Settings) -> None:
    command("migrate", settings=earlier)
    change(earlier, "DELETE FROM audit_entries WHERE action = 'rows.guarding_finished'")
    (earlier.data_dir / "audit.heads").unlink(missing_ok=True)
    pending = run("migrate", "--check", cwd=earlier.data_dir, env=variables(earlier))
    assert pending.status == 1
    ran = run("token", "list", cwd=earlier.data_dir, env=variables(earlier))
    assert "run strongroom migrate" in ran.complaint
    ran = run("verify", cwd=earlier.data_dir, env=variables(earlier))
    assert ran.complaint.endswith("run strongroom migrate or strongroom serve")
    command("migrate", settings=earlier)
    command("migrate", "--check", settings=earlier)


async def test_a_new_installation_needs_no_guarding(settings: Settings) -> None:
    runtime = await Runtime.start(settings)
    await fill(runtime.service)
    assert await forged(runtime.service) == []
    await runtime.stop()
    await (await Runtime.start(settings)).stop()
    assert not [action for action in actions(settings) if action.startswith("rows.")]


async def test_afterwards_a_row_that_no_entry_tells_of_is_forged(earlier: Settings) -> None:
    await (await Runtime.start(earlier)).stop()
    change(
        earlier,
        "INSERT INTO api_tokens (name, mac, scopes, created_at)"
        " SELECT 'forged', 'f' || mac, scopes, created_at FROM api_tokens",
    )
    runtime = await Runtime.start(earlier)
    assert await forged(runtime.service) == ["tokens/2 was inserted"]
    await runtime.stop()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_entries WHERE action = 'rows.guarding_finished'",
        "UPDATE audit_entries SET action = 'x' WHERE action = 'rows.guarding_finished'",
        "UPDATE audit_entries SET digest = NULL",
        "DELETE FROM audit_entries WHERE action LIKE 'rows.%'",
        "DELETE FROM audit_entries WHERE action LIKE 'rows.guarding_%'",
    ],
)
async def test_the_record_can_not_be_changed_to_have_rows_guarded_again(
    earlier: Settings, statement: str
) -> None:
    runtime = await Runtime.start(earlier)
    await runtime.service.projects.delete(1)
    await runtime.stop()
    change(
        earlier,
        statement,
        "UPDATE audit_entries SET action = 'y' WHERE action = 'rows.guarding_finished'",
        "UPDATE api_tokens SET scopes = '[\"admin\"]', name = 'forged'",
    )
    assert await refusal_or_forgeries(earlier)


async def refusal_or_forgeries(settings: Settings) -> bool:
    """Whether the start is refused or the forged token stays forged."""
    try:
        runtime = await Runtime.start(settings)
    except StartRefused as error:
        return "can't be guarded, because audit entr" in str(error)
    found = await forged(runtime.service)
    await runtime.stop()
    return any(problem.startswith("tokens/1 was ") for problem in found)


async def test_an_emptied_record_makes_no_row_genuine(earlier: Settings) -> None:
    await (await Runtime.start(earlier)).stop()
    change(earlier, "DELETE FROM audit_entries")
    runtime = await Runtime.start(earlier)
    assert "projects/1 was inserted" in await forged(runtime.service)
    await runtime.stop()


async def test_an_emptied_record_that_goes_on_makes_no_row_genuine(settings: Settings) -> None:
    runtime = await Runtime.start(settings)
    await fill(runtime.service)
    await runtime.stop()
    change(settings, "DELETE FROM audit_entries")
    runtime = await Runtime.start(settings)
    await runtime.stop()
    # The start recorded the loss, which an operator accepts like this.
    assert "audit.loss_found" in actions(settings)
    (settings.data_dir / "audit.heads").unlink()
    for _ in range(2):
        runtime = await Runtime.start(settings)
        assert "tokens/1 was inserted" in await forged(runtime.service)
        await runtime.stop()
    assert not [action for action in actions(settings) if action.startswith("rows.")]


async def test_a_backup_of_before_is_restored_and_guarded_likewise(
    earlier: Settings, tmp_path: Path
) -> None:
    restored = earlier.model_copy(update={"data_dir": tmp_path / "restored"})
    shutil.copy(earlier.data_dir / "strongroom.db", tmp_path / "backup.db")
    command("restore", tmp_path / "backup.db", settings=restored)
    runtime = await Runtime.start(restored)
    assert await forged(runtime.service) == []
    assert (await runtime.service.secrets.reveal(1, KEY)).value == "first"
    await runtime.stop()
    assert "rows.guarding_finished" in actions(restored)


def start_and_stop(_: Sequence[str]) -> int:
    """Start an installation in this process, and stop it."""
    settings = Settings(_env_file=None, db_readers=1)
    configure_logging("INFO", "json", sys.stdout)

    async def both() -> None:
        await (await Runtime.start(settings)).stop()

    asyncio.run(both())
    return 0


def guarding(settings: Settings, kill_after: float | None) -> float:
    """Start the installation in a process, which is killed so many seconds after the guarding
    began. Returns how long the guarding took."""
    folder = settings.data_dir.parent
    process = Forked([], cwd=folder, env=variables(settings), function=start_and_stop)
    assert process.stdout is not None
    with process:
        for line in process.stdout:
            if "guarding the rows" in line:
                break
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            process.kill()
        process.stdout.read()
        return time.monotonic() - began


MANY = 20


@pytest.mark.parametrize("kills", [2, pytest.param(MANY, marks=pytest.mark.long_form)])
def test_a_guarding_that_is_killed_goes_on_at_the_next_start(earlier: Settings, kills: int) -> None:
    change(
        earlier,
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n"
        f" WHERE i < {PROJECTS}) INSERT INTO projects (name, github_owner, github_repo, name_key,"
        " owner_key, repo_key, search_text, created_at, updated_at) SELECT 'p' || i, 'o', 'r' || i,"
        " 'p' || i, 'o', 'r' || i, 'p' || i || char(10) || 'o/r' || i, created_at, updated_at"
        " FROM n JOIN projects ON projects.id = 1",
    )
    unguarded = (earlier.data_dir / "strongroom.db").read_bytes()
    took = guarding(earlier, None)
    chance = random.Random(4)  # noqa: S311 - no secret
    counts = set()
    for _ in range(kills):
        if "rows.guarding_finished" in actions(earlier):
            for path in earlier.data_dir.iterdir():
                path.unlink()
            (earlier.data_dir / "strongroom.db").write_bytes(unguarded)
        guarding(earlier, chance.uniform(0, took / 2))
        counts.add(actions(earlier).count("rows.guarded"))
    # A few kills at random may all come after the same step.
    assert kills < MANY or len(counts) > 1
    guarding(earlier, None)
    recorded = actions(earlier)
    assert recorded.count("rows.guarded") == PROJECTS + 5
    assert recorded.count("rows.guarding_started") == recorded.count("rows.guarding_finished") == 1
    with asyncio.Runner() as runner:
        assert runner.run(forged_after_a_start(earlier)) == []


async def forged_after_a_start(settings: Settings) -> list[str]:
    runtime = await Runtime.start(settings)
    found = await forged(runtime.service)
    await runtime.stop()
    return found
