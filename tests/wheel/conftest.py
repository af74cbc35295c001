"""One wheel and one environment for all tests, however many processes they run in."""

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.wheel.building import Environment, build, clone, write_others_modules


@dataclass(frozen=True)
class Release:
    """What a release is built from, and what it is."""

    source: Path
    wheel: Path
    environment: Environment
    """It has the wheel, and another program whose modules have the names of the server's."""


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The wheel of a fresh clone. The tests change neither of them."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    place, whole = shared / "release", shared / "release" / "whole"
    environment = Environment(place / "environment")
    with (shared / "release.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            place.mkdir()
            wheel = build(clone(place / "source"), "wheel", place / "wheel")
            environment.make(wheel)
            write_others_modules(environment.site)
            whole.touch()
    (wheel,) = (place / "wheel").iterdir()
    return Release(place / "source", wheel, environment)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The working directory of another program, whose modules can't be imported."""
    return write_others_modules(tmp_path / "program")
