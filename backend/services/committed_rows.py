"""Secrets' rows as this process committed them last, which need no comparison with the record."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from backend.repositories.guarded_kinds import PROJECTS, SECRETS, GuardedKind
from backend.repositories.project_secrets_repository import SecretRow
from database.engine import Value

_MOST_ROWS = 4_000
"""The number of rows that are remembered. They take 3 to 6 MB."""
_LONGEST_CIPHERTEXT = 1_000
"""The length of the longest ciphertext that is remembered."""
_NONE: Mapping[str, SecretRow] = MappingProxyType({})


LeftRow = tuple[GuardedKind, str, tuple[Value, ...] | None]
"""How a transaction leaves a guarded row: its kind, its target, and the values that its digest
covers; `None` for a row that was deleted."""


class CommittedRows:
    """Remembers the rows of secrets that were written last, by project and key.

    A row that is still the same is genuine: only this process writes entries, and it has written
    none for the secret since then. Which rows are remembered makes no other difference.

    The writer's thread changes it, and any thread reads it.
    """

    def __init__(self) -> None:
        self._of_project: dict[int, dict[str, SecretRow]] = {}
        self._count = 0

    def of(self, project_id: int) -> Mapping[str, SecretRow]:
        """The remembered rows of the project's secrets, by key."""
        return self._of_project.get(project_id, _NONE)

    def follow(self, rows: Iterable[LeftRow]) -> None:
        """Note how a transaction, which is durable, left these rows."""
        purged = []
        for kind, target, values in rows:
            if kind is PROJECTS:
                if values is None:
                    purged.append(target)
            elif kind is SECRETS:
                if values is None or len(str(values[4])) > _LONGEST_CIPHERTEXT:
                    self._drop(target)
                else:
                    # Not `_make`, which takes three times as long.
                    row = tuple.__new__(SecretRow, values)
                    of_project = self._of_project.setdefault(row.project_id, {})
                    self._count += row.key_name not in of_project
                    of_project[row.key_name] = row
        for target in purged:
            # After its secrets, which may have changed before in the same transaction.
            if found := PROJECTS.targets.fullmatch(target):
                self._forget(int(found[1]))
        while self._count > _MOST_ROWS:
            # The one that was first written the longest time ago.
            self._forget(next(iter(self._of_project)))

    def _drop(self, target: str) -> None:
        found = SECRETS.targets.fullmatch(target)
        of_project = self._of_project.get(int(found[1])) if found else None
        if found and of_project is not None and of_project.pop(found[2], None) is not None:
            self._count -= 1
            if not of_project:
                del self._of_project[int(found[1])]

    def _forget(self, project_id: int) -> None:
        self._count -= len(self._of_project.pop(project_id, _NONE))
