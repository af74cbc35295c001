"""Writes the parts of the package `strongroom` that follow from openapi.json and from the
asynchronous client."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.client.writing.models import models, package, problems
from tests.client.writing.synchronous import ROOT, modules


def written() -> Iterator[tuple[Path, str]]:
    """Each file, and its text as `ruff format` leaves it."""
    document = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    folder = ROOT / "strongroom"
    for file, text in (
        (folder / "__init__.py", package(document, _public())),
        (folder / "models.py", models(document)),
        (folder / "_problems.py", problems(document)),
        *modules(),
    ):
        yield file, _formatted(file, text)


def _public() -> dict[str, str]:
    """What users find in the package, beside the errors by code."""
    errors = ast.parse((ROOT / "strongroom" / "_errors.py").read_text(encoding="utf-8")).body
    return {
        "AsyncClient": "strongroom._async.client",
        "Client": "strongroom._sync.client",
        "Page": "strongroom._pages",
        "SecretValues": "strongroom._values",
        "UNSET": "strongroom._values",
        "Unset": "strongroom._values",
        **{one.name: "strongroom._errors" for one in errors if isinstance(one, ast.ClassDef)},
    }


def _formatted(file: Path, text: str) -> str:
    ruff = Path(sys.executable).with_name("ruff")
    # Imports have another order without Async in their names.
    for command in (["check", "--select", "I,RUF022", "--fix-only"], ["format"]):
        text = subprocess.run(
            [ruff, *command, "-q", "--stdin-filename", file, "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return text


if __name__ == "__main__":
    for file, text in written():
        file.write_text(text, encoding="utf-8")
