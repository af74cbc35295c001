"""Who may import whom, and the rules of style that a tool can't be told.

Every arrow points down. A module that no rule knows is an error: whoever adds it says here where
it stands.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("backend", "config", "database", "migrations", "strongroom")
EVERYTHING = ("backend", "config", "database", "migrations", "models")


MAY_IMPORT: dict[str, tuple[str, ...]] = {
    # The command, before its modules are loaded.
    "strongroom": ("backend.cli", "backend.standard_files"),
    # The composition roots.
    "backend.main": EVERYTHING,
    "backend.cli": EVERYTHING,
    # What both put together: everything but HTTP, and not the configuration.
    "backend.runtime": (
        "backend.runtime.background",
        "backend.runtime.background",
        "backend.errors",
        "backend.observability.log",
        "backend.crypto.master_keys",
        "backend.repositories",
        "backend.schemas",
        "backend.services",
        "database",
        "models",
    ),
    # HTTP.
    "backend.http.cross_origin": ("backend.http.request_head",),
    "backend.http.edge": (
        "backend.http.access",
        "backend.http.cross_origin",
        "backend.dependencies",
        "backend.errors",
        "backend.observability.log",
        "backend.http.own_origin",
        "backend.http.request_head",
        "backend.observability.request_ids",
        "backend.http.metrics",
        "backend.http.trusted_hosts",
        "backend.http.trusted_proxies",
        "database.errors",
    ),
    "backend.http.docs_pages": ("backend.http.strict_query",),
    "backend.http.openapi": ("backend.http.access", "backend.dependencies", "models"),
    "backend.routes": (
        "backend.dependencies",
        "backend.http.github_deliveries",
        "backend.http.inbound_budget",
        "backend.services",
        "backend.http.metrics",
        "backend.schemas",
        "models",
        "backend.errors",
    ),
    "backend.http.github_deliveries": (
        "backend.http.inbound_budget",
        "backend.services",
        "backend.http.strict_json",
        "backend.errors",
    ),
    "backend.http.inbound_budget": ("backend.errors", "backend.http.rate_limits"),
    "backend.dependencies": (
        "backend.http.access",
        "backend.http.fair_queue",
        "backend.http.fast_path.direct_call",
        "backend.http.missing_paths",
        "backend.http.rate_limits",
        "backend.http.request_head",
        "backend.services",
        "backend.http.strict_query",
        "backend.http.token_checks",
        "models",
        "backend.errors",
        "database.errors",
    ),
    "backend.http.token_checks": (
        "backend.http.fast_path.direct_call",
        "backend.errors",
        "backend.services",
        "backend.http.strict_json",
    ),
    # Use cases, and the SQL below them.
    "backend.services": (
        "backend.repositories",
        "backend.observability.request_ids",
        "backend.schemas",
        "models",
        "backend.errors",
        "database",
    ),
    "backend.repositories": ("database", "models", "backend.errors"),
    "backend.schemas": ("backend.schemas.json_numbers", "models"),
    "database": (),
    "migrations": (),
    # The bottom: nothing of ours.
    "backend.http.access": (),
    "backend.runtime.background": ("backend.observability.log",),
    "backend.http.fair_queue": ("database",),
    "backend.http.missing_paths": (),
    "backend.http.own_origin": ("backend.http.request_head",),
    "backend.http.rate_limits": ("backend.errors",),
    "backend.http.request_head": (),
    "backend.observability.request_ids": (),
    "backend.http.engine_metrics": (),
    "backend.http.metrics": (
        "backend.http.fair_queue",
        "backend.http.engine_metrics",
        "backend.http.inbound_budget",
        "backend.observability.log_output",
        "backend.services",
    ),
    "backend.http.fast_path.route_table": (),
    "backend.standard_files": (),
    "backend.http.json_places": ("models",),
    "backend.http.strict_json": (
        "backend.errors",
        "backend.schemas.json_numbers",
        "backend.http.json_places",
    ),
    "backend.http.strict_query": ("backend.errors",),
    "backend.http.trusted_hosts": ("backend.http.request_head",),
    "backend.http.trusted_proxies": (),
    "backend.http.fast_path.direct_call": (),
    "backend.errors": (),
    "backend.schemas.json_numbers": (),
    "backend.observability.log": (
        "backend.observability.request_ids",
        "backend.observability.tracebacks",
    ),
    "backend.observability.log_output": ("backend.observability.log",),
    "backend.crypto.master_keys": (),
    "backend.observability.tracebacks": (),
    "backend": (),
    "models": (),
    "config": (),
}
"""For each module or package what of ours it may import beside itself; the longest name holds."""

DATABASE_DRIVERS = {"aiosqlite"}

MAX_LINES = 400
LONG_BY_DESIGN = {"models.py"}
"""Files that hold by their meaning what would otherwise be split."""

FORBIDDEN_SQL = {
    "INSERT OR": r"\bINSERT\s+OR\b",
    "datetime('now')": r"\bdatetime\s*\(",
    "strftime": r"\bstrftime\s*\(",
    "json_extract": r"\bjson_extract\s*\(|->",
    "GLOB": r"\bGLOB\b",
    "last_insert_rowid()": r"\blast_insert_rowid\b",
    "group_concat": r"\bgroup_concat\b",
    "double-quoted strings": r'"',
    "LIMIT -1": r"\bLIMIT\s+-",
    "(? IS NULL OR ...) without a cast": r"\?\s+IS\s+(NOT\s+)?NULL\b",
}
"""What the second engine does not know, or knows as something else."""

SQL = re.compile(r"^\s*(SELECT|INSERT|UPDATE|DELETE|WITH|FROM|WHERE|AND|OR|ORDER|LIMIT|SET)\b")


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


def _imports(module: str) -> Iterator[str]:
    """The dotted names that a module imports anywhere in it, as far as they are modules."""
    for node in ast.walk(_tree(_modules()[module])):
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


def _rule_of(module: str) -> str:
    rules = [rule for rule in MAY_IMPORT if _within(module, rule) and rule != "backend"]
    if module == "backend":
        return "backend"
    assert rules, f"{module} stands nowhere: say in MAY_IMPORT what it may import"
    return max(rules, key=len)


@pytest.mark.parametrize("module", _modules())
def test_every_import_points_down(module: str) -> None:
    rule = _rule_of(module)
    allowed = (rule, *MAY_IMPORT[rule])
    wrong = [
        name
        for name in _imports(module)
        if name.partition(".")[0] in EVERYTHING
        and not any(_within(name, package) for package in allowed)
    ]
    assert not wrong, f"{module} may not import {', '.join(wrong)}"


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
CALLING = {"connect_ex", "create_connection", "open_connection", "sock_connect", "urlopen"}


def test_nothing_calls_other_servers() -> None:
    # So nobody makes the service call where only it can reach, by a URL that it is to keep.
    for module, file in _modules().items():
        imported = set(_imports(module)) | {name.partition(".")[0] for name in _imports(module)}
        assert not imported & CLIENTS, module
        names = {node.attr for node in ast.walk(_tree(file)) if isinstance(node, ast.Attribute)}
        assert not names & CALLING, module


def test_every_rule_is_about_a_module_that_exists() -> None:
    assert set(MAY_IMPORT) <= set(_modules())


def _sources() -> list[Path]:
    return [*_modules().values(), *sorted((ROOT / "tests").rglob("*.py"))]


@pytest.mark.parametrize("file", _sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_can_be_read_in_one_go(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES or file.name in LONG_BY_DESIGN, f"{lines} lines"


def test_print_is_for_commands() -> None:
    for module, file in _modules().items():
        calls = [
            node.lineno
            for node in ast.walk(_tree(file))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ]
        # The migrator's print is the schema, when it is run as a program.
        allowed = _within(module, "backend.cli") or module == "database.migrator"
        assert allowed or not calls, f"{module} prints in line {calls}"


def _strings(module: str) -> Iterator[tuple[int, str]]:
    """Every string of a module that is no docstring, with `?` for what an f-string inserts."""
    tree = _tree(_modules()[module])
    skipped: set[int] = set()
    for node in ast.walk(tree):
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


@pytest.mark.parametrize("module", [m for m in _modules() if _within(m, "backend.repositories")])
def test_repositories_write_sql_that_both_engines_know(module: str) -> None:
    for line, text in _strings(module):
        if SQL.match(text):
            for name, pattern in FORBIDDEN_SQL.items():
                found = re.search(pattern, text, re.IGNORECASE)
                assert not found, f"{module}, line {line}: {name} in {text!r}"


def test_sql_stands_in_repositories_and_the_database_package_only() -> None:
    statement = re.compile(
        r"\s*(SELECT .* FROM|INSERT INTO|UPDATE .* SET|DELETE FROM)\b", re.DOTALL
    )
    for module in _modules():
        if not (_within(module, "backend.repositories") or _within(module, "database")):
            lines = [line for line, text in _strings(module) if statement.match(text)]
            assert not lines, f"{module} has SQL in line {lines}"
