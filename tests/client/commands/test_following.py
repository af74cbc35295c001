"""`strongroom logs tail` and `strongroom runs watch`: what follows, to its end."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from strongroom import Client
from tests.client.commands.conftest import Command
from tests.support.processes import PATIENCE, STRONGROOM
from tests.support.servers import RunningServer


class _Following:
    """A command that goes on, and its lines."""

    def __init__(self, env: dict[str, str], *words: str) -> None:
        self.process = subprocess.Popen(
            [STRONGROOM, *words],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def client(service: RunningServer, admin: str) -> Iterator[Client]:
    """A client of the service."""
    with Client(service.url, admin) as made:
        yield made


def test_logs_follow_without_escapes_until_ctrl_c(
    client: Client, project: int, variables: dict[str, str]
) -> None:
    def log(message: str) -> None:
        client.logs.create(level="ERROR", message=message, project_id=project)

    for message in ("first", "second", "third \x1b[2J\nfake"):
        log(message)
    client.logs.create(level="DEBUG", message="not this one", project_id=project)
    words = ("logs", "tail", "--project", str(project), "--level", "ERROR", "--lines", "2")
    with _Following(variables, *words) as shown, _Following(variables, *words, "--json") as json_:
        assert [shown.line().split("ERROR    ")[1] for _ in range(2)] == [
            "second",
            "third \\x1b[2J\\nfake",
        ]
        assert [json.loads(json_.line())["message"] for _ in range(2)] == [
            "second",
            "third \x1b[2J\nfake",
        ]
        log("fourth")
        assert shown.line().endswith("ERROR    fourth")
        assert json.loads(json_.line())["message"] == "fourth"
        for one in (shown, json_):
            one.process.send_signal(signal.SIGINT)
            assert one.process.communicate(timeout=PATIENCE) == ("", "strongroom: interrupted\n")
            assert one.process.returncode == 130


def test_the_last_logs_alone(client: Client, project: int, command: Command) -> None:
    client.logs.create(level="INFO", message="alone", project_id=project, component="oven")
    outcome = command(
        "logs", "tail", "--no-follow", "--component", "oven", "--project", str(project)
    )
    assert outcome.status == 0
    assert outcome.out.endswith("INFO     oven alone\n")


def test_a_reader_that_has_seen_enough_ends_it(
    client: Client, project: int, variables: dict[str, str], tmp_path: Path
) -> None:
    client.logs.create(level="INFO", message="enough", project_id=project)
    errors = (tmp_path / "err").open("w+")
    with errors, _Following(variables, "logs", "tail", "--project", str(project)) as shown:
        assert shown.line()
        assert shown.process.stdout is not None
        shown.process.stdout.close()
        client.logs.create(level="INFO", message="too much", project_id=project)
        assert shown.process.wait(PATIENCE) == 1
        assert shown.process.stderr is not None
        assert shown.process.stderr.read() == ""
        shown.process.stderr.close()
        shown.process.stdout = shown.process.stderr = None


def test_a_run_is_watched_to_its_end(
    client: Client, project: int, variables: dict[str, str]
) -> None:
    run = client.agent_runs.create(project_id=project, target_text="Bake \x1b[31m")
    with _Following(variables, "runs", "watch", str(run.id)) as shown:
        assert shown.line().endswith("pending: Bake \\x1b[31m")
        client.agent_runs.cancel(run.id)
        assert " cancelled: " in shown.line()
        assert shown.process.communicate(timeout=PATIENCE) == ("", "")
        assert shown.process.returncode == 0
