"""Where the server's own modules are, and how this process finds them."""

import sys
from pathlib import Path
from types import ModuleType

NAMES = frozenset({"backend", "config", "database", "migrations", "models"})
"""The server's top-level modules. Other programs have modules with these names too."""


def find_own_modules_first() -> None:
    """Let this process import the server's modules, whatever else has their names.

    A wheel has them in a folder of this package that is not on any path, so that programs that
    import `strongroom` keep theirs. Only a process that runs the server calls this.
    """
    package = Path(__file__).absolute().parent
    own = package / "_server"
    if not own.is_dir():
        # In the repository they are beside the package.
        own = package.parent
    sys.path.insert(0, str(own))
    # Modules that were imported at the start of Python, by a `sitecustomize` or a `.pth` file.
    foreign = [
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in NAMES and not _is_below(own, module)
    ]
    for name in foreign:
        del sys.modules[name]


def _is_below(folder: Path, module: ModuleType) -> bool:
    # A folder without `__init__.py` has no file; none of ours is such a folder.
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)
