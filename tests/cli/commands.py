"""Every command, found in the program itself, and a call of each."""

from collections.abc import Iterator
from typing import Any

import typer.main

from backend.cli import app
from strongroom.__main__ import OF_THE_CLIENT

CALLS: dict[str, tuple[str, ...]] = {
    "serve": ("--port", "0"),
    "migrate": (),
    "demo": (),
    "import": ("in.jsonl",),
    "export": ("out.jsonl",),
    "token create": ("ci", "--scope", "admin"),
    "token list": (),
    "token revoke": ("1",),
    "keys generate": (),
    "keys status": (),
    "keys rotate": (),
    "audit export": ("audit.jsonl",),
    "backup": ("copy.db",),
    "restore": ("source.db",),
    "prune": (),
    "verify": (),
    "secrets set": ("KEY", "--project", "1"),
    "secrets get": ("KEY", "--project", "1"),
    "secrets list": ("--project", "1"),
    "secrets import": ("in.env", "--project", "1"),
    "secrets export": ("--project", "1"),
    "run": ("--project", "1", "--", "true"),
    "projects list": (),
    "projects show": ("1",),
    "runs list": (),
    "runs watch": ("1",),
    "logs tail": (),
    "login": (),
    "logout": (),
}
"""The arguments that each command requires."""

OF_A_SERVICE = frozenset(name for name in CALLS if name.partition(" ")[0] in OF_THE_CLIENT)
"""They talk to a running service, and need no data: see tests/client/commands."""
OF_AN_INSTALLATION = [name for name in CALLS if name not in OF_A_SERVICE]
WITHOUT_DATA = frozenset({"keys generate"}) | OF_A_SERVICE
WITHOUT_RESULT = frozenset({"serve", "run"})


def commands() -> dict[str, Any]:
    """Each command by the words that call it."""
    return dict(_leaves(typer.main.get_group(app), ""))


def groups() -> list[str]:
    """The words that call each group of commands; the program itself needs no word."""
    children = typer.main.get_group(app).commands
    return ["", *(name for name, one in children.items() if hasattr(one, "commands"))]


def call(name: str, *options: str) -> tuple[str, ...]:
    """A complete command line."""
    return (*name.split(), *CALLS[name], *options)


def _leaves(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path.strip(), command
        return
    for name, child in children.items():
        yield from _leaves(child, f"{path} {name}")
