"""The logs of one run, on their way to the service."""

import asyncio
import json
import uuid
from collections import deque
from collections.abc import Generator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from strongroom._async.client import AsyncClient
from strongroom._errors import StrongroomError, field_errors
from strongroom._values import encode
from strongroom._worker.patience import log, patiently
from strongroom.models import LogLevel

LONGEST_MESSAGE = 10_000
"""Characters of one log; a longer message becomes several."""
MOST_WAITING = 10_000
MOST_WAITING_BYTES = 8 << 20
_MOST_SENT = 1000
_MOST_SENT_BYTES = 512 << 10
"""Half of what the service takes by default."""
FLUSH_SECONDS = 1.0
_TOO_LARGE = 413


class _Waiting(NamedTuple):
    entry: dict[str, Any]
    size: int


class Room:
    """What `run.log` returns. Awaiting it waits while too many logs are on their way; those who do
    not await it have nothing to fear from it."""

    def __init__(self, buffer: "LogBuffer") -> None:
        self._buffer = buffer

    def __await__(self) -> Generator[Any, None, None]:
        return self._buffer.room().__await__()


class LogBuffer:
    """Collects logs, and sends them in order: every second, when a batch is full, and at the end.

    It holds at most `MOST_WAITING` logs and `MOST_WAITING_BYTES`. What comes beyond is left out,
    and a log in its place says how many that were. A caller that awaits each log gets no further
    than that, so nothing of its logs is left out.
    """

    def __init__(self, client: AsyncClient, run_id: int) -> None:
        self._client = client
        self._run_id = run_id
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._left_out = 0
        self._sending = asyncio.Lock()
        self._is_worth_sending = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def add(
        self,
        level: LogLevel,
        message: str,
        component: str | None,
        context: Mapping[str, Any] | None,
    ) -> Room:
        """Take a log. What it has is copied now."""
        message = message.encode("utf-8", "replace").decode()
        for start in range(0, len(message), LONGEST_MESSAGE):
            entry: dict[str, Any] = {
                "level": level,
                "message": message[start : start + LONGEST_MESSAGE],
                "agent_run_id": self._run_id,
                "timestamp": datetime.now(UTC).isoformat(),
            }
            if component is not None:
                entry["component"] = component
            if context is not None:
                entry["context"] = context
            self._take(encode(entry))
        return Room(self)

    def _take(self, encoded: bytes) -> None:
        if not self._has_room.is_set():
            self._left_out += 1
            return
        self._note_left_out()
        self._append(_Waiting(json.loads(encoded), len(encoded)))
        if len(self._waiting) >= MOST_WAITING or self._bytes >= MOST_WAITING_BYTES:
            self._has_room.clear()
        if len(self._waiting) >= _MOST_SENT or self._bytes >= _MOST_SENT_BYTES:
            self._is_worth_sending.set()

    def _append(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        self._bytes += waiting.size

    def _note_left_out(self) -> None:
        count, self._left_out = self._left_out, 0
        if count:
            message = f"{count} logs of this run are missing here: more came than could be sent"
            entry = {
                "level": "WARNING",
                "message": message,
                "agent_run_id": self._run_id,
                "timestamp": datetime.now(UTC).isoformat(),
            }
            self._append(_Waiting(entry, len(message)))

    async def room(self) -> None:
        """Wait until another log can be taken."""
        await self._has_room.wait()

    async def flush(self) -> None:
        """Send all that waits, and return when it is stored, however long the service is away."""
        async with self._sending:
            while self._waiting:
                batch = self._first_batch()
                await self._store([waiting.entry for waiting in batch])
                # Only now: a flush that is cancelled leaves its logs where they were.
                for waiting in batch:
                    self._waiting.popleft()
                    self._bytes -= waiting.size
                if not self._waiting:
                    self._note_left_out()
                self._has_room.set()
            self._is_worth_sending.clear()

    async def flush_again_and_again(self) -> None:
        """Flush every second, and sooner when a batch is full. Never returns."""
        while True:
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._is_worth_sending.wait()
            except TimeoutError:
                pass
            await self.flush()

    def _first_batch(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        for waiting in self._waiting:
            size += waiting.size
            if batch and (len(batch) >= _MOST_SENT or size > _MOST_SENT_BYTES):
                break
            batch.append(waiting)
        return batch

    async def _store(self, entries: list[dict[str, Any]]) -> None:
        """Store these logs without those that the service refuses."""
        while entries:
            key = str(uuid.uuid4())
            try:
                await patiently(
                    lambda entries=entries, key=key: self._client.logs.create_many(  # type: ignore[misc]
                        entries, idempotency_key=key
                    )
                )
            except StrongroomError as error:
                if error.status == _TOO_LARGE and len(entries) > 1:
                    half = len(entries) // 2
                    await self._store(entries[:half])
                    entries = entries[half:]
                    continue
                refused = _places(error) or set(range(len(entries)))
                log.warning("run %d: %d logs were refused: %s", self._run_id, len(refused), error)
                entries = [one for place, one in enumerate(entries) if place not in refused]
            else:
                return


def _places(error: StrongroomError) -> set[int]:
    """Which logs of the batch an error names: `/logs/700/message` is number 700."""
    parts = [field.pointer.split("/") for field in field_errors(error.problem)]
    return {
        int(part[2]) for part in parts if part[1:2] == ["logs"] and part[2:3] and part[2].isdigit()
    }
