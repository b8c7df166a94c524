"""The WebSocket of a simulated call: one ordered writer, one reader, and who closed it."""

# ruff: noqa: ASYNC109 - handed on to the library, which says what took too long.

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from ssl import SSLContext
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from pipecat_genesys.simulator.errors import ConnectFailedError
from pipecat_genesys.simulator.events import Party

_MAX_SIZE = 16 * 1024 * 1024
"""Bytes. Far above the protocol's limit, so that a message over it is seen and reported."""

_NO_STATUS = 1005


class _End(Enum):
    """What comes after the last message."""

    CLOSE = auto()
    CUT = auto()


@dataclass(frozen=True, slots=True)
class SocketEnd:
    """How the connection ended.

    Attributes:
        by: Who closed it first.
        code: The close code received, None without a close frame.
        detail: The reason received.
        fault: Why the WebSocket layer here had to give up, None if it did not.
        doubtful: Whether the server may have closed it at the same time.
    """

    by: Party
    code: int | None
    detail: str = ""
    fault: str | None = None
    doubtful: bool = False


async def open_socket(
    url: str,
    headers: Mapping[str, str],
    *,
    timeout: float,
    close_timeout: float,
    ssl: SSLContext | None,
) -> ClientConnection:
    """Establish the WebSocket as the AudioHook client does.

    Nothing is compressed, and no WebSocket pings are sent: the protocol has its own.

    Args:
        url: ``ws://`` or ``wss://``.
        headers: Of the upgrade request.
        timeout: For all of it, in seconds.
        close_timeout: How long the server may take to finish the closing handshake, in seconds.
        ssl: For ``wss``, where the default is not wanted.

    Raises:
        ConnectFailedError: If it cannot be established.
    """
    # The library tells "no TLS wanted" from "the default" by the argument's absence.
    tls: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
    try:
        return await connect(
            url,
            additional_headers=dict(headers),
            compression=None,
            max_size=_MAX_SIZE,
            open_timeout=timeout,
            close_timeout=close_timeout,
            ping_interval=None,
            **tls,
        )
    except (OSError, TimeoutError, WebSocketException) as error:
        raise ConnectFailedError(
            f"no connection to {url}: {error or type(error).__name__}"
        ) from error


class CallSocket:
    """Sends in order, hands over what arrives, and closes without a code when told to.

    Args:
        connection: An established connection.
        patience: How long a server that does not read may hold up what is still to be sent when
            the socket is to be closed, in seconds.
    """

    def __init__(self, connection: ClientConnection, patience: float) -> None:
        self._connection = connection
        self._patience = patience
        self._outgoing: asyncio.Queue[str | bytes | _End] = asyncio.Queue()
        self._closing = False

    def send(self, message: str | bytes) -> None:
        """Queue a message."""
        if not self._closing:
            self._outgoing.put_nowait(message)

    def close(self) -> None:
        """Close the connection once everything queued has been sent."""
        if not self._closing:
            self._closing = True
            self._outgoing.put_nowait(_End.CLOSE)
            asyncio.get_running_loop().call_later(self._patience, self._drop_unless_closing)

    def drop_when_sent(self) -> None:
        """Cut the connection once everything queued has been sent, without a close frame."""
        if not self._closing:
            self._closing = True
            self._outgoing.put_nowait(_End.CUT)

    def drop(self) -> None:
        """Cut the connection at once."""
        self._closing = True
        self._connection.transport.abort()

    def _drop_unless_closing(self) -> None:
        if not self._outgoing.empty():
            self.drop()

    async def run(self, on_message: Callable[[str | bytes], None]) -> SocketEnd:
        """Run until the connection is gone.

        Args:
            on_message: Called with every message, in order.
        """
        writer = asyncio.create_task(self._write())
        try:
            while True:
                on_message(await self._connection.recv())
        except ConnectionClosed as closed:
            return self._how(closed)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)

    async def _write(self) -> None:
        try:
            while not isinstance(message := await self._outgoing.get(), _End):
                await self._connection.send(message)
            if message is _End.CUT:
                return self._connection.transport.abort()
            # No code, as the reference client: the peer sees 1005. The library's signature asks
            # for a number, the protocol behind it does not.
            await self._connection.close(cast("int", None))
        except ConnectionClosed:
            return None

    def _how(self, closed: ConnectionClosed) -> SocketEnd:
        sent, received = closed.sent, closed.rcvd
        code = received.code if received else None
        detail = received.reason if received else ""
        if sent is not None and not closed.rcvd_then_sent:
            if not self._closing:
                return SocketEnd(Party.CLIENT, code, detail, fault=f"{sent.code} {sent.reason}")
            # An honest reply to a close frame without a code has none either.
            return SocketEnd(Party.CLIENT, code, detail, doubtful=code not in (None, _NO_STATUS))
        by = Party.CLIENT if self._closing and received is None else Party.SERVER
        return SocketEnd(by, code, detail)
