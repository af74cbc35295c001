"""The pages' examples in Python run as they are typed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, Serving
from tests.test_examples import BLOCKS, SERVER

PAGES = ("README.md", "docs/python.md")
RUNNER = """
import ast, asyncio, inspect, sys

async def run() -> None:
    code = compile(sys.stdin.read(), "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    done = eval(code, {"__name__": "page"})
    if inspect.isawaitable(done):
        await done

asyncio.run(run())
"""
"""What `python -m asyncio` does with what is typed."""


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(page: str, tmp_path: Path) -> None:
    script = "\n".join(
        block.text for block in BLOCKS if (block.page, block.info) == (page, "python")
    )
    with Serving(tmp_path / "data") as serving:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", RUNNER],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            input=script.replace(SERVER, serving.url.removeprefix("http://")),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert "a made-up value" not in done.stdout


def test_every_page_with_examples_is_tried() -> None:
    pages = {block.page for block in BLOCKS if block.info == "python"}
    # The client on the one page is generated from openapi.json, in `make clients`. The suite on the
    # other is run by the tests of the plugin.
    assert pages == {*PAGES, "docs/clients.md", "docs/testing.md"}
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    assert len(re.findall("^```python$", page, re.MULTILINE)) >= 10
