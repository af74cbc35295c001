"""What `strongroom verify` checks in the rows of a database whose file is sound."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol

from backend.cli.common import counted
from backend.cli.failures import sentence
from backend.cli.progress import ProgressBar, progress_bar, share_bar
from backend.crypto.keyring import Keyring
from backend.repositories.following_index import INDEXES
from backend.repositories.guarded_kinds import GUARDED_KINDS
from backend.repositories.version_rows import VERSION_KINDS
from backend.runtime import (
    DataDirectory,
    HeadsFile,
    Inspection,
    StartRefused,
    find_keyring,
    inspection,
)
from backend.services.audit.verification import verify_audit
from backend.services.operations.encryption_check import CheckedPage
from config.settings import Settings
from database.errors import DatabaseError
from database.sqlite.check_progress import id_span
from database.sqlite.trigram_check import check_counts

PAGE = 100
ROWS_TOLD = 100
"""The most rows that the result names."""
RESTORE = "restore a backup"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    name: str
    problem: str | None = None
    """The problem that was found; `None` when there is none."""
    advice: str = RESTORE
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


async def content_checks(settings: Settings) -> list[Check]:
    """All checks, up to one without which the others would mean nothing."""
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
                keys = _span(opened, "project_keys")
                checks.append(
                    await _all("project keys", keys, service.encryption_check.project_keys)
                )
                checks.append(await _all("secrets", keys, service.encryption_check.values))
                answers = _span(opened, "stored_answers")
                checks.append(
                    await _all("stored answers", answers, service.encryption_check.answers)
                )
                checks.append(await _repositories(opened))
                checks.append(_search(opened))
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


async def _all(name: str, total: int, check_page: Paged) -> Check:
    """Checks all rows of a kind, page by page; `total` is the sum of what the pages count."""
    after_id, checked, failed, first = 0, 0, 0, ""
    with progress_bar(f"checking the {name}", shown="share", total=total) as bar:
        while (page := await check_page(after_id=after_id, limit=PAGE)).last_id is not None:
            after_id = page.last_id
            checked += page.checked
            failed += len(page.unreadable)
            first = first or next(iter(page.unreadable), "")
            bar.advance(page.keys)
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
    # The rows, and then about as many entries.
    total = 2 * sum(_span(opened, kind.table) for kind in GUARDED_KINDS)
    total += sum(_span(opened, kind.table) for kind in VERSION_KINDS)
    with progress_bar("checking guarded rows", total=total) as bar:
        checked, problems = await _wrong_rows(opened, bar)
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


async def _wrong_rows(opened: Inspection, bar: ProgressBar) -> tuple[int, list[str]]:
    """The number of guarded rows, and what is wrong with any of them."""
    verification = opened.service.row_verification
    checked, problems = 0, list[str]()
    for kind in GUARDED_KINDS:
        after: int | None = None
        while (page := await verification.rows(kind, after_id=after, limit=PAGE)).last is not None:
            after = page.last
            checked += page.checked
            problems += page.problems
            bar.advance(page.checked)
    for version_kind in VERSION_KINDS:
        after = None
        while (
            page := await verification.versions(version_kind, after_id=after, limit=PAGE)
        ).last is not None:
            after = page.last
            checked += page.checked
            problems += page.problems
            bar.advance(page.checked)
    last: int | None = 0
    while last is not None:
        page = await verification.entries(after_id=last, limit=PAGE)
        last = page.last
        problems += page.problems
        bar.advance(page.checked)
    return checked, problems


def _span(opened: Inspection, table: str) -> int:
    """An upper bound on the rows of a table."""
    with opened.manager.sync_pool.connection() as connection:
        return id_span(connection, table)


def _search(opened: Inspection) -> Check:
    """Checks that the indexes that searches use fit the rows."""
    checked = 0
    for kind in INDEXES:
        with (
            opened.manager.sync_pool.connection() as connection,
            share_bar(f"checking the index of {kind.table}") as on_share,
        ):
            found = check_counts(connection, *kind.names[1:], on_share)
        checked += found.rows
        if found.problem is not None:
            return Check("search", f"{kind.names[0]}: {found.problem}", checked=checked, failed=1)
    return Check("search", checked=checked)
