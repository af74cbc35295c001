"""An application that keeps answers, one beside it that keeps none, and requests to both."""

import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
from fastapi import FastAPI

from backend.http.edge import Edge
from backend.http.kept_path import KeptPath
from backend.http.state import state_of
from backend.main import create_app
from backend.routes import POLICIES
from config.settings import Settings
from tests.support.asgi import Head, RawHeaders
from tests.support.clients import client_of, new_token, token_of_first_start
from tests.support.http import make_project

FRONT_END = b"https://app.example.com"
KEPT = sorted(path for (_, path), policy in POLICIES.items() if policy.shows is not None)
QUERIES = (
    *(b"include=runs", b"limit=2&include=runs", b"include=run", b"include=runs&include=runs"),
    *(b"", b"limit=2", b"limit=50", b"limit=02", b"limit=0", b"limit=1&limit=2", b"unknown=1"),
    *(
        b"owner=ACME",
        b"status=paused&status=active",
        b"q=%C3%A9",
        b"q=%00",
        b"q=\xff",
        b"sort=name",
    ),
)
FIRST_TOKENS = 9
GENERATED = re.compile(r"[0-9a-f]{12}-[0-9a-f]{8}")
"""Ids of requests whose client gave none."""
LINE = re.compile(r'"(?:timestamp":"[^"]*"|duration_ms":[\d.e-]+)')


class World:
    """An application that keeps answers, and one beside it that keeps none, over one service."""

    def __init__(
        self, app: FastAPI, plain: FastAPI, client: httpx.AsyncClient, *, keeps: bool
    ) -> None:
        """`keeps` is false if no answer may be kept."""
        self.keeps = keeps
        self.app = app
        self.plain = plain
        self.client = client
        self.tokens: list[bytes] = []
        self.revocable: list[int] = []
        self.tags: list[bytes] = [b'"v1"']
        """Entity tags of the last answers."""

    @property
    def answered(self) -> int:
        """How many requests got a kept answer."""
        return kept_path(self.app).answered

    async def setup(self) -> None:
        """Make projects and tokens of every kind."""
        for number in (1, 2, 3):
            await make_project(
                self.client,
                github_repo=f"r{number}",
                settings={"planning_statement": "p" * 9_000 if number == 2 else "p"},
                secrets=[{"key": "KEY", "value": "v"}],
            )
        for scopes, fields in (
            (("projects:read",), {}),
            (("projects:read",), {"project_ids": [1]}),
            (("projects:read", "runs:read"), {"project_ids": [1, 2]}),
            (("admin",), {"project_ids": [2]}),
            (("runs:read",), {}),
        ):
            self.tokens.append((await new_token(self.client, *scopes, **fields)).encode())
        admin = self.client.headers.get("Authorization", "").removeprefix("Bearer ").encode()
        self.tokens += [admin, admin, b"sr_1_unknown", b""]

    def note_tag(self, tag: bytes) -> None:
        """Let later requests ask for the answer with this entity tag."""
        self.tags = [*self.tags[-7:], tag]

    async def change(self, chance: random.Random) -> None:
        """Change something that answers show, or the tokens."""
        path = f"/api/projects/{chance.randint(1, 4)}"
        word = f"w{chance.randrange(1000)}"
        new = {"name": word, "github_owner": "acme", "github_repo": word}
        secret = {"key": chance.choice("AB"), "value": word}
        changes: list[Callable[[], Awaitable[object]]] = [
            lambda: self.client.patch(path, json={"name": word}),
            lambda: self.client.patch(f"{path}/configuration", json={"branch_name": word}),
            lambda: self.client.put(f"{path}/secrets", json={"secrets": [secret]}),
            lambda: self.client.delete(path),
            lambda: self.client.post(f"{path}/restore"),
            lambda: self.client.post("/api/projects", json=new),
            lambda: self.client.post(f"{path}/agent-runs", json={"target_text": word}),
            self._token,
        ]
        await chance.choice(changes)()

    async def _token(self) -> None:
        """Revoke the token that was made last, and make another."""
        while self.revocable:
            await self.client.delete(f"/api/tokens/{self.revocable.pop()}")
        body = {"name": "t", "scopes": ["projects:read"]}
        made = (await self.client.post("/api/tokens", json=body)).json()
        self.revocable.append(made["id"])
        # The one before stays, and is refused.
        self.tokens = [*self.tokens[:FIRST_TOKENS], *self.tokens[FIRST_TOKENS:][-1:]]
        self.tokens.append(made["token"].encode())

    def request(self, chance: random.Random) -> Head:
        """Any request for a route whose answers are kept; most are ordinary."""
        id = chance.choice(("1", "2", "3", "4", "9", "0x", "01"))
        template = chance.choice(KEPT)
        path = template.format(project_id=id, owner="ACME", repo=f"r{id}")
        usual = chance.random() < 0.7
        head = Head(path, chance.choice(QUERIES) if chance.random() < 0.3 else b"")
        headers: RawHeaders = [(b"host", b"localhost")]
        if chance.random() < 0.95:
            headers.append((b"authorization", b"Bearer " + chance.choice(self.tokens)))
        if chance.random() < 0.4:
            headers.append((b"accept-encoding", chance.choice((b"gzip, br", b"br", b"gzip;q=0"))))
        if chance.random() < 0.3:
            headers.append((b"origin", chance.choice((FRONT_END, b"https://other.example"))))
        if chance.random() < 0.4:
            known = chance.choice((*self.tags, b"*", b'"x", ' + self.tags[-1], b"v1"))
            headers.append((chance.choice(CONDITIONS), known))
        headers.append((b"x-request-id", b"one-of-both"))
        if usual:
            return replace(head, headers=headers, method=chance.choice(("GET", "GET", "HEAD")))
        headers += chance.sample(ADDED, chance.randrange(3))
        # A header that was added may tell of this body.
        return chance.choice(changed(replace(head, headers=headers, body=b"hello")))


CONDITIONS = (b"if-none-match", b"if-none-match", b"if-none-match", b"if-match")
ADDED: RawHeaders = [
    (b"content-length", b"0"),
    (b"content-length", b"5"),
    (b"content-length", b"99999999"),
    (b"transfer-encoding", b"chunked"),
    (b"transfer-encoding", b"gzip"),
    (b"host", b"second.test"),
    (b"authorization", b"Bearer x"),
    (b"accept-encoding", b"gzip"),
    (b"accept", b"text/event-stream"),
    (b"if-none-match", b"*"),
    (b"if-none-match", b'"v1"'),
    (b"if-none-match", b'W/"v1", "x"'),
    (b"if-none-match", b"v1"),
    (b"if-match", b'"v1"'),
    (b"if-match", b'"v2"'),
    (b"range", b"bytes=0-1"),
    (b"x-forwarded-for", b"203.0.113.9"),
    (b"x-forwarded-proto", b"https"),
    (b"sec-fetch-site", b"cross-site"),
    (b"expect", b"100-continue"),
    (b"upgrade", b"h2c"),
    (b"x-request-id", b"two of them"),
    (b"x-large", b"x" * 70_000),
]


def changed(head: Head) -> list[Head]:
    """The request in each form that an ordinary client doesn't send."""
    others = head.headers[1:]
    lower = [(name, value.replace(b"Bearer", b"bearer ")) for name, value in head.headers]
    return [
        *(replace(head, headers=[*head.headers, header], body=b"hello") for header in ADDED),
        replace(head, headers=[(b"host", b"other.test"), *others]),
        replace(head, headers=others),
        replace(head, headers=others, version="1.0"),
        replace(head, headers=lower),
        *(replace(head, version=version) for version in ("1.0", "2", "9")),
        *(replace(head, method=method) for method in ("HEAD", "POST", "OPTIONS", "PUT", "TRACE")),
        replace(head, path=head.path + "/"),
        replace(head, raw_path=head.path.replace("p", "%70").encode()),
        replace(head, raw_path=head.path.encode() + b"%2f"),
        replace(head, raw_path=head.path.encode() + b"%zz"),
        replace(head, root_path="/below"),
        replace(head, path="/below" + head.path),
        replace(head, client=None),
    ]


def kept_path(app: FastAPI) -> KeptPath:
    """The part of the application that finds kept answers."""
    edge = app.middleware_stack
    assert isinstance(edge, Edge)
    assert edge.kept_path is not None
    return edge.kept_path


@asynccontextmanager
async def open_world(settings: Settings, **changes: Any) -> AsyncIterator[World]:
    """Two applications over one service, with these settings changed."""
    settings = settings.model_copy(
        update={"cors_origins": (FRONT_END.decode(),), "failed_attempts_per_minute": 0} | changes
    )
    app, plain = create_app(settings, direct=True), create_app(settings, direct=True)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        running = state_of(app)
        # The other one keeps nothing, since its lifespan never begins.
        state_of(plain).runtime, state_of(plain).service = running.runtime, running.service
        token = token_of_first_start(settings) if settings.auth == "token" else None
        client = client_of(plain, token, base_url="http://localhost")
        await stack.enter_async_context(client)
        # Without tokens, a proxy tells the scheme of each request, which decides about it.
        keeps = settings.auth == "token" or not settings.trusted_proxies
        world = World(app, plain, client, keeps=keeps)
        await world.setup()
        yield world
