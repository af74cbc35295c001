"""A copy of the repository with a made-up table, `notes`, added by the steps of CONTRIBUTING.md."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from shutil import ignore_patterns
from typing import Final
from xml.etree import ElementTree as ET

from tests.support.tree import ROOT, folders

FILES = Path(__file__).parent / "notes"
"""The new table's own files, each at its path, with `.txt` after its name."""

ENTITY = """

class Note(VersionedDBModel):
    project_id: int
    title: str
    text: str
"""
ERROR = """

class NoteNotFound(NotFound):
    code = "note_not_found"

    def __init__(self) -> None:
        super().__init__("no note with this id")
"""
CLASSES: Final = {"models.py": ENTITY, "backend/errors.py": ERROR}
"""The text to append to each file."""
LINES: Final = {
    "backend/errors.py": [
        ('    "webhook_not_found":', '    "note_not_found": (404, "The note does not exist"),'),
    ],
    "backend/repositories/__init__.py": [
        (
            "from backend.repositories.pipeline_state_repository",
            "from backend.repositories.note_repository import NoteRepository",
        ),
        ("    webhooks = ", "    notes = _Table(NoteRepository)"),
    ],
    "backend/services/database_service.py": [
        (
            "from backend.services.projects.projects",
            "from backend.services.projects.notes import Notes",
        ),
        ("        self.webhooks = ", "        self.notes = Notes(kit)"),
    ],
    "backend/services/kinds.py": [
        (
            "    TOKEN_CREATED = ",
            (
                '    NOTE_CREATED = "note.created", Scope.PROJECTS_READ\n'
                '    NOTE_UPDATED = "note.updated", Scope.PROJECTS_READ\n'
                '    NOTE_DELETED = "note.deleted", Scope.PROJECTS_READ'
            ),
        ),
    ],
    "backend/routes/__init__.py": [
        ("    pipeline_states,", "    notes,"),
        ("    webhooks.router,", "    notes.router,"),
    ],
    "strongroom/_async/client.py": [
        (
            "from strongroom._async.pipeline_states",
            "from strongroom._async.notes import Notes",
        ),
        ("        self.test_results = ", "        self.notes = Notes(self._transport)"),
    ],
}
"""For each list: the lines to add, imports first, and the beginning of the line that follows."""


class RepositoryCopy:
    """The repository with the table `notes`, in a directory of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        # Other tests may be writing compiled modules, under such names until they are whole.
        left_out = ignore_patterns("*.pyc.*", "node_modules")
        for folder in folders():
            shutil.copytree(ROOT / folder, path / folder, ignore=left_out)
        for file in ROOT.iterdir():
            if file.is_file() and not file.name.startswith(".coverage"):
                shutil.copy2(file, path)
        shutil.copytree(ROOT / ".github", path / ".github")
        # Hypothesis keeps there what it has found out about Unicode and the code.
        kept = ROOT / ".hypothesis"
        kept.mkdir(exist_ok=True)
        (path / kept.name).symlink_to(kept)
        self._add_files()
        for name, text in CLASSES.items():
            self.write(name, self.read(name) + text)
        following = "\n- [docs/metrics.md]"
        self.replace(
            "README.md", following, f"\n- [docs/notes.md](docs/notes.md): notes.{following}"
        )
        for name, lines in LINES.items():
            for following, line in lines:
                self.replace(name, f"\n{following}", f"\n{line}\n{following}")

    def _add_files(self) -> None:
        number = len(list((ROOT / "migrations").glob("[0-9]*.sql"))) + 1
        for file in FILES.rglob("*.txt"):
            name = file.relative_to(FILES).with_suffix("")
            if name.suffix == ".sql":
                name = name.with_name(f"{number:04}_{name.name}")
            self.write(str(name), file.read_text(encoding="utf-8"))

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.path / name).read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Give a file this text."""
        (self.path / name).write_text(text, encoding="utf-8")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace a text that a file has exactly once."""
        text = self.read(name)
        assert text.count(old) == 1, (name, old)
        self.write(name, text.replace(old, new))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy."""
        # Also for the processes that the tests start.
        environment = {**os.environ, "PYTHONPATH": str(self.path)}
        for name in [name for name in environment if name.startswith(("PYTEST_", "COV_"))]:
            del environment[name]
        return subprocess.run(
            (sys.executable, *arguments),
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def make_schema(self) -> None:
        """Do what `make schema` does."""
        for module, file in (
            (("database.migrator", "--dump-schema"), "database/schema.sql"),
            (("backend.cli.openapi",), "openapi.json"),
        ):
            made = self.run("-m", *module)
            assert made.returncode == 0, made.stderr
            self.write(file, made.stdout)
        made = self.run("-m", "tests.client.writing")
        assert made.returncode == 0, made.stderr

    def test(self, *tests: str) -> dict[str, str | None]:
        """The failure of each test that ran, by its name; `None` for those that passed.

        Of a parametrized test only the cases of notes and of changed modules run: the others are
        the same as in the repository itself.
        """
        report = self.path / "report.xml"
        chosen = " or ".join(["note", "not [", *map(_case_of, {*CLASSES, *LINES})])
        ran = self.run(
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"),
            *("-k", chosen, *tests),
        )
        assert ran.returncode in (0, 1), ran.stdout + ran.stderr
        ended = ET.parse(report).iter("testcase")  # noqa: S314 - pytest has just written it
        return {case.attrib["name"]: _failure(case) for case in ended}


def _case_of(file: str) -> str:
    """The beginning of the case of a module, as `-k` finds it."""
    return "[" + file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _failure(case: ET.Element) -> str | None:
    told = [case.find(kind) for kind in ("failure", "error", "skipped")]
    return next(
        (f"{found.get('message')}\n{found.text}" for found in told if found is not None), None
    )
