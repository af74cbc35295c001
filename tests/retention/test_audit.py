"""Old entries of the audit are removed, and what is left can still be verified."""

import asyncio
import hmac
import json
from pathlib import Path

import pytest

from backend.crypto.audit_chain import AuditChain
from backend.repositories.audit_retention_repository import KEPT_ACTIONS
from backend.schemas.retention import Removed
from backend.services.audit.verification import ExportedHead, verify_audit
from backend.services.operations.pruner import Pruner
from tests.audit.test_verification import documented_macs
from tests.retention.audit_data import add, ids, problem, prune
from tests.retention.data import DAY, limits
from tests.retention.killed import opened
from tests.support.api import KEYS, Api
from tests.support.clocks import SetClock


@pytest.fixture
async def begun(api: Api) -> int:
    """The number of entries that the fixtures have made. They stay: each is the newest of a guarded
    row."""
    return len(ids(api.service.db_manager))


async def test_without_a_limit_all_stay(api: Api, clock: SetClock, begun: int) -> None:
    await add(api.service, "a", "b")
    clock.advance(10_000 * DAY)
    removed = await Pruner(api.service.retention, limits()).start()
    assert removed == Removed()
    assert len(ids(api.service.db_manager)) == begun + 2


async def test_entries_go_by_age_and_the_plan_predicts_it(
    api: Api, clock: SetClock, begun: int
) -> None:
    for _ in range(5):
        await add(api.service, "a", "b", "c")
        clock.advance(DAY)
    plan = await api.service.retention.plan(limits(audit=(3, None)))
    removed = await prune(api.service, 3)
    assert removed == Removed(audit=6)
    assert plan.audit.rows == plan.rows == 6
    assert ids(api.service.db_manager)[begun:] == list(range(begun + 7, begun + 16))
    assert problem(api.service) is None
    # An entry that is exactly as old as the limit stays.
    assert await prune(api.service, 3) == Removed()
    assert (await api.service.retention.plan(limits(audit=(3, None)))).rows == 0


async def test_the_newest_entry_stays_and_ids_go_on(api: Api, clock: SetClock, begun: int) -> None:
    await add(api.service, "a", "b")
    clock.advance(100 * DAY)
    plan = await api.service.retention.plan(limits(audit=(30, None)))
    assert plan.audit.rows == 1
    assert (await prune(api.service)).audit == 1
    assert ids(api.service.db_manager)[begun:] == [begun + 2]
    assert (await prune(api.service)).audit == 0
    await add(api.service, "c")
    assert ids(api.service.db_manager)[begun:] == [begun + 2, begun + 3]
    assert problem(api.service) is None


async def test_of_each_target_the_newest_with_a_digest_stays(
    api: Api, clock: SetClock, begun: int
) -> None:
    await add(api.service, "x!", "y!", "x", "x!", "z!", "y", "y!", "w")
    clock.advance(100 * DAY)
    await add(api.service, "z!", "end")
    plan = await api.service.retention.plan(limits(audit=(30, None)))
    removed = await prune(api.service)
    assert removed.audit == plan.audit.rows == 6
    # x's second, y's second, and what is young.
    assert ids(api.service.db_manager)[begun:] == [begun + n for n in (4, 7, 9, 10)]
    assert problem(api.service) is None


async def test_the_very_first_entry_may_stay(database_path: Path, clock: SetClock) -> None:
    async with opened(database_path, clock) as service:
        await add(service, "x!", "w")
        clock.advance(100 * DAY)
        await add(service, "end")
        assert (await prune(service)).audit == 1
        assert ids(service.db_manager) == [1, 3]
        await add(service, "x!")
        assert (await prune(service)).audit == 1
        assert ids(service.db_manager) == [3, 4]
        assert problem(service) is None


async def test_an_entry_that_stayed_goes_once_its_target_has_a_newer_one(
    api: Api, clock: SetClock, begun: int
) -> None:
    await add(api.service, "x!", "y!")
    clock.advance(100 * DAY)
    await add(api.service, "end")
    await prune(api.service)
    assert ids(api.service.db_manager)[begun:] == [begun + n for n in (1, 2, 3)]
    await add(api.service, "x!")
    plan = await api.service.retention.plan(limits(audit=(30, None)))
    assert (await prune(api.service)).audit == plan.audit.rows == 1
    assert ids(api.service.db_manager)[begun:] == [begun + n for n in (2, 3, 4)]
    assert problem(api.service) is None
    anchor = await api.service.repositories.audit.anchor()
    assert anchor is not None
    assert (anchor.last_id, anchor.kept) == (begun + 2, begun + 1)


@pytest.mark.parametrize("action", KEPT_ACTIONS)
async def test_what_says_since_when_rows_are_guarded_stays(
    api: Api, clock: SetClock, begun: int, action: str
) -> None:
    await add(api.service, "a")
    await add(api.service, "installation", action=action)
    await add(api.service, "b")
    clock.advance(100 * DAY)
    await add(api.service, "end")
    assert (await prune(api.service)).audit == 2
    assert ids(api.service.db_manager)[begun:] == [begun + 2, begun + 4]
    assert problem(api.service) is None


async def test_no_younger_entry_is_passed(api: Api, clock: SetClock, begun: int) -> None:
    await add(api.service, "old")
    clock.advance(100 * DAY)
    await add(api.service, "young")
    clock.advance(-90 * DAY)
    await add(api.service, "dated long ago")
    clock.advance(90 * DAY)
    await add(api.service, "end")
    assert (await prune(api.service)).audit == 1
    assert ids(api.service.db_manager)[begun:] == [begun + n for n in (2, 3, 4)]
    clock.advance(31 * DAY)
    assert (await prune(api.service)).audit == 2
    assert problem(api.service) is None


async def test_the_plan_counts_page_by_page(
    api: Api, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.services.operations.audit_retention._COUNTED", 7)
    for number in range(10):
        await add(api.service, *(f"t{(number * 3 + n) % 9}{'!' * (n % 2)}" for n in range(6)))
        clock.advance(DAY)
    for days in (9, 6, 3, 1, 0):
        plan = await api.service.retention.plan(limits(audit=(days, None)))
        assert plan.audit.rows > 0
        assert (await prune(api.service, days)).audit == plan.audit.rows
        assert (await api.service.retention.plan(limits(audit=(days, None)))).rows == 0


async def test_between_two_steps_the_audit_is_whole(api: Api, clock: SetClock) -> None:
    for number in range(20):
        await add(api.service, *(f"t{(number * 7 + n) % 40}{'!' * (n % 2)}" for n in range(20)))
        clock.advance(DAY)
    old = limits(audit=(5, None))
    plan = await api.service.retention.plan(old)
    removed = 0
    for phase in await api.service.retention.removal(old):
        while (count := await phase.remove(13)) != 0:
            removed += count or 0
            assert problem(api.service) is None
    assert removed == plan.audit.rows > 250
    left = api.service.db_manager.execute_query(
        "SELECT count(*) AS n, count(DISTINCT target) AS targets FROM audit_entries"
        " WHERE previous_mac IS NOT NULL"
    )[0]
    assert left["n"] == left["targets"]
    anchor = await api.service.repositories.audit.anchor()
    assert anchor is not None
    assert anchor.kept == left["n"]


async def test_steps_in_which_all_stay_do_not_end_it(api: Api, clock: SetClock, begun: int) -> None:
    for start in range(0, 2000, 50):
        await add(api.service, *(f"t{n}!" for n in range(start, start + 50)))
    await add(api.service, "a", "b", "c")
    clock.advance(100 * DAY)
    await add(api.service, "end")
    before = len(ids(api.service.db_manager))
    await prune(api.service)
    left = ids(api.service.db_manager)
    assert len(left) == begun + 2001
    assert before - len(left) > 2
    # So that entries that stayed are looked at in more than one step.
    await add(api.service, *(f"t{n}!" for n in range(10)), *(f"t{n}!" for n in range(1990, 2000)))
    assert (await prune(api.service)).audit == 20
    assert problem(api.service) is None


async def test_the_list_and_its_cursors_go_on(api: Api, clock: SetClock, begun: int) -> None:
    await add(api.service, "x!", "b", "c")
    first = await api.get("/api/audit?limit=1")
    clock.advance(100 * DAY)
    await add(api.service, "end")
    await prune(api.service)
    listed = (await api.get("/api/audit"))["entries"]
    assert [one["target"] for one in listed[:-begun]] == ["end", "x"]
    assert "previous_mac" not in listed[0]
    rest = await api.get(f"/api/audit?limit=5&cursor={first['next_cursor']}")
    assert [one["target"] for one in rest["entries"][:-begun]] == ["x"]
    assert begun > 0


async def exported(api: Api, query: str = "") -> list[dict[str, object]]:
    lines = (await api.client.get(f"/api/audit/export{query}")).text.splitlines()
    return [json.loads(line) for line in lines]


async def test_an_export_has_the_macs_of_missing_predecessors(
    api: Api, clock: SetClock, begun: int
) -> None:
    await add(api.service, "a", "x!", "b")
    whole = await exported(api)
    assert {one["previous_mac"] for one in whole} == {None}
    macs = {one["id"]: one["mac"] for one in whole}
    clock.advance(100 * DAY)
    await add(api.service, "end", "end")
    await prune(api.service)
    left = await exported(api)
    assert [(one["id"], one["previous_mac"]) for one in left[begun:]] == [
        (begun + 2, macs[begun + 1]),
        (begun + 4, macs[begun + 3]),
        (begun + 5, None),
    ]
    assert [one["id"] for one in await exported(api, f"?after_id={begun + 2}")] == [
        begun + 4,
        begun + 5,
    ]


async def test_what_is_left_can_be_checked_by_the_documents_alone(
    api: Api, clock: SetClock, begun: int
) -> None:
    await add(api.service, "a", "x!", "b", "y!", "x!")
    clock.advance(100 * DAY)
    await add(api.service, "end", "end")
    await prune(api.service)
    key = KEYS.audit_chain
    lines = (await api.client.get("/api/audit/export")).text.splitlines()
    macs = [json.loads(line)["mac"] for line in lines]
    assert list(documented_macs(key, lines)) == macs

    def number(*fields: object) -> int:
        texts = [str(field).encode() for field in fields]
        message = b"".join(len(text).to_bytes(4, "big") + text for text in texts)
        return int.from_bytes(hmac.digest(key, message, "sha256")[:16], "big")

    [row] = api.service.db_manager.execute_query("SELECT * FROM audit_anchor")
    nonce = row["mac"][:32]
    mask = number("sn1", nonce, row["last_id"], row["last_mac"], row["kept"])
    shares = sum(number("sk1", mac) for mac in macs[: row["kept"]])
    assert row["mac"] == f"{nonce}{(mask + shares) % 2**128:032x}"
    assert row["kept"] == begun + 2


async def test_a_head_whose_entry_went_by_age_proves_no_loss(
    api: Api, clock: SetClock, begun: int
) -> None:
    service = api.service
    heads = []
    for name in ("a", "x!", "b", "c"):
        await add(service, name)
        head = await service.audit.head()
        assert head is not None
        heads.append(ExportedHead(head.id, head.mac, clock.text()))
    clock.advance(100 * DAY)
    await add(service, "end")
    await prune(service)
    assert verify_audit(service.db_manager, service.audit.chain, heads) is None
    for one in heads:
        assert await service.audit.find_loss(one) is None
    later = ExportedHead(begun + 7, "0" * 64, clock.text())
    found = verify_audit(service.db_manager, service.audit.chain, [*heads, later])
    missing = f"audit entries {begun + 6} to {begun + 7} are missing at the end"
    assert missing in str(found)
    assert await service.audit.find_loss(later) is not None
    # One that stayed is still compared.
    other = ExportedHead(begun + 2, "0" * 64, clock.text())
    assert "an older copy" in str(verify_audit(service.db_manager, service.audit.chain, [other]))


async def test_an_audit_is_verified_during_a_removal(api: Api, clock: SetClock) -> None:
    for number in range(30):
        await add(api.service, *(f"t{(number + n) % 70}{'!' * (n % 2)}" for n in range(100)))
        clock.advance(DAY)
    ended = asyncio.Event()

    async def verify() -> int:
        times = 0
        while not ended.is_set():
            assert await asyncio.to_thread(problem, api.service) is None
            times += 1
        return times

    verifying = asyncio.create_task(verify())
    for days in range(29, 0, -1):
        await prune(api.service, days)
    ended.set()
    assert await verifying > 0


async def test_verification_passes_what_a_removal_passed_meanwhile(
    api: Api, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.services.audit.verification._CHUNK", 7)
    for _ in range(6):
        await add(api.service, *(f"t{n % 4}{'!' * (n % 2)}" for n in range(10)))
        clock.advance(DAY)
    chain: AuditChain = api.service.audit.chain
    loop = asyncio.get_running_loop()
    days = iter((4, 3, 2))

    def on_checked(_rows: int) -> None:
        if (limit := next(days, None)) is not None:
            asyncio.run_coroutine_threadsafe(prune(api.service, limit), loop).result()

    found = await asyncio.to_thread(
        lambda: verify_audit(api.service.db_manager, chain, on_checked=on_checked)
    )
    assert found is None
    assert next(days, None) is None
