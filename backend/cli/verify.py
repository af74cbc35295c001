"""`strongroom verify`: checks that all stored data can be read and is unchanged."""

import asyncio

import typer

from backend.cli.common import AsJson, DataDir, counted, print_json, print_table, quiet_settings
from backend.cli.content_checks import RESTORE, Check, content_checks
from backend.cli.failures import FAILURE, complain, sentence
from backend.cli.progress import share_bar
from backend.runtime import (
    read_only_manager,
    rows_without_installation,
)
from config.settings import Settings
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from database.sqlite.integrity import (
    FILE_CHECKS,
    WAL_RESET_DEFECT,
    has_wal_reset_defect,
    sqlite_version,
)
from database.sqlite.log_frames import lost_frames
from strongroom._commands.terminal import say


def verify(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check the file, the keys, every secret and the audit.

    Nothing is changed. It works while the server runs.
    """
    settings = quiet_settings(data_dir)
    manager = read_only_manager(settings)
    # The log comes first, because data lost with a damaged log looks like damage in the file.
    checks = [_log_check(manager), *_file_checks(manager)]
    # A row that refers to nothing must not hide what is wrong with others.
    if not any(check.problem for check in checks if check.name != "references"):
        checks += _unused(settings) or asyncio.run(content_checks(settings))
    _report(checks, as_json=as_json)
    bad = next((check for check in checks if check.problem), None)
    if bad is not None:
        complain(": ".join(filter(None, (bad.name, bad.problem, bad.advice))))
        raise typer.Exit(FAILURE)


def _log_check(manager: DatabaseManager) -> Check:
    """Checks whether the write-ahead log has transactions that SQLite ignores."""
    try:
        lost = lost_frames(manager.config.wal_path)
    except DatabaseError as error:
        return Check("log", sentence(error))
    advice = "find out what happened, and restore a backup if necessary"
    return Check("log", None if lost is None else str(lost), advice)


def _file_checks(manager: DatabaseManager) -> list[Check]:
    checks = []
    try:
        for name, look in FILE_CHECKS:
            try:
                with (
                    manager.sync_pool.connection() as connection,
                    share_bar(f"checking the {name}") as on_share,
                ):
                    problem = look(connection, on_share)
            except DatabaseError as error:
                problem = sentence(error)
            checks.append(Check(name, problem, "" if name == "schema" else RESTORE))
    finally:
        manager.sync_pool.close()
    return checks


def _unused(settings: Settings) -> list[Check]:
    """The check of a database without an installation; empty when there is an installation."""
    rows = rows_without_installation(settings)
    if rows is None:
        return []
    problem = f"it is missing, but the database has {counted(rows, 'row')}"
    return [Check("installation", problem if rows else None, checked=0)]


def _report(checks: list[Check], *, as_json: bool) -> None:
    warning = WAL_RESET_DEFECT if has_wal_reset_defect() else None
    if as_json:
        print_json(
            {
                "ok": not any(check.problem for check in checks),
                "sqlite_version": sqlite_version(),
                "sqlite_warning": warning,
                "checks": [
                    {
                        "name": check.name,
                        "ok": check.problem is None,
                        "problem": check.problem,
                        "checked": check.checked,
                        "failed": check.failed,
                        "note": check.note,
                    }
                    for check in checks
                ],
            }
        )
        return
    print_table(("check", "result"), [(check.name, _result(check)) for check in checks])
    say(f"SQLite {sqlite_version()}" + (f": {warning}" if warning else ""))
    if not any(check.problem for check in checks):
        say(f"all is well: {counted(len(checks), 'check')}, no problems found")


def _result(check: Check) -> str:
    if check.problem is not None:
        return f"FAILED: {check.problem}"
    if check.note is not None:
        return f"ok, but {check.note}"
    return "ok" if check.checked is None else f"ok ({counted(check.checked, 'row')})"
