"""Which room may import which, and rules of style that no tool checks.

Every arrow points down. A module without a room is an error: add its room to `rooms.py`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.portable_sql import FOREIGN, foreign_to_others
from tests.rooms import ALL_BELOW, FAMILY, PAGE, ROOMS, allowed, with_table

ROOT = Path(__file__).parent.parent
PACKAGES = ("backend", "config", "database", "migrations", "strongroom")


DATABASE_DRIVERS = {"aiosqlite"}

MAX_LINES = 400
LONG_BY_DESIGN = {"models.py"}
"""Files that belong together, and are therefore not split."""

ENGINE = "database.sqlite"
COMPOSITION = ("backend.cli", "backend.main", "backend.runtime", "database.connection_manager")
"""The rooms that build an installation for a particular engine, and open its database."""


@cache
def _modules() -> dict[str, Path]:
    """Every module of the product, by its dotted name."""
    files = [ROOT / "models.py"]
    for package in PACKAGES:
        files += sorted((ROOT / package).rglob("*.py"))
    return {_dotted(file): file for file in files}


def _dotted(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def _nodes(file: Path) -> tuple[ast.AST, ...]:
    """Every part of a file. To walk through all files takes longer than most tests of them."""
    return tuple(ast.walk(_tree(file)))


@cache
def _imports(module: str) -> tuple[str, ...]:
    """The dotted names of all modules that a module imports, at any place."""
    return tuple(_imported(module))


def _imported(module: str) -> Iterator[str]:
    for node in _nodes(_modules()[module]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module is not None
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in _modules() else node.module


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@cache
def _rule_of(module: str) -> str:
    rules = [rule for rule in ROOMS if _within(module, rule)]
    rule = max(rules, key=len, default="")
    has_room = rule not in {"", "backend", "database"} or module == rule
    assert has_room, f"{module} stands nowhere: say in tests/rooms.py what it may import"
    return rule


def _of(*packages: str) -> list[str]:
    """The modules in these packages."""
    return [name for name in _modules() if any(_within(name, package) for package in packages)]


def test_every_import_points_down() -> None:
    wrong = {}
    for module in _modules():
        rule = _rule_of(module)
        permitted = (rule, *allowed(rule))
        wrong[module] = [
            name
            for name in _imports(module)
            if name in _modules() and _rule_of(name) not in permitted
        ]
    assert {module: names for module, names in wrong.items() if names} == {}


def test_only_the_composition_roots_import_the_configuration() -> None:
    importers = {
        module
        for module in _modules()
        if not _within(module, "config")
        and any(_within(name, "config") for name in _imports(module))
    }
    assert {
        module
        for module in importers
        if not (module == "backend.main" or _within(module, "backend.cli"))
    } == set()
    assert "backend.main" in importers


def test_the_database_package_knows_drivers_and_the_standard_library_only() -> None:
    known = sys.stdlib_module_names | DATABASE_DRIVERS | {"database"}
    for module in _modules():
        if _within(module, "database"):
            foreign = {name.partition(".")[0] for name in _imports(module)} - known
            assert not foreign, f"{module} imports {foreign}"


def test_no_driver_is_imported_above_the_database_package() -> None:
    drivers = DATABASE_DRIVERS | {"sqlite3"}
    for module in _modules():
        if not _within(module, "database"):
            assert not drivers & {name.partition(".")[0] for name in _imports(module)}, module


CLIENTS = {"aiohttp", "ftplib", "http.client", "httpx", "requests", "smtplib", "urllib.request"}
CLIENT = "strongroom"
"""The room of the clients, which call a service. Users import it, and the service does not."""
LIBRARIES = {
    CLIENT: {"httpx", "pydantic", "pydantic_core"},
    # Without httpx: the client calls, and the commands call the client.
    "strongroom._commands": {"rich", "typer"},
}
CALLING = {"connect_ex", "create_connection", "open_connection", "sock_connect", "urlopen"}


def test_nothing_calls_other_servers() -> None:
    # No client can make the service call a URL that only the service can reach. What users import
    # is no part of the service, which imports nothing of it.
    for module, file in _modules().items():
        if _rule_of(module) in (CLIENT, "strongroom.pytest_plugin"):
            continue
        imported = set(_imports(module)) | {name.partition(".")[0] for name in _imports(module)}
        assert not imported & CLIENTS, module
        names = {node.attr for node in _nodes(file) if isinstance(node, ast.Attribute)}
        assert not names & CALLING, module


def test_the_client_imports_little_and_nothing_of_the_server() -> None:
    modules = [module for module in _modules() if _rule_of(module) in LIBRARIES]
    assert {"strongroom._async.transport", "strongroom._commands.app"} <= set(modules)
    for module in modules:
        foreign = {name.partition(".")[0] for name in _imports(module)} - {CLIENT}
        assert not foreign - sys.stdlib_module_names - LIBRARIES[_rule_of(module)], module


def test_every_room_exists_and_stands_above_what_it_may_import() -> None:
    assert set(ROOMS) <= set(_modules())
    names = list(ROOMS)
    for place, name in enumerate(names):
        assert set(allowed(name)) <= set(names[place + 1 :]), name


def test_no_room_may_import_more_than_it_does() -> None:
    used: dict[str, set[str]] = {}
    for module in _modules():
        rooms = {_rule_of(name) for name in _imports(module) if name in _modules()}
        used.setdefault(_rule_of(module), set()).update(rooms)
    for name, room in ROOMS.items():
        if room.may_import not in (ALL_BELOW, FAMILY):
            spare = set(room.may_import) - used.get(name, set()) - set(FAMILY)
            assert not spare, f"{name} imports nothing of {spare}"


def test_the_page_shows_the_rooms() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page) == page, "make schema writes the table"


def _sources() -> list[Path]:
    return [*_modules().values(), *sorted((ROOT / "tests").rglob("*.py"))]


def test_every_file_can_be_read_in_one_go() -> None:
    lines = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for file in _sources()
        if file.name not in LONG_BY_DESIGN
    }
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def _awaits(body: list[ast.stmt]) -> int:
    """The largest number of calls that these statements await on any path."""
    count = 0
    for place, step in enumerate(body, 1):
        if isinstance(step, ast.If):
            rest = body[place:]
            returns = isinstance(step.body[-1], ast.Return)
            ways = (step.body if returns else [*step.body, *rest], [*step.orelse, *rest])
            return count + max(map(_awaits, ways))
        count += sum(isinstance(node, ast.Await) for node in ast.walk(step))
    return count


def test_a_route_awaits_one_call() -> None:
    awaits = {
        f"{module}.{node.name}": _awaits(node.body)
        for module in _of("backend.routes")
        for node in _tree(_modules()[module]).body
        if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list
    }
    assert 1 in awaits.values()
    assert {route: count for route, count in awaits.items() if count > 1} == {}


def test_a_task_that_outlives_its_caller_is_a_single_task() -> None:
    makers = [
        module
        for module in _of("backend.services")
        for node in _nodes(_modules()[module])
        if isinstance(node, ast.Attribute) and node.attr == "create_task"
    ]
    assert set(makers) <= {"backend.services.single_task"}


def test_progress_is_shown_by_one_helper() -> None:
    assert [
        module
        for module in _modules()
        if any(_within(name, "rich.progress") for name in _imports(module))
    ] == ["backend.cli.progress"]


def test_print_is_for_commands() -> None:
    for module, file in _modules().items():
        calls = [
            node.lineno
            for node in _nodes(file)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
        # The migrator prints the schema when it runs as a program.
        rooms = ("backend.cli", "strongroom._commands")
        allowed = module == "database.migrator" or any(_within(module, room) for room in rooms)
        assert allowed or not calls, f"{module} prints in line {calls}"


def _strings(module: str) -> Iterator[tuple[int, str]]:
    """Every string of a module except docstrings, with `?` for the values in an f-string."""
    skipped: set[int] = set()
    for node in _nodes(_modules()[module]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in node.values}
            yield (
                node.lineno,
                "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "{}"
                    for part in node.values
                ),
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in skipped
        ):
            yield node.lineno, node.value


def test_repositories_write_sql_that_every_engine_knows() -> None:
    for module in _of("backend.repositories", "database.base"):
        for line, text in _strings(module):
            assert not foreign_to_others(text), f"{module}, line {line}: {text!r}"


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_of_one_engine_alone_would_be_found(name: str) -> None:
    assert name in foreign_to_others(FOREIGN[name].sample)


def test_common_sql_is_not_taken_for_one_engine_s_own() -> None:
    for sql in (
        "SELECT l.* FROM system_logs AS l WHERE l.id BETWEEN ? AND ? ORDER BY l.id DESC LIMIT ?",
        "UPDATE t SET version = version + 1, a = COALESCE(a, ?) WHERE id = ? RETURNING *",
        "INSERT INTO t (a, b) VALUES (?, ?) ON CONFLICT (a) DO UPDATE SET b = excluded.b",
        "SELECT max(id) + 1 FROM t WHERE a IS NULL AND b LIKE ? ESCAPE '\\' AND c <> '=='",
    ):
        assert foreign_to_others(sql) == [], sql


def test_only_the_composition_roots_know_the_engine() -> None:
    importers = {
        module
        for module in _modules()
        if not _within(module, ENGINE)
        and any(_within(name, ENGINE) for name in _imports(module))
        and not any(_within(module, room) for room in COMPOSITION)
    }
    assert importers == set()


def test_only_one_statement_counts_a_change() -> None:
    counts = re.compile(r"\bversion\s*=\s*version\b|\bSET\b.*\bversion\s*=", re.DOTALL)
    found = [
        module
        for module in _modules()
        for _, text in _strings(module)
        if counts.search(text) and not _within(module, "bench")
    ]
    # That of `BaseRepository.change`, and the version of a row that was changed outside.
    assert found == ["database.base"] * 2


def test_sql_stands_in_repositories_and_the_database_package_only() -> None:
    statement = re.compile(
        r"\s*(SELECT .* FROM|INSERT INTO|UPDATE .* SET|DELETE FROM)\b", re.DOTALL
    )
    for module in _modules():
        if not (_within(module, "backend.repositories") or _within(module, "database")):
            lines = [line for line, text in _strings(module) if statement.match(text)]
            assert not lines, f"{module} has SQL in line {lines}"
