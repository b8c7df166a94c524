"""A caller's WebSocket connection, with callbacks, so that many calls need little CPU time."""

from __future__ import annotations

import asyncio
from typing import cast

from pipecat_genesys.simulator import CallOptions, Party, audiohook_headers
from pipecat_genesys.simulator.connection import upgrade_headers
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from . import API_KEY
from .caller import Caller

_CLOSE_TIMEOUT_SECONDS = 2.0


class CallProtocol(asyncio.Protocol):
    """Carries one call over one connection.

    Args:
        url: URL of the server.
        caller: The caller.
        lags: List to which the delay of each timer is appended, in seconds. The load generator, and
            not the server, causes these delays.
        options: Credentials for the signature, for a server that requires one.
    """

    def __init__(
        self, url: str, caller: Caller, lags: list[float], options: CallOptions | None = None
    ) -> None:
        self.caller = caller
        self._headers = audiohook_headers(caller.parameters, API_KEY)
        if options is not None:
            self._headers = upgrade_headers(url, self._headers, options)
        self.closed = asyncio.Event()
        self._lags = lags
        self._websocket = ClientProtocol(parse_uri(url), max_size=2**24)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")
        self._close_sent = False
        self._abort_scheduled = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        request = self._websocket.connect()
        request.headers.update(self._headers)
        self._websocket.send_request(request)
        self._flush()

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Response):
                self.caller.start(now)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT:
                self.caller.receive(bytes(event.data).decode(), now)
            elif isinstance(event, Frame) and event.opcode is Opcode.BINARY:
                self.caller.receive(bytes(event.data), now)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        by = Party.CLIENT if self._close_sent else Party.SERVER
        self.caller.connection_lost(self._loop.time(), by)
        self.closed.set()

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
            # The server must close the connection. If the server does not, the client aborts the
            # connection.
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
