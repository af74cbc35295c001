"""Fixtures for runs: a second database, and a project for property tests."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.support.api import Api


@pytest.fixture
def another_path(database_template: Path, tmp_path: Path) -> Path:
    """A second migrated database that is not open."""
    path = tmp_path / "another" / database_template.name
    path.parent.mkdir()
    shutil.copyfile(database_template, path)
    return path


@pytest.fixture
def walk_api(walk_api: Api, walker: asyncio.Runner) -> Api:
    """The API on the loop of `walker`, with one project."""
    walker.run(walk_api.new_project("payments"))
    return walk_api
