"""Fixtures for suites that test against Strongroom. pytest finds this module by itself.

Each suite would pay for what is imported here, so the rest is imported by the first test that needs
it. All fixtures are ordinary functions, which belong to no event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from strongroom import AsyncClient
    from strongroom._leaks import Leaks
    from strongroom._test_server import StrongroomClock, StrongroomFaults, StrongroomServer
    from strongroom.models import Project

_SERVER, _LEAKS = "strongroom_server", "strongroom_leaks"
_LOG_START = pytest.StashKey[int]()
_RUNNING = pytest.StashKey["StrongroomServer"]()


@pytest.fixture(scope="session")
def strongroom_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StrongroomServer]:
    """A server for tests, as a process of its own for the session: its `url`, `data_dir` and `log`.

    Its store is shared by all tests; `strongroom_admin_token` empties it.
    """
    from strongroom._test_server import StrongroomServer, StrongroomServerError  # noqa: PLC0415

    try:
        server = StrongroomServer(tmp_path_factory.mktemp("strongroom"))
    except StrongroomServerError as error:
        pytest.fail(f"{_SERVER}: {error}", pytrace=False)
    request.config.stash[_RUNNING] = server
    yield server
    del request.config.stash[_RUNNING]
    try:
        server.stop()
    except StrongroomServerError as error:
        pytest.fail(f"{_SERVER}: {error}", pytrace=False)


@pytest.fixture
def strongroom_admin_token(strongroom_server: StrongroomServer) -> str:
    """The token of the administrator of an empty store, which is the test's own."""
    from strongroom._test_server import StrongroomServerError  # noqa: PLC0415

    try:
        return strongroom_server.reset()
    except StrongroomServerError as error:
        pytest.fail(f"strongroom_admin_token: {error}", pytrace=False)


@pytest.fixture
def strongroom_client(
    request: pytest.FixtureRequest, strongroom_server: StrongroomServer, strongroom_admin_token: str
) -> AsyncClient:
    """An `AsyncClient` of the administrator of an empty store, which is the test's own. It need not
    be closed, and may be used on any event loop."""
    from strongroom._leaks import new_client  # noqa: PLC0415

    leaks = request.getfixturevalue(_LEAKS) if _uses(request, _LEAKS) else None
    return new_client(strongroom_server, strongroom_admin_token, leaks)


@pytest.fixture
def strongroom_project(strongroom_server: StrongroomServer, strongroom_admin_token: str) -> Project:
    """A project in the test's store."""
    from strongroom._test_server import StrongroomServerError  # noqa: PLC0415
    from strongroom.models import Project  # noqa: PLC0415

    body = {"name": "Payments", "github_owner": "acme", "github_repo": "payments"}
    try:
        made = strongroom_server.call("/api/projects", body, token=strongroom_admin_token)
    except StrongroomServerError as error:
        pytest.fail(f"strongroom_project: {error}", pytrace=False)
    return Project.model_validate(made)


@pytest.fixture
def strongroom_leaks(
    request: pytest.FixtureRequest, strongroom_server: StrongroomServer, strongroom_admin_token: str
) -> Iterator[Leaks]:
    """Fails the test at its end when the value of a secret stands in an answer that
    `strongroom_client` got, but for reveals, in what the test or the server has logged, or in a
    file of the store or of `tmp_path`."""
    from strongroom._leaks import Leaks  # noqa: PLC0415
    from strongroom._test_server import StrongroomServerError  # noqa: PLC0415

    leaks = Leaks(strongroom_server, strongroom_admin_token)
    folders = [request.getfixturevalue(name) for name in ("tmp_path",) if _uses(request, name)]
    root = logging.getLogger()
    root.addHandler(leaks)
    try:
        yield leaks
    finally:
        root.removeHandler(leaks)
    try:
        found = leaks.found(folders)
    except StrongroomServerError as error:
        pytest.fail(f"{_LEAKS}: the stored values can't be read: {error}", pytrace=False)
    if found:
        pytest.fail(f"{_LEAKS}: " + "\n".join(found), pytrace=False)


def _uses(request: pytest.FixtureRequest, name: str) -> bool:
    return name in request.fixturenames


@pytest.fixture
def strongroom_token(
    strongroom_server: StrongroomServer, strongroom_admin_token: str
) -> Callable[..., str]:
    """Makes tokens: `strongroom_token(scopes, projects=None)` returns a new one with these scopes,
    bound to the projects with these ids."""
    from strongroom._test_server import new_token  # noqa: PLC0415

    def make(scopes: Sequence[str], projects: Sequence[int] | None = None) -> str:
        __tracebackhide__ = True
        return new_token(strongroom_server, strongroom_admin_token, scopes, projects)

    return make


@pytest.fixture
def strongroom_clock(
    strongroom_server: StrongroomServer,
    strongroom_admin_token: str,  # noqa: ARG001 - the store is the test's own
) -> Iterator[StrongroomClock]:
    """The server's clock: `move(timedelta)`, `set(datetime)` and `reset()`, which the end of the
    test calls too."""
    from strongroom._test_server import StrongroomClock, StrongroomServerError  # noqa: PLC0415

    clock = StrongroomClock(strongroom_server)
    yield clock
    try:
        clock.reset()
    except StrongroomServerError as error:
        pytest.fail(f"strongroom_clock: {error}", pytrace=False)


@pytest.fixture
def strongroom_faults(
    strongroom_server: StrongroomServer,
    strongroom_admin_token: str,  # noqa: ARG001 - the store is the test's own
) -> Iterator[StrongroomFaults]:
    """Faults of the server: `fail_next_commit()`, `disk_full(on)`, `lose_next_answer()` and
    `slow(ms)`. They end with the test."""
    from strongroom._test_server import StrongroomFaults, StrongroomServerError  # noqa: PLC0415

    faults = StrongroomFaults(strongroom_server)
    yield faults
    try:
        faults.clear()
    except StrongroomServerError as error:
        pytest.fail(f"strongroom_faults: {error}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note where the part of a test in the server's log begins."""
    server = item.config.stash.get(_RUNNING, None)
    item.stash[_LOG_START] = server.log_bytes if server is not None else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what the server has logged meanwhile."""
    report = yield
    server = item.config.stash.get(_RUNNING, None)
    if report.failed and server is not None and _SERVER in getattr(item, "fixturenames", ()):
        log = server.whole_log(item.stash.get(_LOG_START, 0))
        report.sections.append((f"Log of {_SERVER} ({report.when})", log))
    return report
