"""A protocol class for uvicorn that limits the data and the time of each connection.

Use it with `uvicorn.run(app, http=HttpProtocol)`.

uvicorn's own protocol classes parse all received data in Python, without a limit and without a
pause, so one connection can block the event loop for seconds. `HttpProtocol` reads only the head of
a request. The heads of all connections are handled one after the other, each by uvicorn's h11
protocol or by a `WebSocketConnection`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from http import HTTPStatus
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from .connection_socket import ConnectionSocket
from .websocket_connection import WebSocketConnection

# Maximum number of bytes in one read from the socket.
_READ_SIZE = 4096
# Maximum size of a head in bytes, and maximum number of its lines. The requests of Genesys have
# some 20 lines and 2 KB.
_MAX_HEAD_SIZE = 2**14
_MAX_HEAD_LINES = 100
# Maximum number of bytes in a line of a head. The library `websockets` accepts up to 8192 bytes.
_MAX_LINE_SIZE = 8000
# Maximum time in seconds from the start of a connection to the end of its head.
_HEAD_SECONDS = 5.0
# Maximum number of connections without a complete head. One more connection closes the oldest.
_MAX_WAITING = 1000
# Maximum number of complete heads that wait to be handled. Further requests are refused.
_MAX_QUEUED_HEADS = 500
# The connection is aborted if the client does not read the response to a plain request for this
# time, in seconds.
_BLOCKED_SECONDS = 10.0
_END_OF_HEAD = b"\r\n\r\n"
# Headers that concern only the connection. They are not passed to uvicorn's protocol.
_CONNECTION_HEADERS = frozenset({b"connection", b"upgrade", b"expect", b"keep-alive"})

_logger = logging.getLogger("uvicorn.error")


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection of a server: a request without a body, then its response or a WebSocket.

    * A request is refused if it has a body, a head over 16 KB or 100 lines, or is not HTTP.
    * A head that is not complete after 5 s is refused.
    * Data after the head is not processed before the WebSocket is accepted.
    * A connection serves one plain request; the response closes it.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Create the protocol. uvicorn passes the arguments."""
        if not config.loaded:
            config.load()
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._queue = _HeadQueue.of(server_state, self._loop)
        self._socket: ConnectionSocket
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._head = bytearray()
        self._early = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._plain_check: asyncio.TimerHandle | None = None
        self._plain: H11Protocol | None = None
        self._websocket: WebSocketConnection | None = None

    # -- methods of asyncio's protocol -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        # `isinstance` would fail, because uvloop's transports are not subclasses of asyncio's
        # transports.
        self._socket = ConnectionSocket(cast(asyncio.Transport, transport), self._loop)
        self._server_state.connections.add(self)  # type: ignore[arg-type]  # uvicorn's classes only
        self._deadline = self._loop.call_later(_HEAD_SECONDS, self._head_overdue)
        self._queue.expect(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        if self._socket.is_discarding:
            self._socket.discard(nbytes)
        elif self._websocket is not None:
            self._websocket.data_received(bytes(self._buffer[:nbytes]))
        elif self._plain is not None:
            # The data after the head is a body or a second request, which are not supported.
            self._socket.pause_reading()
        else:
            self._head_received(self._buffer[:nbytes])

    def eof_received(self) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._socket.close()

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._websocket is not None:
            self._websocket.pause_writing()
        elif self._plain is not None:
            self._plain.pause_writing()
            self._deadline = self._loop.call_later(_BLOCKED_SECONDS, self._socket.abort)

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._websocket is not None:
            self._websocket.resume_writing()
        elif self._plain is not None:
            self._cancel_deadline()
            self._plain.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._cancel_deadline()
        if self._plain_check is not None:
            self._plain_check.cancel()
        self._socket.closed()
        self._queue.forget(self)
        self._server_state.connections.discard(self)
        if self._websocket is not None:
            self._websocket.connection_lost()
        elif self._plain is not None:
            self._plain.connection_lost(exc)

    # -- methods of uvicorn's protocol -------------------------------------------------------

    def shutdown(self) -> None:
        """Close the connection because the server stops."""
        if self._websocket is not None:
            self._websocket.shutdown()
        else:
            self._socket.close()

    # -- processing of the request head ------------------------------------------------------

    def drop(self) -> None:
        """Close the connection immediately, because too many connections have not sent a head."""
        self._socket.abort()

    def _head_received(self, data: memoryview) -> None:
        head = self._head
        searched = max(0, len(head) - len(_END_OF_HEAD) + 1)
        head += data
        end = head.find(_END_OF_HEAD, searched)
        if end < 0:
            if len(head) > _MAX_HEAD_SIZE:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        self._socket.pause_reading()
        self._cancel_deadline()
        end += len(_END_OF_HEAD)
        self._early = bytes(head[end:])
        del head[end:]
        if not self._queue.enter(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def head_complete(self) -> None:
        """Handle the request whose head was received. `_HeadQueue` calls this."""
        if self._socket.is_closing:
            return
        head, self._head = bytes(self._head), bytearray()
        lines = head.split(b"\n")
        if (
            len(head) > _MAX_HEAD_SIZE
            or len(lines) > _MAX_HEAD_LINES
            or max(map(len, lines)) > _MAX_LINE_SIZE
        ):
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD_SIZE)
        parser.receive_data(head)
        try:
            request = parser.next_event()
        except h11.RemoteProtocolError:
            self._refuse(HTTPStatus.BAD_REQUEST)
            return
        if not isinstance(request, h11.Request):
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif (refusal := _refusal_of_body(request)) is not None:
            self._refuse(refusal)
        elif _is_websocket(request):
            self._websocket = WebSocketConnection(
                self._socket, self._config, self._server_state, self._app_state, self._loop
            )
            self._websocket.begin(head, self._early)
        else:
            self._serve_plain(request)

    def _serve_plain(self, request: h11.Request) -> None:
        """Pass a request to uvicorn's h11 protocol, as the only request of its connection."""
        self._server_state.connections.discard(self)
        self._plain = H11Protocol(self._config, self._server_state, self._app_state, self._loop)
        self._plain.connection_made(self._socket.transport)
        lines = [b"%s %s HTTP/%s" % (request.method, request.target, request.http_version)]
        lines += [
            b"%s: %s" % (name, value)
            for name, value in request.headers
            if name not in _CONNECTION_HEADERS
        ]
        lines += [b"connection: close", b"", b""]
        self._plain.data_received(b"\r\n".join(lines))
        # The protocol continues to read only to detect that the client closes the connection.
        self._socket.resume_reading()
        self._check_plain(was_closing=False)

    def _check_plain(self, was_closing: bool) -> None:
        """Abort the connection if its closing takes longer than `_BLOCKED_SECONDS`."""
        is_closing = self._socket.transport.is_closing()
        if is_closing and was_closing:
            self._socket.abort()
        else:
            self._plain_check = self._loop.call_later(
                _BLOCKED_SECONDS, self._check_plain, is_closing
            )

    def _head_overdue(self) -> None:
        self._deadline = None
        if self._head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self._socket.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer with an HTTP status, and close the connection."""
        self._cancel_deadline()
        self._queue.forget(self)
        text = status.phrase.encode()
        self._socket.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%s" % (status, text, len(text), text)
        )
        self._socket.finish()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _HeadQueue:
    """The connections of a server whose head is not complete, or is complete and not handled yet.

    One head is handled in each iteration of the event loop, so that running calls continue during a
    flood of requests.
    """

    _of_servers: ClassVar[WeakKeyDictionary[ServerState, _HeadQueue]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # Connections without a complete head, the oldest first.
        self._incomplete: dict[HttpProtocol, None] = {}
        self._complete: deque[HttpProtocol] = deque()

    @classmethod
    def of(cls, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> _HeadQueue:
        """Return the server's queue of request heads; create it at the first use."""
        queue = cls._of_servers.get(server_state)
        if queue is None:
            queue = cls._of_servers[server_state] = cls(loop)
        return queue

    def expect(self, connection: HttpProtocol) -> None:
        """Add a connection that has not sent a head."""
        if len(self._incomplete) >= _MAX_WAITING:
            oldest = next(iter(self._incomplete))
            del self._incomplete[oldest]
            oldest.drop()
        self._incomplete[connection] = None

    def enter(self, connection: HttpProtocol) -> bool:
        """Add a connection with a complete head. Return False if the queue is full."""
        self._incomplete.pop(connection, None)
        if len(self._complete) >= _MAX_QUEUED_HEADS:
            return False
        self._complete.append(connection)
        if len(self._complete) == 1:
            self._loop.call_soon(self._next)
        return True

    def forget(self, connection: HttpProtocol) -> None:
        """Remove a connection that has not sent a head."""
        self._incomplete.pop(connection, None)

    def _next(self) -> None:
        connection = self._complete[0]
        try:
            connection.head_complete()
        finally:
            del self._complete[0]
            if self._complete:
                self._loop.call_soon(self._next)


def _refusal_of_body(request: h11.Request) -> HTTPStatus | None:
    """Return the HTTP status with which a request is refused because it has a body, or None."""
    for name, value in request.headers:
        if name == b"transfer-encoding":
            return HTTPStatus.LENGTH_REQUIRED
        if name == b"content-length" and value.strip(b"0"):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None


def _is_websocket(request: h11.Request) -> bool:
    """Return whether a request asks for a WebSocket."""
    tokens: set[bytes] = set()
    upgrade = b""
    for name, value in request.headers:
        if name == b"connection":
            tokens |= {token.strip().lower() for token in value.split(b",")}
        elif name == b"upgrade":
            upgrade = value.lower()
    return b"upgrade" in tokens and upgrade == b"websocket"
