"""Node and the generators that are installed. A test is skipped where what it needs is not."""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.clients.tools import BIN, HERE, Node
from tests.support.tree import ROOT

OLDEST_NODE = 20


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once what is not installed, instead of once for each test."""
    reports = terminalreporter.getreports("skipped")
    own = [report for report in reports if report.nodeid.startswith("tests/clients/")]
    for reason, count in Counter(report.longrepr[-1] for report in own).items():
        terminalreporter.write_line(f"{count} tests: {reason}")


@pytest.fixture(scope="session")
def node() -> Node:
    """Node, for which the packages of `package.json` are installed."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("no Node was found: install Node 20 or newer with npm")
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node is older than {OLDEST_NODE}: install Node 20 or newer with npm")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("the packages for Node are not installed: install npm, and run make clients")
    return Node(path)


@pytest.fixture(scope="session")
def generators() -> Path:
    """The folder with the programs of the environment for generated clients in Python."""
    if not (BIN / "openapi-python-client").is_file():
        pytest.skip("the generator of clients is not installed: run make clients")
    return BIN


@pytest.fixture(scope="session")
def example(node: Node, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `examples/typescript` with its types, not compiled yet."""
    folder = tmp_path_factory.mktemp("typescript")
    shutil.copytree(ROOT / "examples" / "typescript", folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(HERE / "node_modules")
    types = folder / "src" / "api.d.ts"
    # As a user does: with no options but the names of the files.
    node.run("openapi-typescript", ROOT / "openapi.json", "-o", types, cwd=folder)
    return folder
