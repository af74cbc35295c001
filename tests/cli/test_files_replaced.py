"""A server whose files are removed or replaced acknowledges no further write, and ends."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

import httpx

from tests.support.processes import Serving


def test_a_server_whose_data_directory_is_removed_ends_and_says_why(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as serving, serving.client() as client:
        body = {"level": "INFO", "message": "a line"}
        assert client.post("/api/logs", json=body).status_code == 201
        shutil.rmtree(serving.directory)
        statuses = set()
        try:
            for _ in range(10_000):
                answer = client.post("/api/logs", json=body, timeout=10)
                assert str(serving.directory) not in answer.text
                statuses.add(answer.status_code)
        except httpx.TransportError:
            statuses.add(0)
        assert statuses <= {0, 503}
        assert serving.finish() == 1
        [line] = [line for line in serving.err.splitlines() if "can't be written: ending" in line]
        assert "was removed while it was in use" in line
        assert "strongroom.db" in line
    assert not serving.directory.exists()


def test_a_server_whose_database_is_written_in_its_place_acknowledges_nothing_more(
    tmp_path: Path,
) -> None:
    with Serving(tmp_path / "data") as serving, serving.client() as client:
        body = {"level": "INFO", "message": "a line"}
        assert client.post("/api/logs", json=body).status_code == 201
        database = serving.directory / "strongroom.db"
        shutil.copyfile(database, tmp_path / "copy")
        shutil.copyfile(tmp_path / "copy", database)
        # The write may be committed before the change is noticed: then its outcome stays unknown.
        with contextlib.suppress(httpx.TransportError):
            assert client.post("/api/logs", json=body, timeout=10).status_code == 503
        assert serving.finish() == 1
        [line] = [line for line in serving.err.splitlines() if "can't be written: ending" in line]
        assert "strongroom.db was written by another program while it was in use" in line


def test_a_server_whose_index_of_the_log_is_cut_off_does_not_end_without_a_word(
    tmp_path: Path,
) -> None:
    with Serving(tmp_path / "data") as serving, serving.client() as client:
        assert client.get("/ready").status_code == 200
        os.truncate(serving.directory / "strongroom.db-shm", 0)
        # SQLite has mapped the file into memory: the system may end the process before its next
        # check.
        ended = {1: "strongroom.db-shm was shortened", -signal.SIGBUS: "Bus error"}
        assert ended[serving.finish()] in serving.err


def test_a_server_that_only_reads_notices_and_is_not_ready(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as serving, serving.client() as client:
        assert client.get("/ready").status_code == 200
        serving.directory.rename(tmp_path / "renamed")
        statuses = {200}
        try:
            while statuses == {200}:
                statuses.add(client.get("/ready").status_code)
        except httpx.TransportError:
            statuses.add(0)
        assert statuses <= {0, 200, 503}
        assert serving.finish() == 1


def test_a_server_that_lost_its_lock_ends_before_the_next_one_works(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as first:
        (first.directory / "strongroom.db.lock").unlink()
        with Serving(tmp_path / "data") as second, second.client() as client:
            assert first.process.poll() == 1
            assert client.get("/ready").status_code == 200
            assert second.end() == 0
        assert first.finish() == 1
