"""Some words make sentences hard to read. No page or message contains them, and code has ever
fewer."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WORDS = re.compile(
    r"""
    \b(?:
        anew | whoever | nobody | such\ that | of\ theirs | if\ need\ be | what\ it\ is\ that
        # "There is none" and "not at all" are plain English, and `is None` is code.
        | (?<!there\ )is\ (?-i:none) | (?<!not\ )at\ all
    )\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
ALLOWED = {"tests": 1}
"""How many are left in the Python files of a directory. Lower a number when you remove some, and
never raise one; a directory that is not listed has none."""

NOT_PROGRAM = {"bench", "tests"}


def found(text: str) -> list[str]:
    """The forbidden words in their order, also across lines of a comment."""
    return WORDS.findall(re.sub(r"[\s#\"']+", " ", text))


@cache
def _pages() -> list[Path]:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.*")]
    pages += [*(ROOT / "examples").glob("*.*"), *(ROOT / "examples").glob("*/src/*.ts")]
    return sorted([*pages, ROOT / "Makefile", ROOT / "pyproject.toml", ROOT / "openapi.json"])


@cache
def _code() -> dict[str, list[Path]]:
    """The Python files of each directory of the repository, and those of the repository itself
    under `.`."""
    folders = [folder for folder in ROOT.iterdir() if folder.is_dir() and folder.name[0] != "."]
    # This file contains the words themselves.
    files = {
        folder.name: sorted(set(folder.rglob("*.py")) - {Path(__file__)}) for folder in folders
    }
    return {".": sorted(ROOT.glob("*.py"))} | {
        name: paths for name, paths in files.items() if paths
    }


def _strings(tree: ast.Module) -> Iterator[str]:
    """Every string in the code except docstrings."""
    documented = set()
    # A statement comes before its parts.
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            documented.add(id(node.value))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in documented
        ):
            yield node.value


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Whoever asks gets it anew.", ["Whoever", "anew"]),
        ("# a lease of\n    # theirs", ["of theirs"]),
        ('"it is "\n    "none of it"', ["is none"]),
        ("None when there is none, and not at all if it is None", []),
        ("nobody_knows, renewal", []),
    ],
)
def test_words_are_found_in_sentences_and_not_in_names(text: str, words: list[str]) -> None:
    assert found(text) == words


def test_no_page_has_them() -> None:
    pages = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in _pages()}
    assert {"README.md", "docs/api.md", "docs/decisions/README.md"} <= set(pages)
    assert {name: words for name, text in pages.items() if (words := found(text))} == {}


def test_no_message_of_the_program_has_them() -> None:
    files = [file for name, paths in _code().items() if name not in NOT_PROGRAM for file in paths]
    assert ROOT / "backend" / "errors.py" in files
    trees = {str(file.relative_to(ROOT)): ast.parse(file.read_bytes()) for file in files}
    messages = {name: found("\n".join(_strings(tree))) for name, tree in trees.items()}
    assert {name: words for name, words in messages.items() if words} == {}


def test_code_has_no_more_of_them_than_before() -> None:
    left = {
        name: sum(len(found(file.read_text(encoding="utf-8"))) for file in files)
        for name, files in _code().items()
    }
    assert {name: count for name, count in left.items() if count > ALLOWED.get(name, 0)} == {}


def test_no_text_has_marks_of_an_unfinished_merge() -> None:
    texts = [*_pages(), *(path for paths in _code().values() for path in paths)]
    texts += [ROOT / "Makefile", ROOT / "pyproject.toml", *(ROOT / "migrations").glob("*.sql")]
    marks = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    assert len(texts) > 300
    assert not [str(path) for path in texts if marks.search(path.read_text(encoding="utf-8"))]
