"""`strongroom prune`: removes data beyond the retention limits."""

import asyncio
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from backend.cli.common import AsJson, DataDir, counted, print_json, print_table, quiet_settings
from backend.cli.failures import Interrupted
from backend.cli.offline_writes import offline_service
from backend.cli.progress import ProgressBar, progress_bar
from backend.runtime import inspection, retention_limits
from backend.schemas.retention import Removed, RetentionPlan
from backend.services.operations.pruner import Pruner
from config.settings import Settings
from database.sqlite.space import compact as write_anew
from database.sqlite.space import space
from strongroom._commands.terminal import say

_NAMES = {"answers": "stored answers"}
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def prune(
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only show what would be removed and how much space that frees; a "
            "server may be running.",
        ),
    ] = False,
    compact: Annotated[
        bool,
        typer.Option(
            "--compact", help="Rewrite the file afterwards, which returns free space to the system."
        ),
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove logs, runs, deliveries and old audit entries.

    The limits are the settings STRONGROOM_KEEP_…. A running server does this on its own.
    """
    settings = quiet_settings(data_dir)
    if dry_run:
        plan = asyncio.run(_plan(settings))
        _show(plan, as_json=as_json)
        return
    try:
        with progress_bar("removing") as bar:
            result = asyncio.run(_prune(settings, bar, compact=compact))
    except KeyboardInterrupt:
        raise Interrupted(
            "interrupted: what was removed is gone; run the same command again to go on"
        ) from None
    if as_json:
        print_json(result)
    else:
        say(*_sentences(result))


async def _plan(settings: Settings) -> RetentionPlan:
    async with inspection(settings, None) as opened:
        return await opened.service.retention.plan(retention_limits(settings))


async def _prune(settings: Settings, bar: ProgressBar, *, compact: bool) -> dict[str, Any]:
    async with offline_service(settings, "POST /api/retention/prune") as service:
        limits = retention_limits(settings)
        plan = await service.retention.plan(limits)
        if plan.rows:
            await service.retention.record_prune()

        def on_removed(removed: Removed) -> None:
            bar.show(sum(removed.model_dump().values()), plan.rows)

        pruner = Pruner(service.retention, limits, considerate=False, on_removed=on_removed)
        removed = await pruner.start()
        pool = service.db_manager.async_pool
        if compact:
            await pruner.tidy()
            await pool.run_alone(write_anew)
        after = await pool.run_alone(space)
        return {
            "removed": removed.model_dump(),
            "file_bytes": after.file,
            "free_bytes": after.free,
        }


def _show(plan: RetentionPlan, *, as_json: bool) -> None:
    if as_json:
        print_json({"would_remove": plan.model_dump()})
        return
    rows = [
        (_NAMES.get(name, name.replace("_", " ")), str(part.rows), shown_size(part.bytes))
        for name in RetentionPlan.model_fields
        for part in (getattr(plan, name),)
    ]
    print_table(
        ("what", "rows", "frees about"),
        [*rows, ("all", str(plan.rows), shown_size(plan.bytes))],
    )


def _sentences(result: dict[str, Any]) -> Iterator[str]:
    removed = result["removed"]
    yield (
        f"{counted(removed['logs'] + removed['own_logs'], 'log')}, "
        f"{counted(removed['runs'], 'run')}, "
        f"{counted(removed['deliveries'], 'delivery', 'deliveries')}, "
        f"{counted(removed['configuration_versions'] + removed['secret_versions'], 'version')}, "
        f"{counted(removed['deleted_secrets'], 'deleted secret')}, "
        f"{counted(removed['answers'], 'stored answer')} and "
        f"{counted(removed['audit'], 'audit entry', 'audit entries')} removed"
    )
    file, free = shown_size(result["file_bytes"]), shown_size(result["free_bytes"])
    yield f"the file has {file}, {free} of them free for new data"


def shown_size(size: int) -> str:
    """A number of bytes for a person: `12.3 MiB`."""
    number, unit = float(size), 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.1f} {_UNITS[unit]}" if unit else f"{size} {_UNITS[0]}"
