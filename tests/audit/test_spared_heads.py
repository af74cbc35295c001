"""`audit.heads` does not grow for ever: earlier lines are thinned out, and none that proves a loss
is missing."""

import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backend.repositories.audit_repository import AuditHead
from backend.runtime import HeadsFile, Runtime
from backend.runtime.audit_heads import line_of
from backend.runtime.heads_export import spared, with_losses
from backend.runtime.heads_writer import KEPT_BYTES, REWRITE_BYTES, HeadsWriter
from backend.services.audit.verification import ExportedHead, verify_audit
from backend.services.kinds import Kind
from config.settings import Settings
from database.base import time_text
from tests.support.clocks import SetClock

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LINES = REWRITE_BYTES // 90


def head(id: int, mac: str | None = None, *, minutes: float = 0) -> ExportedHead:
    return ExportedHead(id, mac or f"{id:064x}", time_text(BEGIN + timedelta(minutes=minutes)))


def many(count: int = LINES) -> list[ExportedHead]:
    """Heads of a few days, in more than `REWRITE_BYTES`."""
    return [head(id, minutes=id) for id in range(1, count + 1)]


def write(path: Path, heads: Iterable[ExportedHead]) -> None:
    path.write_bytes(b"".join(map(line_of, heads)))


def last_of_days(heads: Iterable[ExportedHead]) -> list[ExportedHead]:
    return list({one.at[:10]: one for one in heads}.values())


def keeping_days(heads: Iterable[ExportedHead]) -> Iterator[ExportedHead]:
    return spared((one, False) for one in heads)


class TestRewriting:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "audit.heads"

    @pytest.fixture
    def writer(self, path: Path, clock: SetClock) -> Iterator[HeadsWriter]:
        """A writer of a file that is due, and has the heads of `many` and one more."""
        write(path, many())
        writer = HeadsWriter(path, clock)
        writer.keep([AuditHead(LINES + 1, "f" * 64)])
        yield writer
        writer.close()

    def test_earlier_lines_are_thinned_out_and_the_last_ones_stay(
        self, path: Path, writer: HeadsWriter
    ) -> None:
        path.chmod(0o640)
        before = path.read_bytes()
        heads = list(HeadsFile(path).heads())
        writer.rewrite_if_due(keeping_days)
        after = path.read_bytes()
        assert after[-KEPT_BYTES + 200 :] == before[-KEPT_BYTES + 200 :]
        assert len(after) < KEPT_BYTES + 100 * 20
        left = list(HeadsFile(path).heads())
        number = len(left) - len(last_of_days(heads))
        assert left[-number:] == heads[-number:]
        assert last_of_days(left) == last_of_days(heads)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        # It is not due again.
        writer.rewrite_if_due(refusing)
        writer.keep([AuditHead(LINES + 2, "e" * 64)])
        assert path.read_bytes()[: len(after)] == after
        assert [one.id for one in HeadsFile(path).heads()][-2:] == [LINES + 1, LINES + 2]

    def test_a_small_file_is_left(self, path: Path, clock: SetClock) -> None:
        write(path, many(100))
        writer = HeadsWriter(path, clock)
        writer.keep([AuditHead(101, "f" * 64)])
        writer.rewrite_if_due(refusing)
        writer.close()
        assert len(list(HeadsFile(path).heads())) == 101

    def test_lines_that_come_meanwhile_stay(self, path: Path, writer: HeadsWriter) -> None:
        def slow(heads: Iterable[ExportedHead]) -> Iterator[ExportedHead]:
            yield from keeping_days(heads)
            for id in (LINES + 2, LINES + 3):
                writer.keep([AuditHead(id, "e" * 64)])
                newest = HeadsFile(path).newest()
                assert newest is not None
                assert newest.id == id

        writer.rewrite_if_due(slow)
        ids = [one.id for one in HeadsFile(path).heads()]
        assert ids[-4:] == [LINES, LINES + 1, LINES + 2, LINES + 3]
        assert path.stat().st_size < REWRITE_BYTES

    def test_a_rewriting_that_fails_changes_nothing(self, path: Path, writer: HeadsWriter) -> None:
        before = path.read_bytes()
        with pytest.raises(KeyError):
            writer.rewrite_if_due(refusing)
        assert path.read_bytes() == before
        assert [file.name for file in path.parent.iterdir()] == [path.name]
        writer.rewrite_if_due(keeping_days)
        assert path.stat().st_size < len(before)

    def test_what_a_killed_process_left_is_replaced(self, path: Path, writer: HeadsWriter) -> None:
        left = path.with_name("audit.heads.new")
        left.write_text("half a line")
        writer.rewrite_if_due(keeping_days)
        assert not left.exists()
        assert next(HeadsFile(path).heads()).id > 1

    def test_a_file_that_another_program_replaced_meanwhile_is_left(
        self, path: Path, writer: HeadsWriter
    ) -> None:
        def replacing(heads: Iterable[ExportedHead]) -> Iterator[ExportedHead]:
            yield from keeping_days(heads)
            path.unlink()
            write(path, [head(1)])

        writer.rewrite_if_due(replacing)
        assert list(HeadsFile(path).heads()) == [head(1)]

    def test_a_link_stays_one(self, tmp_path: Path, clock: SetClock) -> None:
        other, link = tmp_path / "other", tmp_path / "audit.heads"
        other.mkdir()
        write(other / "heads", many())
        link.symlink_to(other / "heads")
        writer = HeadsWriter(link, clock)
        writer.keep([AuditHead(LINES + 1, "f" * 64)])
        writer.rewrite_if_due(keeping_days)
        writer.close()
        assert link.is_symlink()
        assert (other / "heads").stat().st_size < REWRITE_BYTES

    def test_a_file_that_stays_large_is_not_rewritten_each_time(
        self, path: Path, writer: HeadsWriter
    ) -> None:
        writer.rewrite_if_due(lambda heads: heads)
        assert path.stat().st_size > REWRITE_BYTES
        writer.keep([AuditHead(LINES + 2, "e" * 64)])
        writer.rewrite_if_due(refusing)


def refusing(heads: Iterable[ExportedHead]) -> Iterator[ExportedHead]:
    raise KeyError(heads)


def test_the_last_of_each_day_and_the_ends_of_each_loss_are_spared() -> None:
    lost = {3, *range(2000, 2500), 4000, 4001, 5000}
    heads = many(6000)
    left = [one.id for one in spared((one, one.id in lost) for one in heads)]
    days = [one.id for one in last_of_days(heads)]
    assert left == sorted({3, 2000, 2499, 4000, 4001, 5000, *days})
    # What was spared once is spared again.
    again = [one.id for one in spared((heads[id - 1], id in lost) for id in left)]
    assert again == left
    assert list(spared(())) == []


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """An installation with 2,000 entries."""
    runtime = await Runtime.start(settings)
    async with runtime.service.transaction() as repositories:
        for _ in range(1999):
            await runtime.service.kit.audit.record(
                repositories, Kind.PROJECT_UPDATED, target="projects/1"
            )
    yield runtime
    await runtime.stop()


def genuine_heads(runtime: Runtime) -> list[ExportedHead]:
    """A head for each entry, a minute apart."""
    rows = runtime.manager.execute_query("SELECT id, mac FROM audit_entries ORDER BY id")
    return [head(row["id"], row["mac"], minutes=row["id"]) for row in rows]


async def test_heads_of_lost_entries_are_told_from_others(runtime: Runtime) -> None:
    mixed = [*genuine_heads(runtime), head(7), head(2001), head(2**63 - 1)]
    marked = list(with_losses(runtime.manager, iter(mixed)))
    assert [one for one, _ in marked] == mixed
    assert [one for one, is_lost in marked if is_lost] == mixed[-3:]
    # Retention has removed these on purpose.
    runtime.manager.execute_command(
        "INSERT INTO audit_anchor (id, last_id, last_mac, kept, mac) VALUES (1, 10, ?, 0, ?)",
        ("0" * 64, "0" * 64),
    )
    marked = list(with_losses(runtime.manager, iter(mixed)))
    assert [one for one, is_lost in marked if is_lost] == mixed[-2:]


async def test_a_large_file_is_rewritten_and_verify_still_names_the_loss(runtime: Runtime) -> None:
    lines = genuine_heads(runtime)
    # An entry of long ago that is not there any more, in the middle of a day.
    lost = head(50, "5" * 64, minutes=50)
    write(runtime.heads.path, [*lines[:49], lost, *lines[49:], *lines[-1:] * LINES])
    await runtime.heads.export()
    assert runtime.heads.path.stat().st_size > REWRITE_BYTES
    await runtime.heads.spare()
    assert runtime.heads.path.stat().st_size < REWRITE_BYTES
    left = list(HeadsFile(runtime.heads.path).heads())
    assert left[0] == lost
    assert left[-1].id == 2000
    found = verify_audit(runtime.manager, runtime.service.audit.chain, left)
    assert str(found) == (
        f"audit entry 50 is not the one recorded at {lost.at}: an older copy of the database was "
        "in use since then"
    )
