"""What frequent answers show, and the commits after which they are no longer valid."""

from collections.abc import Collection, Mapping
from enum import StrEnum

from database.changes import Change, ChangeCounter, TableVersion, any_change, changes_of_rows


class Shown(StrEnum):
    """What an answer shows, which decides how long it may be kept."""

    PROJECT = "project"
    """One existing project."""
    PROJECTS = "projects"
    """Any projects: a new one may be among them."""
    PROJECTS_WITH_RUNS = "projects with runs"
    """Any projects, each with what its runs are like."""
    CONFIGURATION = "configuration"
    """One project's configuration."""
    FULL = "full"
    """One project with its configuration and the metadata of its secrets."""


_OF_PROJECT = changes_of_rows("projects")
ENDED_BY: Mapping[Shown, Collection[Change]] = {
    Shown.PROJECT: _OF_PROJECT,
    Shown.PROJECTS: any_change("projects"),
    Shown.PROJECTS_WITH_RUNS: any_change("projects", "run_queues", "agent_runs"),
    Shown.CONFIGURATION: [*_OF_PROJECT, *any_change("project_settings")],
    Shown.FULL: [
        *_OF_PROJECT,
        *any_change("project_settings", "project_secrets", "project_keys"),
    ],
}
"""The changes that an answer must not outlive."""

ShownVersions = Mapping[Shown, TableVersion]


def counted(versions: ChangeCounter) -> ShownVersions:
    """A version for each kind, which counts the commits that end its answers."""
    return {shown: versions.counting(changes) for shown, changes in ENDED_BY.items()}
