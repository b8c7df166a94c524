"""A WebSocket connection of an ASGI application, with limits on the data that its peer sends.

The library `websockets` parses and builds the frames; its protocol object does no I/O. This module
connects that object with ASGI and enforces the limits. If a peer sends more than the limits allow,
its data is read slowly, so that the data waits at the peer and not in this process.
"""

from __future__ import annotations

import asyncio
import email.utils
import logging
from collections import deque
from collections.abc import MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from uvicorn.config import Config
from uvicorn.protocols.utils import ClientDisconnected, get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from .connection_socket import ConnectionSocket

Message = MutableMapping[str, Any]

# The budget for frames of all kinds: the number of frames per second, and the number of frames in a
# burst. A call has about ten messages per second, and 100 messages without a pause after a
# reconnection. The AudioHook protocol allows 200 ms of audio in 1600 messages.
_FRAMES_PER_SECOND = 200.0
_FRAME_BURST = 2000.0
# Number of payload bytes that count as one frame in the budget.
_PAYLOAD_PER_FRAME = 4096
# Size in bytes of the smallest frame of a client, which is empty and masked.
_LEAST_FRAME = 6
# Maximum number of bytes that are parsed in one step. These bytes contain at most 340 empty frames,
# which take about 2 ms. After `_FRAMES_PER_TURN` frames or more, parsing continues in the next
# iteration of the event loop.
_PARSED_AT_ONCE = 2048
_FRAMES_PER_TURN = 50
# When the budget is used up, reading stops until the budget allows this number of frames again.
_RESUME_FRAMES = 20.0
# The WebSocket is closed if reading was paused for more than this time in total, in seconds,
# because the budget was used up. The total is reset to zero when the budget is full.
_MAX_THROTTLED_SECONDS = 30.0
# Reading stops while this number of messages, or this number of bytes, waits for the application.
_MAX_QUEUED_MESSAGES = 16
_MAX_QUEUED_SIZE = 2**16
# Number of messages that the application can receive in succession before other tasks run.
_MESSAGES_PER_TURN = 4
# Maximum time in seconds until the application accepts or refuses the WebSocket.
_ANSWER_SECONDS = 30.0
# Maximum time in seconds until the peer answers a close frame.
_CLOSE_SECONDS = 5.0

_logger = logging.getLogger("uvicorn.error")


class WebSocketConnection:
    """Handles one WebSocket, from its upgrade request to its end.

    No data is read between the upgrade request and the application's answer. After the answer, each
    frame of any kind counts against a budget of frames per second. Reading stops while the budget
    is used up, while messages wait for the application, and while the peer does not read the
    written data.
    """

    def __init__(
        self,
        socket: ConnectionSocket,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Create the connection; `begin` starts the application.

        Args:
            socket: The socket; reading must be paused.
            config: The configuration of uvicorn.
            server_state: The state that the connections of a server share.
            app_state: The state that the application's lifespan has set.
            loop: The event loop.
        """
        self._socket = socket
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = loop
        self._protocol = ServerProtocol(max_size=config.ws_max_size)
        self._scope: dict[str, Any] = {}
        # The prepared 101 response; None before `begin` and after the application has answered.
        self._acceptance: Response | None = None
        self._denial: tuple[int, list[tuple[str, str]], bytearray] | None = None
        self._is_open = False
        self._is_lost = False
        self._close_sent = False
        self._deadline: asyncio.TimerHandle | None = None

        self._events: deque[Message] = deque()
        self._receivers: deque[asyncio.Future[None]] = deque()
        self._queued_size = 0
        self._taken_in_a_row = 0
        self._disconnect: Message | None = None
        self._fragments = bytearray()
        self._is_text = False
        self._unparsed = b""
        self._writable = asyncio.Event()
        self._writable.set()

        self._frames = _FRAME_BURST
        self._frames_at = loop.time()
        self._pause: asyncio.Handle | None = None
        self._throttled_seconds = 0.0

    # -- WebSocket handshake -----------------------------------------------------------------

    def begin(self, head: bytes, early: bytes) -> None:
        """Start the application with an upgrade request.

        Args:
            head: The request, without a body.
            early: The data that followed the request in the same read.
        """
        protocol = self._protocol
        protocol.receive_data(head)
        events = protocol.events_received()
        if not events:
            rejection = protocol.reject(HTTPStatus.BAD_REQUEST, "Invalid upgrade request\n")
            self._socket.write(rejection.serialize())
            self._socket.finish()
            return
        request = events[0]
        assert isinstance(request, Request)
        response = protocol.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._respond(response)
            return
        self._acceptance = response
        self._unparsed = early
        self._scope = self._make_scope(request)
        self._put_event({"type": "websocket.connect"})
        self._deadline = self._loop.call_later(_ANSWER_SECONDS, self._answer_overdue)
        task = self._loop.create_task(self._run())
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _make_scope(self, request: Request) -> dict[str, Any]:
        transport = self._socket.transport
        path, _, query = request.path.partition("?")
        root_path = self._config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self._config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(transport) else "ws",
            "server": get_local_addr(transport),
            "client": get_remote_addr(transport),
            "root_path": root_path,
            "path": root_path + unquote(path),
            "raw_path": (root_path + path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [
                (name.lower().encode("ascii"), value.encode("latin-1", "surrogateescape"))
                for name, value in request.headers.raw_items()
            ],
            "subprotocols": [
                token.strip()
                for value in request.headers.get_all("Sec-WebSocket-Protocol")
                for token in value.split(",")
            ],
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    async def _run(self) -> None:
        try:
            await self._config.loaded_app(self._scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except asyncio.CancelledError:
            self._socket.abort()
            raise
        except BaseException:
            # SystemExit is caught too, because it would end the server and all other calls.
            _logger.exception("Exception in ASGI application\n")
            self._application_ended(1011)
        else:
            if self._acceptance is not None:
                _logger.error("The application returned without answering an upgrade request")
            self._application_ended(1000)

    def _application_ended(self, code: int) -> None:
        if self._acceptance is not None:
            self._deny(500, [], b"Internal Server Error")
        elif self._is_open:
            self._close(code, "")

    def _answer_overdue(self) -> None:
        if self._acceptance is not None:
            _logger.warning(
                "The application did not answer an upgrade request within %d s", _ANSWER_SECONDS
            )
            self._deny(503, [], b"Service Unavailable")

    def _accept(self, message: Message) -> None:
        response = self._acceptance
        assert response is not None
        headers = [*self._server_state.default_headers, *message.get("headers", ())]
        if subprotocol := message.get("subprotocol"):
            headers.append((b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1")))
        del response.headers["Date"]
        for name, value in headers:
            response.headers[name.decode("latin-1")] = value.decode("latin-1")
        self._answered()
        self._is_open = True
        self._protocol.send_response(response)
        self._flush()
        self._parse()

    def _deny(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self._answered()
        response_headers = Headers(headers)
        response_headers.setdefault("Date", email.utils.formatdate(usegmt=True))
        response_headers.setdefault("Connection", "close")
        response_headers.setdefault("Content-Length", str(len(body)))
        response_headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        self._respond(Response(status, _phrase(status), response_headers, body))
        self._disconnected(1006)

    def _answered(self) -> None:
        self._acceptance = None
        self._cancel_deadline()

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _respond(self, response: Response) -> None:
        """Send an HTTP response that refuses the WebSocket, and close the connection."""
        self._protocol.send_response(response)
        self._flush()
        self._socket.finish()

    # -- data from the peer ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Handle data from the socket."""
        self._unparsed = self._unparsed + data if self._unparsed else data
        self._parse()

    def _parse(self) -> None:
        """Parse received data as far as the limits allow, and pause or resume reading."""
        protocol = self._protocol
        parsed = 0
        while self._unparsed and self._is_open:
            if parsed >= _FRAMES_PER_TURN and self._pause is None:
                self._pause = self._loop.call_soon(self._pause_over)
            if not self._may_parse():
                if self._is_open:
                    self._socket.pause_reading()
                return
            # The budget is enough for `size` bytes even if they contain only empty frames.
            size = min(int(self._frames) * _LEAST_FRAME, _PARSED_AT_ONCE)
            data, self._unparsed = self._unparsed[:size], self._unparsed[size:]
            protocol.receive_data(data)
            frames = protocol.events_received()
            parsed += len(frames)
            self._frames -= len(frames) + len(data) / _PAYLOAD_PER_FRAME
            for frame in frames:
                assert isinstance(frame, Frame)
                self._frame_received(frame)
            self._flush()
            if protocol.parser_exc is not None:
                self._failed()
        if self._is_open:
            self._socket.resume_reading()

    def _may_parse(self) -> bool:
        if self._pause is not None or not self._writable.is_set():
            return False
        if not self._close_sent and (
            len(self._events) >= _MAX_QUEUED_MESSAGES or self._queued_size >= _MAX_QUEUED_SIZE
        ):
            return False
        now = self._loop.time()
        frames = self._frames + (now - self._frames_at) * _FRAMES_PER_SECOND
        self._frames_at = now
        if frames >= _FRAME_BURST:
            frames, self._throttled_seconds = _FRAME_BURST, 0.0
        self._frames = frames
        if frames >= 1:
            return True
        wait = (_RESUME_FRAMES - frames) / _FRAMES_PER_SECOND
        self._throttled_seconds += wait
        if self._throttled_seconds > _MAX_THROTTLED_SECONDS:
            self._fail(1008, "too many frames")
        else:
            self._pause = self._loop.call_later(wait, self._pause_over)
        return False

    def _pause_over(self) -> None:
        self._pause = None
        self._parse()

    def _frame_received(self, frame: Frame) -> None:
        opcode = frame.opcode
        if opcode is Opcode.BINARY or opcode is Opcode.TEXT or opcode is Opcode.CONT:
            if not self._close_sent:
                self._data_received(frame)
        elif opcode is Opcode.CLOSE:
            self._close_received()
        # The protocol object answers pings; pongs need no answer.

    def _data_received(self, frame: Frame) -> None:
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
            if frame.fin:
                self._message_received(bytes(frame.data))
                return
        self._fragments += frame.data
        if frame.fin:
            data, self._fragments = bytes(self._fragments), bytearray()
            self._message_received(data)

    def _message_received(self, data: bytes) -> None:
        message: Message = {"type": "websocket.receive"}
        if self._is_text:
            try:
                message["text"] = data.decode()
            except UnicodeDecodeError:
                self._fail(1007, "invalid UTF-8")
                return
        else:
            message["bytes"] = data
        self._queued_size += _size(message)
        self._put_event(message)

    def _close_received(self) -> None:
        close = self._protocol.close_rcvd
        assert close is not None
        self._flush()
        self._is_open = False
        self._disconnected(close.code, close.reason)
        self._socket.finish()

    def _fail(self, code: int, reason: str) -> None:
        """Close the WebSocket because the peer broke a rule."""
        if self._is_open:
            self._protocol.fail(code, reason)
            self._flush()
            self._failed()

    def _failed(self) -> None:
        close = self._protocol.close_sent
        self._is_open = False
        self._disconnected(close.code if close else 1006, close.reason if close else "")
        self._socket.finish()

    # -- events from the application ---------------------------------------------------------

    async def receive(self) -> Message:
        """Return the next event for the application, as ASGI specifies."""
        if not self._events:
            if self._disconnect is not None:
                return self._disconnect
            self._taken_in_a_row = 0
            while not self._events:
                receiver = self._loop.create_future()
                self._receivers.append(receiver)
                await receiver
        elif self._taken_in_a_row >= _MESSAGES_PER_TURN:
            self._taken_in_a_row = 0
            await asyncio.sleep(0)
        message = self._events.popleft()
        self._taken_in_a_row += 1
        if message["type"] == "websocket.receive":
            self._queued_size -= _size(message)
            if self._unparsed:
                self._parse()
        return message

    def _put_event(self, message: Message) -> None:
        self._events.append(message)
        while self._receivers:
            receiver = self._receivers.popleft()
            if not receiver.done():
                receiver.set_result(None)
                break

    async def send(self, message: Message) -> None:
        """Process an event from the application, as ASGI specifies.

        Raises:
            ClientDisconnected: If the connection is closed.
            RuntimeError: If ASGI does not allow the event in the current state.
        """
        kind = message["type"]
        if kind == "websocket.send" and not self._writable.is_set():
            await self._writable.wait()
        if self._is_lost:
            raise ClientDisconnected
        if self._acceptance is not None:
            self._answer(kind, message)
        elif self._is_open and kind == "websocket.send" and not self._close_sent:
            self._send(message)
        elif self._is_open and kind == "websocket.close" and not self._close_sent:
            self._close(message.get("code", 1000), message.get("reason") or "")
        elif self._disconnect is not None:
            raise ClientDisconnected
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _answer(self, kind: str, message: Message) -> None:
        if self._denial is not None:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"unexpected ASGI message {kind!r} in a denial response")
            status, headers, body = self._denial
            body += message.get("body", b"")
            if not message.get("more_body", False):
                self._deny(status, headers, bytes(body))
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._deny(403, [], b"")
        elif kind == "websocket.http.response.start":
            headers = [
                (name.decode("latin-1"), value.decode("latin-1"))
                for name, value in message.get("headers", ())
            ]
            self._denial = (message["status"], headers, bytearray())
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r} before 'websocket.accept'")

    def _send(self, message: Message) -> None:
        data, text = message.get("bytes"), message.get("text")
        try:
            if data is not None:
                self._protocol.send_binary(data)
            elif text is not None:
                self._protocol.send_text(text.encode())
        except InvalidState:
            raise ClientDisconnected from None
        self._flush()

    def _close(self, code: int, reason: str) -> None:
        """Send a close frame, and wait for the peer's close frame for a limited time.

        Unlike a message, a close frame is written immediately and does not wait until the peer
        reads data, because the peer may never read data.
        """
        if self._close_sent:
            return
        self._close_sent = True
        self._protocol.send_close(code, reason)
        self._flush()
        self._disconnected(code, reason)
        self._deadline = self._loop.call_later(_CLOSE_SECONDS, self._socket.abort)
        self._fragments.clear()
        self._parse()

    def _flush(self) -> None:
        data = self._protocol.data_to_send()
        if data:
            self._socket.write(data[0] if len(data) == 1 else b"".join(data))

    def _disconnected(self, code: int, reason: str = "") -> None:
        """Queue one `websocket.disconnect` event for the application."""
        if self._disconnect is None:
            self._disconnect = {
                "type": "websocket.disconnect",
                "code": code,
                "reason": reason,
            }
            self._put_event(self._disconnect)
            # Resume a `send` that waits until data can be written.
            self._writable.set()

    # -- calls from the event loop and the server --------------------------------------------

    def pause_writing(self) -> None:
        """Stop reading and sending messages until the peer has read the written data."""
        if self._disconnect is None:
            self._writable.clear()
            self._parse()

    def resume_writing(self) -> None:
        """Continue reading and sending messages, because the peer has read data."""
        self._writable.set()
        self._parse()

    def shutdown(self) -> None:
        """Refuse or close the WebSocket because the server stops."""
        if self._acceptance is not None:
            self._deny(503, [], b"Service Unavailable")
        elif self._is_open:
            self._close(1012, "")

    def connection_lost(self) -> None:
        """Handle the end of the socket, and inform the application."""
        was_open = self._is_open
        self._is_lost, self._is_open = True, False
        self._acceptance = None
        self._cancel_deadline()
        if self._pause is not None:
            self._pause.cancel()
        self._unparsed = b""
        self._disconnected(1005 if was_open else 1006)


def _size(message: Message) -> int:
    return len(message["text"] if "text" in message else message["bytes"])


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
