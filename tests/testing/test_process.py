"""A server for tests as a process: `strongroom serve --environment testing`."""

from pathlib import Path

import httpx
import pytest

from tests.support.clients import bearer
from tests.support.processes import Serving, environment, run
from tests.testing.conftest import project


def test_the_flag_starts_a_server_for_tests(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with Serving(directory, "--environment", "testing") as serving:
        token = (directory / "testing.token").read_text(encoding="ascii").strip()
        with serving.client() as client:
            assert project(client).status_code == 201
            # The first request on a connection may arrive in pieces, the second as a whole.
            resets = [client.post("/testing/reset", headers=bearer(token)) for _ in range(2)]
            assert [answer.status_code for answer in resets] == [200, 200]
            admin = bearer(resets[1].json()["token"])
            assert project(client, headers=admin).json()["id"] == 1
            faults = {"lose_next_answers": 1}
            client.post("/testing/faults", headers=bearer(token), json=faults)
            with pytest.raises(httpx.TransportError):
                client.get("/api/projects", headers=admin)
            assert client.get("/api/projects/1", headers=admin).status_code == 200
        assert serving.end() == 0
        assert '"error"' not in serving.err
    # What began after the reset is whole on the disk.
    assert run("verify", "--data-dir", directory, cwd=tmp_path).status == 0


def test_the_flag_wins_over_the_variable(tmp_path: Path) -> None:
    env = environment(ENVIRONMENT="testing")
    with Serving(tmp_path / "data", "--environment", "development", env=env) as serving:
        assert not (serving.directory / "testing.token").exists()
        assert serving.end() == 0


def test_an_unknown_environment_is_refused(tmp_path: Path) -> None:
    outcome = run("serve", "--environment", "staging", cwd=tmp_path)
    assert outcome.status == 2
    assert outcome.complaint == "--environment: must be development, testing or production"
