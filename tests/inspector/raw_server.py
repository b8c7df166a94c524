"""A TCP server that records the received bytes, and sends the bytes that a test gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class RawServer:
    """A TCP server with one connection at a time.

    Attributes:
        port: Port of the server.
        received: All bytes that the server has received.
        connected: The connections that were accepted.
    """

    def __init__(self) -> None:
        self.port = 0
        self.received = bytearray()
        self.connected: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self._changed = asyncio.Event()
        self.has_ended = asyncio.Event()

    async def until(self, expected: bytes) -> None:
        """Wait for as many bytes as `expected` has; assert that the bytes equal `expected`."""
        async with asyncio.timeout(10):
            while len(self.received) < len(expected):
                self._changed.clear()
                await self._changed.wait()
        assert bytes(self.received) == expected

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected.put_nowait(writer)
        try:
            while data := await reader.read(2**16):
                self.received += data
                self._changed.set()
        except ConnectionError:
            pass
        writer.close()
        self.has_ended.set()


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """Run the server on a free port of the loopback interface."""
    raw = RawServer()
    server = await asyncio.start_server(raw.handle, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        while not raw.connected.empty():
            raw.connected.get_nowait().transport.abort()
