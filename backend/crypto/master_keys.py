"""Where the text of the master keys comes from: a setting, a file or a command."""

import os
import shlex
import signal
import stat
import subprocess
from pathlib import Path

from pydantic import SecretStr

COMMAND_TIMEOUT_SECONDS = 10.0
MAX_BYTES = 64 * 1024


class MasterKeysError(Exception):
    """The master keys can't be read. The message is one line and repeats no part of the input."""


def read_master_keys(
    *, text: SecretStr | None, file: Path | None, command: str | None
) -> SecretStr | None:
    """The text of the master keys from the one source that is given, without surrounding space.

    None when no source is given. Blocks until the command ends, at most `COMMAND_TIMEOUT_SECONDS`.
    Raises `MasterKeysError` when the source can't be read or is empty, or when other users can
    access the file.
    """
    if text is not None:
        source, content = "STRONGROOM_MASTER_KEYS", text.get_secret_value()
    elif file is not None:
        source = "STRONGROOM_MASTER_KEYS_FILE"
        content = _decoded(source, _from_file(source, file))
    elif command is not None:
        source = "STRONGROOM_MASTER_KEYS_COMMAND"
        content = _decoded(source, _from_command(source, command))
    else:
        return None
    content = content.strip()
    if not content:
        raise MasterKeysError(f"{source}: it gave no keys")
    return SecretStr(content)


def _decoded(source: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise MasterKeysError(f"{source}: it is not UTF-8 text") from None


def _from_file(source: str, path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(status.st_mode) else b""
    except OSError as error:
        raise MasterKeysError(f"{source}: {os.strerror(error.errno or 0)}: {path}") from None
    if not stat.S_ISREG(status.st_mode):
        raise MasterKeysError(f"{source}: not a regular file: {path}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise MasterKeysError(
            f"{source}: other users can access it: chmod 600 {shlex.quote(str(path))}"
        )
    if status.st_uid not in (0, os.geteuid()):
        raise MasterKeysError(f"{source}: it belongs to another user: {path}")
    if len(content) > MAX_BYTES:
        raise MasterKeysError(f"{source}: larger than {MAX_BYTES} bytes: {path}")
    return content


def _open_at_once(path: str, flags: int) -> int:
    # A blocking open of a FIFO without a writer would never return.
    return os.open(path, flags | os.O_NONBLOCK)


def _from_command(source: str, command: str) -> bytes:
    if "\0" in command:
        raise MasterKeysError(f"{source}: it can't be started: it contains a NUL character")
    try:
        arguments = shlex.split(command)
    except ValueError:
        raise MasterKeysError(f"{source}: a quotation mark or backslash is left open") from None
    if not arguments:
        raise MasterKeysError(f"{source}: it names no command")
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, and no shell
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            # The command's error output may contain keys, so it is not shown.
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise MasterKeysError(f"{source}: it can't be started: {reason}") from None
    with process:
        try:
            content, _ = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            # Kill the whole session, because a child of the command may hold the pipe open.
            os.killpg(process.pid, signal.SIGKILL)
            raise MasterKeysError(
                f"{source}: no answer within {COMMAND_TIMEOUT_SECONDS:g} seconds"
            ) from None
    if process.returncode != 0:
        raise MasterKeysError(f"{source}: it failed with exit status {process.returncode}")
    return content
