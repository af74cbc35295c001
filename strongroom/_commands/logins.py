"""What `strongroom login` keeps: a token for each service, in the system's keyring where there is
one, else in a file that only its owner can read."""

import contextlib
import fcntl
import importlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from strongroom._commands.failures import CommandFailed, WrongUse

FILE = "logins.json"
_SERVICE = "strongroom"
_MISSING_URL = "set STRONGROOM_URL and STRONGROOM_TOKEN, or run strongroom login"


class Access(NamedTuple):
    """Where the service is, and the token for it."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Access(url={self.url!r})"


@dataclass
class _Logins:
    """The file's content."""

    default: str | None = None
    """The URL of the last login."""
    tokens: dict[str, str | None] = field(default_factory=dict, repr=False)
    """The token by URL; None if the keyring has it."""


def access(url: str | None, token: str | None) -> Access:
    """The service to call: from these, or else the environment, or else a login. The token of a
    login is for its own URL only. Raises `WrongUse` if something is missing."""
    url = url or os.environ.get("STRONGROOM_URL") or None
    token = os.environ.get("STRONGROOM_TOKEN") if token is None else token
    if url is not None and token is not None:
        return Access(normal(url), token)
    kept = _read()
    chosen = normal(url) if url is not None else kept.default
    if chosen is None:
        raise WrongUse(_MISSING_URL)
    if token is None:
        token = _token(kept, chosen)
    if token is None:
        raise WrongUse("set STRONGROOM_TOKEN, or run strongroom login for this URL")
    return Access(chosen, token)


def normal(url: str) -> str:
    """The form in which URLs are compared."""
    return url.strip().rstrip("/")


def keep(where: Access) -> Literal["keyring", "file"]:
    """Keep a token, and make its service the one that is called without a URL. Tells where it is.
    Raises `CommandFailed`."""
    keyring = _keyring()
    with _changed() as logins:
        if keyring is not None:
            with _keyring_errors():
                keyring.set_password(_SERVICE, where.url, where.token)
        logins.tokens[where.url] = None if keyring is not None else where.token
        logins.default = where.url
    return "file" if keyring is None else "keyring"


def forget(url: str | None) -> str | None:
    """Forget the token for this URL, by default for that of the last login. Returns the URL; None
    if there was none. Raises `CommandFailed`."""
    with _changed() as logins:
        chosen = logins.default if url is None else normal(url)
        if chosen is None or chosen not in logins.tokens:
            return None
        if logins.tokens.pop(chosen) is None:
            keyring = _keyring()
            if keyring is None:
                raise CommandFailed(_WITHOUT_KEYRING)
            with _keyring_errors():
                if keyring.get_password(_SERVICE, chosen) is not None:
                    keyring.delete_password(_SERVICE, chosen)
        if logins.default == chosen:
            # With several left, the user says which one is meant.
            logins.default = next(iter(logins.tokens)) if len(logins.tokens) == 1 else None
    return chosen


_WITHOUT_KEYRING = (
    "the token is in a keyring that can't be reached: install strongroom[keyring], unlock it, or "
    "run strongroom login"
)


def _token(logins: _Logins, url: str) -> str | None:
    if url not in logins.tokens:
        return None
    token = logins.tokens[url]
    if token is None:
        keyring = _keyring()
        if keyring is None:
            raise CommandFailed(_WITHOUT_KEYRING)
        with _keyring_errors():
            token = keyring.get_password(_SERVICE, url)
    return token


def _keyring() -> Any:
    """The library's module, if it is installed and the system has a keyring; else None."""
    try:
        keyring = importlib.import_module("keyring")
    except ImportError:
        return None
    # Below 1 are those that keep nothing, and those that are no better than a file.
    return keyring if keyring.get_keyring().priority >= 1 else None


@contextlib.contextmanager
def _keyring_errors() -> Iterator[None]:
    errors = importlib.import_module("keyring.errors")
    try:
        yield
    except errors.KeyringError as error:
        kind = type(error).__name__
        raise CommandFailed(f"the system's keyring refused ({kind}): unlock it") from None


def folder() -> Path:
    """The folder of the file, by the XDG base directory specification."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative path must be ignored.
    base = Path(configured) if configured.startswith("/") else Path.home() / ".config"
    return base / "strongroom"


def _read() -> _Logins:
    path = folder() / FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return _Logins()
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None
    with os.fdopen(descriptor, encoding="utf-8") as file:
        found = os.fstat(descriptor)
        is_ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not is_ours or found.st_mode & 0o077:
            raise CommandFailed(f"{path}: must be a file of your own with mode 0600")
        try:
            return _parsed(json.load(file))
        except (ValueError, TypeError):
            raise CommandFailed(f"{path}: is damaged; remove it, and log in again") from None


def _parsed(content: Mapping[str, Any]) -> _Logins:
    default, tokens = content["default"], content["tokens"]
    texts = [*([] if default is None else [default]), *tokens]
    texts += [token for token in tokens.values() if token is not None]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return _Logins(default, dict(tokens))


@contextlib.contextmanager
def _changed() -> Iterator[_Logins]:
    """The logins, which are written after the block. Only one process at a time is in it."""
    place = folder()
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise CommandFailed(f"{place}: {error.strerror}") from None
    try:
        found = os.fstat(descriptor)
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise CommandFailed(f"{place}: must be a folder of your own that others can't write")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        logins = _read()
        yield logins
        _write(place, logins)
    finally:
        os.close(descriptor)


def _write(place: Path, logins: _Logins) -> None:
    temporary = place / f".{FILE}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        # What an earlier process with this number left.
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, flags, 0o600), "w", encoding="utf-8") as file:
            json.dump({"default": logins.default, "tokens": logins.tokens}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(place / FILE)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CommandFailed(f"{place / FILE}: {error.strerror}") from None
