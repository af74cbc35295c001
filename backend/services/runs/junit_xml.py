"""Reads the test cases of JUnit XML, one after another, in bounded memory.

Files come from outside, so neither entities nor a document type are accepted. Of each test case
only the parts that are used become elements, and of suites only their names are kept.
"""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple
from xml.etree.ElementTree import (
    Element,
    ParseError,
    TreeBuilder,
)

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser
from pydantic_core import PydanticCustomError

from backend.errors import BadRequest, InvalidField
from backend.services.runs.xml_characters import allowed

Place = tuple[str, ...]
"""The way to an element or an attribute, as in XPath: `("testsuite", "testcase[3]", "@name")`."""

MAX_DEPTH: Final = 100
MAX_PARTS: Final = 10_000
"""The most elements inside a test case, so that its size in memory is limited, too."""
_PIECE = 64 * 1024
_SUITES = frozenset({"testsuites", "testsuite"})
_CASE = "testcase"
_PARTS = frozenset(
    {
        *("failure", "error", "skipped", "system-out", "system-err", "properties", "property"),
        *("rerunFailure", "rerunError", "flakyFailure", "flakyError", "stackTrace"),
    }
)


class Case(NamedTuple):
    """A test case of a file."""

    element: Element
    """With the elements that are used, and attributes without a namespace."""
    suites: tuple[str, ...]
    """The names of the suites around it, from the outermost one; without empty names."""
    place: Place


def read_cases(body: bytes, take: Callable[[Case], None]) -> None:
    """Call `take` with each test case, in their order.

    Control characters that XML does not allow become "?".

    Raises `BadRequest` if the body is not XML, or declares a document type or entities, and
    `InvalidField` if it is not JUnit XML, or is nested too deeply.
    """
    body = allowed(body)
    parser = DefusedXMLParser(target=_Target(take), forbid_dtd=True)
    try:
        # In pieces, so that other threads may run between them.
        for at in range(0, len(body), _PIECE):
            parser.feed(body[at : at + _PIECE])
        parser.close()
    except ParseError as error:
        line, column = error.position
        raise BadRequest(f"the body is not XML (line {line} column {column + 1})") from None
    except DefusedXmlException:
        raise BadRequest(
            "the body has a document type or entities: send XML without <!DOCTYPE>"
        ) from None
    except (ValueError, LookupError):
        # The decoder of a declared encoding, whose message may repeat its name or the text.
        raise BadRequest("the body is not in the encoding that it declares: send UTF-8") from None


class _Suite:
    """A suite that has not ended yet."""

    __slots__ = ("name", "numbers", "place")

    def __init__(self, name: str, place: Place) -> None:
        self.name = name
        self.place = place
        self.numbers: Counter[str] = Counter()
        """How many elements of each kind it has had so far."""

    def next(self, tag: str) -> Place:
        """The place of its next element of this kind."""
        self.numbers[tag] += 1
        return (*self.place, f"{tag}[{self.numbers[tag]}]")


class _Target:
    """Takes the parser's events."""

    def __init__(self, take: Callable[[Case], None]) -> None:
        self._take = take
        self._suites: list[_Suite] = []
        self._case: TreeBuilder | None = None
        self._place: Place = ()
        self._depth = 0
        self._parts = 0
        self._left_out = 0
        """How many elements are open whose content is not used."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise InvalidField(
                self._place, "xml_depth", f"must have at most {MAX_DEPTH} levels of elements"
            )
        name = tag.rpartition("}")[2]
        if self._left_out:
            self._left_out += 1
        elif self._case is not None:
            self._start_part(self._case, name, attributes)
        elif name in _SUITES:
            self._place = self._suites[-1].next(name) if self._suites else (name,)
            self._suites.append(_Suite(attributes.get("name", ""), self._place))
        elif not self._suites:
            raise InvalidField(
                (), "junit_root", "the root must be the element testsuites or testsuite"
            )
        elif name == _CASE:
            self._place = self._suites[-1].next(name)
            self._case, self._parts = TreeBuilder(), 0
            own = {key: value for key, value in attributes.items() if not key.startswith("{")}
            self._case.start(_CASE, own)
        else:
            self._left_out = 1

    def _start_part(self, case: TreeBuilder, name: str, attributes: dict[str, str]) -> None:
        if name == _CASE:
            raise InvalidField(self._place, "nested_case", "must not contain another testcase")
        if name not in _PARTS:
            self._left_out = 1
            return
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidField(
                self._place, "too_many_parts", f"must have at most {MAX_PARTS} elements"
            )
        case.start(name, attributes)

    def end(self, tag: str) -> None:
        self._depth -= 1
        name = tag.rpartition("}")[2]
        if self._left_out:
            self._left_out -= 1
        elif self._case is None:
            self._suites.pop()
        else:
            self._case.end(name)
            if name == _CASE:
                element, self._case = self._case.close(), None
                names = tuple(suite.name for suite in self._suites if suite.name)
                self._take(Case(element, names, self._place))

    def data(self, text: str) -> None:
        if self._case is not None and not self._left_out:
            self._case.data(text)

    def close(self) -> None:
        """Called at the end of the file."""


def seconds(text: str | None) -> float | None:
    """The duration in an attribute `time`; `None` without one.

    Commas group thousands, as in Maven's reports, unless there is only one and it follows a zero or
    a point, or other than three digits follow it. Raises `PydanticCustomError` for what is no
    duration.
    """
    if text is None or not text.strip():
        return None
    plain = text.strip()
    head, comma, tail = plain.partition(",")
    if comma and "," not in tail and "." not in tail and ("." in head or _is_fraction(head, tail)):
        plain = f"{head.replace('.', '')}.{tail}"
    whole, point, fraction = plain.replace("_", "?").partition(".")
    try:
        value = float(f"{whole.replace(',', '')}{point}{fraction}")
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise PydanticCustomError("duration", "must be a number of seconds, 0 or more")
    return value


def _is_fraction(head: str, tail: str) -> bool:
    """Whether the digits behind the only comma are a fraction."""
    return head in ("", "0") or len(tail) != 3
