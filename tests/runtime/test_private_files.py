"""Files with secrets are newly created, readable only by their owner, and never written through a
link."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from backend.crypto.keyring import generate_master_key
from backend.crypto.token_format import new_secret, token_text
from backend.runtime import Runtime, StartRefused
from backend.runtime.installation import make_private
from config.settings import Settings
from database.errors import DatabaseUnavailable

NEW_KEY = SecretStr(generate_master_key("test"))
Put = Callable[[Path], None]


def put_file(path: Path) -> None:
    path.write_text("precious")
    path.chmod(0o600)


def put_link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "target")


def put_link_to_file(path: Path) -> None:
    (path.parent.parent / "target").write_text("precious")
    put_link(path)


def put_directory(path: Path) -> None:
    path.mkdir()


IN_THE_WAY = [put_file, put_link, put_link_to_file, put_directory]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A data directory with nothing in it."""
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


async def start(directory: Path, *, own_key: bool = False) -> None:
    settings = Settings(
        _env_file=None, data_dir=directory, master_keys=None if own_key else NEW_KEY
    )
    runtime = await Runtime.start(settings)
    await runtime.stop()


def seen(directory: Path) -> dict[str, str]:
    """The files in and next to the directory; links are not followed."""
    found = {}
    for path in sorted(directory.parent.rglob("*")):
        content = str(path.readlink()) if path.is_symlink() else ""
        if path.is_file() and not path.is_symlink():
            content = path.read_text(encoding="utf-8", errors="replace")
        found[str(path.relative_to(directory.parent))] = content
    return found


@pytest.mark.parametrize("put", IN_THE_WAY)
def test_a_private_file_takes_nothing_s_place(directory: Path, put: Put) -> None:
    path = directory / "file"
    put(path)
    before = seen(directory)
    with pytest.raises(StartRefused, match="neither replaced nor followed: move it") as refused:
        make_private(path, "secret")
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert seen(directory) == before


@pytest.mark.parametrize("mask", [0, 0o022, 0o277])
def test_a_private_file_is_for_its_owner_only(directory: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        make_private(directory / "file", "secret")
    finally:
        os.umask(before)
    assert stat.S_IMODE((directory / "file").stat().st_mode) == 0o600
    assert (directory / "file").read_text() == "secret"


def test_a_private_file_that_can_not_be_written_leaves_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StartRefused, match="No space left on device"):
        make_private(directory / "file", "secret")
    assert seen(directory) == {"data": ""}


@pytest.mark.parametrize("put", IN_THE_WAY)
async def test_a_first_start_with_something_in_the_token_s_place_leaves_nothing(
    directory: Path, put: Put
) -> None:
    put(directory / "admin.token")
    before = seen(directory)
    with pytest.raises(StartRefused, match=r"admin\.token"):
        await start(directory, own_key=True)
    assert seen(directory) == before


@pytest.mark.parametrize("put", IN_THE_WAY)
async def test_a_start_that_can_not_hand_its_token_out_makes_none(
    directory: Path, put: Put
) -> None:
    settings = Settings(_env_file=None, data_dir=directory, master_keys=NEW_KEY)
    # As after an import: a database without a token.
    await (await Runtime.start(settings, issue_first_token=False)).stop()
    put(directory / "admin.token")
    with pytest.raises(StartRefused, match=r"admin\.token"):
        await start(directory)
    runtime = await Runtime.start(settings, issue_first_token=False)
    assert (await runtime.service.tokens.page(revoked=True)).tokens == []
    await runtime.stop()
    if (directory / "admin.token").is_dir():
        (directory / "admin.token").rmdir()
    else:
        (directory / "admin.token").unlink()
    await start(directory)
    assert (directory / "admin.token").read_text().startswith("sr_1_")


async def test_the_token_file_of_a_start_that_was_cut_short_is_replaced(directory: Path) -> None:
    settings = Settings(_env_file=None, data_dir=directory, master_keys=NEW_KEY)
    await (await Runtime.start(settings, issue_first_token=False)).stop()
    left = token_text(1, new_secret())
    make_private(directory / "admin.token", left + "\n")
    await start(directory)
    token = (directory / "admin.token").read_text().strip()
    assert token != left
    runtime = await Runtime.start(settings)
    assert (await runtime.service.tokens.authenticate(token)).name == "admin"
    await runtime.stop()


async def test_a_master_key_is_not_made_through_a_link(directory: Path) -> None:
    put_link(directory / "master.key")
    with pytest.raises(StartRefused, match=r"master\.key"):
        await start(directory, own_key=True)
    assert not (directory.parent / "target").exists()
    assert not (directory / "strongroom.db").exists()


async def test_the_lock_is_not_taken_through_a_link(directory: Path) -> None:
    put_link_to_file(directory / "strongroom.db.lock")
    with pytest.raises(DatabaseUnavailable, match=r"strongroom\.db\.lock"):
        await start(directory)
    assert (directory.parent / "target").read_text() == "precious"
