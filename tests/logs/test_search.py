"""Words in messages: which logs match, and that a search text is never a query language."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import Api
from tests.support.logs import log, messages, send

EXAMPLES = settings(
    max_examples=150,
    deadline=None,
    # One database serves all examples.
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
async def searched(shared_api: Api) -> Api:
    """The API with messages to search."""
    await send(
        shared_api,
        log("Connection to db-01.internal:5432 refused", component="refused", correlation_id="p1"),
        log("connection refused after 3 retries"),
        log("GET /api/projects/7 took 40 ms"),
        log("Größe überschritten: naïve façade"),
        log("the word l40 and p1 and c61 in a message"),
        log("日本語 のログ"),
        log('say "hello" to NEAR and OR'),
        log("测试失败"),
        log("部署v1.2.3完成 OK"),
        log("\x1b[31mERROR\x1b[0m on \x1b]8;;https://ci.example/\x1b\\a link\x1b]8;;\x1b\\"),
        log("failed 🔥"),
        log("built with C++"),
        log("opened C:\\"),
        log("การเชื่อมต่อล้มเหลว"),
    )
    return shared_api


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("connection", 2),
        ("CONNECTION Refused", 2),
        ("refused connection", 2),
        ("refused refused", 2),
        ("  connection \t\n 3 ", 1),
        # Whole words, not parts of words.
        ("connect", 0),
        ("retries", 1),
        # A word with punctuation stands for its parts in their order.
        ("db-01", 1),
        ("db-01.internal:5432", 1),
        ("internal-db", 0),
        ("/api/projects", 1),
        ("projects/api", 0),
        ("/projects/ /api/", 1),
        # Case and accents.
        ("groesse", 0),
        ("grosse", 0),
        ("größe", 1),
        ("GRÖßE uberschritten", 1),
        ("naive facade", 1),
        ("naïve façade", 1),
        ("日本語", 1),
        # Labels are not words, and words are not labels.
        ("l20", 0),
        ("l40", 1),
        ("p1", 1),
        ("c72656675736564", 0),
        # No operator of the query language has an effect.
        ("say OR connection", 0),
        ("NEAR", 1),
        ("OR", 1),
        ("AND", 2),
        ("NOT connection", 0),
        ("hello*", 1),
        ("hell*", 0),
        ("^say", 1),
        ("message:connection", 0),
        ("labels:p1", 0),
        ("{labels}:p1", 0),
        ('"hello"', 1),
        ('"say hello', 1),
        ("(hello)", 1),
        # Scripts without spaces.
        ("失败", 1),
        ("败", 1),
        ("测 败", 1),
        ("测试失败", 1),
        ("试失", 1),
        ("失试", 0),
        ("测失", 0),
        ("語", 1),
        ("本語", 1),
        ("日語", 0),
        ("ล้มเหลว", 1),
        ("เหลวล้ม", 0),
        ("部署", 1),
        ("v1.2.3", 1),
        ("v1.2", 1),
        ("v1.3", 0),
        ("V1.2.3完成", 1),
        ("署v1", 1),
        ("ok", 1),
        # Escapes of terminals.
        ("error", 1),
        ("31mERROR", 0),
        ("\x1b[1mERROR", 1),
        ("example", 0),
        ("link", 1),
        # Symbols and emoji.
        ("🔥", 1),
        ("🔥 failed", 1),
        ("🚒", 0),
        ("C++", 1),
        ("c+", 1),
        ("+", 1),
        ("C+++", 0),
        ("C:\\", 2),
        ("=", 0),
        # A text without a letter or digit.
        ("--- hello ???", 1),
        ("---", 0),
        ('"', 0),
        ('""""', 0),
        ("*", 0),
        ("'; DROP TABLE system_logs; --", 0),
        # An empty search filters nothing.
        ("", 14),
        (" \t\n", 14),
    ],
)
async def test_a_search_finds_messages_with_all_its_words(
    searched: Api, text: str, count: int
) -> None:
    assert len(await messages(searched, q=text)) == count


async def test_a_filter_is_met_by_the_trait_and_not_by_a_word(searched: Api) -> None:
    assert await messages(searched, component="refused", q="connection") == [
        "Connection to db-01.internal:5432 refused"
    ]
    assert await messages(searched, component="connection") == []
    assert await messages(searched, level="ERROR", component="a") == []
    assert await messages(searched, project_id=1, q="word") == []


@pytest.mark.parametrize(
    "name", ["a", "A", "é", "a b", '"', "*", "OR", "a:b", "日本", "'", "x" * 100]
)
async def test_any_name_can_be_filtered_by(api: Api, name: str) -> None:
    await send(api, log("mine", component=name, correlation_id=name), log("other", component="b"))
    assert await messages(api, component=name) == ["mine"]
    assert await messages(api, correlation_id=name) == ["mine"]
    assert await messages(api, component=name, correlation_id=name, level="INFO") == ["mine"]
    assert await messages(api, component=name + "x"[: 100 - len(name)], level="ERROR") == []


async def test_a_long_search_is_answered(api: Api) -> None:
    words = [f"w{number}" for number in range(80)]
    await send(api, log(" ".join(words)))
    text = " ".join(words)[:255]
    assert len(await messages(api, q=text.rpartition(" ")[0])) == 1
    assert len(await messages(api, q=" ".join(["w1"] * 85))) == 1
    assert len(await messages(api, q="w1-" * 85)) == 0


@EXAMPLES
@given(text=st.text(st.characters(exclude_characters="\0"), max_size=255))
def test_no_text_breaks_a_search(walker: asyncio.Runner, walk_api: Api, text: str) -> None:
    async def search() -> None:
        query = urlencode({"q": text, "limit": 1}, errors="replace")
        answer = await walk_api.client.get(f"/api/logs?{query}")
        assert answer.status_code == 200, answer.text

    walker.run(search())


@EXAMPLES
@given(
    words=st.lists(
        st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=0x17F), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_a_message_is_found_by_its_own_words(
    walker: asyncio.Runner, walk_api: Api, words: list[str]
) -> None:
    message = " ".join(words)

    async def send_and_search() -> None:
        await send(walk_api, log(message))
        text = " ".join(dict.fromkeys(words))[:255].rpartition(" ")[0] or words[0][:255]
        assert (await messages(walk_api, q=text, limit=1)) == [message]

    walker.run(send_and_search())


async def test_a_message_is_stored_as_it_was_sent(api: Api) -> None:
    message = "\x1b[31mERROR\x1b[0m 测试失败 e\u0301 🔥 C++\r\n"
    await send(api, log(message))
    assert await messages(api, q="error é 失 🔥") == [message]


def documented() -> Iterator[tuple[str, list[str], list[str]]]:
    """The messages of the table in docs/logs.md, with what finds them and what does not."""
    page = (Path(__file__).parents[2] / "docs" / "logs.md").read_text(encoding="utf-8")
    table = page.partition("| message | is found by | but not by |")[2].partition("\n\n")[0]
    for line in table.splitlines()[2:]:
        cells = [
            [part.replace("\\x1b", "\x1b") for part in re.findall("`([^`]+)`", cell)]
            for cell in re.split(r"(?<=`) \| (?=`)", line)
        ]
        [[message], found, not_found] = cells
        yield message, found, not_found


async def test_the_table_in_the_docs_is_right(api: Api) -> None:
    rows = list(documented())
    assert len(rows) == 11
    await send(api, *(log(message) for message, _, _ in rows))
    for message, found, not_found in rows:
        for text in found:
            assert message in await messages(api, q=text), text
        for text in not_found:
            assert message not in await messages(api, q=text), text
