"""The rooms of the code, from the top down, and the rooms that each may import.

`python -m tests.rooms` writes them into ARCHITECTURE.md.
"""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "ARCHITECTURE.md"
BEGIN, END = "<!-- rooms: written by make schema -->\n", "<!-- /rooms -->\n"
ALL_BELOW = ("*",)


class Room(NamedTuple):
    """A module or a package, without the parts of it that are separate rooms."""

    holds: str
    may_import: tuple[str, ...] = ()


FAMILY = (
    "backend.services",
    "backend.schemas",
    "backend.crypto",
    "backend.repositories",
    "backend.errors",
    "database.base",
    "database.connection_manager",
    "database.engine",
    "database.errors",
    "models",
)
"""The rooms that a family of use cases builds on."""

ROOMS: dict[str, Room] = {
    "strongroom.pytest_plugin": Room(
        "fixtures for suites of other programs, found by pytest", ("strongroom",)
    ),
    "strongroom.__main__": Room(
        "the command's entry: sets up signals and standard files", ALL_BELOW
    ),
    "backend.cli": Room("the command; serving", ALL_BELOW),
    "strongroom._commands": Room(
        "commands that talk to a running service; what all commands share", ("strongroom",)
    ),
    "strongroom": Room("what programs import: clients, their models and errors"),
    "backend.main": Room("`create_app`, the lifespan: settings in, an application out", ALL_BELOW),
    "backend.testing": Room(
        "a server for tests: the calls that empty the store, set the clock and cause faults",
        (
            "backend.http",
            "backend.runtime",
            "backend.services.access",
            "backend.services.database_service",
            "backend.services",
            "backend.schemas",
            "backend.observability",
            "backend.errors",
            "database.base",
            "database.errors",
        ),
    ),
    "backend.routes": Room(
        "the HTTP side of a use case: parse, call one method, answer",
        (
            "backend.dependencies",
            "backend.http",
            "backend.schemas",
            "backend.services.operations",
            "backend.services",
            "backend.errors",
            "models",
        ),
    ),
    "backend.dependencies": Room(
        "what routes declare: ids, pages, the service, problems", ("backend.http", "models")
    ),
    "backend.http": Room(
        "the path of a request: edge, guarded route, queue, strict bodies and queries, fast path",
        (
            "backend.runtime",
            "backend.services.database_service",
            "backend.services.idempotency",
            "backend.services.runs",
            "backend.services.webhooks",
            "backend.services",
            "backend.schemas",
            "backend.crypto",
            "backend.observability",
            "backend.errors",
            "database.changes",
            "database.errors",
            "database.slow_reads",
            "models",
        ),
    ),
    "backend.runtime": Room(
        "an installation from start to stop: files, keys, migrations, background work, backups",
        (
            "backend.services.database_service",
            "backend.services.audit",
            "backend.services.operations",
            "backend.services.runs",
            "backend.observability",
            "database.migrator",
            "database.sqlite",
            *FAMILY,
        ),
    ),
    "backend.services.database_service": Room(
        "the families of use cases, by name",
        (
            "backend.services.access",
            "backend.services.audit",
            "backend.services.events",
            "backend.services.idempotency",
            "backend.services.logs",
            "backend.services.operations",
            "backend.services.projects",
            "backend.services.runs",
            "backend.services.webhooks",
            "backend.services",
            "backend.schemas",
            "backend.errors",
            "models",
        ),
    ),
    "backend.services.operations": Room(
        "key rotation, retention, backups, readiness",
        ("backend.services.projects", "backend.services.idempotency", *FAMILY),
    ),
    "backend.services.webhooks": Room(
        "webhooks and deliveries", ("backend.services.projects", *FAMILY)
    ),
    "backend.services.projects": Room("projects, settings, secrets, documents", FAMILY),
    "backend.services.runs": Room(
        "agent runs, claims, messages, pipeline states, test results, snapshots", FAMILY
    ),
    "backend.services.logs": Room("logs", FAMILY),
    "backend.services.events": Room("the record of changes, as clients see it", FAMILY),
    "backend.services.access": Room("tokens", FAMILY),
    "backend.services.idempotency": Room("answers that are stored and repeated", FAMILY),
    "backend.services.audit": Room("the record of who did what", FAMILY),
    "backend.services": Room(
        "what all use cases share: kit, units of work, lists, principal, recording, cache, tasks",
        (
            "backend.crypto",
            "backend.repositories",
            "backend.observability",
            "backend.errors",
            "database.base",
            "database.changes",
            "database.connection_manager",
            "database.engine",
            "models",
        ),
    ),
    "backend.schemas": Room("shapes of requests and answers", ("models",)),
    "backend.crypto": Room(
        "vault, keys, MACs, cursors", ("backend.repositories", "backend.errors", "database.engine")
    ),
    "backend.repositories": Room(
        "SQL and row-to-model, nothing else",
        (
            "database.base",
            "database.connection_manager",
            "database.migrator",
            "database.portable_sql",
            "database.engine",
            "database.errors",
            "database.text_keys",
            "backend.errors",
            "models",
        ),
    ),
    "backend.observability": Room("logs, tracebacks, request ids"),
    "backend.errors": Room("every error that a client can get, and its status"),
    "config": Room("`Settings`: every variable, read once"),
    "database.base": Room(
        "`BaseRepository`, the clock",
        (
            "database.connection_manager",
            "database.engine",
            "database.errors",
            "database.json_texts",
        ),
    ),
    "database.connection_manager": Room(
        "how other rooms open the database",
        ("database.sqlite", "database.engine", "database.errors"),
    ),
    "database.sqlite": Room(
        "the engine on SQLite: pool, writer, readers, transactions, log, locks",
        (
            "database.migrator",
            "database.portable_sql",
            "database.changes",
            "database.engine",
            "database.errors",
            "database.slow_reads",
        ),
    ),
    "database.migrator": Room(
        "migrations", ("database.errors", "database.json_texts", "database.text_keys")
    ),
    "database.portable_sql": Room("pieces of SQL that every engine takes", ("database.engine",)),
    "database.changes": Room("what commits change"),
    "database.engine": Room("what every engine offers"),
    "database.errors": Room("errors of every engine"),
    "database.json_texts": Room("the stored form of JSON"),
    "database.slow_reads": Room("reads that may be slow"),
    "database.text_keys": Room("normal forms of text for comparisons"),
    "migrations": Room("`NNNN_verb_noun.sql`, never edited once released"),
    "models": Room("entities, enumerations, kinds of fields"),
    # Packages without code of their own.
    "backend": Room(""),
    "database": Room(""),
}
"""From the top down: a room may import only rooms below it."""


def allowed(room: str) -> tuple[str, ...]:
    """The rooms that this room may import."""
    names = list(ROOMS)
    if ROOMS[room].may_import == ALL_BELOW:
        return tuple(names[names.index(room) + 1 :])
    return ROOMS[room].may_import


def table() -> str:
    """The rooms as a Markdown table."""
    lines = ["| room | holds | may import |", "|---|---|---|"]
    for name, room in ROOMS.items():
        if room.holds:
            shown = [f"`{other.removeprefix('backend.')}`" for other in room.may_import]
            below = "all below" if room.may_import == ALL_BELOW else ", ".join(shown)
            lines.append(f"| `{name}` | {room.holds} | {below} |")
    return "\n".join(lines) + "\n"


def with_table(page: str) -> str:
    """The page with the current table."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}{table()}{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
