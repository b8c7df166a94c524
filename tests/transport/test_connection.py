"""Tests of clients that break the protocol, stop reading, or send too many messages."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from echo_server import Echo
from loopback import serving
from pipecat_genesys.protocol import State
from pipecat_genesys.simulator import CallOptions, ClientTimeouts, PongReceived, SimulatedCall
from pipecat_genesys.transport import AudioHookParams, TransportObserver
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect

from .server import TransportServer


def params_with_dead_peer_after(seconds: float) -> AudioHookParams:
    params = AudioHookParams()
    # The constructor rejects such a short time limit, so the attribute is set.
    params.dead_peer_secs = seconds
    return params


class ScriptedClient:
    """A client that sends only the messages that the test sends."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.id = str(uuid.uuid4())
        self.seq = 0

    async def send(self, type_: str, serverseq: int = 0, **parameters: Any) -> None:
        self.seq += 1
        message = {"version": "2", "type": type_, "id": self.id, "seq": self.seq}
        message |= {"serverseq": serverseq, "position": "PT0S", "parameters": parameters}
        await self.socket.send(json.dumps(message))

    async def open(self) -> None:
        await self.send("open", **OPEN)
        assert (await self.receive())["type"] == "opened"

    async def receive(self) -> Any:
        """Return the next message that is not audio."""
        async with asyncio.timeout(10):
            while isinstance(message := await self.socket.recv(), bytes):
                pass
        return json.loads(message)


OPEN = {
    "organizationId": str(uuid.uuid4()),
    "conversationId": str(uuid.uuid4()),
    "participant": {"id": str(uuid.uuid4()), "ani": "", "aniName": "", "dnis": ""},
    "media": [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}],
}


@asynccontextmanager
async def peer(server: TransportServer) -> AsyncIterator[ScriptedClient]:
    async with (
        serving(server.app) as url,
        connect(url, ping_interval=None, compression=None, close_timeout=1) as socket,
    ):
        yield ScriptedClient(socket)


def nothing_left(server: TransportServer) -> bool:
    assert server.transport is not None
    name = str(server.transport.call)
    return not [task for task in asyncio.all_tasks() if name in task.get_name()]


async def test_call_ends_if_the_peer_sends_nothing() -> None:
    server = TransportServer(Echo, params=params_with_dead_peer_after(0.5))
    async with peer(server) as client:
        await client.open()
        # The client stays connected but sends no pings.
        await asyncio.wait_for(server.done.wait(), 10)
        assert nothing_left(server)


async def test_pings_keep_a_call_alive() -> None:
    server = TransportServer(Echo, params=params_with_dead_peer_after(0.5))
    async with peer(server) as client:
        await client.open()
        for serverseq in range(1, 8):
            await asyncio.sleep(0.3)
            await client.send("ping", serverseq)
            assert (await client.receive())["type"] == "pong"
        assert not server.done.is_set()


async def test_call_ends_if_the_peer_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peer sends pings but does not read the pongs, so `send` of the server blocks."""
    monkeypatch.setattr("pipecat_genesys.transport.connection._SOCKET_CLOSE_SECONDS", 0.5)
    taken = asyncio.Semaphore(3)
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            await taken.acquire()

    seq = 0

    def say(type_: str, **parameters: Any) -> None:
        nonlocal seq
        seq += 1
        message = {"version": "2", "type": type_, "id": "one", "seq": seq, "serverseq": 0}
        message |= {"position": "PT0S", "parameters": parameters}
        incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})

    async def ping() -> None:
        while True:
            await asyncio.sleep(0.2)
            say("ping")

    server = TransportServer(Echo, params=params_with_dead_peer_after(0.5))
    incoming.put_nowait({"type": "websocket.connect"})
    say("open", **OPEN)
    pinging = asyncio.create_task(ping())
    async with asyncio.timeout(15):
        await server.answer(WebSocket({"type": "websocket", "headers": []}, incoming.get, send))
    pinging.cancel()
    assert nothing_left(server)


async def test_call_ends_if_the_peer_does_not_close_after_disconnect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client sends a wrong `seq`, and does not answer `disconnect`."""
    monkeypatch.setattr("pipecat_genesys.transport.connection._END_SECONDS", 1.0)
    server = TransportServer(Echo)
    async with peer(server) as client:
        await client.open()
        client.seq += 5
        await client.send("ping", 1)
        assert (await client.receive())["type"] == "disconnect"
        await asyncio.wait_for(server.done.wait(), 10)
        assert nothing_left(server)


class ThrottlingObserver(TransportObserver):
    def __init__(self) -> None:
        self.seconds = 0.0

    def throttled(self, seconds: float) -> None:
        self.seconds += seconds


async def test_peer_that_floods_is_throttled_and_disconnected_and_other_calls_are_not_delayed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipecat_genesys.transport.connection._MAX_AHEAD_THROTTLED", 5.0)
    monkeypatch.setattr("pipecat_genesys.transport.connection._CLOSE_SECONDS", 1.0)
    observer = ThrottlingObserver()
    flooded, healthy = TransportServer(Echo, observer=observer), TransportServer(Echo)

    async def flood(client: ScriptedClient) -> None:
        # Each audio message has 4 s of audio. The client sends as fast as the server reads.
        while True:
            await client.send("ping", 1)
            await client.socket.send(b"\xff" * 32000)

    received_types: list[str] = []

    async def read(client: ScriptedClient) -> None:
        async for message in client.socket:
            if isinstance(message, str):
                received_types.append(json.loads(message)["type"])

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        first = await caller.wait_for(PongReceived)
        later = await caller.wait_for(PongReceived, since=first.at + 1)
        assert float(later.rtt) < 1
        await caller.hang_up()
        await caller.ended(5)

    async with peer(flooded) as client, serving(healthy.app) as url:
        await client.open()
        tasks = (asyncio.create_task(flood(client)), asyncio.create_task(read(client)))
        options = CallOptions(timeouts=ClientTimeouts(ping_interval=2))
        report = await SimulatedCall(url, options=options).run(script)
        await asyncio.wait_for(flooded.done.wait(), 30)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert flooded.transport is not None
        received = flooded.transport.call.session.position / 8000
    assert report.script_error is None
    assert report.clean, report.violations
    # Reading was delayed before the client was disconnected.
    assert observer.seconds > 1
    assert received < 30 + 60
    assert "disconnect" in received_types


async def disconnect_reason(client: ScriptedClient) -> str:
    """Return the reason of the server's `disconnect`."""
    async with asyncio.timeout(10):
        while (message := await client.receive())["type"] != "disconnect":
            pass
    return str(message["parameters"]["reason"])


class EndObserver(TransportObserver):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def ended(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.mark.parametrize("kind", ["ping", "update"])
async def test_peer_that_floods_with_messages_gets_disconnect_after_a_second(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets `disconnect` when reading of its messages was delayed by 1 s in total."""
    monkeypatch.setattr("pipecat_genesys.transport.connection._CLOSE_SECONDS", 0.5)
    observer = EndObserver()
    server = TransportServer(Echo, observer=observer)
    async with peer(server) as client:
        await client.open()
        for _ in range(2000):
            await client.send(kind, 1)
        pongs = 0
        while (message := await client.receive())["type"] == "pong":
            pongs += 1
        assert (message["type"], message["parameters"]["reason"]) == ("disconnect", "error")
        # The server reads a burst of 100 messages at once, and then 20 messages per second.
        assert pongs == 0 if kind == "update" else 100 < pongs < 150
        # The client does not answer `disconnect`, and its unread messages are still in the socket.
        # The server ends the connection anyway.
        await asyncio.wait_for(server.done.wait(), 30)
    assert observer.reasons == ["flood"]


async def test_a_close_behind_a_flood_is_answered() -> None:
    """After `disconnect`, the server answers a `close` that follows 400 pings."""
    server = TransportServer(Echo)
    async with peer(server) as client:
        await client.open()
        for _ in range(400):
            await client.send("ping", 1)
        await client.send("close", 1, reason="disconnect")
        assert await disconnect_reason(client) == "error"
        while (message := await client.receive())["type"] == "pong":
            pass
        assert message["type"] == "closed"
        await client.socket.close()
        await asyncio.wait_for(server.done.wait(), 10)


async def test_messages_that_a_stalled_network_delivers_together_are_no_flood() -> None:
    """If the messages of 25 s arrive at once, the server reads them without a delay."""
    observer = ThrottlingObserver()
    async with peer(TransportServer(Echo, observer=observer)) as client:
        await client.open()
        for second in range(25):
            for _ in range(50):
                await client.socket.send(b"\xff" * 160)
            if second % 5 == 0:
                await client.send("ping", 1)
            await client.send("dtmf", 1, digit="5")
        for _ in range(5):
            assert (await client.receive())["type"] == "pong"
        await client.send("close", 1, reason="end")
        assert (await client.receive())["type"] == "closed"
        assert observer.seconds == 0


async def test_messages_faster_than_the_limit_for_a_short_time_are_no_flood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipecat_genesys.transport.connection._MAX_TEXT_RATE", 200)
    monkeypatch.setattr("pipecat_genesys.transport.connection._MAX_TEXT_BURST", 10)
    monkeypatch.setattr("pipecat_genesys.transport.connection._MAX_TEXT_THROTTLED", 0.2)
    observer = ThrottlingObserver()
    async with peer(TransportServer(Echo, observer=observer)) as client:
        await client.open()
        while observer.seconds < 0.4:
            for _ in range(30):
                await client.send("ping", 1)
            for _ in range(30):
                assert (await client.receive())["type"] == "pong"
            await asyncio.sleep(0.2)
        await client.send("close", 1, reason="end")
        assert (await client.receive())["type"] == "closed"


@pytest.mark.parametrize("data", [b"", b"\xff"])
async def test_audio_messages_of_one_byte_or_none_are_throttled(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipecat_genesys.transport.connection._MAX_AUDIO_BURST", 100)
    monkeypatch.setattr("pipecat_genesys.transport.connection._MAX_AUDIO_THROTTLED", 0.5)
    observer = ThrottlingObserver()
    async with peer(TransportServer(Echo, observer=observer)) as client:
        await client.open()
        for _ in range(300):
            await client.socket.send(data)
        assert await disconnect_reason(client) == "error"
        assert observer.seconds > 0.4


async def test_sending_in_a_loop_after_the_end_does_not_block_the_event_loop() -> None:
    server = TransportServer(Echo)
    async with peer(server) as client:
        await client.open()
        assert server.transport is not None
        call = server.transport.call
        await client.send("close", 1, reason="end")
        assert (await client.receive())["type"] == "closed"

        async def repeat() -> None:
            while True:
                await call.send_event("mood", 1)

        repeating = asyncio.create_task(repeat())
        began = time.monotonic()
        for _ in range(10):
            await asyncio.sleep(0.01)
        repeating.cancel()
        assert time.monotonic() - began < 1


async def test_messages_wait_while_the_peer_takes_no_data_except_disconnect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipecat_genesys.transport.connection._BLOCKED_SECONDS", 0.1)
    taken = asyncio.Semaphore(1)
    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            await taken.acquire()

    server = TransportServer(Echo)
    incoming.put_nowait({"type": "websocket.connect"})
    message = {"version": "2", "type": "open", "id": "one", "seq": 1, "serverseq": 0}
    message |= {"position": "PT0S", "parameters": OPEN}
    incoming.put_nowait({"type": "websocket.receive", "text": json.dumps(message)})
    websocket = WebSocket({"type": "websocket", "headers": []}, incoming.get, send)
    answering = asyncio.create_task(server.answer(websocket))
    async with asyncio.timeout(10):
        await server.called.wait()
        assert server.transport is not None
        connection = server.transport.connection
        while connection.call.session.state is not State.ACTIVE:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)
    events = [asyncio.create_task(connection.call.send_event("mood", n)) for n in range(20)]
    await asyncio.sleep(0.3)
    # The peer has read `opened`. The server is sending the first event; the other events are not
    # queued yet.
    assert sum(event.done() for event in events) == 1
    assert len(connection._writer._queue) == 0
    assert await asyncio.wait_for(connection.call.disconnect("error"), 1)
    assert len(connection._writer._queue) == 1
    incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
    async with asyncio.timeout(10):
        assert not any([await event for event in events[1:]])
        await answering
