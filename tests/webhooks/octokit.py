"""GitHub's own library for signed deliveries, installed by npm into the repository's cache."""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent / "node"
CACHE = Path(__file__).parents[2] / ".cache" / "octokit"
_UNREACHABLE = re.compile(
    r"\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH"
    r"|ERR_SOCKET_TIMEOUT|FETCH_ERROR|E50\d|E429)\b"
)
_PATIENCE = 120


@cache
def sender() -> list[str]:
    """The command that sends deliveries, without the URL. Skips the test if this machine can't run
    it."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("GitHub's library needs Node.js 20 or newer with npm, which is not installed")
    version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
    if int(version.stdout.removeprefix("v").split(".")[0]) < 20:
        pytest.skip(f"GitHub's library needs Node.js 20 or newer; this is {version.stdout.strip()}")
    return [node, str(_installed(npm) / "deliver.mjs")]


def _installed(npm: str) -> Path:
    """The directory with the packages of the current lock, and the current script."""
    lock = (HERE / "package-lock.json").read_bytes()
    known = CACHE / "package-lock.json"
    if not known.exists() or known.read_bytes() != lock:
        CACHE.parent.mkdir(exist_ok=True)
        # Installed next to the cache and then renamed, because several tests may do this at the
        # same time.
        fresh = Path(tempfile.mkdtemp(dir=CACHE.parent))
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, fresh)
        _install(npm, fresh)
        shutil.rmtree(CACHE, ignore_errors=True)
        try:
            fresh.rename(CACHE)
        except OSError:
            # Another test was faster.
            shutil.rmtree(fresh)
    shutil.copy(HERE / "deliver.mjs", CACHE)
    return CACHE


def _install(npm: str, directory: Path) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=directory, capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        shutil.rmtree(directory)
        pytest.skip(f"the npm registry did not answer within {_PATIENCE} seconds")
    if done.returncode != 0:
        shutil.rmtree(directory)
        if _UNREACHABLE.search(done.stderr):
            pytest.skip("the npm registry can't be reached")
        pytest.fail(f"npm ci failed: {done.stderr}")


def send(url: str, token: str, deliveries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sign and send deliveries (`guid`, `event`, `payload`). Returns, for each `guid`, the `status`
    and the `id` of the answer, and the `body` that was sent."""
    command = [*sender(), url]
    lines = [token, *deliveries]
    done = subprocess.run(
        command,
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_PATIENCE,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "NODE_OPTIONS"},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.split("\n") if line]
