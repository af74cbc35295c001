"""`strongroom demo`: an installation with made-up data."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated

import typer

from backend.cli.common import AsJson, DataDir, make_files_private, print_json, quiet_settings
from backend.cli.demo_week import RUNS, WEEK, DemoClock, DemoWeek
from backend.cli.progress import progress_bar
from backend.runtime import DataDirectory, Runtime, connection_config, installing
from config.settings import Settings
from database.connection_manager import DatabaseManager
from database.sqlite.backup import row_counts
from strongroom._commands.terminal import say


def demo(
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The day, in UTC, before which the week ends; today by default.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same week.")] = 1,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Fill an empty data directory with a team's made-up week."""
    settings = quiet_settings(data_dir)
    make_files_private()
    end = (until or datetime.now(UTC)).replace(
        hour=0, minute=0, second=0, microsecond=0, tzinfo=UTC
    )
    with progress_bar("working", total=RUNS) as bar:
        rows = asyncio.run(_fill(settings, end, seed, bar.advance))
    if as_json:
        print_json({"rows": rows, "total": sum(rows.values())})
    else:
        say(f"{sum(rows.values())} rows in {settings.data_dir}; to see them, run")
        say(f"  strongroom serve --data-dir {settings.data_dir}")


async def _fill(
    settings: Settings, end: datetime, seed: int, on_run: Callable[[], None]
) -> dict[str, int]:
    with installing(DataDirectory(settings.data_dir)) as folder:
        aside = settings.model_copy(update={"data_dir": folder})
        clock = DemoClock(end - WEEK)
        # Rows are written one after the other by one caller, so no commits can be shared.
        config = replace(connection_config(aside), readers=1)
        runtime = await Runtime.start(aside, manager=DatabaseManager(config), clock=clock)
        try:
            await DemoWeek(runtime.service, clock, seed=seed, on_run=on_run).fill()
            return await runtime.manager.async_pool.run_read(row_counts)
        finally:
            await runtime.stop()
