"""A run in the hands of a handler."""

import uuid
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Self

from pydantic import PrivateAttr

from strongroom._async.client import AsyncClient
from strongroom._async.streams import Stream
from strongroom._errors import StreamReset
from strongroom._values import UNSET, SecretValues, Unset
from strongroom._worker.log_buffer import LogBuffer, Room
from strongroom._worker.patience import patiently
from strongroom.models import (
    ClaimedRun,
    LogLevel,
    Message,
    MessageRole,
    PipelineStateEntry,
    PipelineStateName,
    ProjectSettings,
    TestResultCounts,
    TestResultCreate,
)


class Run(ClaimedRun):
    """A claimed run, as it was when it was claimed, and what its handler does with it.

    What is awaited is stored when it returns. It waits through outages of the service, and raises
    what the service refuses; if the run is lost meanwhile, the handler is cancelled there.
    """

    _client: AsyncClient = PrivateAttr()
    _configuration: ProjectSettings = PrivateAttr()
    _logs: LogBuffer = PrivateAttr()
    _streams: AsyncExitStack = PrivateAttr()

    @classmethod
    def of(
        cls,
        claimed: ClaimedRun,
        client: AsyncClient,
        configuration: ProjectSettings,
        logs: LogBuffer,
        streams: AsyncExitStack,
    ) -> "Run":
        """The run for a handler. `streams` closes what the handler has left open."""
        run = cls.model_construct(**dict(claimed))
        run._client = client
        run._configuration = configuration
        run._logs = logs
        run._streams = streams
        return run

    def __repr__(self) -> str:
        return f"Run(id={self.id}, project_id={self.project_id})"

    __str__ = __repr__

    @property
    def client(self) -> AsyncClient:
        """The worker's client, for all other calls. Give those for this run its `lease_token`."""
        return self._client

    @property
    def configuration(self) -> ProjectSettings:
        """The project's configuration as it was when the run started."""
        return self._configuration

    async def secrets(self, keys: Iterable[str] | None = None) -> SecretValues:
        """The present values of the project's secrets, or of those with these keys: a dict that
        does not show them when it is printed. Each call is recorded."""
        wanted = None if keys is None else list(keys)
        return await patiently(lambda: self._client.secrets.reveal(self.project_id, wanted))

    def log(
        self,
        message: str,
        level: LogLevel = "INFO",
        *,
        component: str | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Room:
        """Log a message of the run. It is sent within about a second, in order, and before the run
        is completed. `await run.log(…)` also waits while 10,000 logs are on their way. Without
        `await`, those beyond are left out, and a log says how many. An empty message is no log."""
        return self._logs.add(level, message, component, context)

    async def pipeline_state(
        self, state: PipelineStateName, metadata: Mapping[str, Any] | None = None
    ) -> PipelineStateEntry:
        """Add a state to the run's history."""
        key = str(uuid.uuid4())
        return await patiently(
            lambda: self._client.pipeline_states.create(
                self.id,
                state=state,
                metadata=UNSET if metadata is None else metadata,
                lease_token=self.lease_token,
                idempotency_key=key,
            )
        )

    async def test_results(
        self,
        results: bytes | str | Iterable[TestResultCreate | Mapping[str, Any]],
        *,
        test_type: str | None = None,
    ) -> TestResultCounts:
        """Store up to 1,000 results of tests, or the content of a file of JUnit XML, for which
        `test_type` is by default `junit`."""
        key = str(uuid.uuid4())
        if isinstance(results, bytes | str):
            return await patiently(
                lambda: self._client.test_results.upload(
                    self.id,
                    results,
                    test_type=test_type,
                    lease_token=self.lease_token,
                    idempotency_key=key,
                )
            )
        if test_type is not None:
            raise ValueError("test_type is for JUnit XML: each of these results has its own")
        listed = list(results)
        return await patiently(
            lambda: self._client.test_results.create_many(
                self.id, listed, lease_token=self.lease_token, idempotency_key=key
            )
        )

    def messages(
        self, *, after: int | str | Unset = UNSET, role: MessageRole | None = None
    ) -> "Messages":
        """The run's messages, from the oldest or after this id on, and those that are added later:
        `async for` never ends by itself. `role` chooses those of one role."""
        stream = self._client.messages.stream(
            self.id, after=0 if after is UNSET else after, role=role
        )
        self._streams.push_async_callback(stream.aclose)
        return Messages(stream)


class Messages:
    """The messages of a run, as they come. It goes on through outages of the service."""

    def __init__(self, stream: Stream[Message]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        return await patiently(self._next)

    async def _next(self) -> Message:
        while True:
            try:
                return await anext(self._stream)
            except StreamReset:
                # A backup was restored. The stream goes on with what there is.
                continue

    async def aclose(self) -> None:
        """End the stream. The worker ends it with the handler, too."""
        await self._stream.aclose()
