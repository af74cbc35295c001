"""`strongroom login`: where the token is kept, for whom, and what goes before it."""

import json
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from strongroom import Client
from tests.client.commands.conftest import Command
from tests.support.processes import Outcome
from tests.support.servers import RunningServer

KEYRING = """
import json, os
from types import SimpleNamespace
from pathlib import Path
from . import errors
_KEPT = Path(os.environ["HOME"]) / "keyring.json"
def _all(): return json.loads(_KEPT.read_text()) if _KEPT.exists() else {}
def get_keyring(): return SimpleNamespace(priority=float(os.environ["KEYRING_PRIORITY"]))
def get_password(service, name):
    if os.environ["KEYRING_PRIORITY"] == "9": raise errors.KeyringError("sesame")
    return _all().get(service + " " + name)
def set_password(service, name, value):
    _KEPT.write_text(json.dumps({**_all(), service + " " + name: value}))
def delete_password(service, name):
    kept = _all(); del kept[service + " " + name]; _KEPT.write_text(json.dumps(kept))
"""
"""A library with the functions of `keyring` that are used, for systems that have no keyring."""

Call = Callable[..., Outcome]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home without anything."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def call(command: Command, home: Path) -> Call:
    """Runs a command without a URL and a token in its environment."""

    def run(*words: str, stdin: str = "", **env: str) -> Outcome:
        without = dict.fromkeys(("STRONGROOM_URL", "STRONGROOM_TOKEN"))
        given = {**without, "HOME": str(home), "XDG_CONFIG_HOME": None, **env}
        return command(*words, stdin=stdin.encode(), env=given)

    return run


def _file(home: Path) -> Path:
    return home / ".config" / "strongroom" / "logins.json"


def test_a_token_is_kept_in_a_file_that_only_its_owner_can_read(
    call: Call, home: Path, service: RunningServer, admin: str
) -> None:
    done = call("login", "--url", f"{service.url}/", "--json", stdin=f"{admin}\n")
    assert done.json["kept"] == "file"
    assert done.json["url"] == service.url
    assert admin not in done.out + done.err
    assert stat.S_IMODE(_file(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(_file(home).parent.stat().st_mode) == 0o700
    assert [path.name for path in _file(home).parent.iterdir()] == ["logins.json"]
    assert call("projects", "list").status == 0
    assert call("logout").out == f"Logged out of {service.url}\n"
    assert admin not in _file(home).read_text()
    assert call("projects", "list").status == 2
    assert call("logout") == Outcome(0, "There was no login\n", "")


def test_flags_go_before_the_environment_and_that_before_a_login(
    call: Call, service: RunningServer, admin: str, tmp_path: Path
) -> None:
    with Client(service.url, admin) as client:
        bound = client.tokens.create(name="bound", scopes=["secrets:reveal"]).token
    assert call("login", "--url", service.url, stdin=admin).status == 0
    assert call("projects", "list").status == 0
    # It may reveal secrets only.
    assert call("projects", "list", STRONGROOM_TOKEN=bound).status == 1
    (tmp_path / "token").write_text(admin)
    by_flag = ("projects", "list", "--token-file", str(tmp_path / "token"))
    assert call(*by_flag, STRONGROOM_TOKEN=bound).status == 0
    # A login's token is for its own URL only.
    elsewhere = call("projects", "list", STRONGROOM_URL="http://127.0.0.1:1")
    assert (elsewhere.status, elsewhere.out) == (2, "")
    assert "STRONGROOM_TOKEN" in elsewhere.complaint
    url = call("projects", "list", "--url", service.url, STRONGROOM_URL="http://127.0.0.1:1")
    assert url.status == 0


def test_a_token_that_is_not_valid_is_not_kept(
    call: Call, home: Path, service: RunningServer
) -> None:
    outcome = call("login", "--url", service.url, stdin="sr_wrong")
    assert (outcome.status, outcome.out) == (1, "")
    assert "sr_wrong" not in outcome.complaint
    assert not _file(home).exists()
    assert call("login", "--url", service.url).status == 2
    assert call("login", stdin="x").complaint.startswith("--url: ")


@pytest.mark.parametrize("how", ["mode", "link", "damaged", "folder"])
def test_a_file_that_others_may_have_written_is_refused(
    call: Call, home: Path, service: RunningServer, admin: str, how: str
) -> None:
    assert call("login", "--url", service.url, stdin=admin).status == 0
    file = _file(home)
    if how == "mode":
        file.chmod(0o640)
    elif how == "link":
        file.rename(home / "elsewhere")
        file.symlink_to(home / "elsewhere")
    elif how == "damaged":
        file.write_text(json.dumps({"default": 1, "tokens": {}}))
    else:
        file.parent.chmod(0o777)
    words = ("logout",) if how == "folder" else ("projects", "list")
    outcome = call(*words)
    assert (outcome.status, outcome.out) == (1, "")
    assert str(file.parent) in outcome.complaint


@pytest.mark.long_form
def test_a_keyring_has_the_token_where_there_is_one(
    call: Call, home: Path, service: RunningServer, admin: str, tmp_path: Path
) -> None:
    package = tmp_path / "libraries" / "keyring"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(KEYRING)
    (package / "errors.py").write_text("class KeyringError(Exception): pass\n")
    path = {"PYTHONPATH": str(package.parent)}
    kept = home / "keyring.json"
    weak = {**path, "KEYRING_PRIORITY": "0.5"}
    good = {**path, "KEYRING_PRIORITY": "5"}
    login = ("login", "--url", service.url, "--json")
    assert call(*login, stdin=admin, **weak).json["kept"] == "file"
    assert not kept.exists()
    assert call(*login, stdin=admin, **good).json["kept"] == "keyring"
    assert admin not in _file(home).read_text()
    assert admin in kept.read_text()
    assert call("projects", "list", **good).status == 0
    locked = call("projects", "list", **{**path, "KEYRING_PRIORITY": "9"})
    assert locked.complaint == "the system's keyring refused (KeyringError): unlock it"
    assert call("projects", "list", **weak).complaint.startswith("the token is in a keyring")
    assert call("logout", **good).status == 0
    assert json.loads(kept.read_text()) == {}
    assert [path.name for path in _file(home).parent.iterdir()] == ["logins.json"]
