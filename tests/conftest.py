"""A migrated database for each test, created once and copied, and the product built on it.

A test takes `manager`, `service`, `application`, `client` or `server`: the lowest layer that shows
what it tests. A module or a test may override each of these fixtures.
"""

import asyncio
import filecmp
import gc
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache, lru_cache
from pathlib import Path

import httpx
import hypothesis
import pytest
from fastapi import FastAPI
from fastapi._compat import v2 as _fastapi
from httpx import _urlparse, _urls
from pydantic import SecretStr

from backend.crypto.keyring import generate_master_key
from backend.main import create_app
from backend.repositories import initialize_database
from backend.runtime import Runtime
from backend.services.database_service import DatabaseService
from config.settings import PREFIX, Settings
from database.connection_manager import ConnectionConfig, DatabaseManager
from tests.support.servers import RunningServer
from tests.support.twice import run_units_twice

# The tests start hundreds of processes, which share the compiled modules.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Without this, httpx searches all of `sys.path` for it at each request, in vain.
sys.modules["sniffio"] = None  # type: ignore[assignment]
# For each request, the tests' client reads two URLs and looks for cookies, which the tests of
# sessions send themselves. Both together were half of the client's time.
_urls.urlparse = _urlparse.urlparse = lru_cache(4096)(_urlparse.urlparse)  # type: ignore[attr-defined]
httpx.Cookies.extract_cookies = lambda *_: None  # type: ignore[method-assign]
# Otherwise each OpenAPI document makes thousands of these again, which is half of its time.
_fastapi.get_model_fields = cache(_fastapi.get_model_fields)

# A busy machine is no failure.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.load_profile("suite")

pytest_plugins = ["tests.support.fixtures"]
IN_MEMORY = Path("/dev/shm")  # noqa: S108 - pytest makes a private directory there
ENOUGH = 4 << 30
"""The free bytes that this requires."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add options that run the tests without direct calls, and with each unit run twice."""
    parser.addoption(
        "--through-fastapi",
        action="store_true",
        help="let FastAPI's own handler call every endpoint of the applications in this process",
    )
    parser.addoption(
        "--units-twice",
        action="store_true",
        help="run each batch of this process again that begins with a unit that succeeds",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the files of tests in memory, because thousands of databases are created. Only the fault
    tests are about disks, and they use one."""
    if config.getoption("through_fastapi"):
        # This includes tests that create their own application.
        defaults = create_app.__kwdefaults__
        assert defaults is not None
        defaults["direct"] = False
    if config.getoption("units_twice"):
        run_units_twice()
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Iterator[None]:  # noqa: ARG001
    """Turn off the garbage collector while thousands of tests are collected, and exclude them from
    it afterwards. That saves a fifth of the time in each worker."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Spread the tests with the mark `long` over the list, because the other workers would wait for
    them if they began last. At first each worker gets an equal part of the list: in its first half
    it runs some of them, with others between, because they mostly wait."""
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if not item.get_closest_marker("long")]
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    part = len(items) // workers
    turns = -(-len(long) // workers)
    places = [
        worker * part + turn * part // (2 * turns)
        for turn in range(turns)
        for worker in range(workers)
    ]
    # From the end, so that the other places stay the same.
    for place, item in sorted(zip(places, long, strict=False), key=lambda pair: -pair[0]):
        items.insert(place, item)


@pytest.fixture(scope="session")
def database_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the newest schema and no rows. Copy it; never open it."""
    path = tmp_path_factory.mktemp("template") / "strongroom.db"
    manager = DatabaseManager(path)
    initialize_database(manager)
    # The last connection to close moves everything from the write-ahead log into the file.
    manager.sync_pool.close()
    assert not manager.config.wal_path.exists()
    return path


@pytest.fixture
def database_path(database_template: Path, tmp_path: Path) -> Path:
    """The test's migrated database, which is not open yet."""
    path = tmp_path / database_template.name
    shutil.copyfile(database_template, path)
    return path


@pytest.fixture
def database_config(database_path: Path) -> ConnectionConfig:
    """The configuration of `manager`; a test or a module may override it."""
    return ConnectionConfig(database_path)


@pytest.fixture
async def manager(database_config: ConnectionConfig) -> AsyncIterator[DatabaseManager]:
    """The test's database, open until the end of the test."""
    async with DatabaseManager(database_config) as manager:
        yield manager


@pytest.fixture(scope="session")
def master_keys() -> str:
    """One master key, in the form of the setting."""
    return generate_master_key("test")


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Removes the settings in the environment of the person who runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        monkeypatch.delenv(name)


@cache
def _read_settings(master_keys: str) -> Settings:
    # Reading settings takes as long as opening a database, and only the directory differs between
    # tests. One reader shows the same as four, and saves a third of the time of a start.
    return Settings(
        _env_file=None, environment="development", master_keys=SecretStr(master_keys), db_readers=1
    )


@pytest.fixture
def settings(database_path: Path, master_keys: str, no_settings: None) -> Settings:  # noqa: ARG001
    """The configuration of `service` and `application`, with the test's database."""
    return _read_settings(master_keys).model_copy(update={"data_dir": database_path.parent})


@pytest.fixture
async def service(manager: DatabaseManager, settings: Settings) -> AsyncIterator[DatabaseService]:
    """The service over `manager`."""
    runtime = await Runtime.start(settings, manager=manager)
    yield runtime.service
    runtime.heads.close()


@pytest.fixture(scope="session")
def installation_template(
    tmp_path_factory: pytest.TempPathFactory, database_template: Path, master_keys: str
) -> Path:
    """The data directory after a first start on an empty database. Copy it; never open it."""
    directory = tmp_path_factory.mktemp("installation")
    shutil.copyfile(database_template, directory / database_template.name)
    settings = _read_settings(master_keys).model_copy(update={"data_dir": directory})

    async def start_and_stop() -> None:
        await (await Runtime.start(settings)).stop()

    asyncio.run(start_and_stop())
    return directory


@pytest.fixture
def installed(
    settings: Settings, database_template: Path, installation_template: Path, master_keys: str
) -> Settings:
    """`settings`, after their first start if its result is known: a first start takes longer than a
    test."""
    path = settings.data_dir / database_template.name
    keys = settings.master_keys
    is_known = keys is not None and keys.get_secret_value() == master_keys
    is_only = path.parent.is_dir() and list(path.parent.iterdir()) == [path]
    if is_known and is_only and filecmp.cmp(path, database_template, shallow=False):
        for file in installation_template.iterdir():
            shutil.copy(file, path.parent)
    return settings


@pytest.fixture
async def own_application(installed: Settings) -> AsyncIterator[FastAPI]:
    """The test's application."""
    app = create_app(installed)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture(scope="module")
async def shared_application(
    tmp_path_factory: pytest.TempPathFactory, installation_template: Path, master_keys: str
) -> AsyncIterator[FastAPI]:
    """The application of all tests of the module that have the mark `shared`."""
    directory = tmp_path_factory.mktemp("shared")
    for file in installation_template.iterdir():
        shutil.copy(file, directory)
    app = create_app(_read_settings(master_keys).model_copy(update={"data_dir": directory}))
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def application(request: pytest.FixtureRequest) -> FastAPI:
    """The application, running; its service is `application.state.service`.

    It is the test's own. A test with the mark `shared` shares it with the others of its module that
    have the mark: with refused requests and with reads, tests don't disturb each other.
    """
    is_shared = request.node.get_closest_marker("shared") is not None
    app = request.getfixturevalue("shared_application" if is_shared else "own_application")
    assert isinstance(app, FastAPI)
    return app


@pytest.fixture
def server(installed: Settings) -> Iterator[RunningServer]:
    """The application on its own port, for tests that need a socket."""
    with RunningServer(create_app(installed)) as server:
        yield server
