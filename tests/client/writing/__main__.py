"""Writes the parts of the package `strongroom` that follow from openapi.json and from the
asynchronous client."""

import ast
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.client.writing.models import models, package, problems
from tests.client.writing.synchronous import ROOT, modules


def written() -> dict[Path, str]:
    """Each file with its text."""
    document = json.loads((ROOT / "openapi.json").read_text(encoding="utf-8"))
    folder = ROOT / "strongroom"
    return _formatted(
        {
            folder / "__init__.py": package(document, _public()),
            folder / "models.py": models(document),
            folder / "_problems.py": problems(document),
            **dict(modules()),
        }
    )


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


def _formatted(texts: Mapping[Path, str]) -> dict[Path, str]:
    """The files as ruff leaves them. It is started twice, however many they are."""
    ruff = Path(sys.executable).with_name("ruff")
    config = ROOT / "pyproject.toml"
    with tempfile.TemporaryDirectory() as name:
        copies = {file: Path(name) / file.relative_to(ROOT) for file in texts}
        for file, copy in copies.items():
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(texts[file], encoding="utf-8")
        # Imports have another order without Async in their names, and not all are always needed.
        for command in (["check", "--select", "I,F401,RUF022", "--fix-only"], ["format"]):
            subprocess.run([ruff, *command, "-q", "--config", config, name], check=True)
        return {file: copy.read_text(encoding="utf-8") for file, copy in copies.items()}


if __name__ == "__main__":
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")
