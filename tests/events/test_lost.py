"""Streams across the ends of processes and restores, and clients that fall behind."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.http.state import state_of
from backend.http.streams.stream import BEHIND_BYTES, Ending
from config.settings import Settings
from tests.events.sse import Following, following, message_of
from tests.support.clients import async_client_at, token_of_first_start
from tests.support.http import make_project, new_project
from tests.support.processes import Serving, run
from tests.support.servers import RunningServer


async def collect(stream: Following) -> list[int]:
    """The ids of all entries that arrive before the stream breaks off."""
    return [m.data["id"] for m in await stream.ended() if m.data is not None]


async def last_id(client: httpx.AsyncClient) -> int:
    answer = await client.get("/api/audit?limit=1")
    return int(answer.json()["entries"][0]["id"])


async def test_killed_and_started_again_nothing_is_missed_or_repeated(tmp_path: Path) -> None:
    ids: list[int] = []
    acknowledged = 0
    for _ in range(3):
        with Serving(tmp_path / "data") as serving:
            async with async_client_at(serving.url, serving.token) as client:

                async def write() -> int:
                    done = 0
                    try:
                        while True:
                            await make_project(client)
                            done += 1
                            if done == 20:
                                serving.process.send_signal(signal.SIGKILL)
                    except httpx.TransportError:
                        return done

                place = {"Last-Event-ID": f"1-{ids[-1] if ids else 0}"}
                async with following(client, headers=place) as stream:
                    await stream.ready()
                    writers = [asyncio.create_task(write()) for _ in range(3)]
                    ids += await collect(stream)
                    acknowledged += sum(await asyncio.gather(*writers))
            serving.finish()
    with Serving(tmp_path / "data") as serving:
        async with async_client_at(serving.url, serving.token) as client:
            end = await last_id(client)
            async with following(client, headers={"Last-Event-ID": str(ids[-1])}) as stream:
                await stream.ready()
                if ids[-1] < end:
                    ids += await stream.until(end)
    assert ids == list(range(1, end + 1))
    assert end >= 2 * acknowledged


async def test_sigterm_ends_streams_at_once(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as serving:
        async with (
            async_client_at(serving.url, serving.token) as client,
            following(client) as events,
            following(client, "/api/logs") as logs,
        ):
            for stream in (events, logs):
                await stream.ready()
            serving.process.send_signal(signal.SIGTERM)
            for stream in (events, logs):
                *_, farewell = await stream.ended()
                assert farewell.retry is not None
                assert 1000 <= farewell.retry < 2000
        assert serving.finish() == 0
        assert "graceful shutdown exceeded" not in serving.err


async def test_a_restore_begins_another_epoch(tmp_path: Path) -> None:
    with Serving(tmp_path / "data") as serving:
        async with async_client_at(serving.url, serving.token) as client:
            await make_project(client)
            assert run("backup", str(tmp_path / "copy.db"), "--data-dir", str(tmp_path / "data"),
                       cwd=tmp_path).status == 0  # fmt: skip
            await make_project(client)
            async with following(client) as stream:
                place = (await stream.ready()).id
        assert serving.end() == 0
    epochs, epoch = [1], 0
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir(mode=0o700)
        shutil.copy(tmp_path / "data" / "master.key", directory)
        restored = run("restore", str(tmp_path / "copy.db"), "--data-dir", str(directory),
                       cwd=tmp_path)  # fmt: skip
        assert restored.status == 0, restored.err
        token = (tmp_path / "data" / "admin.token").read_text("ascii").strip()
        with Serving(directory) as serving:
            async with async_client_at(serving.url, token) as client:
                for _ in range(3):
                    # The ids go further than the client has seen, but are others.
                    await make_project(client)
                assert place is not None
                for path in ("/api/logs", "/api/events"):
                    async with following(client, path, {"Last-Event-ID": place}) as stream:
                        reset = await stream.expect()
                        assert (reset.event, reset.data) == ("reset", {"reason": "epoch"})
                        epoch = (await stream.ready()).data["epoch"]
                        assert epoch >= epochs[-1]
                epochs.append(epoch)
                async with following(client, headers={"Last-Event-ID": place}) as stream:
                    assert (await stream.expect()).event == "reset"
                    end = (await stream.ready()).data["last_id"]
                    assert end == await last_id(client)
                    await make_project(client)
                    message = await stream.expect()
                    assert message.id == f"{epochs[-1]}-{end + 1}"
            assert serving.end() == 0
    assert epochs[0] < epochs[1] <= epochs[2]


async def test_a_client_that_falls_behind_is_left_and_its_id_is_good(
    server: RunningServer, installed: Settings
) -> None:
    token = token_of_first_start(installed)
    streams = state_of(server.app).streams
    loop = asyncio.get_running_loop()
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(server.address)
        slow.sendall(
            b"GET /api/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            b"Authorization: Bearer %b\r\n\r\n" % token.encode()
        )
        async with server.async_client(token) as client, following(client) as fast:
            await fast.ready()
            begin = await last_id(client)
            count = 0
            while not streams.ended[Ending.SLOW]:
                await asyncio.gather(
                    *(
                        client.post(
                            "/api/projects",
                            json=new_project(
                                secrets=[{"key": f"K{n}", "value": "v"} for n in range(20)]
                            ),
                        )
                        for _ in range(8)
                    )
                )
                count += 1
                assert count < 200, "it is not left"
            end = await last_id(client)
            # The other client is not disturbed, and the service has kept no more than it may.
            assert await fast.until(end) == list(range(begin + 1, end + 1))
            text = await loop.run_in_executor(None, _rest_of, slow)
            seen = [m for m in map(message_of, text.split("\n\n")[:-1]) if m.data and not m.event]
            ids = [message.data["id"] for message in seen]
            assert ids == list(range(begin + 1, begin + 1 + len(ids)))
            assert len(ids) < end - begin
            place = {"Last-Event-ID": str(seen[-1].id)}
            async with following(client, headers=place) as again:
                await again.ready()
                assert await again.until(end) == list(range(ids[-1] + 1, end + 1))
    assert BEHIND_BYTES == 64 * 1024


def _rest_of(connection: socket.socket) -> str:
    """What the server has sent, without the head and without the frames of chunks."""
    data = b""
    with closing(connection):
        connection.settimeout(20)
        try:
            while some := connection.recv(65536):
                data += some
        except ConnectionError:
            pass
    _, _, body = data.partition(b"\r\n\r\n")
    text = b""
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        text += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return text.decode()


EVENT_SOURCE = """
import { EventSource } from "eventsource";
const [url, token] = process.argv.slice(2);
const source = new EventSource(url, {
  fetch: (input, init) =>
    fetch(input, { ...init, headers: { ...init.headers, Authorization: `Bearer ${token}` } }),
});
source.addEventListener("ready", (event) => console.log(`ready ${event.lastEventId}`));
source.onmessage = (event) => console.log(event.data);
"""


def _event_source(folder: Path) -> list[str]:
    """A program in JavaScript that follows a stream. Skips the test without what it needs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed")
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), "eventsource@4"],
        capture_output=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        pytest.skip("npm can't install the package eventsource")
    program = folder / "follow.mjs"
    program.write_text(EVENT_SOURCE, encoding="utf-8")
    return [node, str(program)]


@pytest.mark.long_form
async def test_an_event_source_goes_on_across_a_restart(tmp_path: Path) -> None:
    command = _event_source(tmp_path)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    lines: list[Any] = []
    reader: asyncio.subprocess.Process | None = None
    try:
        for _ in range(2):
            with Serving(tmp_path / "data", "--port", str(port)) as serving:
                url = f"http://127.0.0.1:{port}"
                async with async_client_at(url, serving.token) as client:
                    if reader is None:
                        reader = await asyncio.create_subprocess_exec(
                            *command, f"{url}/api/events", serving.token,
                            stdout=asyncio.subprocess.PIPE, env=dict(os.environ),
                        )  # fmt: skip
                    await _line(reader, lines, "ready")
                    await make_project(client)
                    await _line(reader, lines, "settings.created")
                assert serving.end() == 0
    finally:
        if reader is not None:
            reader.kill()
            await reader.wait()
    text = "".join(lines)
    assert text.count('"kind":"project.created"') == 2
    assert text.count("ready") == 2


async def _line(process: asyncio.subprocess.Process, lines: list[Any], part: str) -> None:
    """Read up to a line with this part."""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while part not in (line := (await process.stdout.readline()).decode()):
            assert line, lines
            lines.append(line)
        lines.append(line)
