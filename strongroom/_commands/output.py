"""What commands write to standard output: one JSON object, or a table."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from strongroom._commands.standard_files import writes_utf8
from strongroom._commands.terminal import printable, printable_json


def print_json(result: Mapping[str, Any], *, at_once: bool = False) -> None:
    """Print one JSON object on one line of standard output."""
    print(as_json_line(result), flush=at_once)


def print_at_once(line: str) -> None:
    """Print a line for a person who waits for it."""
    print(printable(line), flush=True)


def as_json_line(result: Mapping[str, Any]) -> str:
    """One JSON object on one line, without control characters for a terminal."""
    return printable_json(json.dumps(result, ensure_ascii=not writes_utf8(sys.stdout)))


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on standard output; for other programs, columns separated by tabs."""
    rows = [[printable(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in (header, *rows):
            print("\t".join(row))
        return
    # Imported here, because most commands write to no terminal or show no table.
    from rich import box  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*header, box=box.SIMPLE_HEAD)
    for row in rows:
        table.add_row(*row)
    Console().print(table, markup=False, highlight=False)
