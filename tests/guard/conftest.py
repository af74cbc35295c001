"""An installation that each test may write to from outside."""

import shutil
from pathlib import Path

import pytest

from config.settings import Settings
from tests.guard.world import DATABASE, World, fill


@pytest.fixture(scope="module")
async def made_world(
    tmp_path_factory: pytest.TempPathFactory, installation_template: Path, master_keys: str
) -> World:
    """The installation of the module's tests. Copy it."""
    directory = tmp_path_factory.mktemp("world") / "data"
    shutil.copytree(installation_template, directory)
    settings = Settings(
        _env_file=None,
        environment="development",
        master_keys=master_keys,
        db_readers=1,
        data_dir=directory,
    )
    world = World(settings)
    await fill(world)
    assert not (directory / f"{DATABASE}-wal").exists()
    return world


@pytest.fixture
def world(made_world: World, tmp_path: Path) -> World:
    """The test's copy of the installation."""
    return made_world.copy(tmp_path / "copy")
