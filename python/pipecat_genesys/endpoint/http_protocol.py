"""A protocol class for uvicorn that limits the data and the time of each connection.

Use it with `uvicorn.run(app, http=HttpProtocol)`.

uvicorn's own protocol classes parse all received data in Python, without a limit and without a
pause, so one connection can block the event loop for seconds. `HttpProtocol` reads the head and the
body of a request in small parts, the parts of all connections one after the other. Then uvicorn's
h11 protocol or a `WebSocketConnection` handles the request.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.utils import get_remote_addr
from uvicorn.server import ServerState

from .connection_socket import ConnectionSocket
from .refusal_log import RefusalLog
from .websocket_connection import WebSocketConnection

# Maximum number of bytes in one read from the socket.
_READ_SIZE = 4096
# Maximum size of a head in bytes, and maximum number of its lines. The requests of Genesys have
# about 20 lines and 2 KB.
_MAX_HEAD_SIZE = 2**14
_MAX_HEAD_LINES = 100
# Maximum number of bytes in a line of a head. The library `websockets` accepts up to 8192 bytes.
_MAX_LINE_SIZE = 8000
# Maximum time in seconds from the start of a connection to the end of its head.
_HEAD_SECONDS = 5.0
# Maximum number of connections without a complete request. If there is one more, the oldest of
# them is closed.
_MAX_WAITING = 500
# Maximum number of complete heads that wait to be handled. Further requests are refused.
_MAX_QUEUED_HEADS = 250
# Maximum size of a body in bytes, as received, and maximum number of its parts. A part is a chunk,
# or the data of one read.
_MAX_BODY_SIZE = 2**20
_MAX_BODY_PARTS = 10_000
# Maximum number of parts that are parsed in one iteration of the event loop. A part takes
# about 20 us.
_PARTS_PER_TURN = 20
# Maximum size in bytes of the header of a chunk and of the trailers after the last chunk.
_MAX_CHUNK_HEADER_SIZE = 1024
# Maximum time in seconds from the end of the head to the end of the body.
_BODY_SECONDS = 20.0
# Maximum size in bytes of all incomplete bodies of a server. If they exceed it, the oldest body
# is refused.
_MAX_BODIES_SIZE = 6 * 2**20
# The connection is aborted if the client does not read the response to a plain request for this
# time, in seconds.
_BLOCKED_SECONDS = 10.0
_END_OF_HEAD = b"\r\n\r\n"
# Headers that concern only the connection. They are not passed to uvicorn's protocol.
_CONNECTION_HEADERS = frozenset({b"connection", b"upgrade", b"expect", b"keep-alive"})
# Headers that describe the length of a body. They are replaced when the body is complete.
_LENGTH_HEADERS = frozenset({b"content-length", b"transfer-encoding"})

_logger = logging.getLogger("uvicorn.error")


class HttpProtocol(asyncio.BufferedProtocol):
    """One connection of a server: a request, then its response or a WebSocket.

    * A request is refused if it has a head over 16 KB or 100 lines, or is not HTTP.
    * A head that is not complete after 5 s is refused.
    * A body is refused if it is over 1 MB, has more than 10 000 chunks, or takes more than 20 s.
      The application is called when the body is complete.
    * An upgrade request with a body is refused. Data after its head is not processed before the
      WebSocket is accepted.
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
        self._requests = _Requests.of(server_state, self._loop)
        self._socket: ConnectionSocket
        self._buffer = memoryview(bytearray(_READ_SIZE))
        self._head = bytearray()
        self._early = b""
        self._deadline: asyncio.TimerHandle | None = None
        self._plain_check: asyncio.TimerHandle | None = None
        self._body: _Body | None = None
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
        self._requests.expect(self)

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
            # The data after the request is a second request, which is not supported.
            self._socket.stop_reading()
        elif self._body is not None:
            self._body_received(self._body, bytes(self._buffer[:nbytes]))
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
        self._requests.forget(self)
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

    # -- the head of the request -------------------------------------------------------------

    def drop(self) -> None:
        """Close the connection immediately, because too many requests are incomplete."""
        self._log_refusal("closed, because too many connections have not sent a request")
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
        if not self._requests.enqueue_head(self):
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def handle_head(self) -> None:
        """Handle the head that was received. `_Requests` calls this method."""
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
        # The limit does not apply to the head, which is complete.
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_CHUNK_HEADER_SIZE)
        parser.receive_data(head)
        try:
            request = parser.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(HTTPStatus(error.error_status_hint))
            return
        if not isinstance(request, h11.Request):
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif _is_websocket(request):
            if (refusal := _refusal_of_body(request)) is not None:
                self._refuse(refusal)
                return
            self._websocket = WebSocketConnection(
                self._socket, self._config, self._server_state, self._app_state, self._loop
            )
            self._websocket.begin(head, self._early)
        elif _refusal_of_body(request) is None:
            self._serve_plain(request, None)
        else:
            self._expect_body(request, parser)

    # -- the body of the request -------------------------------------------------------------

    def _expect_body(self, request: h11.Request, parser: h11.Connection) -> None:
        """Begin to read the body of a request."""
        if _content_length(request) > _MAX_BODY_SIZE:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        if parser.they_are_waiting_for_100_continue and not self._early:
            self._socket.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._body = _Body(request, parser)
        self._deadline = self._loop.call_later(
            _BODY_SECONDS, self._refuse, HTTPStatus.REQUEST_TIMEOUT
        )
        self._requests.expect(self)
        self._body_received(self._body, self._early)

    def _body_received(self, body: _Body, data: bytes) -> None:
        self._socket.pause_reading()
        if not body.receive(data):
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        self._requests.enqueue_body(self)

    def handle_body(self) -> None:
        """Parse a part of the body. `_Requests` calls this method."""
        body = self._body
        if body is None or self._socket.is_closing:
            return
        try:
            event = body.parse()
        except h11.RemoteProtocolError as error:
            self._refuse(HTTPStatus(error.error_status_hint))
            return
        if body.is_too_large:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        elif event is h11.NEED_DATA:
            self._socket.resume_reading()
            self._requests.count_body(self, body.size)
        elif isinstance(event, h11.EndOfMessage):
            self._cancel_deadline()
            self._requests.forget(self)
            self._body = None
            self._serve_plain(body.request, body.content)
        else:
            self._requests.enqueue_body(self)

    def refuse_body(self) -> None:
        """Refuse the body, because the bodies of all connections are too large together."""
        self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    # -- the response to a plain request -----------------------------------------------------

    def _serve_plain(self, request: h11.Request, body: bytes | None) -> None:
        """Pass a request to uvicorn's h11 protocol, as the only request of its connection."""
        self._server_state.connections.discard(self)
        self._plain = H11Protocol(self._config, self._server_state, self._app_state, self._loop)
        self._plain.connection_made(self._socket.transport)
        lines = [b"%s %s HTTP/%s" % (request.method, request.target, request.http_version)]
        dropped = _CONNECTION_HEADERS if body is None else _CONNECTION_HEADERS | _LENGTH_HEADERS
        lines += [
            b"%s: %s" % (name, value) for name, value in request.headers if name not in dropped
        ]
        if body is not None:
            lines.append(b"content-length: %d" % len(body))
        lines += [b"connection: close", b"", body or b""]
        # The protocol continues to read only to detect that the client closes the connection.
        self._socket.resume_reading()
        self._plain.data_received(b"\r\n".join(lines))
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
        self._requests.forget(self)
        self._body = None
        self._log_refusal(f"HTTP {status} {status.phrase}")
        text = status.phrase.encode()
        self._socket.write(
            b"HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n"
            b"Connection: close\r\n\r\n%s" % (status, text, len(text), text)
        )
        self._socket.finish()

    def _log_refusal(self, detail: str) -> None:
        address = get_remote_addr(self._socket.transport)
        self._requests.refusal_log.add(address[0] if address else "unknown", "http", detail)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class _Body:
    """The body of a request, which is parsed in small parts.

    Attributes:
        request: The head of the request.
        is_too_large: Whether the body has more parts than allowed.
    """

    def __init__(self, request: h11.Request, parser: h11.Connection) -> None:
        """Create an empty body.

        Args:
            request: The head of the request.
            parser: The parser that has parsed the head.
        """
        self.request = request
        self.is_too_large = False
        self._parser = parser
        self._content = bytearray()
        self._received = 0
        self._parts = 0

    @property
    def content(self) -> bytes:
        """The content that was parsed so far."""
        return bytes(self._content)

    @property
    def size(self) -> int:
        """Number of bytes of the content that was parsed so far."""
        return len(self._content)

    def receive(self, data: bytes) -> bool:
        """Add received data. Return False if the body is too large."""
        self._received += len(data)
        if data:
            self._parser.receive_data(data)
        return self._received <= _MAX_BODY_SIZE

    def parse(self) -> object:
        """Parse some parts, and return the last event of the parser.

        Raises:
            h11.RemoteProtocolError: If the data is not a body.
        """
        for _ in range(_PARTS_PER_TURN):
            event = self._parser.next_event()
            if not isinstance(event, h11.Data):
                break
            self._content += event.data
            self._parts += 1
        self.is_too_large = self._parts > _MAX_BODY_PARTS
        return event


class _Requests:
    """The requests of a server that are not complete, or are complete and not handled yet.

    One head and a part of one body are handled in each iteration of the event loop, so that running
    calls continue during a flood of requests.

    Attributes:
        refusal_log: Logs the refused requests.
    """

    _of_servers: ClassVar[WeakKeyDictionary[ServerState, _Requests]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.refusal_log = RefusalLog()
        # Connections without a complete request, the oldest first.
        self._incomplete: dict[HttpProtocol, None] = {}
        # Sizes of the incomplete bodies, the oldest first.
        self._bodies: dict[HttpProtocol, int] = {}
        self._bodies_size = 0
        self._heads = _Turns(loop, HttpProtocol.handle_head)
        self._parts = _Turns(loop, HttpProtocol.handle_body)

    @classmethod
    def of(cls, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> _Requests:
        """Return the requests of a server; create the object at the first use."""
        requests = cls._of_servers.get(server_state)
        if requests is None:
            requests = cls._of_servers[server_state] = cls(loop)
        return requests

    def expect(self, connection: HttpProtocol) -> None:
        """Add a connection that has not sent a head, or not sent a body."""
        if len(self._incomplete) >= _MAX_WAITING:
            oldest = next(iter(self._incomplete))
            del self._incomplete[oldest]
            oldest.drop()
        self._incomplete[connection] = None

    def enqueue_head(self, connection: HttpProtocol) -> bool:
        """Add a connection with a complete head. Return False if the queue is full."""
        self._incomplete.pop(connection, None)
        if len(self._heads) >= _MAX_QUEUED_HEADS:
            return False
        self._heads.add(connection)
        return True

    def enqueue_body(self, connection: HttpProtocol) -> None:
        """Add a connection that has received a part of a body."""
        self._parts.add(connection)

    def count_body(self, connection: HttpProtocol, size: int) -> None:
        """Refuse the oldest bodies, if all incomplete bodies are too large together.

        Args:
            connection: A connection whose body is not complete.
            size: Number of bytes of this body so far.
        """
        self._bodies_size += size - self._bodies.get(connection, 0)
        self._bodies[connection] = size
        while self._bodies_size > _MAX_BODIES_SIZE:
            next(iter(self._bodies)).refuse_body()

    def forget(self, connection: HttpProtocol) -> None:
        """Remove a connection, because its request is complete, is refused, or is lost."""
        self._incomplete.pop(connection, None)
        self._bodies_size -= self._bodies.pop(connection, 0)


class _Turns:
    """A queue of connections, of which one is handled in each iteration of the event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, handle: Callable[[HttpProtocol], None]
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._queue: deque[HttpProtocol] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, connection: HttpProtocol) -> None:
        """Add a connection."""
        self._queue.append(connection)
        if len(self._queue) == 1:
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        connection = self._queue[0]
        try:
            self._handle(connection)
        finally:
            del self._queue[0]
            if self._queue:
                self._loop.call_soon(self._next)


def _refusal_of_body(request: h11.Request) -> HTTPStatus | None:
    """Return the HTTP status with which an upgrade request is refused if it has a body, or None."""
    for name, value in request.headers:
        if name == b"transfer-encoding":
            return HTTPStatus.LENGTH_REQUIRED
        if name == b"content-length" and value.strip(b"0"):
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return None


def _content_length(request: h11.Request) -> int:
    """Return the length of the body that the head announces; 0 if it announces none."""
    return int(dict(request.headers).get(b"content-length", b"0"))


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
