"""Every command, found in the program itself, and a call of each."""

from collections.abc import Iterator
from typing import Any

import typer.main

from backend.cli import app

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
}
"""The arguments that each command requires."""

WITHOUT_DATA = frozenset({"keys generate"})
WITHOUT_RESULT = frozenset({"serve"})


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
