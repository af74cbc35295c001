"""The answers for a path that has no route, or none with the request's method."""

from collections.abc import Collection, Iterable

from backend.http.route_policy import paths_of


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

    def methods(self, template: str) -> str | None:
        """The value of `Allow` for a path template; `None` when no route has it."""
        return ", ".join(self._methods[template]) if template in self._methods else None

    def detail(self, path: str) -> str:
        """The detail of the answer to `path`. It never repeats the path."""
        if path.endswith("/"):
            shorter = path.rstrip("/")
            for form, template in self._forms:
                if form.fullmatch(shorter):
                    return f"no such path; remove the slash at the end: {template}"
        return self._end
