"""What one unit of work redacts in a project: its texts, and the secrets that were found."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from pydantic_core import to_json

from backend.services.redaction.forms import SHORTEST
from backend.services.redaction.patterns import SecretPatterns, marker

_MOST_JSON: Final = 65_536
"""The most characters of a stored JSON object."""
EMPTY: Final = "{}"
"""The text of an empty object."""
_CUT_MARKER = re.compile(r"\[secret:\w*\Z", re.ASCII)

T = TypeVar("T", bound=str | None)


class Redaction:
    """Redacts texts of a project. It is false when there is nothing to look for."""

    __slots__ = ("_count", "_found", "_patterns")

    def __init__(self, patterns: SecretPatterns, count: Callable[[int], bool]) -> None:
        """`count` is told how many values were found in a text, and returns whether so many were
        found by now that the whole text is to be replaced."""
        self._patterns = patterns
        self._count = count
        self._found: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def take_found(self) -> set[str]:
        """The keys of the secrets that were found since the last time."""
        found, self._found = self._found, set()
        return found

    def is_clean(self, text: str, json: str) -> bool:
        """Whether a text and the text of a JSON object surely have no value: then `text` and
        `json_text`, which take longer, would return them unchanged."""
        # Both at once, because each call takes longer than looking through a short text.
        return self._patterns.is_clean(text if json == EMPTY else f"{text}\0{json}")

    def text(self, text: T, most: int | None = None) -> T:
        """The text with markers in place of values; `None` for `None`. What is longer than `most`
        characters with them is cut off, but no marker is."""
        if text is None or not self._patterns:
            return text
        redacted, hits = self._patterns.redact(text)
        if not hits:
            return text
        redacted = self._noted(hits) or redacted
        if most is not None and len(redacted) > most:
            redacted = _CUT_MARKER.sub("", redacted[:most]) or redacted[:most]
        return redacted  # type: ignore[return-value]

    def json_text(self, text: T) -> T:
        """The same for the text of a JSON object, string by string. A number that is a value
        becomes a string, and an object or array that is one becomes a marker as a whole."""
        if text is None or not self._patterns or text == EMPTY:
            return text
        # Without escapes, each string stands in the text as it is.
        if "\\" not in text and not self._patterns.count(text):
            return text
        value = json.loads(text)
        redacted = _text(self._inside(value))
        if redacted == text and not self._patterns.count(text):
            return text
        if self._patterns.finds(redacted):
            redacted = _text(self._object(json.loads(redacted)))
        if len(redacted) > _MOST_JSON:
            redacted = _text({"redacted": marker(min(self._found))})
        return redacted  # type: ignore[return-value]

    def finds(self, text: str) -> bool:
        """Whether `json_text` would change the text of an object. Nothing is counted or noted."""
        if not self._patterns or text == EMPTY:
            return False
        if "\\" not in text:
            return bool(self._patterns.count(text))
        return bool(self._patterns.count(text)) or any(
            self._patterns.count(leaf) for leaf in _leaves(json.loads(text))
        )

    def fields(
        self,
        fields: Mapping[str, Any],
        *,
        texts: Iterable[str] = (),
        objects: Iterable[str] = (),
        most: int | None = None,
    ) -> dict[str, Any]:
        """The fields, with those redacted that are texts, and those that are texts of objects."""
        redacted = dict(fields)
        for name in texts:
            if name in redacted:
                redacted[name] = self.text(redacted[name], most)
        for name in objects:
            if name in redacted:
                redacted[name] = self.json_text(redacted[name])
        return redacted

    def _noted(self, hits: Mapping[str, int]) -> str | None:
        """Note these hits. Returns what replaces the whole text, if it has to be."""
        self._found.update(hits)
        return marker(min(hits)) if self._count(sum(hits.values())) else None

    def _inside(self, value: Any) -> Any:
        """The value with the strings and numbers in it redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._inside(item) for item in value]
        if isinstance(value, dict):
            redacted: dict[str, Any] = {}
            for name, item in value.items():
                redacted[_free(redacted, self.text(name))] = self._inside(item)
            return redacted
        if isinstance(value, int | float) and len(number := _text(value)) >= SHORTEST:
            shown = self.text(number)
            return value if shown == number else shown
        return value

    def _object(self, value: Any) -> Any:
        """An object, of whose parts some are values of secrets as a whole."""
        whole = self._whole(value)
        return whole if isinstance(whole, dict) else {"redacted": whole}

    def _whole(self, value: Any) -> Any:
        """The value; a marker if its text has a value of a secret that none of its parts has."""
        if not isinstance(value, list | dict):
            return value
        value = (
            [self._whole(item) for item in value]
            if isinstance(value, list)
            else {name: self._whole(item) for name, item in value.items()}
        )
        hits = self._patterns.finds(_text(value))
        if not hits:
            return value
        self._noted(hits)
        return marker(min(hits))


def _free(taken: Mapping[str, Any], name: str) -> str:
    """The name, with a number if another member has it: two may have become the same."""
    number, free = 2, name
    while free in taken:
        free = f"{name} ({number})"
        number += 1
    return free


def _leaves(value: Any) -> Iterator[str]:
    """The names, strings and numbers in a value."""
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _leaves(item)
    elif value is not None:
        yield value if isinstance(value, str) else _text(value)


def _text(value: Any) -> str:
    """The value as JSON, as it is stored."""
    return to_json(value, inf_nan_mode="constants").decode()
