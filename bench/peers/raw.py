"""uvicorn without anything: an ASGI application that answers the ceiling's constants as bytes.

What a kept answer costs is counted from here.
"""

from pathlib import Path

from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from bench.peers.serving import serve
from bench.peers.shapes import FULL, PROJECT, project_list


class Raw:
    """Answers a project, a page of 50 projects, or a full configuration, by the end of the path."""

    def __init__(self) -> None:
        self._project = _answer(PROJECT)
        self._ending = {"full": _answer(FULL), "projects": _answer(project_list(50))}

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers, body = self._ending.get(scope["path"].rpartition("/")[2], self._project)
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _answer(model: BaseModel) -> tuple[list[tuple[bytes, bytes]], bytes]:
    body = model.model_dump_json(by_alias=True).encode()
    length = str(len(body)).encode()
    return [(b"content-type", b"application/json"), (b"content-length", length)], body


def make(_: Path) -> Raw:
    """The application."""
    return Raw()


if __name__ == "__main__":
    serve(make, lifespan="off")
