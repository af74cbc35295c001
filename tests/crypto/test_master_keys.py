"""Master keys from a setting, a file or a command; no key is ever shown."""

import os
import select
import shlex
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.crypto import master_keys
from backend.crypto.master_keys import MasterKeysError, read_master_keys

TEXT = "k1:c2VjcmV0LWtleS1tYXRlcmlhbC0zMi1ieXRlcyEhISE="


def _read(
    *, text: str | None = None, file: Path | None = None, command: str | None = None
) -> str | None:
    secret = read_master_keys(
        text=None if text is None else SecretStr(text), file=file, command=command
    )
    return None if secret is None else secret.get_secret_value()


def _problem(
    *, text: str | None = None, file: Path | None = None, command: str | None = None
) -> str:
    with pytest.raises(MasterKeysError) as caught:
        _read(text=text, file=file, command=command)
    message = str(caught.value)
    assert "\n" not in message
    assert "hunter2" not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


def _file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "keys"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def _python(code: str) -> str:
    return shlex.join([sys.executable, "-c", code])


def test_no_source_gives_none() -> None:
    assert read_master_keys(text=None, file=None, command=None) is None


def test_the_setting_itself() -> None:
    assert _read(text=f" {TEXT}\n") == TEXT


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner(tmp_path: Path, mode: int) -> None:
    assert _read(file=_file(tmp_path, f"{TEXT}\n".encode(), mode)) == TEXT


def test_a_link_to_such_a_file(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(_file(tmp_path, TEXT.encode()))
    assert _read(file=link) == TEXT


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644])
def test_a_file_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    text = _problem(file=_file(tmp_path, TEXT.encode(), mode))
    assert text.startswith("STRONGROOM_MASTER_KEYS_FILE: other users can access it: chmod")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, TEXT.encode())
    os.chown(path, 12345, -1)
    assert "belongs to another user" in _problem(file=path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    text = _problem(file=tmp_path / "nowhere")
    assert text == f"STRONGROOM_MASTER_KEYS_FILE: No such file or directory: {tmp_path}/nowhere"


def test_a_fifo_does_not_hold_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert "not a regular file" in _problem(file=tmp_path / "fifo")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir(mode=0o700)
    assert "Is a directory" in _problem(file=tmp_path / "keys")


def test_a_file_too_large_is_refused(tmp_path: Path) -> None:
    text = _problem(file=_file(tmp_path, b"hunter2" * 10_000))
    assert text.startswith("STRONGROOM_MASTER_KEYS_FILE: larger than 65536 bytes")


def test_an_empty_source_is_an_error(tmp_path: Path) -> None:
    assert _problem(file=_file(tmp_path, b" \n")) == "STRONGROOM_MASTER_KEYS_FILE: it gave no keys"
    assert _problem(text=" ") == "STRONGROOM_MASTER_KEYS: it gave no keys"
    assert _problem(command=_python("")).endswith("it gave no keys")


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    text = _problem(file=_file(tmp_path, b"hunter2\xff"))
    assert text == "STRONGROOM_MASTER_KEYS_FILE: it is not UTF-8 text"


def test_a_command_prints_the_keys_and_may_talk_on_standard_error() -> None:
    code = f"import sys; print('note', file=sys.stderr); print({TEXT!r})"
    assert _read(command=_python(code)) == TEXT


def test_a_command_has_no_shell_and_no_input(tmp_path: Path) -> None:
    code = "import sys; print(sys.argv[1:], repr(sys.stdin.read()))"
    touched = tmp_path / "touched"
    command = f"{_python(code)} '$HOME' ; touch {touched}"
    assert _read(command=command) == f"['$HOME', ';', 'touch', '{touched}'] ''"
    assert not touched.exists()


def test_a_command_that_fails_shows_nothing_of_its_output() -> None:
    code = "import sys; print('hunter2'); print('hunter2', file=sys.stderr); sys.exit(3)"
    text = _problem(command=_python(code))
    assert text == "STRONGROOM_MASTER_KEYS_COMMAND: it failed with exit status 3"


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("hunter2-is-no-command --x", "it can't be started: No such file or directory"),
        ("'hunter2", "a quotation mark or backslash is left open"),
        ("  ", "it names no command"),
        ("hunter2\0", "it can't be started: it contains a NUL character"),
    ],
)
def test_a_command_that_can_not_start(command: str, problem: str) -> None:
    assert _problem(command=command) == f"STRONGROOM_MASTER_KEYS_COMMAND: {problem}"


def test_a_command_that_never_ends_is_stopped_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(master_keys, "COMMAND_TIMEOUT_SECONDS", 1.5)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    child = f"import time; fifo = open({str(fifo)!r}, 'w'); print('up', file=fifo, flush=True)"
    child += "; time.sleep(60)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    try:
        assert "no answer within 1.5 seconds" in _problem(command=_python(parent))
        assert os.read(reader, 100) == b"up\n"
        # The FIFO reaches its end when the child that holds it has ended.
        assert select.select([reader], [], [], 10)[0]
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)
