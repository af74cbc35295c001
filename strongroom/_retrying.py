"""Which requests are sent again, and when."""

import random
import time
from enum import Enum

import httpx

from strongroom._answers import error_of, problem_of, retry_after
from strongroom._errors import ConnectionFailed, StrongroomError, TimedOut

FIRST_SECONDS = 0.1
LONGEST_SECONDS = 8.0
NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""The request did not reach the service."""
WRONG = (httpx.LocalProtocolError, httpx.UnsupportedProtocol)
"""The request can not be sent."""
_GATEWAY = frozenset({502, 503, 504})
_LATER = frozenset({"rate_limited", "idempotency_in_progress"})
_BEFORE_THE_KEY = frozenset({401, 403, 429})
"""The service answers these before it looks whether it has an answer for the key."""


class Repeat(Enum):
    """What a second time of the same request does, if the first had its effect."""

    HARMLESS = "harmless"
    """Nothing, and it gets the same answer: reads, and requests with an `Idempotency-Key`."""
    CONDITIONAL = "conditional"
    """Nothing, because its precondition does not hold any more. But it is refused for that."""
    DOUBLE = "double"
    """Perhaps another change."""


class Course:
    """How a call goes: its attempts, its time, and whether it may have had its effect."""

    def __init__(
        self, method: str, repeat: Repeat, *, seconds: float | None, max_retries: int
    ) -> None:
        self._changes = method != "GET"
        self._repeat = repeat
        self._retries_left = max_retries
        self._attempt = 0
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._is_in_doubt = False
        """Whether an attempt may have had its effect although it got no success."""

    def seconds_left(self) -> float | None:
        """The time for the next attempt; None without a limit. It is never 0, which httpx does
        not take."""
        if self._deadline is None:
            return None
        return max(0.001, self._deadline - time.monotonic())

    def after_failure(self, error: Exception) -> float:
        """The seconds until the next attempt after one without an answer. Raises what the caller
        gets if there is none."""
        was_sent = not isinstance(error, (*NOT_SENT, *WRONG))
        self._is_in_doubt = self._is_in_doubt or (was_sent and self._changes)
        failure = failure_of(error, may_have_happened=self._is_in_doubt)
        may_repeat = not was_sent or self._repeat is not Repeat.DOUBLE
        if isinstance(error, WRONG) or not may_repeat:
            raise failure from error
        return self._pause(failure, 0.0)

    def after_refusal(self, response: httpx.Response) -> float:
        """The same after an answer that is no success."""
        failure: StrongroomError = error_of(response)
        if self._is_in_doubt and not self._settles(failure):
            failure = _unknown(failure)
        doubtful = self._changes and _leaves_in_doubt(response)
        self._is_in_doubt = self._is_in_doubt or doubtful
        may_repeat = not (doubtful and self._repeat is Repeat.DOUBLE)
        if not is_temporary(response) or not may_repeat:
            raise failure
        # The service is left alone for as long as it asks.
        return self._pause(failure, retry_after(response) or 0.0)

    def _settles(self, failure: StrongroomError) -> bool:
        """Whether this answer tells that no earlier attempt had its effect: a request with a key
        would have got the stored answer."""
        return (
            self._repeat is Repeat.HARMLESS
            and failure.status is not None
            and 400 <= failure.status < 500
            and failure.status not in _BEFORE_THE_KEY
            and failure.code != "idempotency_in_progress"
        )

    def _pause(self, failure: StrongroomError, least: float) -> float:
        seconds = least + pause(self._attempt)
        left = self.seconds_left()
        if self._retries_left <= 0 or (left is not None and seconds >= left):
            raise failure
        self._retries_left -= 1
        self._attempt += 1
        return seconds


def pause(attempt: int) -> float:
    """The seconds to wait after the attempt with this number, from 0 on.

    They are random, so that clients that failed together do not come back together.
    """
    longest = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(attempt, 16))
    return random.uniform(0, longest)  # noqa: S311


def is_temporary(response: httpx.Response) -> bool:
    """Whether the same request may succeed later."""
    problem = problem_of(response)
    status = response.status_code
    if problem is None:
        return status in _GATEWAY or status == httpx.codes.TOO_MANY_REQUESTS
    return status == httpx.codes.SERVICE_UNAVAILABLE or problem["code"] in _LATER


def _leaves_in_doubt(response: httpx.Response) -> bool:
    """Whether the request may have had its effect in spite of this answer: a proxy can't know, and
    sometimes the service does not either."""
    problem = problem_of(response)
    if problem is None:
        return response.status_code in _GATEWAY
    return bool(problem["code"] == "outcome_unknown")


def failure_of(error: Exception, *, may_have_happened: bool) -> ConnectionFailed:
    """The exception for a connection that failed. httpx's own texts have no values."""
    is_late = isinstance(error, httpx.TimeoutException | TimeoutError)
    kind, reason = (
        (TimedOut, "no answer came in time")
        if is_late
        else (ConnectionFailed, "the connection failed")
    )
    is_told = str(error) and not isinstance(error, WRONG)
    return kind.after(
        f"{reason} ({error})" if is_told else reason, may_have_happened=may_have_happened
    )


def _unknown(refusal: StrongroomError) -> ConnectionFailed:
    """The repeated request is refused, perhaps because the first had its effect."""
    return ConnectionFailed.after(
        f"the connection broke, and the same request again was refused ({refusal.code})",
        may_have_happened=True,
    )
