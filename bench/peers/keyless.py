"""Strongroom without idempotency keys: no route looks for the header.

The rest is the same as in `strongroom serve`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.http import guarded_route


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    given = parser.parse_args()
    setattr(guarded_route, "with_key_once", _without_keys)  # noqa: B010 - the module exports nothing
    # Imported here, because the function must be replaced when these modules make the routes.
    from backend.main import create_app  # noqa: PLC0415
    from bench.peers.strongroom import serve  # noqa: PLC0415

    serve(given.port, given.data_dir, create_app)


def _without_keys(work: Callable[..., Any], *_: object, **__: object) -> Callable[..., Any]:
    return work


if __name__ == "__main__":
    main()
