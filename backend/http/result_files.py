"""Files with the results of tests, as bodies of requests."""

from collections.abc import Mapping
from typing import Final

from backend.http.route_policy import OtherBody
from backend.services.runs.junit_results import DEFAULT_TYPE, read_junit
from backend.services.runs.test_results import TestResultFile

__all__ = ["DEFAULT_TYPE", "JUNIT_XML", "TestResultFile"]


def _read(body: bytes, query: Mapping[str, str]) -> TestResultFile:
    # The endpoint refuses a wrong type.
    return read_junit(body, query.get("test_type", DEFAULT_TYPE))


JUNIT_XML: Final = OtherBody(
    media_types=("application/xml", "text/xml"), limit=5 * 1024 * 1024, read=_read
)
