"""The documentation names everything that the code has, and nothing else."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from typer.main import get_command

from backend.errors import ERROR_TABLE
from backend.main import create_app
from config.loading import CLIENT_VARIABLES, RETIRED_VARIABLES, variable_names
from config.settings import Settings
from tests.support.tree import ROOT, folders

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


@cache
def _documents() -> dict[str, str]:
    """The text of each document, by its path in the repository."""
    files = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
    files += sorted((ROOT / "docs").rglob("*.md"))
    return {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in files}


@cache
def _text() -> str:
    return "\n".join(text for document, text in _documents().items() if document != "CHANGELOG.md")


def _said(name: str) -> bool:
    """Whether the documents contain the name, and not only as a part of a longer one."""
    return re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", _text()) is not None


def _commands(command: Any, path: str) -> Iterator[tuple[str, list[str]]]:
    """The words that call each command, and its options."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            if not child.hidden:
                yield from _commands(child, f"{path} {name}")
    else:
        names = [name for parameter in command.params for name in parameter.opts]
        yield path, [name for name in names if name.startswith("--") and name != "--help"]


def _assert_none(missing: list[str]) -> None:
    assert not missing, f"not in the documents: {', '.join(missing)}"


@cache
def _operations() -> list[tuple[str, str]]:
    """The method and path of every call in the OpenAPI document."""
    document: dict[str, Any] = create_app(Settings(_env_file=None)).openapi()
    return [
        (method.upper(), path)
        for path, item in document["paths"].items()
        for method in item
        if method in METHODS
    ]


def _anonymous(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def test_every_setting_is_documented() -> None:
    _assert_none([name for name in variable_names() if not _said(name)])


def test_no_setting_is_documented_that_there_is_not() -> None:
    said = set(re.findall(r"\bSTRONGROOM_[A-Z0-9_]*[A-Z0-9]\b", _text()))
    others = CLIENT_VARIABLES | RETIRED_VARIABLES | {"STRONGROOM_DB"}
    assert said - set(variable_names()) - others == set()


def test_every_command_is_documented_with_its_options() -> None:
    from backend.cli import app as cli

    commands = dict(_commands(get_command(cli), "strongroom"))
    assert "strongroom serve" in commands
    options = {option for names in commands.values() for option in names}
    _assert_none([name for name in [*commands, *sorted(options)] if not _said(name)])


def test_every_error_code_is_documented() -> None:
    _assert_none([code for code in ERROR_TABLE if f"`{code}`" not in _text()])


def test_every_call_is_documented() -> None:
    lines = [_anonymous(line) for line in _text().splitlines()]

    def documented(method: str, path: str) -> bool:
        wanted = re.compile(rf"(?<![\w/}}-]){re.escape(_anonymous(path))}(?![\w/{{-])")
        return any(wanted.search(line) and re.search(rf"\b{method}\b", line) for line in lines)

    operations = _operations()
    assert ("GET", "/health") in operations
    _assert_none(
        [f"{method} {path}" for method, path in operations if not documented(method, path)]
    )


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)|^ {4}make ([a-z-]+)", _text(), re.MULTILINE))
    assert {target for pair in named for target in pair if target} - targets == set()


def _tests_in(file: Path) -> set[str]:
    """The names of a file's tests, in pytest's form."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        members = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        for member in members:
            if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(prefix + member.name)
    return found


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", _text()))
    assert len(named) > 20
    assert {
        (file, name)
        for file, name in named
        if not (ROOT / file).exists() or name not in _tests_in(ROOT / file)
    } == set()


def test_each_of_owasps_ten_risks_has_its_tests() -> None:
    rows = re.findall(r"^\| API(\d+) .*$", _documents()["docs/security.md"], re.MULTILINE)
    assert rows == [str(number) for number in range(1, 11)]
    for row in re.findall(r"^\| API\d+ .*$", _documents()["docs/security.md"], re.MULTILINE):
        assert "::test_" in row, row[:40]


def _slug(heading: str) -> str:
    """The anchor of a heading on the page."""
    text = re.sub(r"[`*_]|\[([^]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
    return re.sub(r"[^\w -]", "", text).replace(" ", "-")


def _links() -> Iterator[tuple[str, str]]:
    for document, text in _documents().items():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if not re.match(r"[a-z]+:", target):
                yield document, target


def _leads_somewhere(document: str, target: str) -> bool:
    path, _, anchor = target.partition("#")
    file = (ROOT / document).parent / path if path else ROOT / document
    if not file.exists() or not anchor:
        return file.exists()
    headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return anchor in {_slug(heading) for heading in headings}


def test_every_relative_link_leads_somewhere() -> None:
    links = list(_links())
    assert links
    assert [link for link in links if not _leads_somewhere(*link)] == []


def test_the_readme_leads_to_every_page_and_names_every_directory() -> None:
    readme = _documents()["README.md"]
    pages = [f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")]
    assert len(pages) > 15
    _assert_none([page for page in pages if f"]({page})" not in readme])
    assert {"backend", "examples"} <= set(folders())
    _assert_none([folder for folder in folders() if f"{folder}/" not in readme])


def _rows_of_the_dashboard() -> dict[str, str]:
    """The calls of the dashboard, and what the page says for each of them."""
    page = _documents()["docs/front-end.md"]
    rows = re.findall(r"^\| (.*?) \| (.*) \|$", page, re.MULTILINE)
    rows = rows[rows.index(("the dashboard", "here | what differs")) + 1 :]
    return {theirs: ours for theirs, ours in rows if theirs.startswith(("`", "websocket"))}


def test_the_calls_that_replace_the_dashboard_s_exist() -> None:
    rows = _rows_of_the_dashboard()
    for theirs in ("/api/projects`", "/agent-runs`", "/continue`", "/secrets`", "websocket"):
        assert any(theirs in row for row in rows), theirs
    calls = [
        (method, _anonymous(path))
        for ours in rows.values()
        for method, path in re.findall(r"`([A-Z]+) (/api/[^`?]*)", ours)
    ]
    assert len(calls) > 15
    known = {(method, _anonymous(path)) for method, path in _operations()}
    assert [call for call in calls if call not in known] == []


def test_the_page_on_front_ends_knows_whether_a_run_can_be_sent_a_message() -> None:
    paths = {path for _, path in _operations()}
    has_messages = any(path.endswith(("/messages", "/continue")) for path in paths)
    says_none = "It carries no message" in _documents()["docs/front-end.md"]
    assert says_none is not has_messages, "map the dashboard's `continue` to the call for it"


def test_every_decision_is_listed_and_has_its_number() -> None:
    folder = ROOT / "docs" / "decisions"
    found = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == found
    for number, name in enumerate(found, 1):
        text = (folder / name).read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert name.startswith(f"{number:04}-")
        for part in ("## Context\n", "## Decision\n", "## Figures\n"):
            assert part in text, name


def test_no_diagram_has_a_semicolon() -> None:
    diagrams = re.findall(r"^```mermaid\n(.*?)^```", _text(), re.DOTALL | re.MULTILINE)
    assert len(diagrams) >= 2
    for diagram in diagrams:
        # In Mermaid it ends the statement, and the rest of the line is a syntax error.
        assert ";" not in diagram
