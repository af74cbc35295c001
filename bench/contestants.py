"""How each compared server is started, and what it requires."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BenchError, Server, environment, free_port, running

ROOT = Path(__file__).parent.parent
CACHE = Path(__file__).with_name(".cache")
PEERS = Path(__file__).with_name("peers")

Command = Callable[[int, Path], list[str]]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One server."""

    name: str
    title: str
    command: Command
    """Makes the command that starts it on a port and a data directory."""
    beside: Command
    """The same with the route of the slow query."""
    prepare: Callable[[], str | None] = lambda: None
    """Installs what it needs. Returns why it can't be started, or `None`."""

    @contextmanager
    def running(self, data_dir: Path, *, beside: bool = False) -> Iterator[Server]:
        """The server on this data directory. Raises `BenchError`."""
        port = free_port()
        command = (self.beside if beside else self.command)(port, data_dir)
        # This working directory has no `.env` that would change Strongroom's settings.
        directory = data_dir.parent
        log = directory / f"{self.name}.log"
        env = environment(PYTHONPATH=str(ROOT), STRONGROOM_LOG_FORMAT="json")
        with running(command, port, log, cwd=directory, env=env) as server:
            yield server

    def token(self, data_dir: Path) -> str:
        """The token for its requests. Available once it has started."""
        path = data_dir / "admin.token"
        return path.read_text("utf-8").strip() if path.exists() else "none"


def strongroom_program() -> str:
    """The installed command. Raises `BenchError`."""
    path = Path(sys.executable).with_name("strongroom")
    if not path.exists():
        raise BenchError(f"{path} was not found: make bench installs it")
    return str(path)


def _python(module: str) -> Command:
    def command(port: int, data_dir: Path) -> list[str]:
        name = f"bench.peers.{module}"
        return [sys.executable, "-m", name, "--port", str(port), "--data-dir", str(data_dir)]

    return command


def _strongroom(port: int, data_dir: Path) -> list[str]:
    return [strongroom_program(), "serve", "--port", str(port), "--data-dir", str(data_dir)]


def _node(*options: str, schemas: Sequence[str]) -> Command:
    def command(port: int, data_dir: Path) -> list[str]:
        return [
            "node",
            str(PEERS / "fastify" / "server.mjs"),
            *options,
            str(port),
            str(data_dir),
            str(CACHE / "fastify"),
            *(str(PEERS / name) for name in schemas),
        ]

    return command


_fastify = _node(schemas=["schema.sql"])
_fastify_audited = _node("--audited", schemas=["schema.sql", "audited.sql"])


def _install_fastify() -> str | None:
    """Install the Node packages once, and again when their lock has changed."""
    missing = [name for name in ("node", "npm") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not found (on Debian: apt install nodejs npm)"
    folder = CACHE / "fastify"
    lock = PEERS / "fastify" / "package-lock.json"
    installed = folder / ".installed"
    if installed.exists() and installed.read_bytes() == lock.read_bytes():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(PEERS / "fastify" / name, folder / name)
    print("Installing Fastify and libsql ...", file=sys.stderr)
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"],  # noqa: S607
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=dict(os.environ),
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        return f"npm ci failed: {said[-1] if said else 'it said nothing'}"
    installed.write_bytes(lock.read_bytes())
    return None


CONTESTANTS = (
    Contestant(
        "ceiling",
        "FastAPI, constants, no database (the ceiling)",
        _python("ceiling"),
        _python("ceiling"),
    ),
    Contestant("strongroom", "Strongroom", _strongroom, _python("strongroom")),
    Contestant("fastify", "Fastify, libsql", _fastify, _fastify, _install_fastify),
    Contestant(
        "fastify-audited",
        "Fastify, libsql, tokens, chained audit",
        _fastify_audited,
        _fastify_audited,
        _install_fastify,
    ),
    Contestant("ordinary", "FastAPI, aiosqlitepool", _python("ordinary"), _python("ordinary")),
    Contestant("orm", "FastAPI, SQLAlchemy, aiosqlite", _python("orm"), _python("orm")),
)

RAW = Contestant("raw", "uvicorn, constants", _python("raw"), _python("raw"))
"""Compared with kept answers only."""

KEYLESS = Contestant(
    "keyless", "Strongroom without idempotency keys", _python("keyless"), _python("keyless")
)
"""Compared with Strongroom itself only, for creates without a key."""


def _probed(times: int) -> Contestant:
    def command(port: int, data_dir: Path) -> list[str]:
        return [*_python("probed")(port, data_dir), "--times", str(times)]

    return Contestant(f"probed-{times}", "Strongroom with probes", command, command)


PROBED, PROBED_TWICE = _probed(1), _probed(2)
"""Compared with Strongroom itself only, for the parts of a request."""

BY_NAME = {contestant.name: contestant for contestant in CONTESTANTS}
