"""The client of the pytest plugin, and its look for values of secrets where none should be."""

import base64
import json
import logging
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from strongroom._async.client import AsyncClient
from strongroom._options import tls
from strongroom._test_server import StrongroomServer

SHORTEST = 8
"""Shorter values are not looked for, because they stand in many texts by chance."""
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=0)
"""No connection stays open, because it would outlive the event loop of a test."""
_OF_SECRETS = re.compile(r"/secrets(/|$)|^/api/projects$|/webhooks(/|$)")
_REVEALS = re.compile(r"/secrets/reveal$|/value$")
_DOTENV = re.compile(r"""^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(["']?)(.*?)\2\s*$""")


def new_client(server: StrongroomServer, token: str, leaks: "Leaks | None" = None) -> AsyncClient:
    """A client with this token that any event loop may use, and that need not be closed. What it
    sends and gets is told to `leaks`."""
    if leaks is None:
        return AsyncClient(server.url, token, limits=_LIMITS)
    network = httpx.AsyncHTTPTransport(verify=tls(server.url, True), limits=_LIMITS)  # noqa: FBT003
    return AsyncClient(server.url, token, transport=_Watched(network, leaks))


class Leaks(logging.Handler):
    """Collects values of secrets, and the texts in which they must not be: `strongroom_leaks`. The
    handler collects what the test logs."""

    def __init__(self, server: StrongroomServer, admin: str) -> None:
        super().__init__(logging.NOTSET)
        self._server = server
        self._admin = admin
        self._log_start = server.log_bytes
        self._names: dict[str, str] = {}
        """What each value belongs to."""
        self._texts: list[tuple[str, bytearray]] = []
        # The pages of earlier tests stay in the files until others need their place.
        self._before = {file: file.read_bytes() for file in _files(server.data_dir)}

    def emit(self, record: logging.LogRecord) -> None:
        """Collect a line that the test logs."""
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler does, because the line is the test's
            self.handleError(record)
        else:
            self.text(f"a line that {record.name} has logged").extend(line.encode())

    def text(self, place: str) -> bytearray:
        """A new text at this place, to which its bytes are to be added."""
        text = bytearray()
        self._texts.append((place, text))
        return text

    def note_sent(self, path: str, body: bytes) -> None:
        """Note the values of secrets in the body of a request."""
        if not body or _OF_SECRETS.search(path) is None:
            return
        try:
            found: Any = json.loads(body)
        except ValueError:
            self._note_dotenv(body.decode("utf-8", "replace"))
            return
        self._note_json(found, path.rpartition("/")[2])

    def found(self, folders: Iterable[Path] = ()) -> list[str]:
        """Where values stand, in what was collected, in the server's log, and in the files of its
        store and of `folders`. Raises `StrongroomServerError`."""
        self._note_stored()
        self.text("the server's log").extend(self._server.whole_log(self._log_start).encode())
        forms = {
            form: name
            for value, name in self._names.items()
            if len(value) >= SHORTEST
            for form in _forms(value)
        }
        places = [
            (name, place)
            for place, text, before in self._looked_at(folders)
            for form, name in forms.items()
            if text.count(form) > before.count(form)
        ]
        return [f"{name} stands in {place}" for name, place in dict.fromkeys(places)]

    def _looked_at(self, folders: Iterable[Path]) -> Iterator[tuple[str, bytes, bytes]]:
        """Each place with its text, and what was there before the test."""
        for place, text in self._texts:
            yield place, bytes(text), b""
        for folder in (self._server.data_dir, *folders):
            for file in _files(folder):
                yield f"the file {file.name}", file.read_bytes(), self._before.get(file, b"")

    def _note_stored(self) -> None:
        """Note the values that are stored now, whatever program has sent them."""
        # A fault of the test's must not be in the way.
        self._server.call("/testing/faults", _NO_FAULTS)
        cursor = ""
        while cursor is not None:
            query = f"?limit=500&cursor={quote(cursor)}" if cursor else "?limit=500"
            page = self._ask("GET", f"/api/projects{query}")
            for project in page["projects"]:
                revealed = self._ask("POST", f"/api/projects/{project['id']}/secrets/reveal")
                for key, value in revealed["secrets"].items():
                    self._note(key, value)
            cursor = page["next_cursor"]

    def _ask(self, method: str, path: str) -> Any:
        return self._server.call(path, token=self._admin, method=method)

    def _note_json(self, found: Any, key: str) -> None:
        if isinstance(found, list):
            for one in found:
                self._note_json(one, key)
        elif isinstance(found, dict):
            key = found.get("key") or found.get("key_name") or key
            for name, value in found.items():
                if name in ("value", "secret_token") and isinstance(value, str):
                    self._note(key if name == "value" else name, value)
                elif name == "dotenv" and isinstance(value, str):
                    self._note_dotenv(value)
                elif name == "secrets":
                    self._note_json(value, key)

    def _note_dotenv(self, text: str) -> None:
        for line in text.splitlines():
            match = _DOTENV.match(line)
            if match is not None:
                self._note(match[1], match[3])

    def _note(self, key: str, value: str) -> None:
        self._names.setdefault(value, f"the value of {key}")


_NO_FAULTS: Mapping[str, int] = {
    "fail_next_commits": 0,
    "disk_full": False,
    "lose_next_answers": 0,
    "slow_ms": 0,
}


class _Watched(httpx.AsyncBaseTransport):
    """A network that tells `Leaks` what passes."""

    def __init__(self, network: httpx.AsyncBaseTransport, leaks: Leaks) -> None:
        self._network = network
        self._leaks = leaks

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._leaks.note_sent(request.url.path, await request.aread())
        answer = await self._network.handle_async_request(request)
        if _REVEALS.search(request.url.path) is None and isinstance(
            answer.stream, httpx.AsyncByteStream
        ):
            text = self._leaks.text(f"the answer to {request.method} {request.url.path}")
            for name, value in answer.headers.raw:
                text += name + b": " + value + b"\n"
            answer.stream = _Copied(answer.stream, text)
        return answer

    async def aclose(self) -> None:
        await self._network.aclose()


class _Copied(httpx.AsyncByteStream):
    """A body that is copied while it is read."""

    def __init__(self, stream: httpx.AsyncByteStream, text: bytearray) -> None:
        self._stream = stream
        self._text = text

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            self._text += part
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def _forms(value: str) -> Iterator[bytes]:
    """The value as it is, and as it stands in JSON, in a URL and in base64."""
    plain = value.encode()
    yield plain
    yield json.dumps(value)[1:-1].encode()
    yield json.dumps(value, ensure_ascii=False)[1:-1].encode()
    yield quote(value, safe="").encode()
    yield base64.b64encode(plain)


def _files(folder: Path) -> list[Path]:
    """The ordinary files in a folder and below."""
    return [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.is_symlink()]
