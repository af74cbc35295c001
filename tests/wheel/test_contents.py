"""What is in a wheel and in a source archive, and what their metadata say."""

import os
import sys
import tarfile
import tomllib
import zipfile
from collections import Counter
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.tree import ROOT
from tests.wheel.building import (
    OTHERS,
    build,
    made,
    metadata_in,
    names_in,
    under_version_control,
)
from tests.wheel.conftest import Release

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INFO = f"strongroom-{PROJECT['version']}.dist-info"
SERVER = {*OTHERS, "models.py"}


def test_a_wheel_has_one_package_with_every_file_once(release: Release) -> None:
    expected = {
        name if name.startswith("strongroom/") else f"strongroom/_server/{name}"
        for name in under_version_control(release.source)
        if name.partition("/")[0] in SERVER | {"strongroom"}
    } - {"strongroom/_server/backend/requirements.txt"}
    # What is read at run time, and what tells type checkers.
    assert "strongroom/_server/migrations/0001_create_core_tables.sql" in expected
    assert {"strongroom/py.typed", "strongroom/_server/models.py"} <= expected
    info = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE"}
    assert Counter(names_in(release.wheel)) == Counter(
        expected | {f"{INFO}/{name}" for name in info}
    )


def test_its_metadata_are_the_project_s(release: Release) -> None:
    metadata = metadata_in(release.wheel)
    assert metadata["Name"] == "strongroom"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["Summary"] == PROJECT["description"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "## Start" in metadata.get_payload()
    assert metadata["Keywords"].split(",") == PROJECT["keywords"]
    assert metadata.get_all("Classifier") == PROJECT["classifiers"]
    needed = metadata.get_all("Requires-Dist", [])
    extras = PROJECT["optional-dependencies"]
    assert {Requirement(line) for line in needed} == {
        *(Requirement(line) for line in PROJECT["dependencies"]),
        *(
            Requirement(f'{line}; extra == "{extra}"')
            for extra, lines in extras.items()
            for line in lines
        ),
    }
    # Tools of development are dependency groups, which are not in it.
    assert metadata.get_all("Provides-Extra") == list(extras) == ["keyring"]
    with zipfile.ZipFile(release.wheel) as archive:
        points = archive.read(f"{INFO}/entry_points.txt").decode()
    assert points.split() == [
        *("[console_scripts]", "strongroom", "=", "strongroom.__main__:main"),
        *("[pytest11]", "strongroom", "=", "strongroom.pytest_plugin"),
    ]


def test_an_editable_install_has_a_path_and_no_copies(release: Release, tmp_path: Path) -> None:
    wheel = build(release.source, "wheel:editable", tmp_path / "editable")
    assert [name for name in names_in(wheel) if not name.startswith(INFO)] == ["_strongroom.pth"]
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("_strongroom.pth").decode() == str(release.source)


@pytest.mark.long_form
def test_a_wheel_of_the_source_archive_is_the_same(release: Release, tmp_path: Path) -> None:
    # As `make wheel` does. It builds the wheel from the files of the archive.
    dist = tmp_path / "dist"
    options = ("--no-isolation", "--outdir", dist)
    made(sys.executable, "-m", "build", *options, release.source, cwd=tmp_path)
    root = f"strongroom-{PROJECT['version']}"
    packed, wheel = dist / f"{root}.tar.gz", dist / release.wheel.name
    assert set(dist.iterdir()) == {packed, wheel}
    assert wheel.read_bytes() == release.wheel.read_bytes()
    with tarfile.open(packed) as archive:
        names = archive.getnames()
    made("tar", "-xzf", packed, cwd=tmp_path)
    released = {
        name for name in under_version_control(release.source) if not name.startswith(".ci/")
    }
    assert Counter(names) == Counter(f"{root}/{name}" for name in released | {"PKG-INFO"})
    # Neither times nor masks of files are in it.
    mask = os.umask(0o077)
    try:
        for file in (tmp_path / root).rglob("*"):
            os.utime(file, (2_000_000_000, 2_000_000_000))
            file.chmod(0o700 if file.is_dir() else 0o600)
        again = build(tmp_path / root, "wheel", tmp_path / "again")
        repacked = build(release.source, "sdist", tmp_path / "repacked")
    finally:
        os.umask(mask)
    assert again.read_bytes() == release.wheel.read_bytes()
    assert repacked.read_bytes() == packed.read_bytes()
