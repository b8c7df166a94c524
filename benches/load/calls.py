"""A caller on a WebSocket: callbacks alone, so that hundreds cost little."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from pipecat_genesys.simulator import CallOptions, Party, audiohook_headers
from pipecat_genesys.simulator.connection import upgrade_headers
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from . import API_KEY
from .caller import Caller

_CLOSE_SECONDS = 2.0


class CallProtocol(asyncio.Protocol):
    """Carries one call over one connection.

    Args:
        url: The server.
        caller: Who calls.
        lags: Where to note by how much the caller was late, in seconds: the generator's own fault.
        options: What to sign with, for a server that asks who calls.
    """

    def __init__(
        self, url: str, caller: Caller, lags: list[float], options: CallOptions | None = None
    ) -> None:
        self.caller = caller
        self._headers = audiohook_headers(caller.parameters, API_KEY)
        if options is not None:
            self._headers = upgrade_headers(url, self._headers, options)
        self.over = asyncio.Event()
        self._lags = lags
        self._websocket = ClientProtocol(parse_uri(url), max_size=2**24)
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._due = float("inf")
        self._closing = False
        self._leaving = False
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
        by = Party.CLIENT if self._closing else Party.SERVER
        self.caller.lost(self._loop.time(), by)
        self.over.set()

    def _on_time(self) -> None:
        now = self._loop.time()
        self._lags.append(now - self._due)
        self._timer = None
        self.caller.advance(now)
        self._flush()

    def _flush(self) -> None:
        """Send what there is, and set the timer for what comes."""
        websocket, transport, session = self._websocket, self._transport, self.caller.session
        assert transport is not None
        for message in session.messages_to_send():
            if isinstance(message, str):
                websocket.send_text(message.encode())
            else:
                websocket.send_binary(message)
        if session.socket_should_close and not self._closing:
            self._closing = True
            websocket.send_close()
        for data in websocket.data_to_send():
            if data:
                transport.write(data)
        if websocket.handshake_exc is not None:
            transport.abort()
        elif websocket.close_expected() and not self._leaving:
            # The server closes the connection; one that does not is left.
            self._leaving = True
            self._loop.call_later(_CLOSE_SECONDS, transport.abort)
        due = self.caller.due()
        if due == self._due and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = None if due == float("inf") else self._at(due)

    def _at(self, due: float) -> asyncio.TimerHandle:
        return self._loop.call_at(due, self._on_time)


def plan(count: int, gap: float, plateau: float, begin: float) -> list[dict[str, Any]]:
    """When each call begins and hangs up, on the clock of ``begin``.

    One after the other they come, all are there for ``plateau`` seconds, and then they go in the
    order in which they came.
    """
    length = gap * count + plateau
    return [
        {"begin": begin + number * gap, "hang_up_at": begin + number * gap + length}
        for number in range(count)
    ]


def presses(number: int, length: float) -> list[float]:
    """When a caller presses a key, in seconds from ``open``: once, in the middle of the plateau."""
    return [0.5 * length + 0.05 * (number % 20)]
