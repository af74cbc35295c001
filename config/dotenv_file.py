"""The `.env` file of `strongroom serve`, read only if no other user can have written it."""

import errno
import io
import os
import re
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import Binding, parse_stream

from config.settings import PREFIX, SettingsError

NAME = ".env"

NEVER_FROM_FILE = (f"{PREFIX}MASTER_KEYS_COMMAND", f"{PREFIX}AUTH")
"""Settings that a file in a downloaded directory must not set: they would run a command, or open
the service."""

_NO_TEXT = f"{NAME}: it is not UTF-8 text: write it as UTF-8"
_NEWLINE = re.compile(r"\r\n|\n|\r")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*", re.IGNORECASE | re.ASCII)
_SETTING = rf"(?:export\s+)?[\"']?{PREFIX}\w*[\"']?\s*[=:]"
_SETTING_IN_VALUE = re.compile(rf"(?:^|[\s;&]){_SETTING}", re.IGNORECASE)
_SETTING_ON_NEXT_LINE = re.compile(rf"[\r\n]\s*{_SETTING}", re.IGNORECASE)
_QUOTED = re.compile(r"[^=]*=\s*[\"']")
_WITHOUT_LINK = "replace it with an ordinary file, or start in another directory"


@dataclass(frozen=True, slots=True)
class DotenvFile:
    """The contents of the file."""

    variables: Mapping[str, str]
    """The settings by the names of their variables."""
    is_private: bool
    """Whether only the file's owner can access it."""


NO_FILE = DotenvFile({}, is_private=True)


def read_dotenv() -> DotenvFile:
    """The settings in the working directory's `.env`; `NO_FILE` when there is no such file.

    Raises `SettingsError` when the file can't be read or parsed, belongs to another user, can be
    written by others, or has a variable of `NEVER_FROM_FILE`.
    """
    try:
        _check_link()
        descriptor = os.open(NAME, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = _check_file(os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                text = file.read().decode("utf-8")
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        if os.path.lexists(NAME):
            raise SettingsError(
                f"{NAME}: it is a link to a missing file: {_WITHOUT_LINK}"
            ) from None
        return NO_FILE
    except UnicodeDecodeError:
        raise SettingsError(_NO_TEXT) from None
    except OSError as error:
        raise SettingsError(_unreadable(error)) from None
    if "\0" in text:
        # ASCII text in UTF-16 without a byte order mark is valid UTF-8, but with NULs in all names.
        raise SettingsError(_NO_TEXT)
    for part in parse_stream(io.StringIO(text)):
        if part.error or _hides_a_setting(part):
            raise SettingsError(
                f"{NAME}: line {_line(part)} can't be parsed: write NAME=value on a line of its "
                "own, the name without quotes, and close the quotes of a quoted value"
            )
    found = {
        name.upper(): value or ""
        for name, value in dotenv_values(stream=io.StringIO(text)).items()
        if name.upper().startswith(PREFIX)
    }
    for name in NEVER_FROM_FILE:
        if found.get(name):
            raise SettingsError(
                f"{NAME}: {name} is never read from this file: remove it from there, and set it "
                "in the environment if you need it"
            )
    return DotenvFile(found, is_private=not mode & 0o077)


def _hides_a_setting(part: Binding) -> bool:
    """Whether the parser misreads a line that was meant as one of our settings."""
    if part.key is None:
        return False
    if not _VARIABLE.fullmatch(part.key):
        letters = unicodedata.normalize("NFKC", part.key).upper()
        return PREFIX.rstrip("_") in "".join(filter(str.isalnum, letters))
    value = part.value or ""
    if _QUOTED.match(part.original.string):
        return _SETTING_ON_NEXT_LINE.search(value) is not None
    return _SETTING_IN_VALUE.search(value) is not None


def _line(part: Binding) -> int:
    """The number of the part's first line. The parser also counts blank lines before it."""
    text = part.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return part.original.line + len(_NEWLINE.findall(blank))


def _check_link() -> None:
    """Raises `SettingsError` for another user's symbolic link, which could point anywhere."""
    status = os.lstat(NAME)
    if stat.S_ISLNK(status.st_mode) and status.st_uid != os.geteuid():
        raise SettingsError(
            f"{NAME}: it is a link that belongs to another user, so it is not read: {_WITHOUT_LINK}"
        )


def _check_file(status: os.stat_result) -> int:
    """The permission bits. Raises `SettingsError` unless the file belongs to the user and only the
    user can write it."""
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISREG(status.st_mode):
        raise SettingsError(f"{NAME}: it is not an ordinary file: {_WITHOUT_LINK}")
    if status.st_uid != os.geteuid():
        raise SettingsError(
            f"{NAME}: it belongs to another user, so it is not read: make it yours (chown), or "
            "start in another directory"
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(
            f"{NAME}: other users can write it, so it is not read: chmod go-w {NAME}"
        )
    return mode


def _unreadable(error: OSError) -> str:
    reason = os.strerror(error.errno or 0)
    if not os.access(".", os.X_OK, effective_ids=True):
        return (
            f"the working directory {Path.cwd()} can't be searched for {NAME} ({reason}): start in "
            "a directory that this user can enter"
        )
    if error.errno not in (errno.EACCES, errno.EPERM):
        return f"{NAME}: it can't be read ({reason}): {_WITHOUT_LINK}"
    return (
        f"{NAME}: it can't be read ({reason}): let its owner read it (chmod u+r {NAME}), or start "
        "in another directory"
    )
