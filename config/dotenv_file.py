"""The `.env` file of `strongroom serve`: read only when nobody but its user can have written it."""

import errno
import io
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from config.settings import PREFIX, SettingsError

NAME = ".env"

NEVER_FROM_FILE = (f"{PREFIX}MASTER_KEYS_COMMAND", f"{PREFIX}AUTH")
"""What a file that came with a directory must not decide: it would run a command, or open the
service."""

_WITHOUT_LINK = "replace it with an ordinary file, or start in another directory"


@dataclass(frozen=True, slots=True)
class DotenvFile:
    """What the file holds."""

    variables: Mapping[str, str]
    """Settings, by the name of their variable."""
    is_private: bool
    """Whether only its owner can reach it."""


NO_FILE = DotenvFile({}, is_private=True)


def read_dotenv() -> DotenvFile:
    """The settings in the working directory's `.env`; none when there is no such file.

    Raises `SettingsError` when the file can't be read or understood, is not the user's own, can be
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
        raise SettingsError(f"{NAME}: it is not UTF-8 text: write it as UTF-8") from None
    except OSError as error:
        raise SettingsError(_unreadable(error)) from None
    wrong = next((part for part in parse_stream(io.StringIO(text)) if part.error), None)
    if wrong is not None:
        raise SettingsError(
            f"{NAME}: line {wrong.original.line} can't be parsed: write NAME=value, and close "
            "the quotes of a quoted value"
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


def _check_link() -> None:
    """Raises `SettingsError` for a symbolic link of somebody else's, who chose where it leads."""
    status = os.lstat(NAME)
    if stat.S_ISLNK(status.st_mode) and status.st_uid != os.geteuid():
        raise SettingsError(
            f"{NAME}: it is a link that belongs to another user, so it is not read: {_WITHOUT_LINK}"
        )


def _check_file(status: os.stat_result) -> int:
    """The permission bits. Raises `SettingsError` unless it is the user's own file."""
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
