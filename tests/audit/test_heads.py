"""The file that remembers the end of the audit, and how a start uses it."""

import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.repositories.audit_repository import AuditHead
from backend.runtime import HeadsFile, Runtime, StartRefused
from backend.runtime.heads_writer import HeadsWriter
from backend.schemas.projects import ProjectCreate
from backend.services.audit.verification import ExportedHead
from config.settings import Settings
from database.connection_manager import DatabaseManager
from tests.support.clocks import SetClock
from tests.support.processes import PATIENCE, Serving, run

AT = "2026-01-31T12:00:00.000000Z"


def head(id: int) -> ExportedHead:
    return ExportedHead(id, f"{id:064x}", AT)


def keep(writer: HeadsWriter, id: int) -> None:
    writer.keep([AuditHead(id, f"{id:064x}")])


class TestFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> HeadsFile:
        return HeadsFile(tmp_path / "audit.heads")

    @pytest.fixture
    def writer(self, file: HeadsFile, clock: SetClock) -> Iterator[HeadsWriter]:
        writer = HeadsWriter(file.path, clock)
        yield writer
        writer.close()

    def test_without_a_file_there_are_none(self, file: HeadsFile) -> None:
        assert list(file.heads()) == []
        assert file.newest() is None
        assert not file.path.exists()

    def test_each_head_is_a_line_for_the_owner_only(
        self, file: HeadsFile, writer: HeadsWriter
    ) -> None:
        keep(writer, 1)
        keep(writer, 25)
        assert list(file.heads()) == [head(1), head(25)]
        assert file.newest() == head(25)
        assert file.path.read_text() == f"1 {1:064x} {AT}\n25 {25:064x} {AT}\n"
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600

    def test_what_was_written_is_never_changed(self, file: HeadsFile, writer: HeadsWriter) -> None:
        content = b""
        for id in range(1, 6):
            keep(writer, id)
            assert file.path.read_bytes().startswith(content)
            content = file.path.read_bytes()

    def test_a_head_has_one_line(self, file: HeadsFile, writer: HeadsWriter) -> None:
        for id in (1, 1, 2, 2):
            keep(writer, id)
        assert list(file.heads()) == [head(1), head(2)]

    def test_the_newest_is_the_furthest_not_the_last(
        self, file: HeadsFile, writer: HeadsWriter
    ) -> None:
        # As after a loss, when the chain continues from an earlier entry.
        for id in (7, 9, 3):
            keep(writer, id)
        assert file.newest() == head(9)

    @pytest.mark.parametrize("kept", [1, 2, 30, 66, 90, 93])
    def test_a_line_that_was_cut_short_is_passed_over(
        self, file: HeadsFile, writer: HeadsWriter, kept: int
    ) -> None:
        keep(writer, 1)
        whole = file.path.read_bytes()
        keep(writer, 2)
        writer.close()
        file.path.write_bytes(whole + file.path.read_bytes()[len(whole) :][:kept])
        assert list(file.heads()) == [head(1)]
        assert file.newest() == head(1)
        keep(writer, 3)
        assert list(file.heads()) == [head(1), head(3)]
        assert file.newest() == head(3)

    @pytest.mark.parametrize(
        "line",
        [
            b"\n",
            b"x\n",
            b"1 2\n",
            b"1 2 3\n",
            b"\xff\xfe\n",
            b"-1 " + b"0" * 64 + b" Z\n",
            b"9223372036854775808 " + b"0" * 64 + b" Z\n",
        ],
    )
    def test_what_is_no_head_is_passed_over(
        self, file: HeadsFile, writer: HeadsWriter, line: bytes
    ) -> None:
        keep(writer, 1)
        writer.close()
        with file.path.open("ab") as stream:
            stream.write(line)
        keep(writer, 2)
        assert list(file.heads()) == [head(1), head(2)]

    def test_only_the_end_of_a_long_file_is_read_at_a_start(self, file: HeadsFile) -> None:
        lines = "".join(f"{id} {id:064x} {AT}\n" for id in range(1, 20_001))
        file.path.write_text(lines)
        assert file.newest() == head(20_000)
        assert sum(1 for _ in file.heads()) == 20_000


async def make_projects(runtime: Runtime, count: int) -> None:
    service = runtime.service
    begun = await service.repositories.projects.count()
    for number in range(begun, begun + count):
        await service.projects.create(
            ProjectCreate.model_validate(
                {"name": "a", "github_owner": "o", "github_repo": f"r{number}"}
            )
        )


async def test_a_head_is_exported_when_it_has_moved(settings: Settings) -> None:
    runtime = await Runtime.start(settings)
    file = HeadsFile(settings.data_dir / "audit.heads")
    await runtime.heads.export()
    await runtime.heads.export()
    assert [one.id for one in file.heads()] == [1]
    await make_projects(runtime, 3)
    await runtime.heads.export()
    await runtime.stop()
    # The stop exports the heads that were not exported yet.
    exported = list(file.heads())
    assert [one.id for one in exported][:2] == [1, 7]
    manager = DatabaseManager(settings.data_dir / "strongroom.db")
    rows = manager.execute_query("SELECT id, mac FROM audit_entries")
    manager.sync_pool.close()
    macs = {row["id"]: row["mac"] for row in rows}
    assert all(macs[one.id] == one.mac for one in exported)


async def test_a_stop_exports_the_end(settings: Settings) -> None:
    runtime = await Runtime.start(settings)
    await make_projects(runtime, 2)
    assert await runtime.service.audit.head() == AuditHead(5, (await _newest(runtime)).mac)
    await runtime.stop()
    newest = HeadsFile(settings.data_dir / "audit.heads").newest()
    assert newest is not None
    assert newest.id == 5


async def _newest(runtime: Runtime) -> AuditHead:
    found = await runtime.service.audit.head()
    assert found is not None
    return found


async def losses(runtime: Runtime) -> list[str]:
    listed = await runtime.service.audit.page(action="audit.loss_found")
    return [entry.target for entry in listed.entries]


async def test_an_older_copy_is_noticed_at_the_start_once_and_for_all(
    settings: Settings, tmp_path: Path
) -> None:
    runtime = await Runtime.start(settings)
    await make_projects(runtime, 2)
    await runtime.stop()
    shutil.copyfile(settings.data_dir / "strongroom.db", tmp_path / "older.db")
    runtime = await Runtime.start(settings)
    assert await losses(runtime) == []
    await make_projects(runtime, 3)
    await runtime.stop()

    shutil.copyfile(tmp_path / "older.db", settings.data_dir / "strongroom.db")
    for _ in range(2):
        runtime = await Runtime.start(settings)
        assert await losses(runtime) == ["audit/11"]
        await make_projects(runtime, 4)
        assert (await runtime.service.readiness.check()).status == "ready"
        await runtime.stop()
    # The loss is reported at each start until it is accepted.
    (settings.data_dir / "audit.heads").rename(tmp_path / "audit.heads.old")
    runtime = await Runtime.start(settings)
    assert await losses(runtime) == ["audit/11"]
    await runtime.stop()
    runtime = await Runtime.start(settings)
    assert await losses(runtime) == ["audit/11"]
    await runtime.stop()


async def test_a_file_that_can_not_be_read_stops_the_start(settings: Settings) -> None:
    (settings.data_dir / "audit.heads").mkdir()
    with pytest.raises(StartRefused, match=r"audit\.heads is a directory"):
        await Runtime.start(settings)


def test_a_log_that_is_deleted_after_a_kill_is_noticed(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    file = HeadsFile(directory / "audit.heads")

    def project(number: int) -> dict[str, str]:
        return {"name": "a", "github_owner": "o", "github_repo": f"r{number}"}

    with Serving(directory) as serving, serving.client() as client:
        assert client.post("/api/projects", json=project(1)).status_code == 201
        assert serving.end() == 0
    with Serving(directory) as serving, serving.client() as client:
        for number in range(2, 7):
            assert client.post("/api/projects", json=project(number)).status_code == 201
        deadline = time.monotonic() + PATIENCE
        while (newest := file.newest()) is None or newest.id < 13:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        serving.end(signal.SIGKILL)
    assert run("verify", "--data-dir", directory, cwd=tmp_path).status == 0

    # Only the write-ahead log holds what was committed since the last checkpoint.
    (directory / "strongroom.db-wal").unlink()
    (directory / "strongroom.db-shm").unlink(missing_ok=True)
    outcome = run("verify", "--data-dir", directory, cwd=tmp_path)
    assert outcome.status == 1
    assert "audit entries 4 to 13 are missing at the end" in outcome.complaint
    with Serving(directory) as serving, serving.client() as client:
        assert len(client.get("/api/projects").json()["projects"]) == 1
        [entry] = client.get("/api/audit?action=audit.loss_found").json()["entries"]
        assert (entry["target"], entry["actor"]) == ("audit/13", "system")
        assert client.get("/ready").status_code == 200
        assert serving.end() == 0
        assert "the audit has lost entries" in serving.err
        assert "audit entries 4 to 13 are missing at the end" in serving.err
