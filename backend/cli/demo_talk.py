"""What people and agents say to each other in the made-up week."""

from collections.abc import Callable

from backend.schemas.messages import MessageCreate
from backend.schemas.runs import RunTransition
from backend.services.database_service import DatabaseService
from models import MessageRole, RunStatus

_TALKS = (
    ("Two modules do this. Should both change?", "Only the one that the API uses."),
    ("The rules ask for a test, but there is no test database. May I add one?", "Yes, in memory."),
    ("The plan has four steps. Shall I begin?", "Leave out the last one, and begin."),
    ("A dependency is three years old. Should I update it?", "Not in this change, please."),
)


async def talk(
    service: DatabaseService,
    pass_by: Callable[[float], None],
    run_id: int,
    number: int,
    *,
    is_answered: bool,
) -> None:
    """Let the agent of a running run ask something and pause. The answer lets the run go on;
    without it, the run waits. `pass_by` lets so many seconds pass."""
    question, answer = _TALKS[number % len(_TALKS)]
    asked = MessageCreate(role=MessageRole.AGENT, content=question)
    await service.messages.add(run_id, asked)
    await service.runs.transition(run_id, RunTransition(to=RunStatus.PAUSED))
    pass_by(40)
    if is_answered:
        answered = MessageCreate.model_validate(
            {"role": MessageRole.USER, "content": answer, "continue": True}
        )
        await service.messages.add(run_id, answered)
        pass_by(5)
