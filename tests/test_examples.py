"""The documentation's examples run as they are pasted: each page from top to bottom, in one shell,
with a new server."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.processes import PATIENCE, Serving

ROOT = Path(__file__).parent.parent
NOT_RUN = {
    ("docs/backup.md", "STRONGROOM_CHECKPOINTS=litestream strongroom serve"): (
        "goes on until it is ended; tests/cli/test_litestream.py does the same"
    ),
    ("docs/backup.md", "litestream restore"): "needs the replica that the one before it makes",
    ("docs/front-end.md", "STRONGROOM_CORS_ORIGINS="): (
        "servers that go on until they are ended; tests/browser/test_live_page.py has the same"
    ),
}
"""The page and the beginning of each block marked `not-run`, with the reason."""
LISTS = {
    ("CONTRIBUTING.md", "make"): "the checks, and these tests themselves",
    ("README.md", "make"): "the server that the examples are given, and these tests themselves",
    ("docs/performance.md", "make"): "benchmarks, which take minutes",
}
"""The page and the command of indented lines that are only to be read, with the reason."""
SERVER = "127.0.0.1:8000"
COMMANDS = r"(?:\$ |curl|strongroom|make|pip|python|litestream|export|docker|cd|cp|mkdir)\b"
CURLRC = 'fail-with-body\nwrite-out = "%{stderr}status %{http_code}\\n"\n'
"""Every error answer is an error for the shell, too, and curl reports each status."""


@dataclass(frozen=True)
class Block:
    """A fenced block on a page."""

    page: str
    info: str
    """The text after the fence."""
    text: str

    @property
    def is_shell(self) -> bool:
        return self.info.split(" ")[0] in ("sh", "bash", "shell", "console", "shell-session")


def pages() -> Iterator[tuple[str, str]]:
    """The name and text of each page."""
    for file in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        yield str(file.relative_to(ROOT)), file.read_text(encoding="utf-8")


BLOCKS = [
    Block(page, info, text)
    for page, whole in pages()
    for info, text in re.findall(r"^```([^\n]*)\n(.*?)^```$", whole, re.DOTALL | re.MULTILINE)
]
SCRIPTS: dict[str, str] = {}
for block in BLOCKS:
    if block.info == "sh":
        SCRIPTS[block.page] = SCRIPTS.get(block.page, "") + block.text


def test_every_block_of_commands_is_run_or_is_known_not_to_be() -> None:
    assert len(SCRIPTS) > 6
    assert {block.info for block in BLOCKS if block.is_shell} <= {"sh", "sh not-run"}
    left_out = [block for block in BLOCKS if block.info == "sh not-run"]
    for page, beginning in NOT_RUN:
        assert [b for b in left_out if b.page == page and b.text.startswith(beginning)], beginning
    assert len(left_out) == len(NOT_RUN)
    others = [block for block in BLOCKS if not block.is_shell]
    assert [b for b in others if not b.info or re.match(COMMANDS, b.text)] == []


def test_commands_that_are_only_listed_are_known() -> None:
    found = {
        (page, match[1])
        for page, text in pages()
        for match in re.finditer(rf"^(?: {{4}}|\t)({COMMANDS})", text, re.MULTILINE)
        if page != "CHANGELOG.md"
    }
    assert found == set(LISTS)


@pytest.fixture(scope="module")
def bash() -> str:
    """A shell whose curl can tell errors from other answers."""
    shell, curl = shutil.which("bash"), shutil.which("curl")
    if shell is None or curl is None:
        pytest.skip("examples are written for bash and curl")
    version = subprocess.run([curl, "--version"], capture_output=True, text=True, check=True)
    found = re.match(r"curl (\d+)\.(\d+)", version.stdout)
    if found is None or (int(found[1]), int(found[2])) < (7, 76):
        pytest.skip("curl before 7.76 shows no error as one")
    return shell


@pytest.mark.parametrize(
    "page",
    [
        page if page == "README.md" else pytest.param(page, marks=pytest.mark.long_form)
        for page in SCRIPTS
    ],
)
def test_the_examples_of_a_page_run_as_they_are_pasted(
    page: str, tmp_path: Path, bash: str
) -> None:
    script = SCRIPTS[page]
    if "openssl" in script and shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    (tmp_path / ".curlrc").write_text(CURLRC)
    with Serving(tmp_path / "data") as serving:
        if SERVER not in script:
            # The page's examples need the directory without a running server.
            assert serving.end() == 0
        done = subprocess.run(
            # A variable that the page does not define is an error.
            [bash, "-euo", "pipefail"],
            cwd=tmp_path,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "CURL_HOME": str(tmp_path),
            },
            input=script.replace(SERVER, serving.url.removeprefix("http://")),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    statuses = re.findall(r"^status (\d+)$", done.stderr, re.MULTILINE)
    assert len(statuses) == len(re.findall(r"\bcurl ", script))
    # 304 answers the question whether something has changed.
    assert all(status[0] == "2" or status == "304" for status in statuses), statuses


def test_options_of_make_run_reach_the_server() -> None:
    assert 'make run ARGS="--port 8001"' in (ROOT / "README.md").read_text(encoding="utf-8")
    make = shutil.which("make")
    if make is None:
        pytest.skip("there is no make")
    command = [make, "--dry-run", "run", "ARGS=--port 8001"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "strongroom serve --port 8001" in told


def test_blocks_in_typescript_are_parts_of_the_example() -> None:
    sources = (ROOT / "examples" / "typescript" / "src").glob("*.ts")
    texts = [source.read_text(encoding="utf-8") for source in sources]
    blocks = [block for block in BLOCKS if block.info == "ts"]
    assert len(blocks) > 5
    for block in blocks:
        assert any(block.text in text for text in texts), block.text


def test_blocks_of_the_generated_client_are_parts_of_what_is_run() -> None:
    program = (ROOT / "tests" / "clients" / "first_session.py.txt").read_text(encoding="utf-8")
    lines = {line.strip() for line in program.splitlines()}
    blocks = [block for block in BLOCKS if block.page == "docs/clients.md"]
    (block,) = [block for block in blocks if block.info == "python"]
    assert set(block.text.splitlines()) <= lines
