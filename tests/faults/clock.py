"""A clock that jumps a day ahead and back.

What must hold: nothing acknowledged is lost, removed or listed twice; the audit's chain, which
depends only on order, stays whole; a token that lasts longer than the jump is accepted throughout;
a run is never held by two workers, and its lease outlasts each jump. Everything else follows the
wrong clock: a token that lasts an hour is refused while the clock is ahead.
"""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.faults import clocked
from tests.faults.damage import LOSS
from tests.faults.site import Site, Tally
from tests.faults.writes import Kind
from tests.support.clients import NO_TLS
from tests.support.processes import PATIENCE, Serving

DAY = 86_400
SCOPES = ["projects:read"]
LEASED = (Kind.CLAIM,)
"""Writes whose results do not last while the clock jumps."""


def clock_jumps(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """The clock jumps a day ahead, back, a day behind and back, under load and over a restart."""
    for number in range(rounds):
        site = Site(directory / f"site-{number}", tally, seed + number)
        offset = directory / f"offset-{number}"
        offset.write_text("0")
        program = partial(clocked.run, offset)
        with site.serving(program=program) as serving, serving.client() as client:
            lasting, short = (_token(client, days) for days in ("90d", "1h"))
            run = _claimed(site, client)
            for ahead in (DAY, 0, -DAY, 0):
                offset.write_text(str(ahead))
                with site.load(serving, without=LEASED):
                    site.pause(0.2)
                _tokens_hold(serving, lasting, short, ahead)
                assert client.post("/api/retention/prune").status_code == 200
                tally.note("jumps")
                _one_worker_holds(client, run)
            _is_listed_once(client)
            offset.write_text(str(site.chance.choice((DAY, -DAY))))
            assert serving.end() == 0
        with site.serving(program=program) as serving:
            assert LOSS not in serving.err
            assert serving.end() == 0
        site.check()
        site.done()
        tally.rounds += 1


def _token(client: httpx.Client, lasts: str) -> str:
    body = {"name": lasts, "scopes": SCOPES, "expires_in": lasts}
    answer = client.post("/api/tokens", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


def _tokens_hold(serving: Serving, lasting: str, short: str, ahead: int) -> None:
    for token, right in ((lasting, 200), (short, 401 if ahead > 0 else 200)):
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{serving.url}/api/projects?limit=1"
        answer = httpx.get(url, headers=headers, timeout=PATIENCE, verify=NO_TLS)
        assert answer.status_code == right


def _claimed(site: Site, client: httpx.Client) -> dict[str, Any]:
    """A run that a worker has claimed."""
    write = site.ledger.intend(Kind.PROJECT)
    method, path, body = write.request(0)
    made = client.request(method, path, json=body, headers={"X-Request-ID": write.mark})
    site.ledger.settle(write, made.status_code)
    asked = {"project_id": made.json()["id"], "target_text": "what time is it"}
    assert client.post("/api/agent-runs", json=asked).status_code == 201
    body = {"worker": "one", "lease_seconds": 600, "project_ids": [made.json()["id"]]}
    claim = client.post("/api/agent-runs/claim", json=body)
    assert claim.status_code == 200, claim.text
    claimed: dict[str, Any] = claim.json()
    return claimed


def _one_worker_holds(client: httpx.Client, run: dict[str, Any]) -> None:
    """A jump is not passed time, so no other worker gets the run."""
    body = {"worker": "two", "project_ids": [run["project_id"]]}
    other = client.post("/api/agent-runs/claim", json=body)
    assert other.status_code == 204, other.text
    beat = {"lease_token": run["lease_token"]}
    answer = client.post(f"/api/agent-runs/{run['id']}/heartbeat", json=beat)
    assert answer.status_code == 200, answer.text


def _is_listed_once(client: httpx.Client) -> None:
    """Each project is on exactly one page, in every order, whatever its times are."""
    lists = []
    for sort in ("name", "created_at", "-created_at", "-updated_at"):
        seen: Counter[int] = Counter()
        query = {"limit": "7", "sort": sort}
        while True:
            page = client.get("/api/projects", params=query).json()
            seen.update(project["id"] for project in page["projects"])
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert set(seen.values()) == {1}
        lists.append(seen)
    assert all(seen == lists[0] for seen in lists)
