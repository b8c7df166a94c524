"""Tests that the code of a bot cannot stop the event loop of the server."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import write_certificate
from loguru import logger
from pipecat_genesys.endpoint import event_loop

FACTORIES = {"asyncio": event_loop.new_asyncio_loop, "auto": event_loop.new_auto_loop}
if sys.platform != "win32":
    FACTORIES["uvloop"] = event_loop.new_uvloop_loop

Attempt = Callable[[asyncio.AbstractEventLoop], Any]


async def exits() -> None:
    sys.exit(3)


def interrupt() -> None:
    raise KeyboardInterrupt


def exit_in_a_done_callback(loop: asyncio.AbstractEventLoop) -> object:
    task = loop.create_task(asyncio.sleep(0))
    task.add_done_callback(lambda _: sys.exit(3))
    return task


ATTEMPTS: dict[str, Attempt] = {
    "stop": lambda loop: loop.stop(),
    "a task": lambda loop: asyncio.Task(exits(), loop=loop),
    "a callback": lambda loop: loop.call_soon(sys.exit, 3),
    "a timer": lambda loop: loop.call_later(0.01, interrupt),
    "a callback of a task": exit_in_a_done_callback,
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
@pytest.mark.parametrize("kind", FACTORIES)
def test_code_of_a_bot_does_not_stop_the_event_loop(kind: str, attempt: str) -> None:
    lines: list[str] = []
    kept: list[Any] = []

    async def serve() -> str:
        loop = asyncio.get_running_loop()
        # The other tasks and callbacks of the event loop continue, too.
        beats: list[int] = []

        async def beat() -> None:
            for count in range(20):
                await asyncio.sleep(0.005)
                beats.append(count)

        beating = asyncio.create_task(beat())
        for _ in range(3):
            kept.append(ATTEMPTS[attempt](loop))
            await asyncio.sleep(0.02)
        await beating
        assert beats == list(range(20))
        for task in kept:
            if isinstance(task, asyncio.Task):
                assert isinstance(task.exception(), SystemExit | None)
        return "served"

    sink = logger.add(lambda message: lines.append(message.record["message"]), level="ERROR")
    with asyncio.Runner(loop_factory=FACTORIES[kind]) as runner:
        assert runner.run(serve()) == "served"
    logger.remove(sink)
    # The three attempts cause one log line.
    assert len(lines) == 1
    assert "the server continues" in lines[0]


@pytest.mark.parametrize("kind", FACTORIES)
def test_the_end_of_the_server_ends_the_event_loop(kind: str) -> None:
    with (
        asyncio.Runner(loop_factory=FACTORIES[kind]) as runner,
        pytest.raises(SystemExit, match="3"),
    ):
        runner.run(exits())


@pytest.mark.parametrize("kind", FACTORIES)
def test_a_tls_handshake_that_is_not_finished_is_ended(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio's own limit is 60 s, and no protocol object can shorten it."""
    monkeypatch.setattr(event_loop, "_TLS_HANDSHAKE_SECONDS", 0.2)
    certificate = tmp_path / "localhost.pem"
    write_certificate(certificate)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)

    async def connect() -> bytes:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, ssl=tls)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        # The first bytes of a handshake.
        writer.write(b"\x16\x03\x01")
        async with asyncio.timeout(30):
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()
                server.close()

    with asyncio.Runner(loop_factory=FACTORIES[kind]) as runner:
        assert runner.run(connect()) == b""


def test_asyncio_accepts_few_connections_in_one_iteration() -> None:
    """A flood of connections does not delay other tasks; the kernel queues the connections."""
    made: list[int] = []
    lost: list[Exception | None] = []
    all_lost = asyncio.Event()

    class Counted(asyncio.Protocol):
        def __init__(self) -> None:
            made.append(turns)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(exc)
            if len(lost) == len(made):
                all_lost.set()

    turns = 0

    async def serve() -> None:
        nonlocal turns
        listener = socket.create_server(("127.0.0.1", 0))
        server = await asyncio.get_running_loop().create_server(Counted, sock=listener, backlog=200)
        clients = [socket.create_connection(listener.getsockname(), 30) for _ in range(100)]
        async with asyncio.timeout(30):
            while len(made) < len(clients):
                await asyncio.sleep(0)
                turns += 1
            server.close()
            for client in clients:
                client.close()
            await all_lost.wait()

    with asyncio.Runner(loop_factory=FACTORIES["asyncio"]) as runner:
        runner.run(serve())
    assert max(made.count(turn) for turn in made) <= 20
