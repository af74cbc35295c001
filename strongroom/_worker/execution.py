"""One run from its claim to its end."""

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from enum import Enum
from typing import Any

from strongroom._async.client import AsyncClient
from strongroom._errors import StrongroomError
from strongroom._values import encode
from strongroom._worker.lease import Lease
from strongroom._worker.log_buffer import LogBuffer
from strongroom._worker.patience import log, patiently
from strongroom._worker.run import Run
from strongroom.models import ClaimedRun

Result = str | Mapping[str, Any] | None
Handler = Callable[[Run], Awaitable[Result]]
LONGEST_ERROR = 4000
"""Characters of an error message: who reads it wants to know what happened, not all that was
said."""
LAST_SECONDS = 5.0
"""How long what is left is sent after the end of a run that is not this worker's any more."""
_REFUSED = (413, 422)


class End(Enum):
    """Why a run is not reported."""

    LOST = "another worker has the run, or it has ended"
    HANDED_BACK = "the worker ends, and the run goes back when its lease runs out"


class Execution:
    """Gives a run to the handler, keeps its lease meanwhile, and reports how it ended."""

    def __init__(
        self, client: AsyncClient, handler: Handler, claimed: ClaimedRun, lease_seconds: int
    ) -> None:
        self._client = client
        self._handler = handler
        self._claimed = claimed
        self._logs = LogBuffer(client, claimed.id)
        self._lease = Lease(client, claimed.id, claimed.lease_token, lease_seconds)
        self._streams = AsyncExitStack()
        self._work: asyncio.Task[None] | None = None
        self._end: End | None = None
        self._is_reporting = False

    def look_now(self) -> None:
        """Ask the service now whether the run is still this worker's."""
        if not self._is_reporting:
            self._lease.look_now()

    def hand_back(self) -> None:
        """Cancel the handler, and report nothing: the lease runs out, and the run is pending again
        if that was the first time."""
        self._end = self._end or End.HANDED_BACK
        if self._work is not None:
            self._work.cancel()

    async def run(self, *, is_fresh: bool) -> None:
        """Do it all. Raises nothing but the caller's cancellation: the run has the failure. Unless
        the claim is fresh, the handler waits until a heartbeat has confirmed it."""
        helpers = [
            asyncio.create_task(self._keep(is_fresh=is_fresh)),
            asyncio.create_task(self._logs.flush_again_and_again()),
        ]
        self._work = asyncio.create_task(self._worked(is_fresh=is_fresh))
        try:
            await asyncio.wait({self._work})
        except asyncio.CancelledError:
            self.hand_back()
            await asyncio.wait({self._work})
            raise
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await self._left()
            _tell(self._claimed.id, self._work, self._end)

    async def _keep(self, *, is_fresh: bool) -> None:
        error = await self._lease.keep(is_fresh=is_fresh)
        # A heartbeat after the end of the run is refused, too.
        if self._is_reporting or self._work is None:
            return
        log.warning("run %d: the lease is lost: %s", self._claimed.id, error)
        self._end = self._end or End.LOST
        self._work.cancel()

    async def _worked(self, *, is_fresh: bool) -> None:
        if not is_fresh:
            await self._lease.is_confirmed.wait()
        try:
            fields = await self._handled()
        except asyncio.CancelledError:
            if self._end is not None:
                raise
            # It was not this worker that cancelled it.
            fields = _failure("CancelledError: something cancelled the handler")
        except Exception as error:  # noqa: BLE001 - the run has it
            log.error("run %d: the handler failed", self._claimed.id, exc_info=error)
            fields = _failure(f"{type(error).__name__}: {error}")
        if self._end is not None:
            # The handler has gone on after it was cancelled.
            return
        await self._logs.flush()
        self._is_reporting = True
        await self._report(fields)

    async def _handled(self) -> dict[str, Any]:
        claimed = self._claimed
        configuration = await patiently(lambda: self._client.agent_runs.configuration(claimed.id))
        run = Run.of(claimed, self._client, configuration, self._logs, self._streams)
        result = _text(await self._handler(run))
        return {"to": "completed"} if result is None else {"to": "completed", "result": result}

    async def _report(self, fields: dict[str, Any]) -> None:
        try:
            await self._transition(fields)
        except StrongroomError as error:
            if error.status not in _REFUSED or fields["to"] == "failed":
                raise
            await self._transition(_failure(f"the service refused the result: {error}"))

    async def _transition(self, fields: dict[str, Any]) -> None:
        key = str(uuid.uuid4())
        await patiently(
            lambda: self._client.agent_runs.transition(
                self._claimed.id,
                lease_token=self._claimed.lease_token,
                idempotency_key=key,
                **fields,
            )
        )

    async def _left(self) -> None:
        """Close the handler's streams, and send its last logs if the service answers soon."""
        await self._streams.aclose()
        try:
            async with asyncio.timeout(LAST_SECONDS):
                await self._logs.flush()
        except TimeoutError:
            log.warning("run %d: its last logs could not be sent", self._claimed.id)


def _text(result: Any) -> str | None:
    """What a handler returned, as the result of its run. Raises TypeError for what is neither a
    text nor a dict nor None."""
    if isinstance(result, Mapping):
        return json.dumps(json.loads(encode(result)), ensure_ascii=False)
    if result is None or isinstance(result, str):
        # The service takes Unicode only.
        return result if result is None else result.encode().decode()
    raise TypeError(
        f"the handler returned a {type(result).__name__}: return a text, a dict or None"
    )


def _failure(message: str) -> dict[str, Any]:
    sendable = (
        message.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    )
    return {"to": "failed", "error_message": sendable[:LONGEST_ERROR]}


def _tell(run_id: int, work: asyncio.Task[None], end: End | None) -> None:
    """Log how the run ended for this worker."""
    if not work.done():
        return
    if end is not None:
        log.warning("run %d: %s", run_id, end.value)
    error = None if work.cancelled() else work.exception()
    if error is not None:
        # The handler may have ended the run itself, or a user did so at the last moment.
        log.warning("run %d: its end was not reported: %s", run_id, error)
    elif end is None:
        log.info("run %d: reported", run_id)
