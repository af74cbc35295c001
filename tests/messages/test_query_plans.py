"""Every statement about messages finds its rows in the required order through an index."""

import pytest

from backend.repositories.message_repository import MessageFilter, MessageRepository
from models import MessageRole
from tests.messages.support import say
from tests.support.api import Api
from tests.support.plans import Explaining, is_careless


@pytest.mark.parametrize(
    ("filter", "index"),
    [
        (MessageFilter(), "INTEGER PRIMARY KEY"),
        (MessageFilter(1), "messages_run "),
        (MessageFilter(1, MessageRole.USER), "messages_run_role "),
    ],
)
async def test_a_page_reads_no_more_than_it_shows(
    api: Api, filter: MessageFilter, index: str
) -> None:
    await api.new_run()
    for _ in range(3):
        await say(api)
    plans = Explaining(api.service.db_manager.async_pool)
    messages = MessageRepository(api.service.db_manager).using(plans)
    assert [m.id for m in (await messages.page(filter, limit=1, after=(3,))).items] == [2]
    assert [m.id for m in (await messages.following(filter, 1, None, 1)).items] == [2]
    assert [m.id for m in (await messages.following(filter, 1, 2, 5)).items] == [2]
    steps = plans.steps()
    assert [step for step in steps if is_careless(step)] == []
    assert all(index in step for step in steps), steps


async def test_looking_for_runs_scans_nothing(api: Api) -> None:
    await api.new_run()
    plans = Explaining(api.service.db_manager.async_pool)
    messages = MessageRepository(api.service.db_manager).using(plans)
    assert await messages.runs_among([1, 2]) == {1}
    assert [step for step in plans.steps() if is_careless(step)] == []
