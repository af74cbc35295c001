"""Which functions of the product belong to which part of a request's cost.

Names that the product no longer has are refused, so that the table never silently loses a part.
"""

import inspect
import sqlite3
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache, wraps
from importlib import import_module
from types import ModuleType
from typing import Any, Self

from bench.costs.meter import probed, probed_coroutine
from bench.processes import BenchError

UVICORN = "uvicorn"
STARLETTE = "Starlette and FastAPI"
EDGE = "edge"
ACCESS = "access line and metrics"
ROUTE = "finding the route"
GUARD = "guard: token, scope, query"
BODY = "body, strict JSON"
ENDPOINT = "validation, endpoint, JSON of the answer"
KEPT = "kept answers"
FAIR = "fair queue"
QUEUE = "queue for the database"
BATCH = "batch"
UNIT = "unit: savepoint, context"
USE_CASE = "use case"
REPOSITORIES = "repositories: parameters, rows, models"
STATEMENTS = "statements around SQLite"
SQL = "SQLite: statements"
CONTROL = "SQLite: BEGIN, SAVEPOINT, RELEASE"
COMMIT = "SQLite: COMMIT"
SEAL = "crypto: keys and values"
DIGESTS = "crypto: digests of guarded rows"
MACS = "crypto: MACs of the record"
RECORD = "record"
FILES = "files compared"
CHECKPOINT = "checkpoint"

_UVICORN = "uvicorn.protocols.http.httptools_impl"

PROBES: dict[str, tuple[str, ...]] = {
    UVICORN: (
        "backend.cli.connections:Connection.data_received",
        f"{_UVICORN}:RequestResponseCycle.run_asgi",
        f"{_UVICORN}:RequestResponseCycle.send",
        f"{_UVICORN}:RequestResponseCycle.receive",
        "backend.cli.at_once:Whole.write",
    ),
    STARLETTE: (
        # Not FastAPI's, which uvicorn calls without arguments to find out what it is.
        "starlette.applications:Starlette.__call__",
        "starlette.middleware.exceptions:ExceptionMiddleware.__call__",
    ),
    EDGE: (
        "backend.http.edge:Edge._take",
        "backend.http.exchange:Exchange.send",
        "backend.http.exchange:Exchange.whole",
    ),
    ACCESS: (
        "backend.observability.log:log_access",
        "backend.http.metrics:RequestMetrics.observe",
        "backend.http.accesses:Accesses._settle",
    ),
    ROUTE: (
        "backend.http.fast_path.route_table:RouteTable.matches",
        "backend.http.fast_path.route_table:RouteTable.direct_handler",
    ),
    GUARD: (
        "backend.http.guarded_route:_in_its_turn()",
        "backend.http.authentication:recognised",
        "backend.http.authentication:authenticate",
        "backend.http.token_checks:require_valid",
    ),
    BODY: ("backend.http.token_checks:read_body", "backend.http.token_checks:use_body"),
    ENDPOINT: ("backend.http.fast_path.direct_call:DirectCall.__call__",),
    KEPT: (
        "backend.http.kept_path:KeptPath.answer",
        "backend.http.kept_path:KeptPath.answer_at_once",
    ),
    FAIR: (
        "backend.http.fair_queue:FairQueue.take",
        "backend.http.fair_queue:FairQueue.wait",
        "backend.http.fair_queue:FairQueue.give_back",
    ),
    QUEUE: (
        "database.sqlite.async_pool:AsyncConnectionPool.run_unit",
        "database.sqlite.async_pool:AsyncConnectionPool.fetch_one",
        "database.sqlite.async_pool:AsyncConnectionPool.fetch_all",
        "database.sqlite.async_pool:AsyncConnectionPool.fetch_within",
        "database.sqlite.writer:Writer._run_hop",
        "database.sqlite.writer:_deliver",
        "database.sqlite.readers:Readers._run_hop",
        "database.sqlite.readers:Readers._deliver",
    ),
    BATCH: ("database.sqlite.batches:BatchRunner.serve",),
    UNIT: ("database.sqlite.transaction:drive",),
    USE_CASE: ("database.sqlite.transaction:_run",),
    REPOSITORIES: ("backend.repositories.*", "database.base:BaseRepository.*"),
    STATEMENTS: ("database.sqlite.transaction:InlineTransaction.call",),
    SEAL: (
        "backend.crypto.vault:Vault.new_project_key",
        "backend.crypto.vault:Vault.project",
        "backend.crypto.vault:Vault.is_readable",
        "backend.crypto.project_cipher:ProjectCipher.seal",
        "backend.crypto.project_cipher:ProjectCipher.holds",
        "backend.crypto.project_cipher:ProjectCipher.seal_all",
        "backend.crypto.project_cipher:ProjectCipher.holding",
    ),
    DIGESTS: ("backend.crypto.row_digests:RowDigests.of", "backend.services.guard:Guard.forged"),
    MACS: ("backend.crypto.audit_chain:AuditChain.macs",),
    RECORD: (
        "backend.services.recording:Recorder.record_all",
        "backend.services.recording:Recorder.record_alike",
        "backend.services.recording:Recorder.record_calls",
        "backend.services.recording:Recorder.write",
        "database.sqlite.transaction:write_entries",
    ),
    FILES: (
        "database.sqlite.open_files:OpenFiles.before_commit",
        "database.sqlite.open_files:OpenFiles.after_commit",
    ),
}
"""The probed functions by part. `module.*` and `Class.*` are all public coroutine functions there,
and `name()` is what the function returns. SQLite's own time is measured by its cursors."""

_OURS = ("backend", "config", "database", "models")
_CONTROL = frozenset({"BEGIN", "SAVEPO", "RELEAS", "ROLLBA"})


def install(times: int = 1) -> None:
    """Put all probes in their places, each this many times, before any route is made. Raises
    `BenchError` when the product has no such name."""
    if "backend.routes" in sys.modules:
        raise BenchError("the routes were made before the probes, and would not have them")
    for _ in range(times):
        for part, names in PROBES.items():
            for name in names:
                _install(name, part)
    _install_cursors(times)


def _install(name: str, part: str) -> None:
    module_name, _, path = name.partition(":")
    if module_name.endswith(".*"):
        package = import_module(module_name[:-2])
        for module in _modules_below(package):
            for kind in _classes_of(module):
                _probe_public(kind, part)
        return
    module = import_module(module_name)
    made = path.endswith("()")
    owner, _, last = path.removesuffix("()").rpartition(".")
    target: Any = getattr(module, owner, None) if owner else module
    if target is None or (last != "*" and last not in vars(target)):
        raise BenchError(f"the product has no {name}: give its part {part!r} another probe")
    if last == "*":
        _probe_public(target, part)
        return
    function = vars(target)[last]
    replacement = _with_probe(function, part, made=made)
    if owner:
        setattr(target, last, replacement)
    else:
        _replace_everywhere(function, replacement)


def _with_probe(function: Callable[..., Any], part: str, *, made: bool = False) -> Any:
    if made:

        @wraps(function)
        def make(*args: Any, **kwargs: Any) -> Any:
            return _with_probe(function(*args, **kwargs), part)

        return make
    if inspect.iscoroutinefunction(function):
        return probed_coroutine(function, part)
    return probed(function, part)


def _replace_everywhere(function: object, replacement: object) -> None:
    """Other modules have imported the function by its name."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _OURS:
            for key, value in list(vars(module).items()):
                if value is function:
                    setattr(module, key, replacement)


def _modules_below(package: ModuleType) -> Iterator[ModuleType]:
    import_module(package.__name__)
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package.__name__}."):
            yield module


def _classes_of(module: ModuleType) -> Iterator[type]:
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == module.__name__:
            yield value


def _probe_public(kind: type, part: str) -> None:
    for name, value in list(vars(kind).items()):
        if not name.startswith("_") and inspect.iscoroutinefunction(value):
            setattr(kind, name, probed_coroutine(value, part))


@lru_cache(maxsize=1024)
def part_of(sql: str) -> str:
    """The part that a statement belongs to."""
    start = sql.lstrip()[:6].upper()
    if start == "COMMIT":
        return COMMIT
    if start in _CONTROL:
        return CONTROL
    return CHECKPOINT if "wal_checkpoint" in sql else SQL


def _cursors(times: int) -> type[sqlite3.Cursor]:
    """A class of cursors whose calls belong to the part of their statement."""

    def with_probes(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        for _ in range(times):
            function = _with_probe(function, part)
        return function

    run = {
        part: with_probes(sqlite3.Cursor.execute, part)
        for part in (SQL, CONTROL, COMMIT, CHECKPOINT)
    }

    class ProbedCursor(sqlite3.Cursor):
        executemany = with_probes(sqlite3.Cursor.executemany, SQL)
        fetchone = with_probes(sqlite3.Cursor.fetchone, SQL)
        fetchall = with_probes(sqlite3.Cursor.fetchall, SQL)

        def execute(self, sql: str, parameters: Any = (), /) -> Self:
            run[part_of(sql)](self, sql, parameters)
            return self

    return ProbedCursor


def _install_cursors(times: int) -> None:
    cursors = _cursors(times)
    versions = import_module("database.sqlite.table_versions")
    if vars(versions).get("_cursor") is not sqlite3.Connection.cursor:
        raise BenchError("the writer's connection makes its cursors elsewhere than at `_cursor`")
    plain, connect = sqlite3.Connection.cursor, sqlite3.connect

    class ProbedConnection(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            return self.cursor(cursors).execute(sql, parameters)

    def connect_probed(*args: Any, factory: type = sqlite3.Connection, **options: Any) -> Any:
        kind = ProbedConnection if factory is sqlite3.Connection else factory
        return connect(*args, factory=kind, **options)

    vars(versions)["_cursor"] = lambda connection: plain(connection, cursors)
    vars(sqlite3)["connect"] = connect_probed
