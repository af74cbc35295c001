"""Searches over lines of many programs, compared with what an oracle finds."""

from itertools import islice
from urllib.parse import urlencode

import pytest

from tests.logs.loghub import Lines, Searches
from tests.logs.word_oracle import Oracle
from tests.support.api import Api
from tests.support.log_index import index_agrees
from tests.support.logs import log, send

PAGE = 500
BATCH = 1000


@pytest.mark.parametrize(
    ("lines", "searches"), [(2_000, 200), pytest.param(32_000, 1_500, marks=pytest.mark.long_form)]
)
async def test_searches_find_what_an_oracle_finds(api: Api, lines: int, searches: int) -> None:
    sent = list(islice(Lines(seed=lines), lines))
    for start in range(0, lines, BATCH):
        await send(api, *map(log, sent[start : start + BATCH]))
    oracle = Oracle(sent)
    found_any = 0
    for text in islice(Searches(lines, sent), searches):
        expected = [number + 1 for number in reversed(oracle.found(text))]
        query = urlencode({"q": text, "limit": PAGE})
        answer = await api.get(f"/api/logs?{query}")
        assert [item["id"] for item in answer["logs"]] == expected[:PAGE], repr(text)
        assert (answer["next_cursor"] is not None) == (len(expected) > PAGE), repr(text)
        found_any += bool(expected)
    # Most searches are parts of a line.
    assert found_any > searches / 2
    assert index_agrees(api.service.db_manager)
