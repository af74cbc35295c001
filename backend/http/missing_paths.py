"""What to say of a path that no route has."""

import re
from collections.abc import Iterable


class MissingPaths:
    """Tells what to do about a path that is not there, or that has a slash too much at its end."""

    def __init__(self, templates: Iterable[str], *, has_docs: bool) -> None:
        """`templates` are the paths of all routes, with names in braces."""
        self._end = "no such path; /docs lists what there is" if has_docs else "no such path"
        # Of two that match, the one with fewer names in it is what the path was for.
        self._forms = [
            (re.compile(re.sub(r"\{[^}]*\}", "[^/]+", template)), template)
            for template in sorted(templates, key=lambda template: template.count("{"))
        ]

    def detail(self, path: str) -> str:
        """What an answer to `path` says; nothing in it is from the path."""
        if path.endswith("/"):
            shorter = path.rstrip("/")
            for form, template in self._forms:
                if form.fullmatch(shorter):
                    return f"no such path; remove the slash at the end: {template}"
        return self._end
