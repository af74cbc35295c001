"""SIGKILL during longer work: a migration, a key rotation, a removal."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from backend.crypto.audit_chain import ORIGIN, AuditChain
from backend.crypto.keyring import generate_master_key
from backend.repositories.audit_repository import AuditHead, AuditRow
from backend.runtime import Runtime, find_keyring, inspection
from backend.runtime.audit_heads import line_of
from backend.schemas.logs import LogEntry
from backend.services.audit.verification import ExportedHead
from config.settings import Settings
from database.base import time_text
from database.migrator import dump_schema, load_migrations, migrate
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.faults.damage import LOSS
from tests.faults.disks import wait_until
from tests.faults.site import Site, Tally, command
from tests.faults.writes import Kind
from tests.retention.audit_data import add
from tests.support.forked import Forked
from tests.support.processes import PATIENCE, Serving, environment

FILLER = 20_000
"""Logs that make the work take longer."""
LOG = "INSERT INTO system_logs (level, level_no, message, created_at) VALUES ('INFO', 20, ?, ?)"
OLD = 40_000
"""Logs that are to be removed."""
OLD_DAYS = 40
"""The age of these logs in days."""


OLD_ENTRIES = 20_000
"""Entries of the audit that are to be removed."""
GUARDED = 500
"""The number of targets, of each of which the newest entry stays."""
KEEP_AUDIT = {"KEEP_AUDIT_DAYS": str(OLD_DAYS - 10)}


@contextlib.contextmanager
def running(*arguments: str | Path, settings: Mapping[str, str] | None = None) -> Iterator[Forked]:
    """A command as a process, which is killed at the end of the block."""
    with Forked(arguments, cwd=Path.cwd(), env=environment(**(settings or {}))) as process:
        try:
            yield process
        finally:
            process.kill()


def kill_once(
    process: subprocess.Popen[str] | Forked, begun: Callable[[], bool], site: Site, longest: float
) -> str:
    """Kill a process at a random moment in the `longest` seconds after its work has begun. Returns
    how far it was."""
    deadline = time.monotonic() + PATIENCE
    while not begun() and process.poll() is None:
        assert time.monotonic() < deadline, "it never begins"
        time.sleep(0.0005)
    site.pause(longest)
    process.kill()
    return "interrupted" if process.wait() == -signal.SIGKILL else "too late"


def migration(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL while an older schema is migrated."""
    site = Site(directory / "site", tally, seed)
    # The older schemas lack the columns that a claim writes.
    with site.serving() as serving, site.load(serving, without=(Kind.CLAIM,)):
        site.pause(0.5)
        serving.process.kill()
        serving.finish()
    site.check()
    chain = asyncio.run(_chain(site))
    for _ in range(rounds):
        version = site.chance.randrange(2, len(load_migrations()))
        database = site.directory / "strongroom.db"
        head = _make_older(database, version, chain)
        (site.directory / "audit.heads").write_bytes(line_of(head))
        log = database.with_name("strongroom.db-wal")
        with running("migrate", "--data-dir", site.directory) as process:
            tally.note(kill_once(process, log.exists, site, 0.15))
        tally.note("migrations left", _pending(site))
        with site.serving() as serving:
            assert LOSS not in serving.err
            assert serving.end() == 0
        site.check()
        tally.rounds += 1
    site.done()


async def _chain(site: Site) -> AuditChain:
    settings = Settings(_env_file=None, data_dir=site.directory)
    async with inspection(settings, find_keyring(settings)) as opened:
        return opened.service.audit.chain


def _make_older(database: Path, version: int, chain: AuditChain) -> ExportedHead:
    """Move the database's rows, and some more, into a database with an older schema. Returns the
    head of its audit."""
    older = database.with_name("older.db")
    connection = open_connection(ConnectionConfig(older))
    migrate(connection, load_migrations()[:version])
    schema = dump_schema(connection)
    connection.execute("PRAGMA foreign_keys = OFF")
    connection.execute("ATTACH ? AS newer", (str(database),))
    connection.execute("BEGIN")
    for (table,) in connection.execute(
        # The content of a full-text index is in ordinary tables.
        "SELECT name FROM main.sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        " AND sql NOT LIKE 'CREATE VIRTUAL%'"
    ).fetchall():
        if table != "schema_migrations":
            _copy_table(connection, table)
    now = time_text(datetime.now(UTC))
    # The present digests cover columns that came with the earlier versions of rows. Without them, a
    # start guards all rows again.
    is_guarded = "secret_versions" in schema
    if not is_guarded and "guarded_targets" in schema:
        connection.execute("DELETE FROM main.guarded_targets")
    head = _newest(connection) if is_guarded else _chain_as_before(connection, chain)
    connection.executemany(LOG, ((f"filler {n}", now) for n in range(FILLER)))
    if "system_log_index" in schema and "system_log_words" not in schema:
        # The newer schema has the words of logs in another index.
        connection.execute("INSERT INTO system_log_index (system_log_index) VALUES ('rebuild')")
    connection.execute("COMMIT")
    assert dump_schema(connection) == schema
    connection.close()
    for name in ("strongroom.db-wal", "strongroom.db-shm"):
        database.with_name(name).unlink(missing_ok=True)
    older.replace(database)
    return ExportedHead(*head, now)


def _newest(connection: sqlite3.Connection) -> AuditHead:
    row = connection.execute("SELECT id, mac FROM main.audit_entries ORDER BY id DESC").fetchone()
    return AuditHead(*row)


def _chain_as_before(connection: sqlite3.Connection, chain: AuditChain) -> AuditHead:
    """Give the rows of the audit the columns and MACs of the versions that had fewer columns, and
    leave out those that tell of the guarding of rows. Returns the head."""
    head = AuditHead(0, ORIGIN)
    names = ", ".join(AuditRow._fields[:9])
    marks = ", ".join("?" * 10)
    rows = connection.execute(
        f"SELECT {names} FROM main.audit_entries"  # noqa: S608
        " WHERE action NOT LIKE 'rows.%' ORDER BY id"
    ).fetchall()
    connection.execute("DELETE FROM main.audit_entries")
    for id, columns in enumerate(rows, 1):
        row = AuditRow._make((id, *tuple(columns)[1:], None, None, None))
        mac = chain.earlier_mac(head.mac, row)
        assert mac is not None
        connection.execute(
            f"INSERT INTO main.audit_entries ({names}, mac) VALUES ({marks})",  # noqa: S608
            (*row[:9], mac),
        )
        head = AuditHead(id, mac)
    return head


def _copy_table(connection: sqlite3.Connection, table: str) -> None:
    columns = ", ".join(
        name for (name,) in connection.execute("SELECT name FROM pragma_table_info(?)", (table,))
    )
    # The names come from the schema itself. Logs that an earlier round added are left out.
    without = " WHERE message NOT LIKE 'filler %'" if table == "system_logs" else ""
    connection.execute(f"DELETE FROM main.{table}")  # noqa: S608
    connection.execute(
        f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}{without}"  # noqa: S608
    )


def _pending(site: Site) -> int:
    _, out, _ = command("migrate", "--check", "--json", "--data-dir", str(site.directory))
    return len(json.loads(out)["pending"])


def rotation(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL while all keys are replaced, under load. Then the old master key is removed."""
    site = Site(directory / "site", tally, seed)
    with site.serving() as serving, site.load(serving):
        site.pause(0.5)
    keys = site.directory / "master.key"
    for number in range(rounds):
        old = keys.read_text().strip()
        new = generate_master_key(f"round-{number}")
        keys.write_text(f"{new},{old}\n")
        with site.serving() as serving, site.load(serving) as load:
            with serving.client() as client:
                site.pause(0.2)
                _begin_rotation(client, site, serving)
            load.wait()
            assert serving.finish() == -signal.SIGKILL
        tally.note(_rotation_status(site))
        with site.serving() as serving:
            with serving.client() as client:
                wait_until(lambda: _is_rotated(client), "the rotation never ends")
            assert serving.end() == 0
        # The old key is no longer needed.
        keys.write_text(f"{new}\n")
        site.check()
        tally.rounds += 1
    site.done()


def _begin_rotation(client: httpx.Client, site: Site, serving: Serving) -> None:
    """Request a rotation, and kill the server before, during or after it."""
    patience = site.chance.uniform(0.001, 0.2)
    with contextlib.suppress(httpx.ReadTimeout):
        client.post("/api/keys/rotate", json={"reencrypt": True}, timeout=patience)
    serving.process.kill()


def _rotation_status(site: Site) -> str:
    status, out, err = command("keys", "status", "--json", "--data-dir", str(site.directory))
    assert status == 0, err
    found = json.loads(out)["rotation"]
    return f"rotations {found['status']}" if found is not None else "rotations not begun"


def _is_rotated(client: httpx.Client) -> bool:
    status = client.get("/api/keys").json()
    newest = status["rotation"]
    assert newest is None or newest["failed"] == 0, newest
    over = newest is None or newest["status"] == "finished"
    left = [key for key in status["keys"] if not key["current"] and not key["removable"]]
    if over and left:
        # The kill came before the rotation began.
        assert client.post("/api/keys/rotate", json={"reencrypt": True}).status_code < 300
    return over and not left


def prune(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL while old logs are removed: by a server under load, and by the command, which then
    rewrites the file."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        asyncio.run(_add_old_logs(site))
        if number % 2 == 0:
            with site.serving() as serving, site.load(serving) as load:
                site.pause(0.4)
                serving.process.kill()
                load.wait()
                assert serving.finish() == -signal.SIGKILL
        else:
            log = site.directory / "strongroom.db-wal"
            with running("prune", "--compact", "--data-dir", site.directory) as process:
                tally.note(kill_once(process, log.exists, site, 0.4))
        site.check()
        tally.note("old logs left" if _old_logs(site) else "no old logs left")
        _goes_on(site)
        site.done()
        tally.rounds += 1


def prune_audit(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """SIGKILL while old entries of the audit are removed: by a server under load, and by the
    command."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        asyncio.run(_add_old_entries(site))
        if number % 2 == 0:
            with site.serving(KEEP_AUDIT) as serving, site.load(serving) as load:
                site.pause(1.0)
                serving.process.kill()
                load.wait()
                assert serving.finish() == -signal.SIGKILL
        else:
            log = site.directory / "strongroom.db-wal"
            arguments = ("prune", "--data-dir", site.directory)
            with running(*arguments, settings=KEEP_AUDIT) as process:
                tally.note(kill_once(process, log.exists, site, 0.8))
        site.check()
        left = _old_entries(site)
        tally.note("old entries left" if left > GUARDED else "no old entries left")
        with site.serving(KEEP_AUDIT) as serving:
            with serving.client() as client:
                # It joins the removal that began at the start, and waits a second for its end.
                wait_until(lambda: _is_pruned(client), "old entries are never removed")
                assert not _beyond_limits(client, "audit")
            assert serving.end() == 0
        assert _old_entries(site) <= GUARDED
        site.done()
        tally.rounds += 1


async def _add_old_entries(site: Site) -> None:
    then = datetime.now(UTC) - timedelta(days=OLD_DAYS)
    settings = Settings(_env_file=None, data_dir=site.directory)
    runtime = await Runtime.start(settings, clock=lambda: then)
    for _ in range(0, OLD_ENTRIES, 1000):
        await add(runtime.service, *(f"old/{n % GUARDED}{'!' * (n % 2)}" for n in range(1000)))
    await runtime.stop()


def _is_pruned(client: httpx.Client) -> bool:
    answer = client.post("/api/retention/prune")
    assert answer.status_code < 300, answer.text
    return bool(answer.json()["status"] == "completed")


def _old_entries(site: Site) -> int:
    with contextlib.closing(sqlite3.connect(site.directory / "strongroom.db")) as connection:
        query = "SELECT count(*) FROM audit_entries WHERE target LIKE 'old/%'"
        return int(connection.execute(query).fetchone()[0])


async def _add_old_logs(site: Site) -> None:
    then = datetime.now(UTC) - timedelta(days=OLD_DAYS)
    settings = Settings(_env_file=None, data_dir=site.directory)
    runtime = await Runtime.start(settings, clock=lambda: then)
    for _ in range(0, OLD, 1000):
        logs = [{"level": "INFO", "message": f"old words {n}"} for n in range(1000)]
        await runtime.service.logs.append([LogEntry.model_validate(log) for log in logs])
    await runtime.stop()


def _goes_on(site: Site) -> None:
    """The next start removes the rest."""
    with site.serving() as serving:
        with serving.client() as client:
            wait_until(lambda: not _beyond_limits(client), "old logs are never removed")
        assert serving.end() == 0
    assert not _old_logs(site)


def _beyond_limits(client: httpx.Client, kind: str = "logs") -> int:
    return int(client.get("/api/retention").json()["would_remove"][kind]["rows"])


def _old_logs(site: Site) -> int:
    _, out, _ = command("prune", "--dry-run", "--json", "--data-dir", str(site.directory))
    return int(json.loads(out)["would_remove"]["logs"]["rows"])
