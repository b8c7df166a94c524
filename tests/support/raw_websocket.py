"""Functions that build WebSocket frames, valid or not, and a client that sends any bytes."""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Self

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def upgrade(headers: Mapping[str, str] | None = None, path: str = "/audiohook") -> bytes:
    """Return an upgrade request.

    Args:
        headers: Additional headers of the request; they replace standard headers of the same name.
        path: The path of the URL.
    """
    lines = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    } | dict(headers or {})
    text = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"GET {path} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = b"\x12\x34\x56\x78",
    length: int | None = None,
) -> bytes:
    """Return one frame of a client.

    Args:
        opcode: The frame's opcode.
        payload: The payload before masking.
        fin: Whether this is the last frame of its message.
        rsv: The three reserved bits.
        mask: The masking key; None for a frame that is not masked.
        length: A false payload length for the frame's header; by default the true length.
    """
    size = len(payload) if length is None else length
    first, masked = fin << 7 | rsv << 4 | opcode, (mask is not None) << 7
    if size < 126:
        head = struct.pack("!BB", first, masked | size)
    elif size < 2**16:
        head = struct.pack("!BBH", first, masked | 126, size)
    else:
        head = struct.pack("!BBQ", first, masked | 127, size)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    masked_payload = int.from_bytes(payload) ^ int.from_bytes(key)
    return head + mask + masked_payload.to_bytes(len(payload))


class RawClient:
    """A client with one TCP connection; an asynchronous context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Send bytes, and wait until the send buffer has room."""
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> bytes:
        """Return the status line and the headers of a response."""
        async with asyncio.timeout(5):
            return await self.reader.readuntil(b"\r\n\r\n")

    async def status(self, request: bytes) -> int:
        """Send a request, and return the status of the response."""
        await self.send(request)
        return int((await self.head()).split()[1])

    async def connect(self, headers: Mapping[str, str] | None = None) -> None:
        """Open a WebSocket."""
        assert await self.status(upgrade(headers)) == 101

    async def receive(self) -> tuple[int, bytes] | None:
        """Return opcode and payload of the next frame; None at the end of the connection."""
        async with asyncio.timeout(5):
            try:
                first, size = await self.reader.readexactly(2)
                assert first & 0x70 == 0, "the server has set a reserved bit"
                assert size < 128, "the server has masked a frame"
                if size == 126:
                    (size,) = struct.unpack("!H", await self.reader.readexactly(2))
                elif size == 127:
                    (size,) = struct.unpack("!Q", await self.reader.readexactly(8))
                return first & 15, await self.reader.readexactly(size)
            except (asyncio.IncompleteReadError, ConnectionError):
                self.writer.transport.abort()
                return None

    async def ended(self) -> bool:
        """Read until the server closes the connection; then abort the connection."""
        async with asyncio.timeout(5):
            try:
                while await self.reader.read(2**16):
                    pass
            except ConnectionError:
                pass
        self.writer.transport.abort()
        return True
