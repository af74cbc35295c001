"""Sequences of requests, generated from the OpenAPI document: what an answer names goes into the
next request.

Schemathesis infers which parameters an answer can fill. The requests follow from a fixed seed and
from the answers of a new server, so they are nearly the same each time: times in answers differ.
"""

import re
import shutil
from collections import Counter
from contextlib import ExitStack
from itertools import count, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.http.made_up import REVOKES, fill, schema, served, validate

if TYPE_CHECKING:
    import requests
    from schemathesis.generation.stateful import APIStateMachine

_TAGS = re.compile(r'\*|(?:W/)?"[!#-~]*"(?:[ \t]*,[ \t]*(?:W/)?"[!#-~]*")*')
_VERB = re.compile(r"/(?:rollback|restore|cancel|transitions)$")
_REMOVED = re.compile(r"/(?:webhooks/\d+|projects/\d+\?purge=true)$")


class Seen:
    """What all sequences have seen."""

    def __init__(self) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        """The number of answers by operation and status."""
        self.held: Counter[str] = Counter()
        """How often something that follows from earlier answers was the case."""


class Conversation:
    """What was answered so far in one sequence, and what follows from it."""

    def __init__(self, session: "requests.Session", seen: Seen) -> None:
        self._session = session
        self._seen = seen
        self._tags: dict[str, list[str]] = {}
        """The tags that each resource had, by its path, the last one at the end."""
        self._turns = cycle((-1, 0))
        self._gone: set[str] = set()
        """The paths of what was removed for good."""

    def condition(self, case: Any) -> None:
        """Put the last tag and the first one, in turns, into requests with valid conditions: a
        made-up one never fits."""
        known = self._tags.get(_resource(case))
        fits = "If-None-Match" if case.method == "GET" else "If-Match"
        for name in ("If-Match", "If-None-Match"):
            if _TAGS.fullmatch(str(case.headers.get(name, ""))):
                del case.headers[name]
                if name == fits and known is not None:
                    case.headers[name] = known[next(self._turns)]

    def check(self, case: Any, answer: Any) -> None:
        """Check what follows from an answer."""
        status, request = answer.status_code, answer.request
        self._seen.answers[case.operation.label, status] += 1
        path = _resource(case)
        if status < 300:
            assert not any(f"{path}/".startswith(f"{gone}/") for gone in self._gone)
            if case.method == "DELETE" and _REMOVED.search(request.url):
                self._gone.add(path)
                self._seen.held["gone"] += 1
        demanded = request.headers.get("If-Match")
        if status == 412:
            # It never names the tag that was sent.
            assert answer.json()["etag"] != demanded
            self._seen.held["mismatch"] += 1
        elif demanded in self._tags.get(path, ()) and status < 300 and not _is_repeated(answer):
            assert demanded == self._tags[path][-1]
            self._seen.held["match"] += 1
        if status in (200, 201) and "Idempotency-Key" in request.headers:
            self._check_repeated(answer)
        (tag,) = answer.headers.get("etag", [None])
        if tag is None or status not in (200, 304):
            return
        if not _is_repeated(answer):
            self._tags.setdefault(path, []).append(tag)
        if case.method == "GET" and status == 200:
            self._check_known(answer, tag)

    def _check_repeated(self, answer: Any) -> None:
        again = self._session.send(answer.request)
        if _is_repeated(again):
            assert (again.status_code, again.content) == (answer.status_code, answer.content)
            assert [again.headers.get("ETag")] == answer.headers.get("etag", [None])
            self._seen.held["repeated"] += 1

    def _check_known(self, answer: Any, tag: str) -> None:
        request = answer.request.copy()
        request.headers["If-None-Match"] = tag
        again = self._session.send(request)
        # The service's own work may have changed it meanwhile.
        assert (again.status_code == 304) == (again.headers["ETag"] == tag)
        self._seen.held["known"] += again.status_code == 304


def _is_repeated(answer: Any) -> bool:
    return "idempotency-replayed" in answer.headers


def _resource(case: Any) -> str:
    return _VERB.sub("", str(case.formatted_path))


def machine(seen: Seen, folder: Path, master_keys: str) -> "type[APIStateMachine]":
    """The state machine of the document. Each sequence has a server of its own, on a copy of this
    data directory: its answers have to follow from its requests alone."""
    method, _, path = REVOKES.partition(" ")
    inferred: Any = schema().exclude(method=method, path=path).as_state_machine()
    numbers = count()

    class Machine(inferred):  # type: ignore[misc]
        def setup(self) -> None:
            import requests

            self.ending = ExitStack()
            copied = folder.with_name(f"sequence-{next(numbers)}")
            shutil.copytree(folder, copied)
            session = self.ending.enter_context(requests.Session())
            server = self.ending.enter_context(served(copied, master_keys))
            self.talk = Conversation(session, seen)
            self.sent = {**server, "session": session}

        def teardown(self) -> None:
            self.ending.close()

        def before_call(self, case: Any) -> None:
            self.talk.condition(case)

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:  # noqa: ARG002
            return self.sent

        def validate_response(self, response: Any, case: Any, *_: Any, **__: Any) -> None:
            validate(case, response, self.sent, recorder=self.recorder)
            self.talk.check(case, response)

    return Machine


SHORT = {"repeated", "known"}
LONG = {*SHORT, "match", "gone"}
"""What a run comes across. A mismatch is rare: `test_conditional.py` tries it on every route."""


@pytest.mark.parametrize(
    ("sequences", "steps", "held"),
    [(4, 30, SHORT), pytest.param(40, 40, LONG, marks=pytest.mark.long_form)],
    ids=["short", "long"],
)
def test_sequences_of_requests_are_answered_as_the_document_says(
    sequences: int, steps: int, held: set[str], tmp_path: Path, master_keys: str
) -> None:
    folder = tmp_path / "data"
    with served(folder, master_keys) as server:
        fill(**server)
    seen = Seen()
    machine(seen, folder, master_keys).run(
        settings=hypothesis.settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=sequences,
            stateful_step_count=steps,
            # To shorten a sequence takes very many.
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )
    succeeded = {label for label, status in seen.answers if status < 300}
    # Else the sequences lead nowhere.
    assert len(succeeded) >= 20, seen.answers
    assert seen.held.keys() >= held, seen.held
