"""What to say of a path that no route has, or not with this method."""

from collections.abc import Collection, Iterable

from backend.http.route_policy import paths_of


class MissingPaths:
    """Tells what to do about a path that is not there, that has a slash too much at its end, or
    that takes other methods."""

    def __init__(self, routes: Iterable[tuple[str, str]], pages: Collection[str]) -> None:
        """`routes` are methods and path templates, `pages` the paths of the documentation."""
        self._end = "no such path; /docs lists what there is" if pages else "no such path"
        self._methods: dict[str, list[str]] = {}
        for method, template in routes:
            methods = ["GET", "HEAD"] if method == "GET" else [method]
            self._methods.setdefault(template, []).extend(methods)
        # Of two that match, the one with fewer names in it is what the path was for.
        templates = sorted({*self._methods, *pages}, key=lambda template: template.count("{"))
        self._forms = [(paths_of(template), template) for template in templates]

    def methods(self, template: str) -> str | None:
        """The value of `Allow` for a path; `None` for one that is no route's."""
        return ", ".join(self._methods[template]) if template in self._methods else None

    def detail(self, path: str) -> str:
        """What an answer to `path` says; nothing in it is from the path."""
        if path.endswith("/"):
            shorter = path.rstrip("/")
            for form, template in self._forms:
                if form.fullmatch(shorter):
                    return f"no such path; remove the slash at the end: {template}"
        return self._end
