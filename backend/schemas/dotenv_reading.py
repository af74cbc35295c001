"""Reads dotenv files with python-dotenv's own parser: the variables, and what is wrong with lines.

References such as `${NAME}` are not replaced: the `$` of a secret has to survive.
"""

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from dotenv.parser import Binding, Error, Reader, parse_binding
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from models import KEY_PATTERN, MAX_SECRETS_PER_REQUEST, SecretText

MAX_DOTENV_BYTES: Final = 1024 * 1024
"""The largest file, in bytes of UTF-8."""
MAX_STATEMENTS: Final = 5_000
"""The most variables and comments of a file."""
_LONGEST_BLANK: Final = 100
_LONG_BLANK: Final = re.compile(rf"\s{{{_LONGEST_BLANK + 1}}}")
_BLANKS: Final = re.compile(r"\s*")
_KEY: Final = re.compile(KEY_PATTERN)
_VALUE: Final = TypeAdapter[SecretStr](SecretText)


class RejectedLine(BaseModel):
    """A line that can't be imported, without its content."""

    line: int
    """The number of the line, from 1."""
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class DotenvFile:
    """What a dotenv file says."""

    values: dict[str, SecretStr] = field(repr=False)
    """The variables in the order of their first lines, each with its last value."""
    rejected: list[RejectedLine]


class TooManyStatementsError(ValueError):
    """The file has more variables or statements than are taken at once; the message says which."""


def read_dotenv(text: str) -> DotenvFile:
    """The variables of a file, read as python-dotenv reads it from a disk: line ends become line
    feeds, and a byte order mark is left out. Raises `TooManyStatementsError`."""
    values: dict[str, SecretStr] = {}
    rejected: list[RejectedLine] = []
    for count, binding in enumerate(_bindings(text)):
        if count == MAX_STATEMENTS:
            message = f"may have at most {MAX_STATEMENTS} variables and comments"
            raise TooManyStatementsError(message)
        wrong = _refusal(binding)
        if wrong is not None:
            code, message = wrong
            rejected.append(RejectedLine(line=_line_of(binding), code=code, message=message))
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = SecretStr(binding.value)
    if len(values) > MAX_SECRETS_PER_REQUEST:
        raise TooManyStatementsError(f"may have at most {MAX_SECRETS_PER_REQUEST} variables")
    return DotenvFile(values, rejected)


class _Reader(Reader):
    """Python-dotenv's reader, which refuses values without quotes that have long blanks: finding
    out whether a comment follows would take quadratic time."""

    def read_regex(self, regex: re.Pattern[str]) -> Sequence[str]:
        is_quoted = self.peek(1) in ("'", '"')
        groups = super().read_regex(regex)
        if not is_quoted and any(map(_LONG_BLANK.search, groups)):
            raise Error("too many blanks")
        return groups


def _bindings(text: str) -> Iterator[Binding]:
    reader = _Reader(io.StringIO(text, newline=None))
    while reader.has_next():
        yield parse_binding(reader)


def _line_of(binding: Binding) -> int:
    """The line that the statement begins on: the parser also counts blank lines before it."""
    blanks = _BLANKS.match(binding.original.string)
    return binding.original.line + (blanks[0].count("\n") if blanks else 0)


def _refusal(binding: Binding) -> tuple[str, str] | None:
    """The code and the message of what is wrong with a statement; `None` if nothing is."""
    if binding.error:
        return "dotenv_syntax", _SYNTAX
    if binding.key is None:
        return None
    if not _KEY.fullmatch(binding.key):
        return "secret_key", _WRONG_KEY
    if binding.value is None:
        return "no_value", "has no value: write KEY=value, or remove the line"
    try:
        _VALUE.validate_python(binding.value)
    except ValidationError as error:
        [wrong, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        return wrong["type"], f"the value {wrong['msg']}"
    return None


_SYNTAX = (
    "is not dotenv: write KEY=value, close each quote, and put a value with more than "
    f"{_LONGEST_BLANK} blanks in a row in quotes"
)
_WRONG_KEY = "the key must have 1 to 100 letters, digits and underscores, and no digit in front"
