"""The Chromium and the Node that are installed. A test is skipped where the one it needs is not."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.browser.world import World, signed_in

HERE = Path(__file__).parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
OLDEST_NODE = 20
DOMAIN = "*.test"
"""Names that lead Chromium to this machine, and are no loopback names to it."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once what is not installed, instead of once for each test."""
    reports = terminalreporter.getreports("skipped")
    own = [report for report in reports if report.nodeid.startswith("tests/browser/")]
    reasons = Counter(report.longrepr[-1] for report in own)
    for reason, count in reasons.items():
        terminalreporter.write_line(f"{count} tests: {reason}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Chromium, driven by Playwright. Each test makes contexts of its own."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="Playwright is not installed: run make browser"
    )
    if CHROMIUM is None:
        pytest.skip("no Chromium was found: install it (on Debian: apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            # Chromium's own sandbox needs rights that containers and root do not have.
            executable_path=CHROMIUM,
            args=["--no-sandbox", f"--host-resolver-rules=MAP {DOMAIN} 127.0.0.1"],
        )
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def node() -> str:
    """The path of Node, for which the packages of `package.json` are installed."""
    path = shutil.which("node")
    if path is None:
        pytest.skip("no Node was found: install Node 20 or newer with npm")
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
    if int(told.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node is older than {OLDEST_NODE}: install Node 20 or newer with npm")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("the packages for Node are not installed: install npm, and run make browser")
    return path


@pytest.fixture
def world(settings: Settings, chromium: Any) -> Iterator[World]:
    """The browser's session is the admin's, and there is one project with a secret."""
    with signed_in(settings, chromium) as world:
        yield world
