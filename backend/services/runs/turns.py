"""The order in which pending runs are claimed: projects in turn, and the oldest run of each."""

from collections.abc import Sequence
from typing import NamedTuple

from backend.repositories import Repositories
from backend.repositories.run_queue_repository import QueueHead


class Turn(NamedTuple):
    """A project's turn, and the run that it gets."""

    project_id: int
    run_id: int


async def next_turns(
    repositories: Repositories, project_ids: Sequence[int] | None, count: int
) -> list[Turn]:
    """The next turns in their order: `count`, or fewer if fewer runs are pending.

    With `project_ids`, only runs of these projects.
    """
    heads = await _heads(repositories, project_ids, count)
    runs = {head.project_id: [head.next_run_id] for head in heads}
    left = count - len(heads)
    # If fewer projects wait than runs are wanted, all waiting projects are known and take turns.
    active = list(runs)
    while left and active:
        most = max(1, left // len(active))
        for project_id in tuple(active):
            if not left:
                break
            ids = runs[project_id]
            more = await repositories.runs.pending_after(project_id, ids[-1], most)
            ids += more
            left -= len(more)
            if len(more) < most:
                active.remove(project_id)
    rounds = max(map(len, runs.values()), default=0)
    return [
        Turn(project_id, ids[number])
        for number in range(rounds)
        for project_id, ids in runs.items()
        if number < len(ids)
    ]


async def end_turns(repositories: Repositories, turns: Sequence[Turn]) -> None:
    """Move the projects of these turns to the end of the queue, in the order of their last turns.
    Their runs must not be pending any more."""
    last = {turn.project_id: number for number, turn in enumerate(turns)}
    if last:
        await repositories.run_queues.end_turns(sorted(last, key=last.__getitem__))


async def _heads(
    repositories: Repositories, project_ids: Sequence[int] | None, count: int
) -> list[QueueHead]:
    """The projects whose turn is next, each with its oldest pending run."""
    while True:
        heads = await repositories.run_queues.first_waiting(project_ids, limit=count)
        right = True
        for head in heads:
            if head.oldest_id != head.next_run_id:
                # The queued run was cancelled, so another project's turn may come first.
                await repositories.run_queues.set_next(head.project_id, head.oldest_id)
                right = False
        if right:
            return heads
