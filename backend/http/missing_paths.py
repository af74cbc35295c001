"""The answers for a path that has no route, or none with the request's method."""

import re
from collections.abc import Collection, Iterable
from typing import Final

from backend.http.route_policy import paths_of

TEXT_NAMES: Final = frozenset({"key", "owner", "repo"})
"""The names in path templates that stand for texts; the others stand for numbers."""


class MissingPaths:
    """Tells the client what to do when a path is missing, ends with an extra slash, or takes other
    methods."""

    def __init__(self, routes: Iterable[tuple[str, str]], pages: Collection[str]) -> None:
        """`routes` are methods and path templates, `pages` the paths of the documentation."""
        self._end = "no such path; /docs lists what there is" if pages else "no such path"
        self._methods: dict[str, list[str]] = {}
        for method, template in routes:
            methods = ["GET", "HEAD"] if method == "GET" else [method]
            self._methods.setdefault(template, []).extend(methods)
        # If two templates match, the one with fewer names in braces is the likely one.
        templates = sorted({*self._methods, *pages}, key=lambda template: template.count("{"))
        self._forms = [(paths_of(template), template) for template in templates]
        self._exact = [(_exact(template), methods) for template, methods in self._methods.items()]

    def methods(self, path: str) -> str | None:
        """The value of `Allow` for a path; `None` when no route can have it. A path may be that of
        several templates: a secret can be called `reveal`."""
        found = [
            method for form, methods in self._exact if form.fullmatch(path) for method in methods
        ]
        return ", ".join(dict.fromkeys(found)) or None

    def detail(self, path: str) -> str:
        """The detail of the answer to `path`. It never repeats the path."""
        if path.endswith("/"):
            shorter = path.rstrip("/")
            for form, template in self._forms:
                if form.fullmatch(shorter):
                    return f"no such path; remove the slash at the end: {template}"
        return self._end


def _exact(template: str) -> re.Pattern[str]:
    """A pattern for the paths of a template whose names stand for digits, but for `TEXT_NAMES`."""
    parts = re.split(r"\{([^}]*)\}", template)
    forms = ["[^/]+" if name in TEXT_NAMES else "[0-9]+" for name in parts[1::2]]
    return re.compile(
        "".join(map("".join, zip(map(re.escape, parts[::2]), [*forms, ""], strict=True)))
    )
