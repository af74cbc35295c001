"""The use cases that create, recognise and revoke tokens."""

import asyncio
import hmac
import itertools
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from backend.crypto.keyring import Keyring
from backend.crypto.token_format import new_secret, parse_token, token_text
from backend.errors import BadCursor, TokenNotFound, Unauthenticated, ValidationFailed
from backend.schemas.projects import ProjectCreate
from backend.schemas.tokens import TokenCreate, TokenCreated
from backend.services.access.token_cache import KnownToken, TokenCache
from backend.services.database_service import DatabaseService
from backend.services.principal import Principal
from database.base import time_text
from database.connection_manager import DatabaseManager
from database.errors import DatabaseError
from tests.support.clocks import SetClock

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


async def new_token(service: DatabaseService, **fields: object) -> TokenCreated:
    data = {"name": "test", "scopes": ["projects:read"], **fields}
    return await service.tokens.create(TokenCreate.model_validate(data))


@pytest.mark.parametrize(
    ("expires_in", "lifetime"),
    [
        ("45s", timedelta(seconds=45)),
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
        (90, timedelta(seconds=90)),
        ("3650d", timedelta(days=3650)),
    ],
)
async def test_a_token_lives_as_long_as_it_was_made_for(
    service: DatabaseService, clock: SetClock, expires_in: object, lifetime: timedelta
) -> None:
    made = await new_token(service, expires_in=expires_in)
    assert made.expires_at == time_text(NOW + lifetime)
    await service.tokens.authenticate(made.token)
    # The token is in the cache by now, which must not extend its life.
    clock.now = NOW + lifetime - timedelta(microseconds=1)
    await service.tokens.authenticate(made.token)
    clock.now = NOW + lifetime
    with pytest.raises(Unauthenticated):
        await service.tokens.authenticate(made.token)


async def test_a_token_may_end_at_a_moment(service: DatabaseService, clock: SetClock) -> None:
    made = await new_token(service, expires_at="2026-02-01T01:00:00+01:00")
    assert made.expires_at == "2026-02-01T00:00:00.000000Z"
    clock.now = datetime(2026, 2, 1, tzinfo=UTC)
    with pytest.raises(Unauthenticated):
        await service.tokens.authenticate(made.token)


async def test_a_token_without_an_end_has_none(service: DatabaseService, clock: SetClock) -> None:
    made = await new_token(service)
    assert made.expires_at is None
    clock.now = NOW + timedelta(days=36_500)
    await service.tokens.authenticate(made.token)


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_in": "1d", "expires_at": "2027-01-01T00:00:00Z"},
        {"expires_at": "2026-01-31T12:00:00Z"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"project_ids": [1, 12345]},
    ],
)
async def test_what_only_the_service_can_refuse(
    service: DatabaseService, clock: SetClock, fields: dict[str, object]
) -> None:
    assert clock() == NOW
    await service.projects.create(
        ProjectCreate.model_validate({"name": "a", "github_owner": "o", "github_repo": "r"})
    )
    before = (await service.tokens.page()).tokens
    with pytest.raises(ValidationFailed):
        await new_token(service, **fields)
    assert (await service.tokens.page()).tokens == before


async def test_a_token_carries_what_it_was_made_with(service: DatabaseService) -> None:
    project = await service.projects.create(
        ProjectCreate.model_validate({"name": "a", "github_owner": "o", "github_repo": "r"})
    )
    made = await new_token(
        service, name="ci", scopes=["runs:read", "projects:read"], project_ids=[project.id]
    )
    principal = await service.tokens.authenticate(made.token)
    assert principal.name == "ci"
    assert principal.scopes == {"projects:read", "runs:read"}
    assert principal.token_id == made.id
    assert principal.project_ids == frozenset({project.id})
    assert (await service.tokens.get(made.id)).model_dump() == made.model_dump(
        exclude={"token"}
    ) | {"last_used_at": (await service.tokens.get(made.id)).last_used_at}


async def test_only_a_mac_is_stored(
    service: DatabaseService, manager: DatabaseManager, master_keys: str
) -> None:
    made = await new_token(service)
    parsed = parse_token(made.token)
    assert parsed is not None
    token_id, secret = parsed
    assert token_id == made.id
    [row] = manager.execute_query("SELECT * FROM api_tokens WHERE id = ?", (made.id,))
    assert secret not in str(row)
    # The MAC as the documentation defines it, computed from the master key alone.
    [installation] = manager.execute_query("SELECT * FROM installation")
    assert Keyring.parse(master_keys).ids() == service.kit.vault.master_key_ids
    key = service.kit.vault.installation_key(installation["wrapped_key"]).derive("token-macs")
    mac = hmac.new(key, f"{made.id}:{secret}".encode(), "sha256").hexdigest()
    assert row["mac"] == mac
    await manager.async_pool.run_alone(
        lambda raw: raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    )
    files = [manager.config.path, manager.config.wal_path]
    for data in [path.read_bytes() for path in files if path.exists()]:
        assert secret.encode() not in data


async def test_a_revoked_token_opens_nothing_at_once(service: DatabaseService) -> None:
    made = await new_token(service)
    await service.tokens.authenticate(made.token)
    await service.tokens.revoke(made.id)
    with pytest.raises(Unauthenticated):
        await service.tokens.authenticate(made.token)
    assert (await service.tokens.get(made.id)).revoked_at is not None
    for _ in range(2):
        with pytest.raises(TokenNotFound):
            await service.tokens.revoke(made.id)


async def test_a_look_up_that_overtakes_a_revocation_leaves_nothing_behind(
    service: DatabaseService,
) -> None:
    for waits in range(30):
        made = await new_token(service)
        look_up = asyncio.ensure_future(service.tokens.authenticate(made.token))
        for _ in range(waits % 6):
            await asyncio.sleep(0)
        await service.tokens.revoke(made.id)
        await asyncio.wait({look_up})
        assert look_up.exception() is None or isinstance(look_up.exception(), Unauthenticated)
        with pytest.raises(Unauthenticated):
            await service.tokens.authenticate(made.token)


async def test_a_revocation_whose_caller_goes_away_still_counts(service: DatabaseService) -> None:
    made = await new_token(service)
    await service.tokens.authenticate(made.token)
    revocation = asyncio.ensure_future(service.tokens.revoke(made.id))
    await asyncio.sleep(0)
    revocation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await revocation
    while (await service.tokens.get(made.id)).revoked_at is None:
        # A token that is used during its revocation must not stay in the cache. The commit may
        # happen in between.
        with suppress(Unauthenticated):
            await service.tokens.authenticate(made.token)
    # This write is answered only after everything that follows the revocation's commit.
    await new_token(service)
    with pytest.raises(Unauthenticated):
        await service.tokens.authenticate(made.token)


async def test_a_list_goes_through_all_tokens_once(service: DatabaseService) -> None:
    made = [(await new_token(service, name=f"token {n}")).id for n in range(7)]
    await service.tokens.revoke(made[3])
    for revoked in (False, True):
        found: list[int] = []
        cursor = None
        for page in itertools.count():
            listed = await service.tokens.page(revoked=revoked, limit=3, cursor=cursor)
            found += [token.id for token in listed.tokens]
            cursor = listed.next_cursor
            if cursor is None:
                break
            assert page < 5
            with pytest.raises(BadCursor):
                await service.tokens.page(revoked=not revoked, limit=3, cursor=cursor)
        # The first start has created a token as well.
        expected = [1, *made] if revoked else [1, *made[:3], *made[4:]]
        assert found == expected[::-1]


async def test_the_last_use_shows_at_once_and_is_stored_now_and_then(
    service: DatabaseService, manager: DatabaseManager, clock: SetClock
) -> None:
    def stored() -> object:
        rows = manager.execute_query("SELECT last_used_at FROM api_tokens WHERE id = ?", (made.id,))
        return rows[0]["last_used_at"]

    made = await new_token(service)
    assert made.last_used_at is None
    await service.tokens.authenticate(made.token)
    clock.now += timedelta(minutes=5)
    await service.tokens.authenticate(made.token)
    assert (await service.tokens.get(made.id)).last_used_at == "2026-01-31T12:05:00.000000Z"
    assert stored() is None
    await service.tokens.store_uses()
    assert stored() == "2026-01-31T12:05:00.000000Z"
    # Setting the clock back does not undo a recorded use.
    clock.now = NOW
    await service.tokens.authenticate(made.token)
    await service.tokens.store_uses()
    assert stored() == "2026-01-31T12:05:00.000000Z"
    changes = manager.get_stats()["async"]["writer"]["commits"]
    await service.tokens.store_uses()
    assert manager.get_stats()["async"]["writer"]["commits"] == changes


async def test_a_use_that_could_not_be_stored_is_stored_later(
    service: DatabaseService, manager: DatabaseManager
) -> None:
    made = await new_token(service)
    await service.tokens.authenticate(made.token)
    manager.execute_command("ALTER TABLE api_tokens RENAME COLUMN last_used_at TO gone")
    with pytest.raises(DatabaseError):
        await service.tokens.store_uses()
    manager.execute_command("ALTER TABLE api_tokens RENAME COLUMN gone TO last_used_at")
    await service.tokens.store_uses()
    [row] = manager.execute_query("SELECT last_used_at FROM api_tokens WHERE id = ?", (made.id,))
    assert row["last_used_at"] is not None


class TestFormat:
    """The format of a token."""

    def test_it_is_as_documented(self) -> None:
        # CRC-32 of all before it, in base 62 with digits, lower case and upper case.
        secret = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFG"
        assert token_text(7, secret) == f"sr_7_{secret}" + "42xIS1"
        assert parse_token(token_text(7, secret)) == (7, secret)

    def test_secrets_do_not_repeat_and_use_the_whole_alphabet(self) -> None:
        secrets = {new_secret() for _ in range(200)}
        assert len(secrets) == 200
        assert {len(secret) for secret in secrets} == {43}
        assert len(set("".join(secrets))) == 62


class TestCache:
    """The cache of recognised tokens."""

    def test_what_was_looked_up_before_it_was_emptied_is_not_kept(self) -> None:
        cache = TokenCache()
        known = KnownToken(Principal("test", frozenset(), 1), 1)
        generation = cache.generation
        cache.keep("token", known, generation)
        assert cache.get("token") == known
        cache.clear()
        assert cache.get("token") is None
        cache.keep("token", known, generation)
        assert cache.get("token") is None
        cache.keep("token", known, cache.generation)
        assert cache.get("token") == known

    def test_it_does_not_grow_without_bound(self) -> None:
        cache = TokenCache()
        known = KnownToken(Principal("test", frozenset(), 1), 1)
        for number in range(10_000):
            cache.keep(str(number), known, cache.generation)
        kept = sum(cache.get(str(number)) is not None for number in range(10_000))
        assert 1 <= kept <= 4096

    def test_uses_that_are_put_back_do_not_hide_later_ones(self) -> None:
        cache = TokenCache()
        cache.note_use(1, NOW)
        cache.note_use(2, NOW)
        taken = cache.take_uses()
        assert cache.take_uses() == {}
        later = NOW + timedelta(seconds=1)
        cache.note_use(2, later)
        cache.put_back(taken)
        assert cache.take_uses() == {1: NOW, 2: later}
