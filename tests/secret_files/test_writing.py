"""Files of environment variables are read back to the same bytes, or the value is refused."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from dotenv import dotenv_values

from backend.schemas.dotenv_reading import read_dotenv
from backend.schemas.environment_files import (
    SET_BY_SHELLS,
    NotCarriedError,
    RevealFormat,
    written,
)
from models import MAX_SECRETS_PER_REQUEST
from tests.secret_files.files import (
    SHELLS,
    carried,
    nasty_values,
    read_by_docker,
    read_by_dotenv,
    read_by_shell,
)

MANY = pytest.param(10_000, marks=pytest.mark.long_form)
DOTENV, DOCKER = RevealFormat.DOTENV, RevealFormat.DOCKER


def parts(values: dict[str, str]) -> Iterator[dict[str, str]]:
    """The values in parts: the environment of a process is limited, as is an import."""
    pairs = list(values.items())
    for first in range(0, len(pairs), MAX_SECRETS_PER_REQUEST):
        yield dict(pairs[first : first + MAX_SECRETS_PER_REQUEST])


def refusal(key: str, value: str, form: RevealFormat) -> str:
    """The code of a refusal, whose message tells nothing of the value."""
    with pytest.raises(NotCarriedError) as caught:
        written({"OTHER": "fine", key: value}, form)
    assert caught.value.key == key
    assert value not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("count", [1000, MANY])
def test_python_dotenv_reads_every_value_back(count: int, tmp_path: Path) -> None:
    taken, refused = carried(nasty_values(1, count), DOTENV)
    assert len(taken) > count * 0.7
    assert refused.keys() == {"interpolation", "no_quotes"}
    file = tmp_path / ".env"
    for values in parts(taken):
        text = written(values, DOTENV)
        assert read_by_dotenv(text, interpolate=False) == values
        assert read_by_dotenv(text) == values
        # From a file, python-dotenv changes line ends.
        file.write_bytes(text.encode())
        assert dotenv_values(file) == values


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("count", [1000, MANY])
def test_shells_read_every_value_back(shell: str, count: int, tmp_path: Path) -> None:
    values, _ = carried(nasty_values(2, count), DOTENV)
    assert len(values) > count * 0.7
    for part in parts(values):
        read = read_by_shell(shell, written(part, DOTENV), tmp_path)
        assert {key: read.get(key.encode()) for key in part} == {
            key: value.encode() for key, value in part.items()
        }


@pytest.mark.parametrize("count", [1000, MANY])
def test_an_import_reads_every_value_back(count: int) -> None:
    values, _ = carried(nasty_values(3, count), DOTENV)
    for part in parts(values):
        file = read_dotenv(written(part, DOTENV))
        assert file.rejected == []
        assert {key: value.get_secret_value() for key, value in file.values.items()} == part


@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.long_form)])
def test_what_is_refused_is_read_back_from_no_quotes(count: int, tmp_path: Path) -> None:
    _, refused = carried(nasty_values(4, count), DOTENV)
    values = [value for values in refused.values() for value in values]
    assert len(values) > count / 10
    # Without what only bash replaces, and what is a letter in some locales.
    for value in (one for one in values if not re.search(r"\$[\[\x80-\U0010ffff]", one)):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        literal = value.replace("\\", "\\\\").replace("'", "\\'")
        for quoted in (f"'{value}'", f"'{literal}'", f'"{escaped}"'):
            text = f"KEY={quoted}\n"
            by_dotenv = read_by_dotenv(text).get("KEY") == value
            if by_dotenv:
                # The shell may refuse the file.
                read = read_by_shell("sh", text, tmp_path, check=False)
                assert read.get(b"KEY") != value.encode(), quoted


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", "KEY='plain'\n"),
        ("with $PRICE, `id` and \\d", "KEY='with $PRICE, `id` and \\d'\n"),
        ("it's 5 $", 'KEY="it\'s 5 $"\n'),
        ('a "word" and \\', 'KEY="a \\"word\\" and \\\\"\n'),
        ("two\nlines", "KEY='two\nlines'\n"),
        (" # not a comment ", "KEY=' # not a comment '\n"),
    ],
)
def test_single_quotes_are_taken_where_they_carry_the_value(value: str, line: str) -> None:
    assert written({"KEY": value}, DOTENV) == line


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("one\r\ntwo", "carriage_return"),
        ("\r", "carriage_return"),
        ("before ${NAME} after", "interpolation"),
        ("${NAME:-default}", "interpolation"),
        ("${}", "interpolation"),
        ("it's `id`", "no_quotes"),
        ("it's $HOME", "no_quotes"),
        ("it's $[1+1]", "no_quotes"),
        ("a\\\\b `", "no_quotes"),
    ],
)
def test_dotenv_refuses_what_it_can_not_carry(value: str, code: str) -> None:
    assert refusal("KEY", value, DOTENV) == code


def test_a_dollar_alone_needs_no_refusal() -> None:
    for value in ("${", "$", "$NAME", "$(id)", "{$}", "$${"):
        assert read_by_dotenv(written({"KEY": value}, DOTENV)) == {"KEY": value}


@pytest.mark.parametrize("key", sorted(SET_BY_SHELLS))
def test_dotenv_refuses_what_shells_set_themselves(key: str) -> None:
    assert refusal(key, "value", DOTENV) == "shell_variable"
    assert written({key: "value"}, DOCKER) == f"{key}=value\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_every_other_variable_of_a_shell_is_carried(shell: str, tmp_path: Path) -> None:
    known = read_by_shell(shell, "set >&2; OF_SHELL=1\n", tmp_path).keys()
    names = {key.decode() for key in known} | {"PATH", "IFS", "PS1", "PS4", "HOME", "ENV", "PWD"}
    names |= {"OLDPWD", "OPTARG", "OPTERR", "REPLY", "HOSTNAME", "COLUMNS", "MAIL", "CDPATH"}
    values = dict.fromkeys(sorted(names - SET_BY_SHELLS), "x y")
    read = read_by_shell(shell, written(values, DOTENV), tmp_path)
    assert {key: read.get(key.encode()) for key in values} == dict.fromkeys(values, b"x y")


@pytest.mark.parametrize("count", [1000, MANY])
def test_docker_reads_every_value_back(count: int) -> None:
    values, refused = carried([*nasty_values(5, count), "a\rb", " \t x \t "], DOCKER)
    assert refused.keys() == {"line_feed"}
    assert len(values) > count * 0.6
    assert dict(read_by_docker(written(values, DOCKER))) == values


def test_docker_refuses_what_it_can_not_carry() -> None:
    assert refusal("KEY", "two\nlines", DOCKER) == "line_feed"
    assert refusal("KEY", "value\r", DOCKER) == "carriage_return"
    longest = 64 * 1024 - len("KEY=\n")
    assert len(written({"KEY": "x" * longest}, DOCKER)) == 64 * 1024
    assert refusal("KEY", "x" * (longest + 1), DOCKER) == "line_too_long"
    # Docker counts bytes.
    assert refusal("KEY", "\u00e9" * (longest // 2 + 1), DOCKER) == "line_too_long"


def test_a_file_without_secrets_is_empty() -> None:
    assert written({}, DOTENV) == written({}, DOCKER) == ""
