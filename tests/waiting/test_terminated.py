"""SIGTERM answers the requests that wait, at once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.support.processes import Serving

WAIT = {"Prefer": "wait=60"}
OPEN = [f'strongroom_waits_open{{kind="{kind}"}} 1.0' for kind in ("reads", "claims")]


def test_a_server_that_is_terminated_answers_who_waits_and_ends(tmp_path: Path) -> None:
    with (
        Serving(tmp_path / "data") as serving,
        serving.client() as client,
        serving.client() as worker,
        ThreadPoolExecutor(2) as threads,
    ):
        tag = client.get("/api/projects").headers["ETag"]

        def read() -> httpx.Response:
            headers = {**WAIT, "If-None-Match": tag}
            return client.get("/api/projects", headers=headers, timeout=50)

        def claim() -> httpx.Response:
            body = {"worker": "w"}
            return worker.post("/api/agent-runs/claim", json=body, headers=WAIT, timeout=50)

        answers = [threads.submit(read), threads.submit(claim)]
        with serving.client() as other:
            while not all(line in other.get("/metrics").text for line in OPEN):
                assert not any(answer.done() for answer in answers)
        # Long before their time is up.
        assert serving.end(within=30) == 0
        assert [answer.result().status_code for answer in answers] == [304, 204]
