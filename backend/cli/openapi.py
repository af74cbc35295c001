"""Prints the OpenAPI document for `openapi.json`: `python -m backend.cli.openapi`."""

import sys

from backend.http.openapi.document import document_text
from backend.main import create_app
from config.settings import Settings


def main() -> None:
    """Write the document to standard output. It does not depend on the configuration."""
    sys.stdout.write(document_text(create_app(Settings.model_construct())))


if __name__ == "__main__":
    main()
