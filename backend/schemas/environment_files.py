"""Writes secrets as files of environment variables, in forms that their readers read back to the
same bytes, or says why a value has none."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from dotenv.variables import Variable, parse_variables


class RevealFormat(StrEnum):
    """How revealed values are written."""

    JSON = "json"
    DOTENV = "dotenv"
    """For python-dotenv and for `sh`."""
    DOCKER = "docker"
    """For `docker run --env-file`."""


DOCKER_LINE_BYTES: Final = 64 * 1024
"""The longest line that Docker reads, with its end."""
SET_BY_SHELLS: Final = frozenset(
    {
        *("_", "BASHOPTS", "BASHPID", "BASH_ALIASES", "BASH_ARGC", "BASH_ARGV", "BASH_ARGV0"),
        *("BASH_CMDS", "BASH_COMMAND", "BASH_LINENO", "BASH_MONOSECONDS", "BASH_REMATCH"),
        *("BASH_SOURCE", "BASH_SUBSHELL", "BASH_VERSINFO", "COMP_WORDBREAKS", "DIRSTACK"),
        *("EPOCHREALTIME", "EPOCHSECONDS", "EUID", "FUNCNAME", "GROUPS", "HISTCMD", "LINENO"),
        *("OPTIND", "PIPESTATUS", "PPID", "RANDOM", "SECONDS", "SHELLOPTS", "SHLVL", "SRANDOM"),
        "UID",
    }
)
"""Variables that shells set themselves, or that take only some values in a shell."""
# A pair of backslashes, or one at the end, is read differently by the two.
_NOT_IN_SINGLE: Final = re.compile(r"'|\\\\|\\\Z")
# What `sh` replaces in double quotes, or may replace in some locales. Python-dotenv knows no escape
# for it.
_NOT_IN_DOUBLE: Final = re.compile(r"`|\$[^\x01-\x20\x7f\"%&'+,./:;<=>\\\]^|}~)]")
_ESCAPED: Final = re.compile(r'[\\"]')


class NotCarriedError(ValueError):
    """A format has no form for a value. `code` and `message` say why, without the value."""

    def __init__(self, key: str, code: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.code = code
        self.message = message


def written(values: Mapping[str, str], form: RevealFormat) -> str:
    """The values by key as a file, in their order. Raises `NotCarriedError` for the first one that
    the format can't carry."""
    line = _LINES[form]
    return "".join([line(key, value) for key, value in values.items()])


def _dotenv_line(key: str, value: str) -> str:
    """The line, or the lines, that python-dotenv and `sh` both read as this value."""
    if key in SET_BY_SHELLS:
        message = "shells set the variable of this name themselves: reveal it as JSON"
        raise NotCarriedError(key, "shell_variable", message)
    if "\r" in value:
        message = (
            "has a carriage return, which python-dotenv reads from a file as a line feed: reveal "
            "it as JSON"
        )
        raise NotCarriedError(key, "carriage_return", message)
    if any(isinstance(part, Variable) for part in parse_variables(value)):
        message = "has a ${…}, which python-dotenv replaces in any quotes: reveal it as JSON"
        raise NotCarriedError(key, "interpolation", message)
    if not _NOT_IN_SINGLE.search(value):
        return f"{key}='{value}'\n"
    if not _NOT_IN_DOUBLE.search(value):
        escaped = _ESCAPED.sub(r"\\\g<0>", value)
        return f'{key}="{escaped}"\n'
    message = (
        "no quotes carry it for both python-dotenv and sh, because it has both a ' or a backslash "
        "and a ` or a $: reveal it as JSON"
    )
    raise NotCarriedError(key, "no_quotes", message)


def _docker_line(key: str, value: str) -> str:
    """The line that Docker reads as this value: all that follows the first `=`, to its end."""
    if "\n" in value:
        message = "has more than one line, which Docker's format can't carry: reveal it as JSON"
        raise NotCarriedError(key, "line_feed", message)
    if value.endswith("\r"):
        message = "ends with a carriage return, which Docker removes: reveal it as JSON"
        raise NotCarriedError(key, "carriage_return", message)
    line = f"{key}={value}\n"
    if len(line.encode()) > DOCKER_LINE_BYTES:
        message = f"Docker reads lines of at most {DOCKER_LINE_BYTES} bytes: reveal it as JSON"
        raise NotCarriedError(key, "line_too_long", message)
    return line


_LINES = {RevealFormat.DOTENV: _dotenv_line, RevealFormat.DOCKER: _docker_line}
