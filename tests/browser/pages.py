"""Pages at origins of their own, from which scripts call the service."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

EMPTY = "<!doctype html><title>A page</title><body></body>"


class _Pages(BaseHTTPRequestHandler):
    """Answers every GET with the same page."""

    def __init__(self, page: bytes, *arguments: Any) -> None:
        self._page = page
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self._page)))
        self.end_headers()
        self.wfile.write(self._page)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
        """Write nothing to standard error."""


@contextmanager
def served_pages(page: str = EMPTY) -> Iterator[int]:
    """The port of a server of this page, at every name of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Pages, page.encode()))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
