"""Dotenv files are read by python-dotenv's parser, and each wrong line is named."""

import io
import random

import pytest
from dotenv import dotenv_values

from backend.schemas.dotenv_reading import (
    MAX_STATEMENTS,
    TooManyStatementsError,
    read_dotenv,
)
from models import MAX_SECRET_BYTES, MAX_SECRETS_PER_REQUEST


def values(text: str) -> dict[str, str]:
    """The variables of a file in which nothing is wrong."""
    file = read_dotenv(text)
    assert file.rejected == []
    return {key: value.get_secret_value() for key, value in file.values.items()}


def rejected(text: str) -> list[tuple[int, str]]:
    """The line and the code of all that is wrong with a file."""
    return [(one.line, one.code) for one in read_dotenv(text).rejected]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("A=1", {"A": "1"}),
        ("A=1\nB=2\n", {"A": "1", "B": "2"}),
        ("export A=1\nexport\tB='2'", {"A": "1", "B": "2"}),
        ("# a comment\nA=1 # another\nB='#' # one\nC=a#b", {"A": "1", "B": "#", "C": "a#b"}),
        ("\ufeffA=1\n", {"A": "1"}),
        ("A=1\r\nB='x\r\ny'\r\n", {"A": "1", "B": "x\ny"}),
        ("A=1\rB=2", {"A": "1", "B": "2"}),
        ("A = ' x '  \nB =  y  ", {"A": " x ", "B": "y"}),
        ("A='one\ntwo'\nB=\"three\n\nfour\"", {"A": "one\ntwo", "B": "three\n\nfour"}),
        ('A="a\\nb\\t\\"c\\" \\$ \\\\"', {"A": 'a\nb\t"c" \\$ \\'}),
        ("A='it\\'s \\n'", {"A": "it's \\n"}),
        ("A=$HOME\nB='${HOME}'\nC=\"${A:-x}\"", {"A": "$HOME", "B": "${HOME}", "C": "${A:-x}"}),
        ("'A'=1", {"A": "1"}),
        ("A=1\nB=2\nA=3", {"A": "3", "B": "2"}),
        ("A=x=y", {"A": "x=y"}),
        ("A=\u00e9\U0001f511", {"A": "\u00e9\U0001f511"}),
        ("", {}),
        ("\n # nothing\n\n", {}),
    ],
)
def test_a_file_is_read_as_python_dotenv_reads_it(text: str, read: dict[str, str]) -> None:
    assert values(text) == read
    known = dotenv_values(stream=io.StringIO(text, newline=None), interpolate=False)
    assert known == read


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("A=1\nB\nC=2", [(2, "no_value")]),
        ("A=\nB=''\nC=\"\"", [(1, "secret_size"), (2, "secret_size"), (3, "secret_size")]),
        ("A= # a comment", [(1, "secret_size")]),
        ("1A=x\nA-B=x\nA.B=x", [(1, "secret_key"), (2, "secret_key"), (3, "secret_key")]),
        (f"{'A' * 100}=x\n{'A' * 101}=x", [(2, "secret_key")]),
        ("\u00c4=x", [(1, "secret_key")]),
        ("A=x\0y\nB='\0'", [(1, "secret_nul"), (2, "secret_nul")]),
        ("\n\n\nA='open\nB=1\n", [(4, "dotenv_syntax")]),
        ("A='x' y\n=z\n", [(1, "dotenv_syntax"), (2, "dotenv_syntax")]),
        ("A='one\ntwo'\n\n# three\n\nB\n", [(6, "no_value")]),
        ("A=1\r\n\r\nB\r\n", [(3, "no_value")]),
        (f"A={'x' * MAX_SECRET_BYTES}\nB={'x' * (MAX_SECRET_BYTES + 1)}", [(2, "secret_size")]),
        ("A=" + "\u00e9" * (MAX_SECRET_BYTES // 2 + 1), [(1, "secret_size")]),
        ("A=\nA=x", [(1, "secret_size")]),
        ("export", [(1, "no_value")]),
    ],
)
def test_each_wrong_line_is_named(text: str, wrong: list[tuple[int, str]]) -> None:
    assert rejected(text) == wrong


def test_a_line_is_named_without_its_content() -> None:
    text = "hidden\nhid-den=hidden\nB='hidden' hidden\nC=hidden\0\nA='hidden"
    file = read_dotenv(text)
    assert [one.line for one in file.rejected] == [1, 2, 3, 4, 5]
    assert "hid" not in str(file.rejected)
    assert "hidden" not in repr(read_dotenv("A=hidden"))


def test_what_is_fine_is_read_beside_what_is_wrong() -> None:
    file = read_dotenv("A=1\n-\nB=2")
    assert list(file.values) == ["A", "B"]
    assert len(file.rejected) == 1


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.long_form)])
def test_random_files_are_read_as_python_dotenv_reads_them(count: int) -> None:
    pieces = [*"AB=='\"\\# \n\n\r\t$x1", "export ", "A=", "\nB='", "${A}", "\ufeff", "\u2028", "\0"]
    rest = random.Random(6)  # noqa: S311 - not for a secret
    for _ in range(count):
        text = "".join(rest.choice(pieces) for _ in range(rest.randint(1, 30)))
        file = read_dotenv(text)
        known = dotenv_values(stream=io.StringIO(text, newline=None), interpolate=False)
        assert file.values.keys() <= known.keys()
        lines = io.StringIO(text, newline=None).read().count("\n") + 1
        assert all(1 <= one.line <= lines for one in file.rejected)
        if not file.rejected:
            assert {key: v.get_secret_value() for key, v in file.values.items()} == known


def test_what_would_take_quadratic_time_is_refused() -> None:
    blanks = " " * 500_000
    assert rejected(f"A=x{blanks}y") == [(1, "dotenv_syntax")]
    assert rejected(f"A=x{blanks}# a comment") == [(1, "dotenv_syntax")]
    assert values(f"A='{' ' * 60_000}'\nB=x{' ' * 100}# a comment") == {"A": " " * 60_000, "B": "x"}
    assert rejected("A='" * 300_000)
    assert rejected('A="' + "\\" * 500_001)


def test_the_number_of_variables_and_of_statements_is_limited() -> None:
    fine = "".join(f"A{number}=1\n" for number in range(MAX_SECRETS_PER_REQUEST))
    assert len(values(fine + "A0=2\n")) == MAX_SECRETS_PER_REQUEST
    with pytest.raises(TooManyStatementsError, match="500 variables"):
        read_dotenv(f"{fine}B=1\n")
    comments = "#\n" * MAX_STATEMENTS
    assert values(comments) == {}
    with pytest.raises(TooManyStatementsError, match="variables and comments"):
        read_dotenv(f"{comments}#")
