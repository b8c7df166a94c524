"""The process that forwards calls to a server, byte by byte, and sends copies to the inspector.

The forwarder runs in a separate process, as `python -m pipecat_genesys.inspector.forwarder`, so
that neither the analysis of a call nor a page can delay a call. The forwarder reads the head of
each request only to find the end of the head. Every byte is forwarded unchanged, including the
`Host` header, the signature, and the offers of sub-protocols and compression. Bytes are copied
after they are forwarded, except the head of a request, which is copied before. If more than
`MAX_COPIES` bytes wait for the inspector, the rest of the affected call is not copied.

A copy is sent as a record: the header `_RECORD`, and the payload. The kinds of records are:

* `listening`: the forwarder listens; the payload is the port.
* `new`: a client connected.
* `to_server` and `to_client`: forwarded bytes.
* `refused`: the forwarder refused the request, for example because the server cannot be reached;
  the payload is the HTTP status and the reason that the client gets.
* `lost`: the rest of this connection is not copied.
* `end`: the connection has ended; the payload is the party that closed first, or empty.
* `failed`: the forwarder cannot listen; the payload is the reason.
"""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
import struct
import sys
import time
from enum import IntEnum
from itertools import count
from typing import Any, cast
from urllib.parse import urlsplit

_RECORD = struct.Struct("<BIdI")
"""Kind, number of the connection, time on the monotonic clock, and length of the payload."""

MAX_COPIES = 64 * 1024 * 1024
"""Maximum size of the copies that wait for the inspector, in bytes."""
MAX_HEAD = 64 * 1024
"""Maximum size of the head of a request, in bytes."""
_HEAD_TIMEOUT = 10.0
_CONNECT_TIMEOUT = 10.0


class Record(IntEnum):
    """The kinds of records."""

    LISTENING = 0
    NEW = 1
    TO_SERVER = 2
    TO_CLIENT = 3
    REFUSED = 4
    LOST = 5
    END = 6
    FAILED = 7


class Copies:
    """Sends records to the inspector without waiting.

    Args:
        transport: The connection to the inspector.
    """

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._lost: set[int] = set()

    def send(self, kind: Record, connection: int, payload: bytes = b"") -> None:
        """Send a record.

        If too many bytes wait, a `LOST` record is sent instead, and then only the `END` record of
        this connection.
        """
        if kind is Record.END:
            self._lost.discard(connection)
        elif connection in self._lost:
            return
        elif self._transport.get_write_buffer_size() + len(payload) > MAX_COPIES:
            self._lost.add(connection)
            kind, payload = Record.LOST, b""
        header = _RECORD.pack(kind, connection, time.monotonic(), len(payload))
        self._transport.write(header + payload)


class _Side(asyncio.Protocol):
    """One of the two sockets of a connection.

    Args:
        connection: The connection.
        kind: The kind of record in which the bytes from this socket are copied.
        name: The party at the other end of the socket.
    """

    def __init__(self, connection: _ForwardedConnection, kind: Record, name: str) -> None:
        self.connection = connection
        self.kind = kind
        self.name = name
        self.other: _Side | None = None
        self.transport: asyncio.Transport | None = None
        self.has_ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.connection.connected(self)

    def data_received(self, data: bytes) -> None:
        other = self.other
        if other is None or other.transport is None:
            self.connection.head_received(data)
            return
        other.transport.write(data)
        self.connection.copies.send(self.kind, self.connection.number, data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def eof_received(self) -> bool:
        self.connection.closing(self.name)
        other = self.other
        self.has_ended = True
        if other is None or other.transport is None or not other.transport.can_write_eof():
            return False
        other.transport.write_eof()
        if other.has_ended:
            other.transport.close()
            return False
        # True keeps the sending direction of this socket open. asyncio cannot do this for TLS, so a
        # TLS socket is closed completely.
        assert self.transport is not None
        return self.transport.can_write_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self.connection.lost(self, error)


class _ForwardedConnection:
    """The connection of one client, and the connection to the server for this client."""

    def __init__(self, forwarder: Forwarder, number: int) -> None:
        self.number = number
        self.copies = forwarder.copies
        self.client = _Side(self, Record.TO_SERVER, "client")
        self._forwarder = forwarder
        self._head = bytearray()
        self._closed_by = ""
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connected(self, side: _Side) -> None:
        """Handle a new connection to the client or to the server."""
        if side is self.client:
            self.copies.send(Record.NEW, self.number)
            self._timer = asyncio.get_running_loop().call_later(
                _HEAD_TIMEOUT, self._refuse, "408 Request Timeout", "no request arrived in 10 s"
            )

    def head_received(self, data: bytes) -> None:
        """Handle bytes of the client that arrived before the server is connected."""
        self._head += data
        if self._task is not None:
            return
        if b"\r\n\r\n" in self._head:
            assert self.client.transport is not None
            self.client.transport.pause_reading()
            if self._timer is not None:
                self._timer.cancel()
            self._task = asyncio.get_running_loop().create_task(self._connect())
        elif len(self._head) > MAX_HEAD:
            self._refuse("431 Request Header Fields Too Large", f"the head is above {MAX_HEAD} B")

    async def _connect(self) -> None:
        server = _Side(self, Record.TO_CLIENT, "server")
        target = self._forwarder.target
        transport = self.client.transport
        assert transport is not None
        head = bytes(self._head)
        self.copies.send(Record.TO_SERVER, self.number, head)
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                await asyncio.get_running_loop().create_connection(
                    lambda: server, target.host, target.port, ssl=target.context
                )
        except (OSError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or f"no answer in {_CONNECT_TIMEOUT:g} s"
            self._refuse("502 Bad Gateway", f"no connection to {target.url}: {reason}")
            return
        if transport.is_closing():
            assert server.transport is not None
            server.transport.abort()
            return
        assert server.transport is not None
        server.transport.write(bytes(self._head))
        if len(self._head) > len(head):
            self.copies.send(Record.TO_SERVER, self.number, bytes(self._head[len(head) :]))
        self.client.other, server.other = server, self.client
        transport.resume_reading()

    def _refuse(self, status: str, reason: str) -> None:
        transport = self.client.transport
        if transport is None or transport.is_closing():
            return
        body = f"{reason}\n".encode()
        self.copies.send(Record.REFUSED, self.number, f"{status}: {reason}".encode())
        transport.write(
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        transport.close()

    def closing(self, name: str) -> None:
        """Record which party closed its connection first."""
        self._closed_by = self._closed_by or name

    def lost(self, side: _Side, error: Exception | None) -> None:
        """Handle the end of a socket: close the other socket, or abort it after an error."""
        self.closing(side.name)
        if side is self.client:
            if self._timer is not None:
                self._timer.cancel()
            self.copies.send(Record.END, self.number, self._closed_by.encode())
        other = side.other
        if other is not None and other.transport is not None:
            if error is not None:
                other.transport.abort()
            else:
                other.transport.close()


class ForwardTarget:
    """The server to which calls are forwarded.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        ca_file: Certificates to trust, in PEM format; None for the system's certificates.
    """

    def __init__(self, url: str, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        is_secure = parts.scheme == "wss"
        self.url = url
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if is_secure else 80)
        self.context = ssl.create_default_context(cafile=ca_file) if is_secure else None


class Forwarder:
    """Accepts connections and forwards them.

    Args:
        target: The server.
        copies: Sends the copies.
    """

    def __init__(self, target: ForwardTarget, copies: Copies) -> None:
        self.target = target
        self.copies = copies
        self._numbers = count(1)

    def accept(self) -> asyncio.Protocol:
        """Return the protocol of a new client connection."""
        return _ForwardedConnection(self, next(self._numbers)).client


class RecordReader:
    """Splits the bytes from the forwarder into records."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[tuple[Record, int, float, bytes]]:
        """Add bytes, and return the records that are complete.

        Each record is a tuple of its kind, the number of the connection, the time and the payload.
        """
        self._buffer += data
        records = []
        begin = 0
        while len(self._buffer) - begin >= _RECORD.size:
            kind, connection, at, length = _RECORD.unpack_from(self._buffer, begin)
            end = begin + _RECORD.size + length
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[begin + _RECORD.size : end])
            records.append((Record(kind), connection, at, payload))
            begin = end
        del self._buffer[:begin]
        return records


async def _run(settings: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", settings["inspector"])
    writer.write(settings["token"].encode())
    writer.transport.set_write_buffer_limits(high=2 * MAX_COPIES)
    copies = Copies(writer.transport)
    try:
        target = ForwardTarget(settings["url"], settings["ca_file"])
        server = await loop.create_server(
            Forwarder(target, copies).accept, settings["host"], settings["port"]
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        copies.send(Record.FAILED, 0, reason.encode())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        return
    port = server.sockets[0].getsockname()[1]
    copies.send(Record.LISTENING, 0, str(port).encode())
    async with server:
        # The inspector sends nothing on this connection. The connection ends when the inspector
        # ends.
        await reader.read()


def main() -> None:
    """Run the forwarder with settings from standard input: one line with a JSON object."""
    # Ctrl+C sends a signal to all processes of the terminal. The forwarder ignores the signal,
    # because it ends when the inspector closes the connection.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    asyncio.run(_run(json.loads(sys.stdin.readline())))


if __name__ == "__main__":
    main()
