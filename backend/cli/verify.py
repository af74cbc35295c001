"""`strongroom verify`: checks that all stored data can be read and is unchanged."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

import typer

from backend.cli.common import AsJson, DataDir, counted, print_json, print_table, quiet_settings
from backend.cli.failures import FAILURE, complain, sentence
from backend.cli.progress import progress_bar
from backend.cli.terminal import say
from backend.crypto.keyring import Keyring
from backend.repositories.guarded_rows import GUARDED_KINDS
from backend.runtime import (
    DataDirectory,
    HeadsFile,
    Inspection,
    StartRefused,
    find_keyring,
    inspection,
    read_only_manager,
    rows_without_installation,
)
from backend.services.audit.verification import verify_audit
from backend.services.operations.encryption_check import CheckedPage
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

PAGE = 100
ROWS_TOLD = 100
"""The most rows that the result names."""

_RESTORE = "restore a backup"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    problem: str | None = None
    """The problem that was found; `None` when there is none."""
    advice: str = _RESTORE
    """What to do about the problem; empty when the problem itself says it."""
    checked: int | None = None
    """The number of checked rows; `None` for a check that counts none."""
    failed: int = 0
    """The number of checked rows with a problem."""
    note: str | None = None
    """Something that is not an error, but needs attention."""


class Paged(Protocol):
    """A use case that checks rows page by page."""

    def __call__(self, *, after_id: int, limit: int) -> Awaitable[CheckedPage]: ...


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
        checks += _unused(settings) or asyncio.run(_content_checks(settings))
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
                with manager.sync_pool.connection() as connection:
                    problem = look(connection)
            except DatabaseError as error:
                problem = sentence(error)
            checks.append(Check(name, problem, "" if name == "schema" else _RESTORE))
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


async def _content_checks(settings: Settings) -> list[Check]:
    try:
        keyring = find_keyring(settings)
    except StartRefused as error:
        return [
            Check("keys", str(error), "configure the master keys that this database was used with")
        ]
    checks: list[Check] = []
    try:
        async with inspection(settings, keyring, check=False) as opened:
            checks.append(_keys(opened, keyring))
            if checks[0].problem is None:
                service = opened.service
                checks.append(await _all("project keys", service.encryption_check.project_keys))
                checks.append(await _all("secrets", service.encryption_check.values))
                checks.append(await _repositories(opened))
                checks.append(await _audit(settings, opened))
                # Only a whole audit can tell which rows are genuine.
                if checks[-1].problem is None:
                    checks.append(await _guarded_rows(opened))
    except StartRefused as error:
        checks.append(Check("content", str(error), advice=""))
    except DatabaseError as error:
        checks.append(Check("content", sentence(error)))
    return checks


def _keys(opened: Inspection, keyring: Keyring | None) -> Check:
    advice = "configure the master keys that this database was used with"
    canaries = opened.records.canaries
    if keyring is None:
        return Check("keys", "no master key is configured", advice)
    for key_id in keyring.ids():
        if key_id in canaries and not opened.service.kit.vault.check_canary(
            key_id, canaries[key_id]
        ):
            problem = f"master key {key_id} is not the key that this database knows as {key_id}"
            return Check("keys", problem, advice)
    missing = sorted(opened.records.in_use.difference(keyring.ids()))
    if missing:
        return Check("keys", f"master key {', '.join(missing)} is in use but missing", advice)
    if not opened.has_service_keys:
        return Check("keys", "the installation's own key can't be decrypted")
    return Check("keys", checked=len(canaries))


async def _all(name: str, check_page: Paged) -> Check:
    """Checks all rows of a kind, page by page."""
    after_id, checked, failed, first = 0, 0, 0, ""
    while (page := await check_page(after_id=after_id, limit=PAGE)).last_id is not None:
        after_id = page.last_id
        checked += page.checked
        failed += len(page.unreadable)
        first = first or next(iter(page.unreadable), "")
    if not failed:
        return Check(name, checked=checked)
    return Check(
        name,
        f"{failed} of {checked} can't be decrypted, starting with {first}",
        "set these values again, or restore a backup",
        checked,
        failed,
    )


async def _repositories(opened: Inspection) -> Check:
    """Checks that each repository has only one project."""
    twins = await opened.service.projects.twins()
    if not twins:
        return Check("repositories")
    pairs = ", ".join(f"{first} and {other}" for first, other in twins)
    return Check(
        "repositories",
        note=f"projects {pairs} have the same repository, written in two forms of Unicode: rename "
        "or delete one of each pair",
    )


async def _audit(settings: Settings, opened: Inspection) -> Check:
    heads = HeadsFile(DataDirectory(settings.data_dir).audit_heads)
    chain, count = opened.service.audit.chain, await opened.service.audit.count()
    checked = 0

    def on_checked(rows: int) -> None:
        nonlocal checked
        checked = rows
        bar.show(rows, max(rows, count))

    with progress_bar("checking the audit", total=count) as bar:
        problem = verify_audit(opened.manager, chain, heads.heads(), on_checked=on_checked)
    if problem is None:
        return Check("audit", checked=checked)
    return Check("audit", str(problem), "find out what happened, and restore a backup", failed=1)


async def _guarded_rows(opened: Inspection) -> Check:
    """Checks that each guarded row is as the audit left it, and that none is missing."""
    verification = opened.service.row_verification
    checked, problems = 0, list[str]()
    for kind in GUARDED_KINDS:
        after: int | None = None
        while (page := await verification.rows(kind, after_id=after, limit=PAGE)).last is not None:
            after = page.last
            checked += page.checked
            problems += page.problems
    last = 0
    while (page := await verification.entries(after_id=last, limit=PAGE)).last is not None:
        last = page.last
        problems += page.problems
    if not problems:
        return Check("guarded rows", checked=checked)
    more = len(problems) - ROWS_TOLD
    return Check(
        "guarded rows",
        f"{counted(len(problems), 'row')} changed outside the service: "
        + ", ".join(problems[:ROWS_TOLD])
        + (f", and {more} more" if more > 0 else ""),
        "find out what happened, and restore a backup",
        checked,
        len(problems),
    )


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
