"""Requests that are sent again do nothing twice, whatever breaks."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator

import httpx
import pytest

import strongroom
from strongroom import AsyncClient
from tests.client.conftest import Connect, new_project
from tests.client.proxy import BREAKS, Fate, Proxy
from tests.support.servers import RunningServer

pytestmark = pytest.mark.usefixtures("at_once")
NEVER_ARRIVED = {Fate.BEFORE, Fate.PAGE_BEFORE}


def _fates(*first: Fate) -> Iterable[Fate]:
    return itertools.chain(first, itertools.repeat(Fate.PASSED))


def _proxy(service: RunningServer, *first: Fate) -> Proxy:
    fates = iter(_fates(*first))
    return Proxy(service.address, lambda: next(fates))


@pytest.mark.parametrize("fate", BREAKS)
async def test_a_create_is_sent_again_and_has_one_effect(
    python: AsyncClient, service: RunningServer, connect: Connect, fate: Fate
) -> None:
    project = await new_project(python)
    async with _proxy(service, fate, fate) as proxy:
        client = connect(proxy.url)
        run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
        assert proxy.fates[fate] == 2
    runs = [one async for one in python.agent_runs.list(project_id=project.id)]
    assert [one.id for one in runs] == [run.id]


@pytest.mark.parametrize("fate", BREAKS)
async def test_a_read_is_sent_again(
    python: AsyncClient, service: RunningServer, connect: Connect, fate: Fate
) -> None:
    project = await new_project(python, secrets={"A": "v"})
    async with _proxy(service, fate, Fate.PASSED, fate) as proxy:
        client = connect(proxy.url)
        assert (await client.projects.get(project.id)).name == project.name
        assert await client.secrets.reveal(project.id) == {"A": "v"}


@pytest.mark.parametrize("fate", BREAKS)
async def test_a_change_that_may_have_happened_is_not_sent_again(
    python: AsyncClient, service: RunningServer, connect: Connect, fate: Fate
) -> None:
    project = await new_project(python)
    async with _proxy(service, fate) as proxy:
        client = connect(proxy.url)
        with pytest.raises(strongroom.StrongroomError) as caught:
            await client.projects.update(project.id, name="other")
        assert proxy.fates.total() == 1
    if fate in {Fate.PAGE_BEFORE, Fate.PAGE_AFTER}:
        assert caught.value.code == "http_502"
    else:
        assert isinstance(caught.value, strongroom.ConnectionFailed)
        assert caught.value.may_have_happened
    version = (await python.projects.get(project.id)).version
    assert version == (1 if fate in NEVER_ARRIVED else 2)


@pytest.mark.parametrize("fate", BREAKS)
async def test_a_conditional_change_is_sent_again(
    python: AsyncClient, service: RunningServer, connect: Connect, fate: Fate
) -> None:
    project = await new_project(python)
    async with _proxy(service, fate) as proxy:
        client = connect(proxy.url)
        call = client.projects.update(project.id, name="other", if_match=project.version)
        if fate in NEVER_ARRIVED:
            assert (await call).version == 2
        else:
            # 412 would say that nothing was done.
            with pytest.raises(strongroom.ConnectionFailed, match="version_mismatch") as caught:
                await call
            assert caught.value.may_have_happened
            assert isinstance(caught.value.__cause__ or caught.value, strongroom.StrongroomError)
        assert proxy.fates.total() == 2
    assert (await python.projects.get(project.id)).version == 2


async def test_a_deletion_whose_answer_was_lost(
    python: AsyncClient, service: RunningServer, connect: Connect
) -> None:
    project = await new_project(python)
    async with _proxy(service, Fate.AFTER) as proxy:
        client = connect(proxy.url)
        with pytest.raises(strongroom.ConnectionFailed) as caught:
            await client.projects.delete(project.id, purge=True, if_match=1)
    assert caught.value.may_have_happened
    with pytest.raises(strongroom.ProjectNotFound):
        await python.projects.get(project.id)


@pytest.mark.parametrize("count", [30, pytest.param(500, marks=pytest.mark.long_form)])
async def test_random_breaks_double_nothing(
    python: AsyncClient, service: RunningServer, connect: Connect, count: int
) -> None:
    chance = random.Random(count)  # noqa: S311
    project = await new_project(python)
    outcomes: Counter[str] = Counter()
    runs, version = 0, 1

    def decide() -> Fate:
        return chance.choice(BREAKS) if chance.random() < 0.5 else Fate.PASSED

    async with Proxy(service.address, decide) as proxy:
        client = connect(proxy.url, max_retries=20)
        while proxy.breaks < count:
            what = chance.choice(["create", "update", "update if"])
            if what == "create":
                run = await client.agent_runs.create(project_id=project.id, target_text="Bake")
                runs += 1
                assert run.run_number == runs
                continue
            condition = version if what == "update if" else None
            name = f"name {outcomes.total()}"
            try:
                changed = await client.projects.update(project.id, name=name, if_match=condition)
            except strongroom.StrongroomError as error:
                outcomes[error.code] += 1
                now = (await python.projects.get(project.id)).version
                assert now in {version, version + 1}
                version = now
            else:
                outcomes["done"] += 1
                version += 1
                assert (changed.version, changed.name) == (version, name)
    assert set(outcomes) == {"done", "connection_failed", "http_502"}
    assert (await python.projects.get(project.id)).version == version
    stored = [run async for run in python.agent_runs.list(project_id=project.id)]
    assert [run.run_number for run in stored] == list(range(runs, 0, -1))


class _Bytes(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content


class _Answers(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Answers in this order, and then with an empty object."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.left = list(answers)
        self.keys: list[str | None] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.keys.append(request.headers.get("idempotency-key"))
        if not self.left:
            return httpx.Response(200, json={"accepted": 1})
        answer = self.left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def _refusal(status: int, code: str, **headers: str) -> httpx.Response:
    kind = {"Content-Type": "application/problem+json"}
    return httpx.Response(status, json={"code": code, "detail": "later"}, headers=kind | headers)


TEMPORARY = [
    (429, "rate_limited"),
    (503, "database_busy"),
    (503, "outcome_unknown"),
    (409, "idempotency_in_progress"),
]


@pytest.mark.parametrize(("status", "code"), TEMPORARY)
async def test_what_may_succeed_later_is_sent_again_with_the_same_key(
    connect: Connect, status: int, code: str
) -> None:
    answers = _Answers(*[_refusal(status, code) for _ in range(3)])
    client = connect("http://service.test", transport=answers)
    assert (await client.logs.create(level="INFO", message="m")).accepted == 1
    assert len(answers.keys) == 4
    assert len(set(answers.keys)) == 1
    await client.logs.create(level="INFO", message="m")
    assert len(set(answers.keys)) == 2


@pytest.mark.parametrize(
    ("status", "code"), [(507, "database_full"), (500, "internal"), (409, "lease_lost")]
)
async def test_what_would_fail_again_is_not_sent_again(
    connect: Connect, status: int, code: str
) -> None:
    answers = _Answers(_refusal(status, code))
    client = connect("http://service.test", transport=answers)
    with pytest.raises(strongroom.StrongroomError) as caught:
        await client.logs.create(level="INFO", message="m")
    assert (caught.value.code, len(answers.keys)) == (code, 1)


async def test_an_unknown_outcome_of_a_change_is_not_doubled(connect: Connect) -> None:
    answers = _Answers(_refusal(503, "outcome_unknown"))
    client = connect("http://service.test", transport=answers)
    with pytest.raises(strongroom.Unavailable):
        await client.projects.delete(1)
    assert len(answers.keys) == 1
    # An answer that says that nothing was done is another matter.
    answers.left = [_refusal(503, "database_busy")] * 2
    await client.projects.delete(1)
    assert len(answers.keys) == 4


async def test_the_number_of_retries_is_limited(connect: Connect) -> None:
    for retries in (0, 2):
        answers = _Answers(*[_refusal(503, "database_busy") for _ in range(9)])
        client = connect("http://service.test", transport=answers, max_retries=retries)
        with pytest.raises(strongroom.DatabaseBusy):
            await client.projects.get(1)
        assert len(answers.keys) == retries + 1


async def test_a_service_that_wants_to_be_left_alone_longer_than_the_call_may_take(
    connect: Connect,
) -> None:
    answers = _Answers(_refusal(429, "rate_limited", **{"Retry-After": "60"}))
    client = connect("http://service.test", transport=answers, timeout=5)
    with pytest.raises(strongroom.RateLimited) as caught:
        await client.projects.get(1)
    assert (caught.value.retry_after, len(answers.keys)) == (60, 1)


async def test_an_error_after_a_lost_answer_says_what_is_known(connect: Connect) -> None:
    lost = httpx.ReadError("reset")
    # With a key, a refusal shows that there is no stored answer.
    answers = _Answers(lost, _refusal(404, "project_not_found"))
    client = connect("http://service.test", transport=answers)
    with pytest.raises(strongroom.ProjectNotFound):
        await client.agent_runs.create(project_id=1, target_text="x")
    # A revoked token shows nothing.
    answers.left = [lost, _refusal(401, "unauthenticated")]
    with pytest.raises(strongroom.ConnectionFailed) as caught:
        await client.agent_runs.create(project_id=1, target_text="x")
    assert caught.value.may_have_happened


async def test_an_answer_that_can_not_be_decoded_counts_as_broken(connect: Connect) -> None:
    def broken() -> httpx.Response:
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        return httpx.Response(200, headers=headers, stream=_Bytes(b"no gzip"))

    answers = _Answers(broken(), broken())
    client = connect("http://service.test", transport=answers)
    assert (await client.logs.create(level="INFO", message="m")).accepted == 1
    answers.left = [broken()]
    with pytest.raises(strongroom.ConnectionFailed) as caught:
        await client.projects.delete(1)
    assert caught.value.may_have_happened


async def test_readiness_is_asked_once_and_is_no_error(connect: Connect) -> None:
    checks = {"status": "failed", "detail": "down"}
    names = ("database", "migrations", "keys", "writer_queue", "writes")
    body = {"status": "not_ready", "checks": dict.fromkeys(names, checks)}
    answers = _Answers(httpx.Response(503, json=body), _refusal(503, "too_many_connections"))
    client = connect("http://service.test", transport=answers)
    assert (await client.system.ready()).status == "not_ready"
    with pytest.raises(strongroom.TooManyConnections):
        await client.system.ready()
    assert len(answers.keys) == 2


async def test_no_server_at_all(connect: Connect) -> None:
    client = connect("http://127.0.0.1:9", max_retries=1)
    with pytest.raises(strongroom.ConnectionFailed, match="had no effect") as caught:
        await client.projects.update(1, name="x")
    assert not caught.value.may_have_happened
    assert caught.value.status is None


async def test_a_server_that_never_answers(connect: Connect) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    client = connect(f"http://{host}:{port}", timeout=0.1)
    with pytest.raises(strongroom.TimedOut) as caught:
        await client.agent_runs.create(project_id=1, target_text="x")
    assert caught.value.may_have_happened
    assert isinstance(caught.value, TimeoutError)
    await client.aclose()
    server.close()
    await server.wait_closed()


async def test_a_cancelled_call_leaves_the_client_usable(
    service: RunningServer, token: str
) -> None:
    async with AsyncClient(service.url, token) as client:
        project = await new_project(client)
        waiting = asyncio.create_task(client.projects.get(project.id, if_none_match=1, wait=30))
        await asyncio.sleep(0.05)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await client.projects.get(project.id)).id == project.id
