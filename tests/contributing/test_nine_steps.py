"""The nine steps of CONTRIBUTING.md lead to a table that all discovering tests cover."""

import re
from pathlib import Path

import pytest

from tests.contributing.repository_copy import CLASSES, FILES, LINES, RepositoryCopy
from tests.support.tree import ROOT

ROUTES = "backend/routes/notes.py"
SERVICE = "backend/services/projects/notes.py"
EVERY_ROUTE = "tests/access/test_every_route.py"
OPENAPI = "tests/http/test_openapi.py"

FAULTS = {
    "authentication": (
        "tests/http/test_route_policies.py::test_no_other_route_is_open_than_those_that_need_to_be",
        "/api/projects/{project_id}/notes",
        (ROUTES, '}/notes"): reads(Scope.PROJECTS_READ)', '}/notes"): without_token()'),
    ),
    "isolation": (
        f"{EVERY_ROUTE}::test_what_belongs_to_another_project_looks_like_nothing",
        "GET /api/notes/{note_id}",
        (
            SERVICE,
            "if note is None or not current_principal().sees(note.project_id):",
            "if note is None:",
        ),
    ),
    "audit": (
        "tests/audit/test_record.py::test_no_route_changes_or_reveals_anything_that_can_not_be_recorded",
        "DELETE /api/notes/{note_id}",
        (SERVICE, "            await self._record(repositories, Kind.NOTE_DELETED, note)\n", ""),
    ),
    "leaks": (
        "tests/http/test_sentinel_routes.py::test_no_route_puts_a_value_anywhere",
        "POST /api/projects/{project_id}/notes body ('title',)",
        (SERVICE, '"""A new note. Raises `ProjectNotFound`."""', "logging.warning(note.title)"),
    ),
    "docs": (
        "tests/test_docs.py::test_every_call_is_documented",
        "PATCH /api/notes/{note_id}",
        ("docs/notes.md", "| `PATCH /api/notes/{note_id}` | the changed note |\n", ""),
    ),
    "OpenAPI": (
        f"{OPENAPI}::test_every_call_says_what_it_does_and_answers[GET /api/notes/{{note_id}}]",
        "KeyError: 'description'",
        (ROUTES, '    """The note."""\n', ""),
    ),
    "client": (
        "tests/client/test_operations.py::test_a_method_makes_its_call_with_all_that_the_call_takes",
        "createNote: field text",
        (
            "strongroom/_async/notes.py",
            "fields(title=title, text=text),\n            idem",
            "fields(title=title),\n            idem",
        ),
    ),
}
"""For each concern: the test that must fail, a text that its failure must have, and the fault:
a file, and what to replace in it."""
OTHERS = (
    "tests/test_architecture.py",
    "tests/test_docs.py",
    "tests/test_visible_names.py",
    "tests/client/test_client_errors.py",
    "tests/client/test_operations.py",
    "tests/client/test_written.py",
    "tests/database/test_schema.py",
    "tests/http/test_both_ways.py",
    "tests/http/test_conditional.py",
    "tests/http/test_error_codes.py",
    "tests/http/test_nul.py",
    "tests/http/test_route_policies.py",
    "tests/http/test_sent_back.py",
    "tests/http/test_strict_queries.py",
    "tests/repositories/test_portable_sql.py",
    "tests/services/test_lists.py",
    EVERY_ROUTE,
    OPENAPI,
)
"""Further tests that must pass with the table."""


def name_of(test: str) -> str:
    return test.rpartition("::")[2]


def test_a_table_takes_its_own_files_and_a_line_in_each_of_six_lists() -> None:
    steps = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    steps = steps[steps.index("in nine steps") : steps.index("## A route")]
    assert len(re.findall(r"^\d\. ", steps, re.MULTILINE)) == 9
    assert len(LINES) == 6
    for lines in LINES.values():
        *imports, (_, line) = lines
        assert len(imports) <= 1
        assert "note" in line.lower()
    for named in (*CLASSES, "ERROR_TABLE", "Repositories", "Kind", "DatabaseService", "ROUTERS"):
        assert f"`{named}`" in steps
    for file in FILES.rglob("*.txt"):
        folder = str(file.relative_to(FILES).parent)
        assert re.search(rf"`{folder.removesuffix('/projects')}/", steps), folder


@pytest.mark.long_form
def test_every_discovering_test_passes_with_the_table(tmp_path: Path) -> None:
    copy = RepositoryCopy(tmp_path / "repository")
    copy.make_schema()
    failures = copy.test(*OTHERS, *(test for test, _, _ in FAULTS.values()))
    assert {name: failure for name, failure in failures.items() if failure is not None} == {}
    assert any("/api/notes/{note_id}" in name for name in failures)


@pytest.mark.long_form
def test_a_fault_in_the_table_is_noticed_by_a_test_that_does_not_know_it(tmp_path: Path) -> None:
    faulty = RepositoryCopy(tmp_path / "faulty")
    # The client is written from what the right code answers.
    faulty.make_schema()
    for _, _, (file, right, wrong) in FAULTS.values():
        faulty.replace(file, right, wrong)
    faulty.replace(ROUTES, "import reads, writes", "import reads, without_token, writes")
    faulty.write(SERVICE, "import logging\n" + faulty.read(SERVICE))
    failures = faulty.test(*(test for test, _, _ in FAULTS.values()))
    told = {
        concern: text in (failures[name_of(test)] or "")
        for concern, (test, text, _) in FAULTS.items()
    }
    assert told == dict.fromkeys(FAULTS, True), failures
