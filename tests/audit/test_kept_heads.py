"""Before a secret is revealed, the head that covers the reveal is outside of the database."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterable
from io import StringIO
from pathlib import Path

import httpx
import pytest

from backend.errors import NoRoomToRecord, NotRecorded
from backend.repositories.audit_repository import AuditHead
from backend.runtime import HeadsFile, Runtime
from backend.runtime.start import HEADS_SECONDS
from backend.schemas.projects import ProjectCreate
from backend.services.audit.verification import verify_audit
from backend.services.projects.secret_sealing import secret_revealed
from config.settings import Settings
from tests.database.engine import files_end_at
from tests.support.http import make_project, problem
from tests.support.processes import Serving

VALUE = "a value that must not leave"
KEYS = [f"KEY_{number}" for number in range(30)]
CHANGED = "audit.heads was changed by another program"
REFUSED = "audit.heads can't be written, so no secret is revealed"


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """An installation with a project that has a secret for each of `KEYS`. Nothing exports its
    heads but reveals."""
    runtime = await Runtime.start(settings)
    fields = {"name": "a", "github_owner": "o", "github_repo": "r"}
    secrets = [{"key": key, "value": VALUE} for key in KEYS]
    await runtime.service.projects.create(
        ProjectCreate.model_validate({**fields, "secrets": secrets})
    )
    yield runtime
    await runtime.stop()


async def reveal(runtime: Runtime, key: str = KEYS[0]) -> None:
    """Reveal a secret. The file then has a head that covers the reveal's entry."""
    revealed = await runtime.service.secrets.reveal(1, key)
    assert revealed.value == VALUE
    covered = newest(runtime)
    listed = await runtime.service.audit.page(action="secret.revealed", limit=100)
    ids = [entry.id for entry in listed.entries if entry.target.endswith(f"/{key}")]
    assert covered >= ids[0]


def newest(runtime: Runtime) -> int:
    """The id of the newest head in the file; 0 without one."""
    head = HeadsFile(runtime.heads.path).newest()
    return head.id if head is not None else 0


def assert_genuine(runtime: Runtime) -> None:
    heads = HeadsFile(runtime.heads.path).heads()
    assert verify_audit(runtime.manager, runtime.service.audit.chain, heads) is None


async def test_a_value_leaves_after_the_head_that_covers_it(runtime: Runtime) -> None:
    assert not runtime.heads.path.exists()
    for key in KEYS[:3]:
        await reveal(runtime, key)
    assert len(list(HeadsFile(runtime.heads.path).heads())) == 3
    assert_genuine(runtime)


async def test_other_changes_wait_for_the_export(runtime: Runtime) -> None:
    await reveal(runtime)
    before = newest(runtime)
    await runtime.service.secrets.delete(1, KEYS[1])
    assert newest(runtime) == before
    await runtime.heads.export()
    assert newest(runtime) == before + 1


async def test_reveals_at_once_share_lines(runtime: Runtime) -> None:
    commits = runtime.manager.get_stats()["async"]["writer"]["commits"]
    await asyncio.gather(*(reveal(runtime, key) for key in KEYS))
    commits = runtime.manager.get_stats()["async"]["writer"]["commits"] - commits
    lines = list(HeadsFile(runtime.heads.path).heads())
    assert 1 <= len(lines) <= commits < len(KEYS)
    head = await runtime.service.audit.head()
    assert head is not None
    assert newest(runtime) == head.id
    assert_genuine(runtime)


async def test_a_page_of_documents_leaves_after_the_head_that_covers_it(runtime: Runtime) -> None:
    await runtime.service.documents.export(limit=50, after=None)
    assert newest(runtime) == 0
    page = await runtime.service.documents.reveal(limit=50, after=None)
    assert set(page.documents[0].content["secrets"].values()) == {VALUE}
    head = await runtime.service.audit.head()
    assert head is not None
    assert newest(runtime) == head.id


def make_directory(path: Path) -> None:
    path.mkdir()


def make_link(path: Path) -> None:
    path.symlink_to("/dev/full")


def make_dangling_link(path: Path) -> None:
    path.symlink_to(path.parent / "missing" / "audit.heads")


@pytest.mark.parametrize("make", [make_directory, os.mkfifo, make_link, make_dangling_link])
async def test_without_the_file_nothing_is_revealed_and_all_else_goes_on(
    runtime: Runtime, log: StringIO, make: Callable[[Path], None]
) -> None:
    await reveal(runtime)
    runtime.heads.path.unlink()
    make(runtime.heads.path)
    for _ in range(2):
        with pytest.raises(NotRecorded) as refused:
            await runtime.service.secrets.reveal(1, KEYS[0])
        assert refused.value.status == 503
        assert "audit.heads" in refused.value.detail
        with pytest.raises(NotRecorded):
            await runtime.service.documents.reveal(limit=50, after=None)
        # The export tells no more than the log has.
        await runtime.heads.export()
    assert log.getvalue().count(REFUSED) == 1
    await runtime.service.secrets.delete(1, KEYS[1])
    # What was refused is recorded as revealed, rather than the other way round.
    listed = await runtime.service.audit.page(action="secret.revealed", limit=100)
    assert len(listed.entries) > len(KEYS)

    runtime.heads.path.unlink() if make is not make_directory else runtime.heads.path.rmdir()
    await reveal(runtime)
    assert_genuine(runtime)


@pytest.mark.parametrize("room", [0, 1, 40, 90])
async def test_a_full_disk_is_told_as_one_and_a_line_cut_short_is_passed_over(
    runtime: Runtime, room: int
) -> None:
    await reveal(runtime)
    size = 64 * 2**20
    with runtime.heads.path.open("r+b") as file:
        # Much longer than the database, for which there is room.
        file.seek(size - 1)
        file.write(b"\n")
    with files_end_at(size + room), pytest.raises(NoRoomToRecord) as refused:
        await runtime.service.secrets.reveal(1, KEYS[0])
    assert refused.value.status == 507
    assert runtime.heads.path.stat().st_size == size + room
    await reveal(runtime)
    assert_genuine(runtime)


def remove(path: Path) -> None:
    path.unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_name("audit.heads.old"))


def replace(path: Path) -> None:
    path.rename(path.with_name("audit.heads.old"))
    path.write_bytes(path.with_name("audit.heads.old").read_bytes())


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    os.truncate(path, 100)


def extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"no head")


@pytest.mark.parametrize("finder", ["a reveal", "the export"])
@pytest.mark.parametrize("change", [remove, move_away, replace, empty, shorten, extend])
async def test_a_file_that_another_program_changed_is_noticed_and_has_its_head_again(
    runtime: Runtime, log: StringIO, change: Callable[[Path], None], finder: str
) -> None:
    await reveal(runtime)
    await reveal(runtime)
    change(runtime.heads.path)
    if finder == "a reveal":
        await reveal(runtime)
    else:
        await runtime.heads.export()
    head = await runtime.service.audit.head()
    assert head is not None
    assert newest(runtime) == head.id
    assert log.getvalue().count(CHANGED) == 1
    await reveal(runtime)
    await runtime.heads.export()
    assert log.getvalue().count(CHANGED) == 1
    assert_genuine(runtime)


async def test_only_methods_that_wait_for_the_head_may_reveal(runtime: Runtime) -> None:
    stored = await runtime.service.repositories.secrets.get(1, KEYS[0])
    assert stored is not None
    with pytest.raises(RuntimeError, match="reveals"):
        secret_revealed(stored.secret)
    with pytest.raises(RuntimeError, match="of its own"):
        await runtime.manager.async_pool.run_unit(
            lambda: runtime.service.secrets.reveal(1, KEYS[0])
        )


async def test_a_refused_reveal_says_what_to_do_over_http(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    project = await make_project(client, secrets=[{"key": "A", "value": VALUE}])
    path = f"/api/projects/{project['id']}/secrets/A/value"
    heads = settings.data_dir / "audit.heads"
    assert (await client.get(path)).json()["value"] == VALUE
    heads.unlink()
    heads.mkdir()
    response = await client.get(path)
    assert VALUE not in response.text
    assert str(settings.data_dir) not in response.text
    assert response.headers["retry-after"] == "1"
    assert problem(response, "database_busy")["detail"] == (
        "no secret is revealed while the end of the audit can't be written to audit.heads (Is a "
        "directory): make it an ordinary file that the service can write, on a disk with room"
    )
    heads.rmdir()
    assert (await client.get(path)).json()["value"] == VALUE


def test_a_kill_right_after_a_reveal_leaves_its_head(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Serving(directory) as serving, serving.client() as client:
        body = {"name": "a", "github_owner": "o", "github_repo": "r"}
        secrets = [{"key": "A", "value": VALUE}]
        assert client.post("/api/projects", json={**body, "secrets": secrets}).status_code == 201
        for _ in range(20):
            assert client.get("/api/projects/1/secrets/A/value").json()["value"] == VALUE
        serving.end(signal.SIGKILL)
    head = HeadsFile(directory / "audit.heads").newest()
    # The token, the project, its configuration and its secret come first.
    assert head is not None
    assert head.id == 4 + 20


async def test_a_server_exports_the_head_by_itself(runtime: Runtime) -> None:
    assert HEADS_SECONDS <= 1
    runtime.start_background_work()
    for key in KEYS[:2]:
        await runtime.service.secrets.delete(1, key)
        head = await runtime.service.audit.head()
        assert head is not None
        async with asyncio.timeout(30):
            while newest(runtime) < head.id:
                await asyncio.sleep(0.01)


class Unready:
    """A keeper of heads that fails in a way that is not expected."""

    def keep(self, heads: Iterable[AuditHead]) -> None:
        raise KeyError(heads)


async def test_a_fault_while_the_head_is_kept_refuses_the_reveal(runtime: Runtime) -> None:
    end = runtime.service.audit.end
    keeper, end.keeper = end.keeper, Unready()
    with pytest.raises(NotRecorded, match="unexpected failure"):
        await runtime.service.secrets.reveal(1, KEYS[0])
    end.keeper = keeper
    await reveal(runtime)
