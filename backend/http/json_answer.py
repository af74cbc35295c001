"""An answer in JSON, whose headers need none of Starlette's checks."""

from starlette.responses import Response

_TYPE = (b"content-type", b"application/json")


class JsonAnswer(Response):
    """What `Response` makes of a JSON text, in a third of the time."""

    def __init__(self, content: bytes, status: int = 200, location: str | None = None) -> None:
        """`content` is valid JSON. `status` must permit a body."""
        self.status_code = status
        self.media_type = "application/json"
        self.background = None
        self.body = content
        self.raw_headers = [(b"content-length", b"%d" % len(content)), _TYPE]
        if location is not None:
            self.raw_headers.insert(0, (b"location", location.encode("latin-1")))
