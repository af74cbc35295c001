"""The results in JUnit XML: what a test case says, and which attempts it tells of."""

import hashlib
from typing import Any, Final

from junitparser import Error, Skipped
from junitparser.junitparser import FinalResult
from junitparser.xunit2 import FlakyError, InterimResult, RerunError, TestCase
from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, to_json

from backend.errors import MAX_FIELD_ERRORS, InvalidField, ValidationFailed
from backend.repositories.test_attempt_repository import Content, ResultKey, UploadedResult
from backend.schemas.json_object import MAX_JSON_BYTES, object_text
from backend.schemas.results import TestName
from backend.services.runs.junit_xml import Case, Place, read_cases, seconds
from backend.services.runs.test_results import TestResultFile
from models import MAX_TEXT, TestStatus

DEFAULT_TYPE: Final = "junit"
MAX_DATA: Final = 32 * 1024 * 1024
"""The most characters of JSON that the results of a file may have as their data. The names of the
suites around a test case are in each of its results, so that a small file could say very much."""
_OUTPUTS = (("system_out", "system-out"), ("system_err", "system-err"))
_BESIDES = frozenset({"system-out", "system-err", "properties"})
"""What a test case may have besides results."""
_NOT_RUN = frozenset({"notrun", "disabled", "skipped"})
"""What googletest and its like write as the `status` of a test that did not run."""
_BY_PYTEST = frozenset({"pytest tests", "pytest"})
"""The names that pytest gives to its suites."""
_OF_TEARDOWN = "failed on teardown with "
"""How pytest's message begins when a test's cleaning up breaks."""
_RAN_AGAIN = "pytest ran the test again, and did not report why this attempt failed"
_ENVELOPE = 64
"""Bytes for the name of a member and for the mark that it was cut off."""
_NAME = TypeAdapter(TestName)


def read_junit(body: bytes, test_type: str) -> TestResultFile:
    """The results of a file as results of this type.

    Raises `BadRequest` if it is not XML, and `ValidationFailed` with the places of what can't be
    taken.
    """
    reader = _Reader(test_type)
    read_cases(body, reader.take)
    if reader.wrong:
        raise ValidationFailed(reader.wrong)
    digest = hashlib.sha256(b"%b\0%b" % (test_type.encode(), body)).digest()
    return TestResultFile(digest, reader.results)


class _Reader:
    """Collects the results, and what is wrong."""

    def __init__(self, test_type: str) -> None:
        self._type = test_type
        self.results: list[UploadedResult] = []
        self.wrong: list[dict[str, Any]] = []
        """Errors in pydantic's form."""
        self._data_size = 0
        self._passed: dict[ResultKey, int] = {}
        """Where among the results the tests stand that have passed last, if pytest ran them."""
        self._failed: dict[ResultKey, tuple[int, Case]] = {}
        """The same for those that have failed last, with their test case."""

    def take(self, case: Case) -> None:
        """Take a test case: its result, and those of earlier or later attempts that it has."""
        if len(self.wrong) >= MAX_FIELD_ERRORS:
            return
        try:
            key = ResultKey(self._type, self._name(case))
            if _BY_PYTEST.isdisjoint(case.suites):
                contents = self._contents(case)
            elif not (contents := self._of_pytest(key, case)):
                return
        except _WrongError:
            return
        self.results += [UploadedResult(key, None, content) for content in contents]

    def _of_pytest(self, key: ResultKey, case: Case) -> list[Content]:
        """The attempts of a test case of pytest; none if it only completes an earlier one, because
        a test that fails, and then can't clean up, has two test cases for one attempt."""
        failed = self._failed.pop(key, None)
        if failed is not None and _is_of_teardown(case):
            at, earlier = failed
            earlier.element.extend(case.element)
            (whole,) = self._contents(earlier)
            self.results[at] = UploadedResult(key, None, whole)
            return []
        contents = self._contents(case)
        self._correct(key, contents)
        if len(contents) == 1 and contents[0].status == TestStatus.FAILED.value:
            self._failed[key] = (len(self.results), case)
        return contents

    def _correct(self, key: ResultKey, contents: list[Content]) -> None:
        """Correct a result of pytest that another one of the same test follows. Its names are
        unique and only failed tests run again, but pytest-rerunfailures leaves no trace of the
        failure in the file."""
        earlier = self._passed.pop(key, None)
        if earlier is not None:
            result = self.results[earlier]
            failed = result.content._replace(
                status=TestStatus.FAILED.value, error_message=_RAN_AGAIN
            )
            self.results[earlier] = result._replace(content=failed)
        if contents[-1].status == TestStatus.PASSED.value:
            self._passed[key] = len(self.results) + len(contents) - 1

    def _name(self, case: Case) -> str:
        """`classname.name`, or what there is of it; the name of the suite if there is neither."""
        of_class, own = case.element.get("classname", ""), case.element.get("name", "")
        parts = [part for part in (of_class, own) if part and not part.isspace()]
        name = ".".join(parts) or (case.suites[-1] if case.suites else "")
        try:
            return _NAME.validate_python(name)
        except ValidationError as error:
            details = error.errors(include_input=False, include_url=False)[0]
            raise self._refuse((*case.place, "@name"), details["type"], details["msg"]) from None

    def _contents(self, case: Case) -> list[Content]:
        """The attempts of a test case, from the first one. What passed has its failed attempts
        before it; what failed was tried again after it."""
        if not len(case.element):
            # Most tests have passed, and say nothing more.
            return [self._content(case, [])]
        test: TestCase = TestCase.fromelem(case.element)  # type: ignore[no-untyped-call]
        own = self._content(case, test.result)
        others = [self._repeated(result, case) for result in test.interim_result]
        failed = own.status in (TestStatus.FAILED.value, TestStatus.ERROR.value)
        return [own, *others] if failed else [*others, own]

    def _content(self, case: Case, results: list[FinalResult]) -> Content:
        element = case.element
        reasons = [result for result in results if isinstance(result, Skipped)]
        wrong = [result for result in results if not isinstance(result, Skipped)]
        if any(isinstance(result, Error) for result in wrong):
            status = TestStatus.ERROR
        elif reasons:
            # Some tools also tell how a skipped test has failed, which counts for nothing.
            status = TestStatus.SKIPPED
        elif wrong:
            status = TestStatus.FAILED
        elif element.get("status", "").lower() in _NOT_RUN:
            status = TestStatus.SKIPPED
        else:
            status = TestStatus.PASSED
        data = _about(case)
        outputs = {}
        if len(element):
            if reasons:
                data["reason"] = "\n".join(filter(None, map(_text_of, reasons)))
            for name, tag in _OUTPUTS:
                outputs[name] = "".join(part.text or "" for part in element.iterfind(tag))
        return Content(
            status.value,
            self._seconds(element.get("time"), case),
            self._data(data, [result.type for result in wrong], outputs, case),
            self._message([_text_of(result) for result in wrong], case),
            None,
            None,
        )

    def _repeated(self, result: InterimResult, case: Case) -> Content:
        """An attempt that the test case tells of besides its own."""
        is_error = isinstance(result, (RerunError, FlakyError))
        outputs = {"system_out": result.system_out or "", "system_err": result.system_err or ""}
        data: dict[str, Any] = {"suites": list(case.suites)} if case.suites else {}
        return Content(
            (TestStatus.ERROR if is_error else TestStatus.FAILED).value,
            self._seconds(result._elem.get("time"), case),
            self._data(data, [result.type], outputs, case),
            self._message([_text_of(result)], case),
            None,
            None,
        )

    def _data(
        self,
        data: dict[str, Any],
        types: list[str | None],
        outputs: dict[str, str],
        case: Case,
    ) -> str | None:
        """The result's data as JSON, with as much of the end of each output as there is room."""
        named = [kind for kind in types if kind]
        if named:
            data["types"] = named
        cut: list[str] = []
        given = {name: text for name, text in outputs.items() if text}
        if given:
            room = (MAX_JSON_BYTES - len(to_json(data))) // len(given) - _ENVELOPE
            for name, text in given.items():
                data[name] = _end_of(text, room)
                if len(data[name]) < len(text):
                    cut.append(name)
        if cut:
            data["cut_off"] = cut
        try:
            stored = object_text(data) if data else None
        except PydanticCustomError as error:
            raise self._refuse(case.place, error.type, error.message()) from None
        self._data_size += len(stored or "")
        if self._data_size > MAX_DATA:
            told = "the names of the suites are too long for so many tests: split the file"
            raise InvalidField(case.place, "data_size", told)
        return stored

    def _message(self, texts: list[str], case: Case) -> str | None:
        message = "\n\n".join(filter(None, texts))
        if len(message) > MAX_TEXT:
            told = f"must have at most {MAX_TEXT} characters of messages and traces"
            raise self._refuse(case.place, "string_too_long", told)
        return message or None

    def _seconds(self, text: str | None, case: Case) -> float | None:
        try:
            return seconds(text)
        except PydanticCustomError as error:
            raise self._refuse((*case.place, "@time"), error.type, error.message()) from None

    def _refuse(self, place: Place, code: str, message: str) -> "_WrongError":
        self.wrong.append({"loc": place, "type": code, "msg": message})
        return _WrongError()


class _WrongError(Exception):
    """Something in a test case can't be taken, and was noted."""


def _is_of_teardown(case: Case) -> bool:
    """Whether all that pytest says here is that the test could not clean up."""
    said = [part for part in case.element if part.tag not in _BESIDES]
    return (
        len(said) == 1
        and said[0].tag == "error"
        and said[0].get("message", "").startswith(_OF_TEARDOWN)
    )


def _about(case: Case) -> dict[str, Any]:
    """What a test case says of itself besides its name, its time and its result."""
    element = case.element
    data: dict[str, Any] = {}
    if case.suites:
        data["suites"] = list(case.suites)
    if element.get("classname"):
        data["classname"] = element.get("classname")
    named = ("classname", "name", "time")
    attributes = {name: value for name, value in element.items() if name not in named}
    if attributes:
        data["attributes"] = attributes
    if len(element):
        properties = [
            {"name": item.get("name", ""), "value": item.get("value", (item.text or "").strip())}
            for item in element.iterfind("properties/property")
        ]
        if properties:
            data["properties"] = properties
    return data


def _text_of(result: FinalResult | InterimResult) -> str:
    """The message and the text of a result; the message only if the text does not contain it."""
    trace = result.stack_trace if isinstance(result, InterimResult) else None
    message, text = (result.message or "").strip(), (trace or result.text or "").strip()
    return text if message in text else f"{message}\n\n{text}".strip()


def _end_of(text: str, room: int) -> str:
    """As much of the end of a text as takes `room` bytes in JSON."""
    end = text[-max(room, 0) :] if room > 0 else ""
    while len(to_json(end)) > max(room, 2):
        end = end[len(end) // 8 + 1 :]
    if len(end) < len(text):
        # From the beginning of a line, because a part of a secret's value is not recognised.
        line = end.find("\n") + 1
        if line <= len(end) // 2:
            end = end[line:]
    return end
