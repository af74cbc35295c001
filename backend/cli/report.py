"""The report of an import: what it stored, and what it left out."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from backend.services.projects.documents import ImportOutcome
from strongroom._commands.terminal import printable

LISTED_LINES = 1000
"""How many rejected lines are listed; further ones are only counted."""
LISTED_FIELDS = 50
"""How many unknown fields are counted by name."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected line, and the reason."""

    line: int
    reason: str


@dataclass(slots=True)
class ImportReport:
    """Counts of lines. Its size does not grow with the file."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    secret_keys_ignored: int = 0
    """The number of secret names that came without values."""
    unknown_fields: Counter[str] = field(default_factory=Counter)

    @property
    def stored(self) -> int:
        """The number of lines that are now in the database, whether they changed it or not."""
        return self.created + self.updated + self.unchanged

    def add(self, outcome: ImportOutcome) -> None:
        """Count a line that was imported."""
        setattr(self, outcome.value, getattr(self, outcome.value) + 1)

    def reject(self, line: int, reason: str) -> None:
        """Count a rejected line."""
        self.rejected += 1
        if len(self.rejections) < LISTED_LINES:
            self.rejections.append(Rejection(line, reason))

    def note_unknown(self, name: str) -> None:
        """Count a field that documents do not have."""
        shown = shown_name(name)
        if shown not in self.unknown_fields and len(self.unknown_fields) >= LISTED_FIELDS:
            shown = "(others)"
        self.unknown_fields[shown] += 1

    def counts(self) -> str:
        """The four counts as a sentence."""
        return (
            f"{self.created} created, {self.updated} updated, {self.unchanged} unchanged, "
            f"{self.rejected} rejected"
        )

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {**asdict(self), "unknown_fields": dict(self.unknown_fields)}

    def lines(self) -> list[str]:
        """The report for a person."""
        lines = [f"line {item.line}: {item.reason}" for item in self.rejections]
        if self.rejected > len(self.rejections):
            lines.append(f"… and {self.rejected - len(self.rejections)} more")
        if self.secret_keys_ignored:
            lines.append(
                f"note: {self.secret_keys_ignored} names in secret_keys had no values and were "
                "ignored"
            )
        for name, count in sorted(self.unknown_fields.items()):
            lines.append(f"note: the unknown field {name} was ignored ({count} times)")
        lines.append(self.counts())
        return lines


def shown_name(name: str) -> str:
    """A field's name that is safe to show: shortened, and without control characters."""
    return printable(name if len(name) <= 60 else f"{name[:60]}…")
