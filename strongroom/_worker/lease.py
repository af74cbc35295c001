"""A run's lease, extended until it is lost or the run has ended."""

import asyncio
import contextlib

from strongroom._async.client import AsyncClient
from strongroom._errors import StrongroomError
from strongroom._retrying import pause
from strongroom._worker.patience import is_temporary, log


class Lease:
    """Sends heartbeats for one run.

    A lease counts as lost only when the service says so: time in which the service does not run
    does not count, and nothing on this side can tell how long that was.
    """

    def __init__(self, client: AsyncClient, run_id: int, token: str, seconds: int) -> None:
        self._client = client
        self._run_id = run_id
        self._token = token
        self._interval = seconds / 3
        # A connection that hangs must leave time for another attempt before the lease's end.
        self._attempt_seconds = max(2.0, seconds / 6)
        self._now = asyncio.Event()
        self.is_confirmed = asyncio.Event()
        """Set when a heartbeat has succeeded."""

    def look_now(self) -> None:
        """Send the next heartbeat at once."""
        self._now.set()

    async def keep(self, *, is_fresh: bool) -> StrongroomError:
        """Extend the lease again and again, and return the refusal that ends it. A lease that is
        not fresh is extended at once."""
        if is_fresh:
            await self._wait(self._interval)
        failures = 0
        while True:
            self._now.clear()
            try:
                async with asyncio.timeout(self._attempt_seconds):
                    await self._client.agent_runs.heartbeat(self._run_id, lease_token=self._token)
            except StrongroomError as error:
                if not is_temporary(error):
                    return error
                seconds = (error.retry_after or 0.0) + pause(failures)
            except TimeoutError:
                seconds = pause(failures)
            else:
                if failures:
                    log.info("run %d: heartbeats are answered again", self._run_id)
                failures = 0
                self.is_confirmed.set()
                await self._wait(self._interval)
                continue
            if failures == 0:
                log.warning("run %d: a heartbeat got no answer, and is sent again", self._run_id)
            failures += 1
            await self._wait(min(seconds, self._interval))

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._now.wait()
