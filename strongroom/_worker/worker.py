"""The loop of a worker: it claims runs and gives them to a handler."""

import asyncio
import contextlib
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from types import FrameType

from strongroom._async.client import AsyncClient
from strongroom._errors import StreamReset, StrongroomError
from strongroom._retrying import pause
from strongroom._worker.execution import Execution, Handler
from strongroom._worker.patience import is_temporary, log, patiently
from strongroom.models import ClaimedRun

WAIT_SECONDS = 30
"""How long the service waits for a run before it answers that there is none."""
LAST_SECONDS = 5.0
"""How long a worker that ends asks for the answer to its last claim."""
LOOKS = (0.0, 0.05, 0.2)
"""The seconds before each look for runs whose claim got no answer."""
MOST_CLAIMED = 100
MOST_LEASE_SECONDS = 3600
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Worker:
    """Claims runs and gives them to `handler`, up to `concurrency` at the same time.

    `worker` is a name for people to read. `project_ids` limits it to these projects.
    `lease_seconds` (1 to 3600) is how soon others get the runs of a worker that has died.
    `drain_seconds` is how long running handlers have after `stop` or a signal; None for no limit.
    With `handle_signals`, SIGTERM and SIGINT stop it, and a second one cancels the handlers.
    """

    def __init__(
        self,
        client: AsyncClient,
        handler: Handler,
        *,
        worker: str,
        project_ids: Sequence[int] | None = None,
        concurrency: int = 1,
        lease_seconds: int = 60,
        drain_seconds: float | None = None,
        handle_signals: bool = True,
    ) -> None:
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        if not 1 <= lease_seconds <= MOST_LEASE_SECONDS:
            raise ValueError(f"lease_seconds must be between 1 and {MOST_LEASE_SECONDS}")
        self._client = client
        self._handler = handler
        self._worker = worker
        self._project_ids = None if project_ids is None else list(project_ids)
        self._concurrency = concurrency
        self._lease_seconds = lease_seconds
        self._drain_seconds = drain_seconds
        self._handles_signals = handle_signals
        self._executions: dict[asyncio.Task[None], tuple[int, Execution]] = {}
        self._stopping = asyncio.Event()
        self._has_changed = asyncio.Event()
        """Set when a handler has ended, or the worker is to stop."""
        self._is_running = False
        self._is_aborted = False

    def stop(self) -> None:
        """Claim no more: `run` returns when the running handlers have ended. The second call
        cancels them; their runs go to others when their leases run out. To be called in the
        worker's event loop."""
        if self._stopping.is_set():
            log.info("the worker cancels its handlers")
            self._abort()
        self._stopping.set()
        self._has_changed.set()

    async def run(self) -> None:
        """Work until `stop` or a signal. Raises what the service refuses for good, such as
        `Unauthenticated`, when the running handlers have ended. A worker runs once."""
        if self._is_running or self._stopping.is_set():
            raise RuntimeError("a worker runs once: make another one")
        self._is_running = True
        watching = asyncio.create_task(self._watch())
        with self._signals():
            try:
                await self._claim_until_stopped()
            except asyncio.CancelledError:
                self._abort()
                raise
            finally:
                self._stopping.set()
                log.info("the worker claims no more; %d handlers run", len(self._executions))
                await self._drain()
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _claim_until_stopped(self) -> None:
        while not self._stopping.is_set():
            free = self._concurrency - len(self._executions)
            if not free:
                self._has_changed.clear()
                await self._has_changed.wait()
                continue
            began = time.monotonic()
            runs = await self._claim(min(free, MOST_CLAIMED))
            is_fresh = time.monotonic() - began < self._lease_seconds / 3
            for run in runs:
                self._start(run, is_fresh=is_fresh)

    async def _claim(self, count: int) -> Sequence[ClaimedRun]:
        """Up to so many runs, after a wait. Its key gets the same runs again when an answer was
        lost."""
        key = str(uuid.uuid4())

        async def claim(wait: int | None) -> Sequence[ClaimedRun]:
            return await self._client.agent_runs.claim_many(
                count,
                worker=self._worker,
                project_ids=self._project_ids,
                lease_seconds=self._lease_seconds,
                wait=wait,
                idempotency_key=key,
            )

        asking = asyncio.create_task(patiently(lambda: claim(WAIT_SECONDS)))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            if not asking.done():
                asking.cancel()
            await asyncio.wait({asking, stopping})
        if not asking.cancelled():
            return asking.result()
        try:
            async with asyncio.timeout(LAST_SECONDS):
                # The same key gets what was given out just now; without that it would claim more.
                return await claim(None) if await self._was_given_runs() else []
        except TimeoutError:
            return []
        except StrongroomError as error:
            log.warning("the last claim got no answer: %s", error)
            return []

    async def _was_given_runs(self) -> bool:
        """Whether the service has given this worker runs that it does not know of.

        The service notices a moment later that the claim was given up, so this looks more than
        once. A run that is given out still later goes to others when its lease runs out.
        """
        for seconds in LOOKS:
            await asyncio.sleep(seconds)
            page = await self._client.agent_runs.list(
                worker=self._worker, status="running", limit=MOST_CLAIMED
            ).page()
            known = {run_id for run_id, _ in self._executions.values()}
            if not {run.id for run in page.items} <= known:
                return True
        return False

    def _start(self, run: ClaimedRun, *, is_fresh: bool) -> None:
        if self._is_aborted:
            return
        execution = Execution(self._client, self._handler, run, self._lease_seconds)
        task = asyncio.create_task(execution.run(is_fresh=is_fresh))
        self._executions[task] = (run.id, execution)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._executions[task]
        self._has_changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the worker failed with a run", exc_info=error)

    async def _drain(self) -> None:
        if not self._executions:
            return
        _, late = await asyncio.wait(set(self._executions), timeout=self._drain_seconds)
        if late:
            self._abort()
            await asyncio.wait(late)

    def _abort(self) -> None:
        self._is_aborted = True
        for _, execution in self._executions.values():
            execution.hand_back()

    async def _watch(self) -> None:
        """Look at a run as soon as an event says that it may have ended. Without this, the next
        heartbeat notices it."""
        failures = 0
        while True:
            try:
                async with self._client.events.stream(
                    kind=[
                        "agent_run.cancelled",
                        "agent_run.completed",
                        "agent_run.failed",
                        "agent_run.requeued",
                    ]
                ) as stream:
                    await stream.ready()
                    failures = 0
                    async for event in stream:
                        self._look_at(event.resource)
            except StreamReset:
                self._look_at(None)
            except StrongroomError as error:
                if not is_temporary(error):
                    log.info("runs that are cancelled are noticed by heartbeats only: %s", error)
                    return
                await asyncio.sleep((error.retry_after or 0.0) + pause(failures))
                failures += 1

    def _look_at(self, resource: str | None) -> None:
        for run_id, execution in self._executions.values():
            if resource in (None, f"agent-runs/{run_id}"):
                execution.look_now()

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Stop at a signal inside the block, if this is the thread that gets them."""
        if not self._handles_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            loop.call_soon_threadsafe(self.stop)

        before = {number: signal.signal(number, stop) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
