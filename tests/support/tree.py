"""What the repository consists of."""

from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]


def folders() -> list[str]:
    """The names of the top-level folders that are under version control, without hidden ones."""
    made = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    return sorted(
        folder.name
        for folder in ROOT.iterdir()
        if folder.is_dir()
        and folder.name[0] != "."
        and not any(fnmatch(folder.name, pattern) for pattern in made)
    )
