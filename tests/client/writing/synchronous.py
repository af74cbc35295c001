"""Makes the synchronous client of the asynchronous one, which is written by hand."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
ASYNC, SYNC = ROOT / "strongroom" / "_async", ROOT / "strongroom" / "_sync"
BY_HAND = frozenset({"waiting.py"})
"""Differ in more than words."""
NOTICE = "# Made of strongroom/_async by `make schema`: change it there.\n"
_WORDS = {
    "AsyncBaseTransport": "BaseTransport",
    "AsyncClient": "Client",
    "AsyncExitStack": "ExitStack",
    "AsyncHTTPTransport": "HTTPTransport",
    "AsyncGenerator": "Generator",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "StopAsyncIteration": "StopIteration",
    "_async": "_sync",
    "aclose": "close",
    "aclosing": "closing",
    "anext": "next",
    "asynccontextmanager": "contextmanager",
    "enter_async_context": "enter_context",
    "aiter_bytes": "iter_bytes",
    "aiter_lines": "iter_lines",
    "aread": "read",
    "asynchronous": "synchronous",
}
_TOKENS = re.compile(rf"\b({'|'.join(_WORDS)})\b")
_KEYWORDS = re.compile(r"\b(?:async|await) ")
_GENERATOR = re.compile(r"\bGenerator\[([^\[\]]+), None\]")


def synchronous(source: str) -> str:
    """The same module without coroutines."""
    text = _TOKENS.sub(lambda found: _WORDS[found[1]], _KEYWORDS.sub("", source))
    return NOTICE + _GENERATOR.sub(r"Generator[\1, None, None]", text)


def modules() -> Iterator[tuple[Path, str]]:
    """Each module of the synchronous client, and what it has to be before it is formatted."""
    for file in sorted(ASYNC.glob("*.py")):
        if file.name not in BY_HAND:
            yield SYNC / file.name, synchronous(file.read_text(encoding="utf-8"))
