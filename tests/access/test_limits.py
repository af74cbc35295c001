"""Limits on failed attempts and on requests."""

import httpx
import pytest

from backend.errors import RateLimited
from backend.http.rate_limits import Buckets, RequestLimits
from config.settings import Settings
from tests.support.clients import Caller
from tests.support.http import problem

WRONG = {"Authorization": "Bearer sr_1_no"}


class Seconds:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TestBuckets:
    def test_a_minute_s_worth_passes_at_once_and_then_evenly(self) -> None:
        clock = Seconds()
        buckets = Buckets(6, clock=clock)
        assert [buckets.take("a") for _ in range(8)] == [0] * 6 + [10, 10]
        clock.now += 9.5
        assert buckets.take("a") == 1
        clock.now += 0.5
        assert buckets.take("a") == 0
        assert buckets.take("a") == 10
        clock.now += 20
        assert [buckets.take("a") for _ in range(3)] == [0, 0, 10]

    def test_waiting_longer_does_not_save_up_more(self) -> None:
        clock = Seconds()
        buckets = Buckets(3, clock=clock)
        clock.now += 100_000
        assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 20]

    def test_each_has_a_bucket_of_its_own(self) -> None:
        buckets = Buckets(1, clock=Seconds())
        assert [buckets.take(key) for key in "abab"] == [0, 0, 60, 60]

    def test_they_take_bounded_room_and_recent_ones_stay(self) -> None:
        buckets = Buckets(1, max_buckets=100, clock=Seconds())
        buckets.take("lately")
        for number in range(5000):
            buckets.take(number)
            assert buckets.take("lately") > 0
            assert len(buckets) <= 100


class TestAddresses:
    @pytest.mark.parametrize(
        ("one", "other", "together"),
        [
            ("192.0.2.1", "192.0.2.1", True),
            ("192.0.2.1", "192.0.2.2", False),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
            ("::ffff:192.0.2.1", "192.0.2.1", True),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
            ("a-unix-socket", "a-unix-socket", True),
        ],
    )
    def test_whose_failures_count_together(self, one: str, other: str, together: bool) -> None:
        limits = RequestLimits(token_per_minute=0, failed_per_minute=1)
        limits.count_failure(one)
        if together:
            with pytest.raises(RateLimited):
                limits.count_failure(other)
        else:
            limits.count_failure(other)

    def test_without_limits_nothing_is_counted(self) -> None:
        limits = RequestLimits(token_per_minute=0, failed_per_minute=0)
        for _ in range(5000):
            limits.count_failure("192.0.2.1")
            limits.count_request(1)


class TestFailedAttempts:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Three failures a minute."""
        return settings.model_copy(update={"failed_attempts_per_minute": 3})

    async def test_an_address_is_held_to_them_and_valid_tokens_are_not(
        self, caller: Caller, client: httpx.AsyncClient
    ) -> None:
        valid = {"Authorization": client.headers["Authorization"]}
        async with caller("192.0.2.1") as stranger, caller("192.0.2.2") as another:
            for _ in range(3):
                problem(await stranger.get("/api/projects", headers=WRONG), "unauthenticated")
            for _ in range(3):
                response = await stranger.get("/api/projects", headers=WRONG)
                problem(response, "rate_limited")
                assert 1 <= int(response.headers["retry-after"]) <= 20
                assert (await stranger.get("/api/projects", headers=valid)).status_code == 200
            problem(await another.get("/api/projects", headers=WRONG), "unauthenticated")

    async def test_a_new_token_is_not_locked_out_either(
        self, caller: Caller, client: httpx.AsyncClient
    ) -> None:
        async with caller("192.0.2.1") as stranger:
            for _ in range(5):
                await stranger.get("/api/projects", headers=WRONG)
            body = {"name": "new", "scopes": ["projects:read"]}
            token = (await client.post("/api/tokens", json=body)).json()["token"]
            new = {"Authorization": f"Bearer {token}"}
            assert (await stranger.get("/api/projects", headers=new)).status_code == 200

    async def test_sending_no_token_is_no_attempt(self, caller: Caller) -> None:
        async with caller("192.0.2.1") as stranger:
            for _ in range(10):
                problem(await stranger.get("/api/projects"), "unauthenticated")
            problem(await stranger.get("/api/projects", headers=WRONG), "unauthenticated")


class TestTokenRate:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        """Four requests a minute for each token."""
        return settings.model_copy(update={"token_rate_per_minute": 4})

    async def test_each_token_is_held_to_it(
        self, caller: Caller, client: httpx.AsyncClient
    ) -> None:
        body = {"name": "new", "scopes": ["projects:read"]}
        token = (await client.post("/api/tokens", json=body)).json()["token"]
        other = {"Authorization": f"Bearer {token}"}
        for _ in range(3):
            assert (await client.get("/api/projects")).status_code == 200
        response = await client.post("/api/projects", content=b"{")
        document = problem(response, "rate_limited")
        assert 1 <= int(response.headers["retry-after"]) <= 15
        assert "Retry-After" in document["detail"]
        async with caller("192.0.2.1") as another:
            assert (await another.get("/api/projects", headers=other)).status_code == 200
            assert (await another.get("/health")).status_code == 200


async def test_by_default_a_token_has_no_limit(client: httpx.AsyncClient) -> None:
    for _ in range(300):
        assert (await client.get("/api/projects?limit=1")).status_code == 200
