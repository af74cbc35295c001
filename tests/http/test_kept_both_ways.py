"""A kept answer is the answer that the ordinary way gives at that moment, byte for byte with all of
its headers, and with the same access line."""

import io
import random
import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Message

from tests.http.kept_world import GENERATED, LINE, World, changed
from tests.support.asgi import Head, exchanged


def seen(messages: list[Message]) -> list[Any]:
    """The messages in a form that a failing test shows well."""
    return [
        (message.get("status"), message.get("headers"), message.get("body")) for message in messages
    ]


class Compared:
    """Sends requests both ways, and compares all that can be seen of the answers."""

    def __init__(self, world: World, log: io.StringIO) -> None:
        self._world = world
        self._log = log

    async def answers(self, head: Head) -> None:
        """Compare the answers to a request, which the first of them may leave behind."""
        plain = await self._answer(self._world.plain, head)
        for tag in re.findall(r"\(b'etag', b'([^']+)'\)", plain):
            self._world.note_tag(tag.encode())
        for _ in range(2):
            assert await self._answer(self._world.app, head) == plain, head

    async def _answer(self, app: FastAPI, head: Head) -> str:
        began = self._log.tell()
        messages = await exchanged(app, head)
        self._log.seek(began)
        answer = repr((seen(messages), LINE.sub("", self._log.read())))
        return GENERATED.sub("made", answer)


async def test_every_unusual_form_of_a_kept_request(world: World, log: io.StringIO) -> None:
    compared = Compared(world, log)
    headers = [(b"host", b"localhost"), (b"authorization", b"Bearer " + world.tokens[0])]
    usual = Head("/api/projects/1", headers=[*headers, (b"x-request-id", b"one-of-both")])
    for head in changed(usual):
        await compared.answers(usual)
        await compared.answers(head)
    assert bool(world.answered) is world.keeps


@pytest.mark.parametrize("seed", range(2))
async def test_both_ways_give_the_same_bytes(world: World, log: io.StringIO, seed: int) -> None:
    await compare(world, log, seed, requests=250)


@pytest.mark.long_form
@pytest.mark.parametrize("seed", range(2, 22))
async def test_both_ways_give_the_same_bytes_at_length(
    world: World, log: io.StringIO, seed: int
) -> None:
    await compare(world, log, seed, requests=1_500)


async def compare(world: World, log: io.StringIO, seed: int, *, requests: int) -> None:
    """Compare the answers to this many random requests, with changes between them."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    compared = Compared(world, log)
    for _ in range(requests):
        if chance.random() < 0.1:
            await world.change(chance)
        await compared.answers(world.request(chance))
    if world.keeps:
        assert world.answered > requests / 12
    else:
        assert not world.answered
