"""Claims that wait for a run, in the order of their arrival."""

from typing import Final, NamedTuple

from starlette.requests import Request

from backend.http.waiting.waiter import Ending, Waiter
from backend.services.commits import Recorded
from backend.services.kinds import Kind
from backend.services.principal import Principal
from backend.services.runs.seeking import Seeking

_ONE_RUN: Final = frozenset({Kind.AGENT_RUN_CREATED, Kind.AGENT_RUN_REQUEUED})
"""After these a run more is pending."""
_SOME_RUNS: Final = frozenset(
    {
        Kind.PROJECT_RESTORED,
        # What was changed in the file is repaired: until then its runs are not given to workers.
        Kind.PROJECT_UPDATED,
        Kind.SETTINGS_CREATED,
        Kind.SETTINGS_UPDATED,
        Kind.SETTINGS_ROLLED_BACK,
    }
)
"""After these, runs that were pending may be claimed again."""


class Call(NamedTuple):
    """A reason to claim: runs of this project may be pending."""

    project_id: int
    is_for_one: bool
    """Whether it is one run."""


class Claimer(Waiter):
    """A claim that waits for a run."""

    def __init__(self, request: Request, principal: Principal, seconds: int) -> None:
        super().__init__(request, principal, seconds)
        self.seeking = Seeking()
        self.calls: list[Call] = []
        """The calls that it has to answer, and those that it has heard of before it was in the
        line."""
        self.answering: list[Call] = []
        """The calls after which it is looking for a run at the moment."""

    def fits(self, call: Call) -> bool:
        """Whether it would take a run of the call's project."""
        projects = self.seeking.projects
        return projects is None or call.project_id in projects


class ClaimLine:
    """The claims that wait. Belongs to the event loop's thread.

    A call is given to the first claim that fits and has none yet. If a claim leaves without a run
    for it, the next one gets the call.
    """

    def __init__(self) -> None:
        self._arriving: dict[Claimer, None] = {}
        """Claims that are looking for a run, and wait if there is none."""
        self._line: dict[Claimer, None] = {}

    def __len__(self) -> int:
        """How many claims wait in the line."""
        return len(self._line)

    def hear(self, change: Recorded) -> None:
        """Wake a claim if the change makes runs pending."""
        if change.project_id is not None and change.kind in _ONE_RUN | _SOME_RUNS:
            call = Call(change.project_id, change.kind in _ONE_RUN)
            for claimer in self._arriving:
                claimer.calls.append(call)
            self._give(call)

    def arrive(self, claimer: Claimer) -> None:
        """A claim is about to look for a run for the first time."""
        self._arriving[claimer] = None

    def join(self, claimer: Claimer) -> None:
        """The claim has found none. It keeps what it has heard meanwhile and would take."""
        del self._arriving[claimer]
        claimer.calls = [call for call in claimer.calls if claimer.fits(call)]
        self._line[claimer] = None

    def answer(self, claimer: Claimer) -> None:
        """The claim is about to look for a run again."""
        claimer.answering, claimer.calls = claimer.calls, []

    def found_none(self, claimer: Claimer) -> None:
        """It has found none, and keeps its place."""
        claimer.answering = []

    def took(self, claimer: Claimer) -> None:
        """It got runs. Others get the calls for which there may be more, once it leaves."""
        given, calls = claimer.seeking.given, claimer.answering
        claimer.answering = [
            call for call in calls if not call.is_for_one or call.project_id not in given
        ]

    def leave(self, claimer: Claimer) -> None:
        """The claim waits no longer; others get the calls that it has not answered."""
        self._arriving.pop(claimer, None)
        # Those that it has heard of before it was in the line, others have got as well.
        left = self._line.pop(claimer, claimer) is None
        calls = [*claimer.answering, *claimer.calls] if left else []
        claimer.answering, claimer.calls = [], []
        for call in calls:
            self._give(call)

    def _give(self, call: Call) -> None:
        claimer = self._first(call)
        if claimer is not None:
            claimer.calls.append(call)
            claimer.wake(Ending.NEWS)

    def _first(self, call: Call) -> Claimer | None:
        """The first one that fits and has no call; if all have one, the first that fits."""
        first = None
        for claimer in self._line:
            if claimer.ended is None and claimer.fits(call):
                if not claimer.calls and not claimer.answering:
                    return claimer
                first = first or claimer
        return first
