"""The order of claims that wait, and how a call is passed on."""

from starlette.requests import Request

from backend.http.waiting.claim_line import Claimer, ClaimLine
from backend.http.waiting.waiter import Ending
from backend.services.commits import Recorded
from backend.services.kinds import Kind
from backend.services.principal import EVERYBODY


async def claimer(line: ClaimLine, *projects: int) -> Claimer:
    """A claim in the line, for these projects or for all."""
    made = Claimer(Request({"type": "http"}), EVERYBODY, 60)
    line.arrive(made)
    made.seeking.projects = frozenset(projects) or None
    line.join(made)
    return made


def created(line: ClaimLine, project_id: int) -> None:
    """Tell the line of a new run."""
    line.hear(Recorded(Kind.AGENT_RUN_CREATED, "agent_runs/1", project_id))


def called(*claimers: Claimer) -> list[list[int]]:
    """The projects of the calls that each has to answer."""
    return [[call.project_id for call in one.calls] for one in claimers]


def takes(line: ClaimLine, one: Claimer, *given: int) -> None:
    """Let a claim get runs of these projects, and leave; without any, it goes on waiting."""
    line.answer(one)
    if given:
        one.seeking.given = frozenset(given)
        line.took(one)
        line.leave(one)
    else:
        line.found_none(one)


async def test_each_run_calls_the_first_without_a_call() -> None:
    line = ClaimLine()
    a, b, c = await claimer(line, 2), await claimer(line), await claimer(line)
    created(line, 1)
    created(line, 1)
    assert called(a, b, c) == [[], [1], [1]]
    created(line, 2)
    created(line, 2)
    # All that fit have a call: the first gets another one, lest it is lost.
    assert called(a, b, c) == [[2, 2], [1], [1]]
    line.hear(Recorded(Kind.AGENT_RUN_COMPLETED, "agent_runs/1", 1))
    line.hear(Recorded(None, "agent_runs/1", 1))
    assert called(a, b, c) == [[2, 2], [1], [1]]


async def test_who_leaves_passes_its_calls_on() -> None:
    line = ClaimLine()
    a, b, c = await claimer(line), await claimer(line, 2), await claimer(line, 1)
    created(line, 1)
    assert called(a, b, c) == [[1], [], []]
    line.leave(a)
    assert called(a, b, c) == [[], [], [1]]
    # Also in the middle of its attempt, which then has failed.
    line.answer(c)
    line.leave(c)
    assert len(line) == 1
    d = await claimer(line, 1)
    created(line, 1)
    line.answer(d)
    e = await claimer(line)
    line.leave(d)
    assert called(b, e) == [[], [1]]


async def test_whose_wait_has_ended_is_not_called() -> None:
    line = ClaimLine()
    a, b = await claimer(line), await claimer(line)
    a.wake(Ending.TIME)
    created(line, 1)
    assert called(a, b) == [[], [1]]


async def test_who_got_another_run_passes_the_call_on() -> None:
    line = ClaimLine()
    a, b, c = await claimer(line), await claimer(line, 2), await claimer(line)
    created(line, 1)
    created(line, 2)
    assert called(a, b, c) == [[1], [2], []]
    # It was the turn of project 2, so the run of project 1 is still there.
    takes(line, a, 2)
    assert called(b, c) == [[2], [1]]
    takes(line, b)
    assert len(line) == 2
    takes(line, c, 1)
    assert called(b) == [[]]


async def test_a_call_during_an_attempt_is_kept() -> None:
    line = ClaimLine()
    a = await claimer(line)
    created(line, 1)
    line.answer(a)
    created(line, 1)
    line.found_none(a)
    assert called(a) == [[1]]


async def test_what_was_heard_on_arrival_is_kept_if_it_fits() -> None:
    line = ClaimLine()
    a = Claimer(Request({"type": "http"}), EVERYBODY, 60)
    line.arrive(a)
    created(line, 1)
    created(line, 2)
    a.seeking.projects = frozenset({2})
    line.join(a)
    assert called(a) == [[2]]
    b = Claimer(Request({"type": "http"}), EVERYBODY, 60)
    line.arrive(b)
    created(line, 2)
    line.leave(b)
    # It had not waited yet, so the call is not missed.
    assert called(a) == [[2, 2]]


async def test_a_call_for_several_runs_goes_on_until_there_are_none() -> None:
    line = ClaimLine()
    a, b, c = [await claimer(line) for _ in range(3)]
    line.hear(Recorded(Kind.PROJECT_RESTORED, "projects/1", 1))
    assert called(a, b, c) == [[1], [], []]
    takes(line, a, 1)
    assert called(b, c) == [[1], []]
    takes(line, b)
    assert called(b, c) == [[], []]
