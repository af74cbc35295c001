"""Payloads as GitHub sends them, and as GitHub's own library signs them."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from config.settings import Settings
from tests.support.clients import token_of_first_start
from tests.support.http import new_project
from tests.support.servers import RunningServer
from tests.support.webhooks import TOKEN, deliver, delivered
from tests.webhooks import octokit

EXAMPLES = Path(__file__).parents[3] / "shared" / "data" / "github_webhooks.jsonl"
MADE_UP: list[dict[str, Any]] = [
    {"event": "ping", "payload": {"zen": "Design for failure.", "hook_id": 109948940}},
    {"event": "push", "payload": {"ref": "refs/heads/ünï", "commits": [{"message": "💥\u2028\0"}]}},
    {"event": "pull_request", "payload": {"action": "opened", "n": [1, 2.5, -0.1, 1e21, None]}},
    {"event": "check_run", "payload": {"action": "completed", "text": "x" * 100_000}},
]


def examples() -> list[dict[str, Any]]:
    """GitHub's own examples: the `event` and `payload` of each."""
    if not EXAMPLES.exists():
        pytest.skip(f"there are no examples of GitHub's payloads at {EXAMPLES}")
    with EXAMPLES.open(encoding="utf-8", newline="\n") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.parametrize("indent", [None, 2])
async def test_every_example_goes_in_and_comes_back_equal(
    client: httpx.AsyncClient, sender: httpx.AsyncClient, webhook_id: int, indent: int | None
) -> None:
    found = examples()
    assert len(found) == 75
    for number, example in enumerate(found):
        text = json.dumps(example["payload"], indent=indent, ensure_ascii=indent is None)
        body = text.encode()
        answer = await deliver(sender, webhook_id, body, guid=f"g-{number}", event=example["event"])
        assert answer.status_code == 202, answer.text
        shown = await client.get(answer.headers["location"])
        assert shown.content.endswith(b',"payload":' + body + b"}")
        delivery = shown.json()
        assert delivery["payload"] == example["payload"]
        assert delivery["event"] == example["event"]
        assert delivery["action"] == example["payload"].get("action")
    stored = await delivered(client, webhook_id, limit=500)
    assert [item["guid"] for item in stored] == [f"g-{n}" for n in reversed(range(75))]
    counts = Counter(example["event"] for example in found)
    for event, count in counts.items():
        assert len(await delivered(client, webhook_id, event=event, limit=500)) == count


class TestSignedByGithubsLibrary:
    """Another implementation signs and sends deliveries over a real connection."""

    @pytest.fixture
    def caller(self, server: RunningServer, settings: Settings) -> Iterator[httpx.Client]:
        """An administrator's client of a real server with webhook 1."""
        with server.client(token_of_first_start(settings)) as caller:
            caller.post("/api/projects", json=new_project())
            body = {"webhook_type": "github_pr", "secret_token": TOKEN}
            assert caller.post("/api/projects/1/webhooks", json=body).status_code == 201
            yield caller

    def _check(
        self, caller: httpx.Client, examples: list[dict[str, Any]], token: str = TOKEN
    ) -> None:
        url = f"{caller.base_url}/api/webhooks/1/deliveries/github"
        sent = [{**example, "guid": f"g-{n}"} for n, example in enumerate(examples)]
        # When GitHub's button sends them again, each delivery is recognised.
        twice = octokit.send(url, token, [*sent, *sent])
        answers, again = twice[: len(sent)], twice[len(sent) :]
        assert [answer["guid"] for answer in answers] == [item["guid"] for item in sent]
        for example, answer in zip(examples, answers, strict=True):
            assert answer["status"] == 202, answer
            shown = caller.get(f"/api/webhooks/1/deliveries/{answer['id']}")
            assert shown.content.endswith(b',"payload":' + answer["body"].encode() + b"}")
            assert shown.json()["payload"] == example["payload"]
        assert [(item["status"], item["id"]) for item in again] == [
            (200, item["id"]) for item in answers
        ]

    def test_made_up_payloads_are_taken(self, caller: httpx.Client) -> None:
        self._check(caller, MADE_UP)

    def test_every_example_is_taken(self, caller: httpx.Client) -> None:
        self._check(caller, examples())

    @pytest.mark.parametrize("token", ["é" * 8, "💥 " * 4, "x" * 65_536, "\\u0000\n."])
    def test_both_take_a_token_for_the_same_bytes(self, caller: httpx.Client, token: str) -> None:
        assert caller.patch("/api/webhooks/1", json={"secret_token": token}).status_code == 200
        self._check(caller, MADE_UP[:1], token)

    def test_another_token_is_refused(self, caller: httpx.Client) -> None:
        url = f"{caller.base_url}/api/webhooks/1/deliveries/github"
        answers = octokit.send(url, "another", [{**MADE_UP[0], "guid": "g"}])
        assert [answer["status"] for answer in answers] == [401]
