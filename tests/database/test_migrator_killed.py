import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from database.migrator import load_migrations, migrate, pending
from database.sqlite.connection import ConnectionConfig, open_connection
from tests.database.sample_migrations import FIRST, REBUILD, query

KILLER = """
import os, shutil, signal, sys
from pathlib import Path
from database.sqlite.connection import ConnectionConfig, open_connection
from database.migrator import Migration, load_migrations, migrate

directory, old = Path(sys.argv[1]), int(sys.argv[2])
known = load_migrations(Path(sys.argv[3]))
statement = 0
while True:
    statement += 1
    path = directory / f"{statement}.db"
    child = os.fork()
    if child == 0:
        connection = open_connection(ConnectionConfig(path))
        migrate(connection, known[:old])
        left = iter(range(statement - 1, -1, -1))

        def count(sql):
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        connection.set_trace_callback(count)
        migrate(connection, known)
        connection.set_trace_callback(None)
        connection.close()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != -signal.SIGKILL:
        sys.exit(status)
"""


@pytest.mark.parametrize("old", [0, 1])
def test_killed_at_any_statement_the_next_start_works(tmp_path: Path, old: int) -> None:
    sources, databases = tmp_path / "migrations", tmp_path / "databases"
    sources.mkdir()
    databases.mkdir()
    for migration in (FIRST, REBUILD):
        (sources / f"{migration.name}.sql").write_text(migration.sql)
    subprocess.run(
        [sys.executable, "-c", KILLER, str(databases), str(old), str(sources)],
        check=True,
        cwd=Path(__file__).parents[2],
        timeout=120,
    )
    known = load_migrations(sources)
    rounds = len(list(databases.glob("*.db")))
    statements = sum(len(migration.statements()) for migration in known[old:])
    assert rounds > statements
    found = set()
    for number in range(1, rounds + 1):
        with closing(open_connection(ConnectionConfig(databases / f"{number}.db"))) as connection:
            left = len(pending(connection, known))
            found.add(left)
            assert migrate(connection, known) == [m.name for m in known[len(known) - left :]]
            assert query(connection, "PRAGMA integrity_check") == [("ok",)]
            assert query(connection, "SELECT * FROM things ORDER BY id") == [(10, 1), (20, 2)]
            assert query(connection, "SELECT id, size FROM boxes") == [(1, None), (2, None)]
    assert found == set(range(len(known) - old + 1))
