"""How long versions are kept, and what rotations, purges and upgrades do with them."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.runtime import Runtime
from backend.schemas.projects import ProjectCreate, ProjectSettingsUpdate
from backend.schemas.retention import Removed, RetentionLimits
from backend.schemas.runs import AgentRunCreate
from backend.schemas.secrets import SecretUpsert
from backend.services.base import KeptVersions
from backend.services.operations.pruner import Pruner
from config.settings import Settings
from tests.guard.replay import faults_of
from tests.keys.support import NEW, OLD, started
from tests.retention.data import limits, rows
from tests.support.api import Api
from tests.support.clocks import SetClock
from tests.support.earlier import KEEP_VERSIONS, make_unkept
from tests.support.http import new_project
from tests.versions.filled import ALL, fill, values

SECRET = "/api/projects/1/secrets/KEY"
CONFIGURATION = "/api/projects/1/configuration"
DAY = 86_400.0


async def prune(api: Api, limits: RetentionLimits) -> Removed:
    """What was removed, as the plan had said."""
    plan = await api.service.retention.plan(limits)
    removed = await Pruner(api.service.retention, limits, considerate=False).start()
    counts = {name: part["rows"] for name, part in plan.model_dump().items()}
    assert removed == Removed(**counts)
    assert (await api.service.retention.plan(limits)).rows == 0
    return removed


async def put(api: Api, *values: str) -> None:
    for value in values:
        assert (await api.client.put(SECRET, json={"value": value})).is_success


async def test_versions_of_secrets_beyond_the_limit_are_removed(api: Api) -> None:
    await put(api, *(f"value {number}" for number in range(6)))
    await api.client.put("/api/projects/1/secrets/OTHER", json={"value": "v"})
    removed = await prune(api, limits(secret_versions=(None, 3)))
    assert removed.secret_versions == 3
    # The present one counts.
    assert await rows(api.service.db_manager, "secret_versions", "version") == [4, 5]
    assert (await prune(api, limits(secret_versions=(None, 1)))).secret_versions == 2
    await put(api, "new")
    await api.call("DELETE", SECRET, status=204)
    assert (await prune(api, limits(secret_versions=(None, 1)))).secret_versions == 1
    # Of a deleted secret, the last version.
    assert await rows(api.service.db_manager, "secret_versions", "version") == [7]


async def test_versions_of_configurations_beyond_the_limit_stay_while_a_run_refers_to_them(
    api: Api,
) -> None:
    api.service.kit.kept_versions = KeptVersions(configurations=2)
    run = await api.new_run()
    for number in range(2, 7):
        await api.patch(CONFIGURATION, {"setup_commands": str(number)})
    # Older ones are not there any more, even before they are removed.
    listed = await api.get(f"{CONFIGURATION}/versions")
    assert [one["version"] for one in listed["versions"]] == [6, 5, 1]
    assert (await api.get(f"{CONFIGURATION}/versions/4", 404))["code"] == "version_not_found"
    kept = limits(configuration_versions=(None, 2))
    assert (await prune(api, kept)).configuration_versions == 3
    manager = api.service.db_manager
    assert await rows(manager, "configuration_versions", "version") == [1, 5]
    assert (await api.get(f"/api/agent-runs/{run['id']}/configuration"))["version"] == 1
    await api.step(run["id"], "running")
    assert (await prune(api, kept)).configuration_versions == 1
    assert await rows(manager, "configuration_versions", "version") == [5]


async def test_a_deleted_secret_is_destroyed_after_thirty_days(api: Api, clock: SetClock) -> None:
    for key in ("KEY", "LATER", "MADE_AGAIN"):
        for value in ("first", "second"):
            path = f"/api/projects/1/secrets/{key}"
            assert (await api.client.put(path, json={"value": f"{value} {key}"})).is_success
    await api.call("DELETE", SECRET, status=204)
    await api.call("DELETE", "/api/projects/1/secrets/MADE_AGAIN", status=204)
    await api.client.put("/api/projects/1/secrets/MADE_AGAIN", json={"value": "third"})
    clock.advance(DAY)
    await api.call("DELETE", "/api/projects/1/secrets/LATER", status=204)
    clock.advance(29 * DAY + 1)
    kept = limits(deleted_secrets=(30, None))
    assert (await prune(api, kept)).deleted_secrets == 1
    listed = (await api.get(f"{SECRET}/versions"))["versions"]
    assert [(one["version"], one["status"]) for one in listed] == [
        (2, "destroyed"),
        (1, "destroyed"),
    ]
    assert all(one["deleted_at"] is None for one in listed)
    assert (await api.post("/api/projects/1/secrets/LATER/restore"))["version"] == 2
    again = await api.get("/api/projects/1/secrets/MADE_AGAIN/versions/1/value")
    assert again["value"] == "first MADE_AGAIN"
    made = await api.post("/api/projects/1/secrets", {"key": "KEY", "value": "v"}, 201)
    assert made["version"] == 3
    assert faults_of(api.service) == []
    actors = {actor for actor, action, _ in await api.actions() if action.endswith("_destroyed")}
    assert actors == {"system"}


async def test_settings_set_the_limits(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        data_dir=tmp_path / "d",
        keep_secret_versions=3,
        keep_configuration_versions=0,
    )
    runtime = await Runtime.start(settings)
    assert runtime.service.kit.kept_versions == KeptVersions(None, 3)
    assert runtime.pruner.limits.secret_versions.newest == 3
    assert runtime.pruner.limits.configuration_versions.newest is None
    assert runtime.pruner.limits.deleted_secrets.days == timedelta(days=30).days
    await runtime.stop()


async def test_a_rotation_encrypts_earlier_versions_again(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    await runtime.service.rotation.begin(reencrypt=True)
    progress = await runtime.service.rotation.run()
    assert progress is not None
    assert progress.failed == 0
    [key] = runtime.manager.execute_query("SELECT id FROM project_keys")
    used = runtime.manager.execute_query(
        "SELECT DISTINCT project_key_id AS id FROM secret_versions"
    )
    assert [row["id"] for row in used] == [key["id"]]
    await runtime.stop()
    # Without the old key.
    runtime = await started(tmp_path, NEW)
    assert await values(runtime.service) == ALL
    assert faults_of(runtime.service) == []
    checked = await runtime.service.encryption_check.values(after_id=0, limit=100)
    assert (checked.checked, checked.unreadable) == (6, ())
    await runtime.stop()


async def test_a_rotation_finds_more_versions_than_fit_into_a_step(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    service = runtime.service
    for _ in range(2):
        await service.projects.create(ProjectCreate.model_validate(new_project()))
    for number in range(12):
        for id in (1, 2):
            given = [SecretUpsert(key=key, value=SecretStr(f"{number}")) for key in ("A", "B", "C")]
            await service.secrets.upsert(id, given)
    await runtime.stop()
    runtime = await started(tmp_path, NEW, OLD)
    await runtime.service.rotation.begin(reencrypt=True)
    progress = await runtime.service.rotation.run()
    assert progress is not None
    assert progress.failed == 0
    of_keys = "SELECT k.project_id AS of, count(v.id) AS versions FROM project_keys AS k"
    found = runtime.manager.execute_query(
        f"{of_keys} JOIN secret_versions AS v ON v.project_key_id = k.id GROUP BY k.id ORDER BY 1"
    )
    assert [(row["of"], row["versions"]) for row in found] == [(1, 33), (2, 33)]
    assert len(runtime.manager.execute_query("SELECT id FROM project_keys")) == 2
    checked = await runtime.service.encryption_check.values(after_id=0, limit=100)
    assert (checked.checked, checked.unreadable) == (72, ())
    assert faults_of(runtime.service) == []
    await runtime.stop()


async def test_a_purge_of_the_project_removes_all_of_it(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    texts = [
        row["ciphertext"]
        for row in runtime.manager.execute_query("SELECT ciphertext FROM secret_versions")
    ]
    await runtime.service.projects.purge(1)
    for table in ("secret_versions", "configuration_versions"):
        assert await rows(runtime.manager, table) == []
    await runtime.stop()
    content = (tmp_path / "strongroom.db").read_bytes()
    assert texts
    assert not any(text.encode() in content for text in (*texts, "configuration 2"))


async def test_a_purge_of_a_secret_leaves_no_ciphertext(tmp_path: Path) -> None:
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    found = "SELECT ciphertext FROM secret_versions UNION SELECT ciphertext FROM project_secrets"
    texts = [row["ciphertext"] for row in runtime.manager.execute_query(found)]
    for key in ("A", "B"):
        await runtime.service.secret_history.purge(1, key)
    assert len(texts) == 6
    stored = runtime.manager.execute_query("SELECT ciphertext FROM secret_versions")
    assert {row["ciphertext"] for row in stored} == {None}
    await runtime.stop()
    content = (tmp_path / "strongroom.db").read_bytes()
    assert not any(text.encode() in content for text in texts)


@pytest.fixture
async def earlier(tmp_path: Path) -> Path:
    """An installation from before versions were kept."""
    runtime = await started(tmp_path, OLD)
    await fill(runtime.service)
    await runtime.service.runs.create(AgentRunCreate(project_id=1, target_text="t"))
    keys = runtime.service.kit.keys
    await runtime.stop()
    make_unkept(tmp_path / "strongroom.db", keys.audit_chain, keys.row_digests)
    return tmp_path


async def test_after_an_upgrade_the_present_version_is_the_first_known_one(earlier: Path) -> None:
    runtime = await started(earlier, OLD)
    service = runtime.service
    assert faults_of(service) == []
    listed = await service.secret_history.page(1, "A", limit=50, cursor=None)
    assert [(one.version, one.actor) for one in listed.versions] == [(3, None)]
    configurations = await service.configuration_history.page(1, limit=50, cursor=None)
    assert [(one.version, one.actor, one.fields) for one in configurations.versions] == [
        (3, None, None)
    ]
    await service.secrets.put(1, "A", SecretStr("4 of A"))
    await service.projects.update_settings(1, ProjectSettingsUpdate(setup_commands="later"))
    assert (await service.secret_history.reveal(1, "A", 3)).value == "3 of A"
    listed = await service.secret_history.page(1, "A", limit=50, cursor=None)
    assert [(one.version, one.actor) for one in listed.versions] == [(4, "system"), (3, None)]
    assert (await service.configuration_history.of_run(1)).setup_commands == "configuration 3"
    assert faults_of(service) == []
    await runtime.stop()


async def test_the_upgrade_writes_to_no_existing_row(earlier: Path) -> None:
    path = earlier / "strongroom.db"
    names: dict[str, list[tuple[object, ...]]] = {}
    for _ in range(2):
        with closing(sqlite3.connect(path)) as connection:
            for table in ("project_secrets", "project_settings"):
                found = connection.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
                known = names.setdefault(table, found)
                width = len(known[0])
                assert [row[:width] for row in found] == known
                assert all(value is None for row in found for value in row[width:])
        runtime = await started(earlier, OLD)
        assert runtime.service is not None
        await runtime.stop()
    assert KEEP_VERSIONS > 0
