"""Wheels as a release builds them, and environments that have nothing else."""

import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.rooms import ROOMS
from tests.support.processes import environment
from tests.support.tree import ROOT

NOT_RELEASED = (
    *("backend/strongroom.db", "config/.env", "data/master.key", "strongroom/admin.token"),
    *("database/__pycache__/base.cpython-311.pyc", "dist/strongroom-0.0.1-py3-none-any.whl"),
)
"""Files that a working copy may have, and that must be in no wheel and no source archive."""
OTHERS = tuple(sorted({room.partition(".")[0] for room in ROOMS} - {"strongroom"}))
"""The names of the server's modules, which other programs use as well."""


@dataclass(frozen=True)
class Outcome:
    """The result of a process."""

    status: int
    out: str
    err: str


def run(*command: str | Path, cwd: Path, **variables: str) -> Outcome:
    """Run a command to its end, with these variables and without those of Git: they would name the
    repository that a hook runs in."""
    kept = {name: value for name, value in environment().items() if not name.startswith("GIT_")}
    done = subprocess.run(
        command, cwd=cwd, env=kept | variables, capture_output=True, text=True, check=False
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def made(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command that must succeed. Returns its standard output."""
    done = run(*command, cwd=cwd, **variables)
    assert done.status == 0, done.out + done.err
    return done.out


def clone(place: Path) -> Path:
    """A fresh clone of the repository, with those changes to it that are not committed yet, and
    with files that are never released."""
    made("git", "clone", "--quiet", ROOT, place, cwd=ROOT)
    changes = made("git", "diff", "--binary", "HEAD", cwd=ROOT)
    if changes:
        patch = place.with_suffix(".patch")
        patch.write_text(changes, encoding="utf-8", newline="")
        made("git", "apply", patch, cwd=place)
        made("git", "add", "--all", cwd=place)
    for name in NOT_RELEASED:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("never released")
    return place


def under_version_control(source: Path) -> set[str]:
    """The paths of the files in a clone that Git knows."""
    return set(made("git", "ls-files", "-z", cwd=source).split("\0")) - {""}


def build(source: Path, kind: str, place: Path) -> Path:
    """Build a `wheel`, a `wheel:editable` or an `sdist` from the files in `source`. Returns its
    file, in `place`."""
    # `make wheel` does it through `python -m build`, which takes three times as long.
    made(sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", place, cwd=source)
    (built,) = place.iterdir()
    return built


def names_in(wheel: Path) -> list[str]:
    """The paths of the wheel's files, as often as it has them."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def metadata_in(wheel: Path) -> Message:
    """The METADATA of a wheel."""
    (name,) = (name for name in names_in(wheel) if name.endswith(".dist-info/METADATA"))
    with zipfile.ZipFile(wheel) as archive:
        return message_from_bytes(archive.read(name))


class Environment:
    """An environment that has the wheel and what its metadata require, and nothing else."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.python = place / "bin" / "python"
        self.command = place / "bin" / "strongroom"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        (site,) = (self.place / "lib").glob("python3*/site-packages")
        return site

    def make(self, wheel: Path) -> None:
        """Make it, without a network: the other packages are those that are installed here."""
        venv.create(self.place, symlinks=True)
        uv = Path(sys.executable).with_name("uv")
        options = ("--offline", "--no-config", "--no-cache", "--python", self.python)
        made(uv, "pip", "install", "--no-deps", *options, wheel, cwd=self.place)
        for name in _needed(metadata_in(wheel).get_all("Requires-Dist", [])):
            self._link(distribution(name))
        made(uv, "pip", "check", *options, cwd=self.place)

    def add(self, name: str) -> None:
        """Add a package that is installed here, with what it requires."""
        for needed in _needed([name]):
            self._link(distribution(needed))

    def _link(self, package: Distribution) -> None:
        assert package.files is not None
        for name in {file.parts[0] for file in package.files} - {"..", "__pycache__"}:
            link, target = self.site / name, Path(str(package.locate_file(name)))
            if link.exists():
                continue
            # uv overlooks metadata behind a link.
            if name.endswith(".dist-info"):
                shutil.copytree(target, link)
            else:
                assert target.exists(), target
                link.symlink_to(target)


def _needed(lines: list[str]) -> set[str]:
    """The names of the packages that these requirements need, directly or not."""
    seen: set[tuple[str, str]] = set()
    waiting = [(Requirement(line), "") for line in lines]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *requirement.extras}:
            if (requirement.name, wanted) not in seen:
                seen.add((requirement.name, wanted))
                more = distribution(requirement.name).requires or []
                waiting += [(Requirement(line), wanted) for line in more]
    return {name for name, _ in seen}


def write_others_modules(folder: Path, text: str = "raise RuntimeError(__file__)\n") -> Path:
    """Write another program's modules, with the names of the server's, into the folder. By default
    they can't be imported."""
    folder.mkdir(exist_ok=True)
    (folder / "models.py").write_text(text)
    for name in set(OTHERS) - {"models"}:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    return folder
