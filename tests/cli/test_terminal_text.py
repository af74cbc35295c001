"""Text that clients chose does not control the terminal of the reader."""

import ast
import inspect
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest

from backend.cli import common
from backend.cli.report import ImportReport
from database.text_keys import text_key
from strongroom._commands import terminal
from tests.cli.conftest import ChangeEarlier, Command, Install
from tests.support.processes import document, write_documents

WILD = "a\x1b]0;owned\x07\x9b31m\r\nb\u202eevil\u2066\u200b\t\U000e0041é日"
EDGES = "\ue000\uf8ff\ufffe\uffff\U000f0000\U000ffffd\U0010fffd\U0010ffff"
"""The first and last codes of private use, and codes that are never characters."""
PLAIN = r"a\x1b]0;owned\x07\x9b31m\r\nb\u202eevil\u2066\u200b\t\U000e0041é日"


def is_harmless(text: str) -> bool:
    return all(c in "\n\t" or c.isprintable() or unicodedata.category(c) == "Zs" for c in set(text))


@pytest.fixture
def installation(command: Command, install: Install, change_earlier: ChangeEarlier) -> Path:
    """A data directory with control characters in the names of a token and a project, as older
    versions accepted them."""
    directory = install([document(1)])
    made = command("token", "create", "wild", "--scope", "admin", "--data-dir", directory)
    assert made.status == 0
    key = text_key(WILD)
    statement = (
        "UPDATE projects SET name = ?, name_key = ?,"
        " search_text = ? || char(10) || owner_key || '/' || repo_key"
    )
    change_earlier(
        directory,
        ("UPDATE api_tokens SET name = ? WHERE name = 'wild'", (WILD,)),
        (statement, (WILD, key, key)),
    )
    return directory


def test_a_listed_name_is_one_cell_of_one_line(command: Command, installation: Path) -> None:
    listed = command("token", "list", "--data-dir", installation)
    assert is_harmless(listed.out)
    lines = listed.out.splitlines()
    assert len(lines) == 3
    assert lines[1].split("\t")[1] == PLAIN
    assert {line.count("\t") for line in lines} == {7}


@pytest.mark.parametrize(
    "line",
    [
        ("token", "list", "--json"),
        ("export", "-"),
        ("audit", "export", "-"),
        ("keys", "status", "--json"),
        ("verify", "--json"),
    ],
)
def test_json_is_harmless_and_means_the_same(
    command: Command, installation: Path, line: tuple[str, ...]
) -> None:
    shown = command(*line, "--data-dir", installation)
    assert shown.status == 0
    assert is_harmless(shown.out)
    read = [json.loads(text) for text in shown.out.splitlines()]
    if line[0] == "token":
        assert WILD in [token["name"] for token in read[0]["tokens"]]
    if line[0] == "export":
        assert [one["name"] for one in read] == [WILD]


def test_a_table_at_a_terminal_is_harmless_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    common.print_table(("name",), [(WILD,)])
    shown = capsys.readouterr().out
    assert r"\x1b]0;owned" in shown
    # The table itself uses bold text.
    assert is_harmless(re.sub(r"\x1b\[[0-9;]*m", "", shown))


def test_a_report_and_a_complaint_are_harmless(command: Command, directory: Path) -> None:
    file = write_documents(directory.parent / "in.jsonl", [document(1, **{WILD: 1})])
    report = command("import", file, "--data-dir", directory)
    assert PLAIN in report.out
    assert is_harmless(report.out)
    refused = command("export", directory.parent / WILD.replace("/", "") / "x")
    assert is_harmless(refused.err)
    assert refused.err.count("\n") == 1
    unknown = ImportReport()
    unknown.note_unknown(WILD)
    assert list(unknown.unknown_fields) == [PLAIN]


def test_every_character_is_harmless_once_it_is_shown() -> None:
    # All that Unicode assigns, and some of the many codes without a character.
    assigned = (c for c in map(chr, range(0x110000)) if unicodedata.category(c) not in "CnCo")
    text = "".join([*assigned, *map(chr, range(0, 0x110000, 101)), *EDGES])
    assert is_harmless(terminal.printable(text))
    assert "\n" not in terminal.printable(text)
    # JSON readers would join two adjacent surrogates into one character.
    text = "".join(c for c in text if unicodedata.category(c) != "Cs")
    shown = terminal.printable_json(json.dumps(text, ensure_ascii=False))
    assert is_harmless(shown)
    assert json.loads(shown) == text
    assert terminal.printable("Grüße, 日本\u3000\u00a0💥") == "Grüße, 日本\u3000\u00a0💥"


def test_commands_print_through_the_one_place_that_makes_it_harmless() -> None:
    # `serve` prints its own URL and path, in a line to be pasted.
    allowed = {"terminal.py", "output.py", "failures.py", "serve.py"}
    found = set()
    folders = [Path(inspect.getfile(module)).parent for module in (terminal, common)]
    for file in [file for folder in folders for file in folder.glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
                found.add(file.name)
    assert found == allowed
