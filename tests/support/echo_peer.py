"""A small AudioHook server without pipecat, which runs in the process of the test."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

Reply = Callable[[bytes], bytes]
"""A function that returns the reply to an audio message. An empty reply is not sent."""


class EchoPeer:
    """A running server, which replies to audio messages.

    Attributes:
        url: URL of the server.
        connections: Number of connections so far.
        open: Number of connections that are open.
    """

    def __init__(self, reply: Reply, delay: float) -> None:
        self.url = ""
        self.connections = 0
        self.open = 0
        self._reply = reply
        self._delay = delay
        self._changed = asyncio.Condition()

    async def opened(self, count: int) -> None:
        """Wait until exactly `count` connections are open."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.open == count)

    async def _count(self, change: int) -> None:
        async with self._changed:
            self.open += change
            self._changed.notify_all()

    async def handle(self, socket: ServerConnection) -> None:
        """Answer the messages of a client until the connection is closed."""
        self.connections += 1
        await self._count(1)
        sent = 0
        late: set[asyncio.Task[None]] = set()
        try:
            async for message in socket:
                if isinstance(message, bytes):
                    audio = self._reply(message)
                    if audio and self._delay:
                        late.add(asyncio.create_task(self._send(socket, audio)))
                    elif audio:
                        await socket.send(audio)
                    continue
                received = json.loads(message)
                reply = {"open": "opened", "ping": "pong", "close": "closed"}.get(received["type"])
                if reply is None:
                    continue
                if reply == "closed":
                    await _cancel(late)
                sent += 1
                media = received["parameters"].get("media")
                envelope = {
                    "version": "2",
                    "id": received["id"],
                    "type": reply,
                    "seq": sent,
                    "clientseq": received["seq"],
                    "parameters": {"media": media[:1]} if media else {},
                }
                await socket.send(json.dumps(envelope))
        except ConnectionClosed:
            return
        finally:
            await _cancel(late)
            await self._count(-1)

    async def _send(self, socket: ServerConnection, audio: bytes) -> None:
        await asyncio.sleep(self._delay)
        await socket.send(audio)


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def echo_peer(reply: Reply = bytes, *, delay: float = 0.0) -> AsyncIterator[EchoPeer]:
    """Run a server until the context ends. By default, the server echoes audio.

    Args:
        reply: Returns the reply to an audio message.
        delay: Seconds between an audio message and its reply.
    """
    peer = EchoPeer(reply, delay)
    async with serve(peer.handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        peer.url = f"ws://127.0.0.1:{port}/audiohook"
        yield peer


def audible(audio: bytes) -> bytes:
    """Return an audio message that has sound unchanged; return an empty reply to silence."""
    return b"" if set(audio) <= {0xFF, 0x7F} else audio


def silent(_: bytes) -> bytes:
    """Return an empty reply to an audio message."""
    return b""
