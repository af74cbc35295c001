"""The error of an application that is called without its lifespan."""


class NotRunning(RuntimeError):
    """The application was called without its lifespan."""

    def __init__(self) -> None:
        super().__init__(
            "the application is not running: run its lifespan around all requests, with "
            "`async with app.router.lifespan_context(app):` or `with TestClient(app):`"
        )
