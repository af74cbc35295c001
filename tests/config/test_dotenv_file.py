"""The `.env` of `strongroom serve`: who must own it, and which settings it can't set."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.dotenv_file import NEVER_FROM_FILE
from config.loading import load_settings
from config.settings import PREFIX, SettingsError

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away")
SOMEBODY = 65534


@pytest.fixture
def file(tmp_path: Path, no_settings: None, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: ARG001
    """The `.env` of the working directory: owned by the user, with one setting."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ".env"
    path.write_text("STRONGROOM_PORT=1001\n")
    path.chmod(0o600)
    return path


def _problem() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(dotenv=True)
    text = str(caught.value)
    assert "\n" not in text
    assert "hunter2" not in text
    return text


@contextmanager
def _as_somebody_else() -> Iterator[None]:
    os.seteuid(SOMEBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_only_a_caller_that_asks_for_the_file_reads_it(file: Path) -> None:
    assert load_settings().port == 8000
    assert load_settings(dotenv=True).port == 1001
    file.unlink()
    assert load_settings(dotenv=True).port == 8000


def test_an_empty_line_of_the_file_hides_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("STRONGROOM_PORT=\nSTRONGROOM_AUTH=\nSTRONGROOM_LOG_LEVEL\n")
    assert load_settings(dotenv=True).port == 8000
    monkeypatch.setenv("STRONGROOM_PORT", "1002")
    assert load_settings(dotenv=True).port == 1002


def test_an_empty_variable_leaves_it_to_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRONGROOM_PORT", "")
    assert load_settings(dotenv=True).port == 1001
    file.write_text("STRONGROOM_DATA_DIR=\n")
    assert _problem() == "STRONGROOM_DATA_DIR: must be the path of a directory"


@pytest.mark.parametrize("name", NEVER_FROM_FILE)
def test_what_would_run_a_command_or_open_the_service_is_never_taken(
    file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for spelt in (name, name.lower(), f"export {name}"):
        file.write_text(f"{spelt}=hunter2\n")
        assert _problem().startswith(f".env: {name} is never read from this file: remove it")
    # It is refused even where another source would override it.
    monkeypatch.setenv(name, "off")
    assert _problem().startswith(f".env: {name} is never read")


def test_the_two_that_are_never_taken_are_those_that_are_promised() -> None:
    assert set(NEVER_FROM_FILE) == {f"{PREFIX}MASTER_KEYS_COMMAND", f"{PREFIX}AUTH"}


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o660])
def test_one_that_others_can_write_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    assert _problem() == ".env: other users can write it, so it is not read: chmod go-w .env"
    file.chmod(stat.S_IMODE(mode & ~0o022))
    assert load_settings(dotenv=True).port == 1001


@AS_ROOT
def test_one_of_another_user_is_refused(file: Path) -> None:
    os.chown(file, SOMEBODY, -1)
    assert "belongs to another user" in _problem()
    file.parent.chmod(0o755)
    with _as_somebody_else():
        assert load_settings(dotenv=True).port == 1001


@AS_ROOT
def test_one_of_roots_is_another_users(file: Path) -> None:
    file.chmod(0o644)
    file.parent.chmod(0o755)
    with _as_somebody_else():
        assert "belongs to another user" in _problem()


def _link(file: Path) -> None:
    file.rename(file.with_name("elsewhere"))
    file.symlink_to("elsewhere")


def test_a_link_of_ones_own_is_followed(file: Path) -> None:
    _link(file)
    assert load_settings(dotenv=True).port == 1001
    file.with_name("elsewhere").chmod(0o666)
    assert "can write it" in _problem()


@AS_ROOT
def test_a_link_of_another_user_is_refused(file: Path) -> None:
    _link(file)
    os.chown(file, SOMEBODY, -1, follow_symlinks=False)
    assert "a link that belongs to another user" in _problem()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (Path.mkdir, "not an ordinary file"),
        (os.mkfifo, "not an ordinary file"),
        (lambda file: file.symlink_to("/dev/zero"), "not an ordinary file"),
        (lambda file: file.symlink_to(".env"), "it can't be read (Too many levels"),
        (lambda file: file.write_bytes(b"STRONGROOM_PORT=\xff\xfe\n"), "it is not UTF-8 text"),
    ],
    ids=["a directory", "a pipe", "a device", "a circle", "no text"],
)
def test_what_is_no_text_file_is_told_as_what_it_is(
    file: Path, make: Callable[[Path], None], told: str
) -> None:
    file.unlink()
    make(file)
    assert told in _problem()


def test_a_link_that_leads_nowhere_is_told(file: Path) -> None:
    file.unlink()
    file.symlink_to("nowhere")
    assert "it is a link to a missing file" in _problem()


@AS_ROOT
def test_one_that_can_not_be_read_is_told(file: Path) -> None:
    os.chown(file, SOMEBODY, -1)
    file.chmod(0o000)
    file.parent.chmod(0o755)
    with _as_somebody_else():
        assert _problem().startswith(".env: it can't be read (Permission denied): ")


@AS_ROOT
def test_a_directory_that_can_not_be_entered_is_told(file: Path) -> None:
    file.unlink()
    file.parent.chmod(0o700)
    with _as_somebody_else():
        text = _problem()
        assert text.startswith(f"the working directory {file.parent} can't be searched for .env")
        # Other commands don't read the file.
        assert load_settings().port == 8000


def test_a_directory_that_is_gone_has_none(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_settings(dotenv=True).port == 8000
    monkeypatch.chdir(file.parent)


def test_origins_may_come_from_it(file: Path) -> None:
    file.write_text("STRONGROOM_CORS_ORIGINS=https://a.test, https://b.test\n")
    assert load_settings(dotenv=True).cors_origins == ("https://a.test", "https://b.test")


@pytest.mark.parametrize(
    "line",
    [
        "STRONGROOM_PORT hunter2",
        "STRONGROOM_PORT: hunter2",
        "STRONGROOM_MASTER_KEYS:hunter2",
        "STRONGROOM_PORT:=hunter2",
        "STRONGROOM_PORT?=hunter2",
        "STRONGROOM-PORT=hunter2",
        "A='open",
        '"STRONGROOM_PORT"=hunter2',
        'export "STRONGROOM_PORT"=hunter2',
        "'\"STRONGROOM_PORT\"'=hunter2",
        "`STRONGROOM_PORT`=hunter2",
        "$env:STRONGROOM_PORT=hunter2",
        "set STRONGROOM_PORT=hunter2",
        "setenv STRONGROOM_PORT hunter2",
        "- STRONGROOM_PORT=hunter2",
        "\ufeffSTRONGROOM_PORT=hunter2",
        "STRONGROOM\u200b_PORT=hunter2",
        "\N{FULLWIDTH LATIN CAPITAL LETTER S}TRONGROOM_PORT=hunter2",
        "export A=1 STRONGROOM_PORT=hunter2",
        "A=1; STRONGROOM_PORT=hunter2",
        "STRONGROOM_HOST=::1 strongroom_port=hunter2",
        "A=1\u2028STRONGROOM_PORT=hunter2",
        "A='1\nSTRONGROOM_PORT=hunter2'",
        'A="\n\n  export STRONGROOM_PORT=hunter2\nB="',
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_line_that_is_not_understood_is_told(
    file: Path, line: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = ("\ufeff# a comment", "STRONGROOM_HOST=::1", "", "")
    file.write_bytes(end.join((*before, line, "")).encode())
    assert _problem().startswith(".env: line 5 can't be parsed: ")
    assert not caplog.records


@pytest.mark.parametrize(
    "line",
    [
        "STRONGROOM_PORT =1002",
        "STRONGROOM_PORT= 1002",
        "  export\tSTRONGROOM_PORT = '1002' # STRONGROOM_AUTH=off",
        "'STRONGROOM_PORT'=1002",
        "strongroom_port=1002\r",
        "\ufeffSTRONGROOM_PORT=1002",
        "STRONGROOM_PORT=1002\n# STRONGROOM_AUTH=off",
    ],
)
def test_a_setting_is_taken_however_it_is_spaced(file: Path, line: str) -> None:
    file.write_bytes(f"{line}\n".encode())
    assert load_settings(dotenv=True).port == 1002


@pytest.mark.parametrize(
    "line",
    [
        "my.key=1",
        '"A"=1',
        "A=STRONGROOM_PORT",
        "A=/srv/strongroom_data",
        "A='docker run -e STRONGROOM_PORT=1003'",
        "MY_STRONGROOM_PORT=1003",
        "STRONGROOM_DATA_DIR=/srv/strongroom_data",
    ],
)
def test_what_belongs_to_others_is_left_alone(file: Path, line: str) -> None:
    file.write_text(f"STRONGROOM_PORT=1001\n{line}\n")
    assert load_settings(dotenv=True).port == 1001


def test_text_of_two_bytes_a_character_is_not_taken_for_other_names(file: Path) -> None:
    for encoding in ("utf-16-le", "utf-16-be", "utf-16", "utf-32-le"):
        file.write_bytes("STRONGROOM_PORT=1001\n".encode(encoding))
        assert _problem() == ".env: it is not UTF-8 text: write it as UTF-8"


def test_a_link_that_leads_to_itself_is_told(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)
    assert _problem() == (
        ".env: it can't be read (Too many levels of symbolic links): "
        "replace it with an ordinary file, or start in another directory"
    )
