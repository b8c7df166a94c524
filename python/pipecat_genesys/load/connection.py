"""The WebSocket connection of a caller, with callbacks instead of tasks to save CPU time."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from pipecat_genesys.simulator import CallOptions, ConnectFailedError, Party, audiohook_headers
from pipecat_genesys.simulator.connection import checked_url, upgrade_headers

from .caller import Caller

_CLOSE_TIMEOUT_SECONDS = 2.0
_MAX_MESSAGE_BYTES = 2**24


class CallProtocol(asyncio.Protocol):
    """Carries one call over one connection.

    Attributes:
        caller: The caller.
        connected: A future that is done when the server has accepted the WebSocket. The exception
            of the future is a `ConnectFailedError` if the server did not accept the WebSocket.
        closed: Set when the connection has ended.
    """

    def __init__(self, url: str, caller: Caller, lags: list[float], options: CallOptions) -> None:
        """Create the protocol of a connection.

        Args:
            url: URL of the server.
            caller: The caller.
            lags: The delay of each timer is appended here, in seconds.
            options: Credentials for the request.
        """
        self.caller = caller
        self.closed = asyncio.Event()
        self._url = url
        self._headers = upgrade_headers(url, audiohook_headers(caller.parameters, ""), options)
        self._lags = lags
        self._websocket = ClientProtocol(parse_uri(url), max_size=_MAX_MESSAGE_BYTES)
        self._loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")
        self._close_sent = False
        self._abort_scheduled = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)
        request = self._websocket.connect()
        request.headers.update(self._headers)
        self._websocket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        now = self._loop.time()
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                self._handle_response(now)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.caller.receive(bytes(event.data).decode(errors="replace"), now)
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self.caller.receive(bytes(event.data), now)
        self._flush()

    def _handle_response(self, now: float) -> None:
        error = self._websocket.handshake_exc
        if error is None:
            self.caller.start(now)
            if not self.connected.done():
                self.connected.set_result(None)
            return
        status = None
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
        self._fail(str(error) if status is None else f"HTTP status {status}", status)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._timer is not None:
            self._timer.cancel()
        by = Party.CLIENT if self._close_sent else Party.SERVER
        self.caller.connection_lost(self._loop.time(), by)
        self._fail(str(exc) if exc else "the server closed the connection before its response")
        self.closed.set()

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, reason: str, status: int | HTTPStatus | None = None) -> None:
        if not self.connected.done():
            self.connected.set_exception(
                ConnectFailedError(f"no connection to {self._url}: {reason}", status)
            )

    def _on_timer(self) -> None:
        now = self._loop.time()
        self._lags.append(now - self._due)
        self._timer = None
        self.caller.advance(now)
        self._flush()

    def _flush(self) -> None:
        """Send the caller's messages and set the timer for the caller's next action."""
        websocket, transport, session = self._websocket, self._transport, self.caller.session
        assert transport is not None
        for message in session.messages_to_send():
            if isinstance(message, str):
                websocket.send_text(message.encode())
            else:
                websocket.send_binary(message)
        if session.socket_should_close and not self._close_sent:
            self._close_sent = True
            websocket.send_close()
        for data in websocket.data_to_send():
            if data:
                transport.write(data)
        if websocket.handshake_exc is not None:
            transport.abort()
        elif websocket.close_expected() and not self._abort_scheduled:
            # After the closing handshake, the server closes the TCP connection. If the server does
            # not close it in time, the client aborts the connection.
            self._abort_scheduled = True
            self._loop.call_later(_CLOSE_TIMEOUT_SECONDS, transport.abort)
        self._set_timer(self.caller.next_due())

    def _set_timer(self, due: float) -> None:
        if due == self._due and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due == float("inf") else self._loop.call_at(due, self._on_timer)


async def connect(
    url: str, caller: Caller, lags: list[float], options: CallOptions
) -> CallProtocol:
    """Connect a caller to a server; proxies are not used, and redirects are not followed.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        caller: The caller. Its call begins as soon as the server has accepted the connection.
        lags: The delay of each timer is appended here, in seconds.
        options: Credentials, certificates, and the maximum time to connect.

    Returns:
        The connection, which ends after the caller has hung up.

    Raises:
        ConnectFailedError: If the WebSocket cannot be established.
    """
    url = checked_url(url)
    address = urlsplit(url)
    is_tls = address.scheme == "wss"
    protocol = CallProtocol(url, caller, lags, options)
    try:
        async with asyncio.timeout(options.connect_timeout):
            await asyncio.get_running_loop().create_connection(
                lambda: protocol,
                address.hostname or "",
                address.port or (443 if is_tls else 80),
                ssl=(options.ssl or True) if is_tls else None,
            )
            await protocol.connected
    except BaseException as error:
        # If this task is cancelled, the connection may have been established in the same turn of
        # the event loop. No task waits for the future any more. The future is cancelled so that
        # asyncio does not log an unhandled exception.
        protocol.connected.cancel()
        protocol.abort()
        # `TimeoutError` and `ssl.SSLError` are subclasses of `OSError`.
        if isinstance(error, OSError):
            reason = " ".join(str(error).split()) or "no answer in time"
            raise ConnectFailedError(f"no connection to {url}: {reason}") from error
        raise
    return protocol
