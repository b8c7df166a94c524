"""One client connection to the checked server.

Unlike the simulator's client, the connection neither checks nor answers the messages of the
server. A check can send any data on the connection, valid or invalid. The connection numbers
the messages that a check sends, unless the check gives a `seq`, and records everything it receives,
in order.
"""

# Every waiting method has an argument `timeout`, because its error message states the timeout.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import CallParameters
from pipecat_genesys.simulator.connection import open_websocket

from .errors import CheckFailedError, CheckSkippedError, ConnectionLostError

Message = dict[str, Any]
"""A JSON object, as received or as sent."""

_SILENCE = {"PCMU": b"\xff", "L16": b"\0"}
_SAMPLE_BYTES = {"PCMU": 1, "L16": 2}
_SOCKET_CLOSE_TIMEOUT = 1.0
_MAX_SHOWN = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a check waits, in seconds.

    The defaults of `connect`, `open`, `pong` and `close` are the limits of Genesys.

    Attributes:
        connect: Limit for the WebSocket handshake.
        open: Limit from `open` to `opened`.
        pong: Limit from `ping` to `pong`.
        close: Limit from `close` to `closed`.
        observation: Time that a check watches the connection for messages that must not arrive.
        conversation: Length of the call in which message rates are measured.
        restart: Limit for the server to accept connections again after a crash.
    """

    connect: float = 10.0
    open: float = 5.0
    pong: float = 5.0
    close: float = 10.0
    observation: float = 1.0
    conversation: float = 12.0
    restart: float = 30.0


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """One message from the server.

    Attributes:
        at: Arrival time, in seconds since the connection was established.
        content: The JSON object; text that is not a JSON object as `str`; audio as `bytes`.
        size: Length of the message on the wire, in bytes.
        client_seq: The newest `seq` that the client had sent when the message arrived.
    """

    at: float
    content: Message | str | bytes
    size: int
    client_seq: int


@dataclass(frozen=True, slots=True)
class SocketClosure:
    """How the WebSocket was closed.

    Attributes:
        at: Time of the closure, in seconds since the connection was established.
        code: Close code from the server; None if the connection ended without a close frame.
    """

    at: float
    code: int | None


class CheckedConnection:
    """A connection to the checked server, used with `async with`.

    Entering the context connects; leaving the context closes the WebSocket.

    Args:
        url: The server's URL, `ws://` or `wss://`.
        headers: Headers of the upgrade request.
        call: Identity of the call and the media that `open` offers.
        timeouts: How long to wait for the server.
        ssl: TLS settings for `wss://`; None for the defaults.
        rtt: Round-trip time of the simulated network, in seconds; each message is delayed by half
            of this time.

    Attributes:
        received: All messages from the server, in the order of arrival.
        closure: How the WebSocket was closed; None while it is open.
        seq: The `seq` of the newest message sent.
        position: The stream position, in samples.
        timeouts: How long to wait for the server.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        call: CallParameters,
        timeouts: Timeouts,
        ssl: SSLContext | None = None,
        rtt: float = 0.0,
    ) -> None:
        self.call = call
        self.received: list[ReceivedMessage] = []
        self.closure: SocketClosure | None = None
        self.seq = 0
        self.position = 0
        self.timeouts = timeouts
        self._url, self._headers, self._ssl = url, headers, ssl
        self._delay = rtt / 2
        self._sending: set[asyncio.Task[None]] = set()
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._connected_at = 0.0

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectFailedError: If the connection or the WebSocket handshake fails.
        """
        self._socket = await open_websocket(
            self._url,
            self._headers,
            timeout=self.timeouts.connect,
            close_timeout=_SOCKET_CLOSE_TIMEOUT,
            ssl=self._ssl,
        )
        self._connected_at = time.monotonic()
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the WebSocket and stop reading."""
        assert self._socket is not None
        assert self._reader is not None
        if self._delay:
            await asyncio.gather(*self._sending)
        await self._socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                self._deliver(self._take_message, await socket.recv())
        except ConnectionClosed as closed:
            self._deliver(self._take_closure, closed)

    def _deliver(self, take: Callable[[Any], None], item: object) -> None:
        """Call `take` with `item`, after the delay of the simulated network if there is one."""
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, take, item)
        else:
            take(item)

    def _take_message(self, data: str | bytes) -> None:
        size = len(data.encode() if isinstance(data, str) else data)
        self.received.append(ReceivedMessage(self.now, _parsed(data), size, self.seq))
        self._changed.set()

    def _take_closure(self, closed: ConnectionClosed) -> None:
        self.closure = SocketClosure(self.now, closed.rcvd.code if closed.rcvd else None)
        self._changed.set()

    @property
    def now(self) -> float:
        """Seconds since the connection was established."""
        return time.monotonic() - self._connected_at

    # Sending.

    async def send(
        self, type: str, parameters: Mapping[str, Any] | None = None, **envelope: Any
    ) -> int:
        """Send a message.

        Args:
            type: The message's `type`.
            parameters: The message's `parameters`; None for an empty object.
            **envelope: Envelope fields that replace the correct ones; None removes a field.

        Returns:
            The `seq` of the message.
        """
        self.seq = envelope.get("seq") or self.seq + 1
        message = {
            "version": "2",
            "id": self.call.session_id,
            "type": type,
            "seq": self.seq,
            "serverseq": self.server_seq,
            "position": duration(self.position),
            "parameters": dict(parameters or {}),
        } | envelope
        await self.send_raw(json.dumps({k: v for k, v in message.items() if v is not None}))
        return self.seq

    async def send_open(self, parameters: Mapping[str, Any] | None = None, **envelope: Any) -> None:
        """Send `open`.

        Args:
            parameters: Parameters that replace or complete the parameters of the call.
            **envelope: Envelope fields that replace the correct ones; None removes a field.
        """
        await self.send("open", self.call.open_parameters() | dict(parameters or {}), **envelope)

    async def send_raw(self, data: str | bytes) -> None:
        """Send a text or binary message as it is; do nothing if the WebSocket is closed."""
        if self._delay:
            task = asyncio.create_task(self._send_late(data))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        else:
            await self._send_now(data)

    async def _send_late(self, data: str | bytes) -> None:
        await asyncio.sleep(self._delay)
        await self._send_now(data)

    async def _send_now(self, data: str | bytes) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(data)
        except ConnectionClosed:
            return

    async def send_audio(self, data: bytes | None = None, *, seconds: float = 0.2) -> None:
        """Send a binary message and advance the stream position.

        Nothing is sent if `opened` selected no medium.

        Args:
            data: The audio, in the format and with the channels of the selected medium; None for
                silence.
            seconds: Length of the silence.
        """
        if not self.frame_bytes:
            return
        audio = self.silence(seconds) if data is None else data
        self.position += len(audio) // self.frame_bytes
        await self.send_raw(audio)

    def silence(self, seconds: float) -> bytes:
        """Make silence in the format and with the channels of the selected medium.

        Args:
            seconds: Length of the silence.
        """
        sample = _SILENCE.get(self.medium.get("format", "PCMU"), b"\0")
        return sample * (self.frame_bytes * round(seconds * WIRE_SAMPLE_RATE))

    def drop(self) -> None:
        """Cut the TCP connection without a WebSocket close frame."""
        assert self._socket is not None
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._socket.transport.abort)
        else:
            self._socket.transport.abort()

    # Methods that return received messages.

    @property
    def messages(self) -> list[Message]:
        """All JSON objects received so far."""
        return [one.content for one in self.received if isinstance(one.content, dict)]

    @property
    def server_seq(self) -> int:
        """The `seq` of the newest message from the server; 0 before the first message."""
        numbers = [m["seq"] for m in self.messages if type(m.get("seq")) is int]
        return numbers[-1] if numbers else 0

    def of_type(self, *types: str) -> list[Message]:
        """Return all messages of the given types received so far."""
        return [message for message in self.messages if message.get("type") in types]

    @property
    def medium(self) -> Message:
        """The medium that `opened` selected; an empty object if it selected none."""
        for opened in self.of_type("opened"):
            media = parameters_of(opened).get("media")
            if isinstance(media, list) and media and isinstance(media[0], dict):
                return media[0]
        return {}

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels, in the selected medium; 0 for no medium."""
        channels = self.medium.get("channels") or ()
        return len(channels) * _SAMPLE_BYTES.get(self.medium.get("format", "PCMU"), 1)

    @property
    def server_ended_call(self) -> bool:
        """Whether the server sent `disconnect` with reason `completed`.

        A bot may end a call at any time. The reason `completed` is not a reaction to a fault.
        """
        return any(
            parameters_of(message).get("reason") == "completed"
            for message in self.of_type("disconnect")
        )

    # Methods that wait for the server.

    async def wait_for(
        self,
        is_wanted: Callable[[Message], bool],
        description: str,
        timeout: float,
        *,
        skip: int = 0,
    ) -> Message:
        """Wait for a message.

        Args:
            is_wanted: Called with a message; returns whether it is the awaited message.
            description: Name of the awaited message, for the error message.
            timeout: Limit in seconds.
            skip: Number of received messages that are ignored, beginning with the first message.

        Returns:
            The message.

        Raises:
            CheckFailedError: If the message does not arrive in time, or the server closed the
                WebSocket.
            ConnectionLostError: If the connection ended without a close frame.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._changed.clear()
            for message in self.messages[skip:]:
                if is_wanted(message):
                    return message
            left = deadline - time.monotonic()
            if self.closure is not None:
                self.assert_not_lost()
                raise CheckFailedError(
                    f"the server closed the socket and did not send {description}{self._so_far()}"
                )
            if left <= 0:
                raise CheckFailedError(
                    f"the server sent no {description} within {timeout:g} s{self._so_far()}"
                )
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                continue

    async def wait_for_type(self, *types: str, timeout: float, skip: int | None = None) -> Message:
        """Wait for a message of one of the given types.

        Args:
            *types: The types.
            timeout: Limit in seconds.
            skip: Number of received messages that are ignored, beginning with the first message;
                None ignores all messages received so far.

        Returns:
            The message.

        Raises:
            CheckFailedError: As in `wait_for`.
        """
        skip = len(self.messages) if skip is None else skip
        description = " or ".join(repr(one) for one in types)
        return await self.wait_for(
            lambda m: m.get("type") in types, description, timeout, skip=skip
        )

    def assert_not_lost(self) -> None:
        """Check that the connection did not end without a close frame.

        Raises:
            ConnectionLostError: If the connection ended without a close frame.
        """
        if self.closure is not None and self.closure.code is None:
            raise ConnectionLostError(f"the connection ended without a close frame{self._so_far()}")

    async def observe(self, seconds: float | None = None) -> None:
        """Receive messages for some time; return early if the WebSocket is closed.

        Args:
            seconds: The time; None for `Timeouts.observation`.
        """
        seconds = self.timeouts.observation if seconds is None else seconds
        deadline = time.monotonic() + seconds
        while self.closure is None and (left := deadline - time.monotonic()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return

    async def receives(self, type: str, *, unless: str, within: float) -> bool:
        """Wait for a message that may or may not arrive.

        Args:
            type: Type of the message.
            unless: Type of another message that ends the wait, because the awaited message cannot
                follow it.
            within: Limit in seconds.

        Returns:
            Whether the message arrived before the limit, before the other message, and before the
            WebSocket was closed.
        """
        try:
            message = await self.wait_for_type(type, unless, timeout=within, skip=0)
        except CheckFailedError:
            return False
        return bool(message["type"] == type)

    @contextmanager
    def unless_server_ended_call(self) -> Iterator[None]:
        """Skip a check that fails because the server ended the call with reason `completed`.

        Raises:
            CheckSkippedError: In place of a `CheckFailedError`.
        """
        try:
            yield
        except CheckFailedError:
            if not self.server_ended_call:
                raise
            raise CheckSkippedError("the server ended the call with reason 'completed'") from None

    # Methods that send a message and wait for the answer.

    async def answer_to_open(
        self, parameters: Mapping[str, Any] | None = None, **envelope: Any
    ) -> Message:
        """Send `open` and wait for `opened` or `disconnect`.

        Args:
            parameters: Parameters that replace or complete the parameters of the call.
            **envelope: Envelope fields that replace the correct ones; None removes a field.

        Returns:
            The answer.

        Raises:
            CheckFailedError: If there is no answer.
        """
        await self.send_open(parameters, **envelope)
        return await self.wait_for_type("opened", "disconnect", timeout=self.timeouts.open, skip=0)

    async def open_session(
        self, parameters: Mapping[str, Any] | None = None, **envelope: Any
    ) -> Message:
        """Send `open` and wait for `opened`.

        Args:
            parameters: Parameters that replace or complete the parameters of the call.
            **envelope: Envelope fields that replace the correct ones; None removes a field.

        Returns:
            The `opened` message.

        Raises:
            CheckFailedError: If there is no answer, or the answer is `disconnect`.
        """
        answer = await self.answer_to_open(parameters, **envelope)
        if answer["type"] == "disconnect":
            raise CheckFailedError(
                f"the server refused the call: {shown(answer.get('parameters'))}"
            )
        return answer

    async def close_session(self) -> Message:
        """Send `close` and wait for `closed`.

        Returns:
            The `closed` message.

        Raises:
            CheckFailedError: If there is no answer.
        """
        await self.send("close", {"reason": "end"})
        return await self.wait_for_type("closed", timeout=self.timeouts.close, skip=0)

    async def ping(
        self,
        parameters: Mapping[str, Any] | None = None,
        *,
        answers: tuple[str, ...] = ("pong",),
        **envelope: Any,
    ) -> Message:
        """Send `ping` and wait for the answer.

        Args:
            parameters: Parameters of `ping`.
            answers: Message types that are accepted as the answer.
            **envelope: Envelope fields that replace the correct ones; None removes a field.

        Returns:
            The answer.

        Raises:
            CheckFailedError: If there is no answer.
            CheckSkippedError: If there is no answer because the server ended the call with reason
                `completed`.
        """
        skip = len(self.messages)
        await self.send("ping", parameters, **envelope)
        with self.unless_server_ended_call():
            return await self.wait_for_type(*answers, timeout=self.timeouts.pong, skip=skip)

    async def assert_call_continues(self) -> None:
        """Check that the server still answers `ping` and has not sent `disconnect`.

        A bot may decide to end the call, with reason `completed`.

        Raises:
            CheckFailedError: If there is no answer, or the server ended the call with another
                reason.
        """
        await self.send_audio()
        await self.ping(answers=("pong", "disconnect"))
        disconnects = self.of_type("disconnect")
        if disconnects and not self.server_ended_call:
            raise CheckFailedError(
                f"the server sent 'disconnect' with {shown(disconnects[0].get('parameters'))}"
            )

    def _so_far(self) -> str:
        types = [str(message.get("type")) for message in self.messages[-6:]]
        return f"; received before: {', '.join(types)}" if types else "; nothing was received"


def parameters_of(message: Message) -> Message:
    """Return the parameters of a message; an empty object if they are missing or invalid."""
    parameters = message.get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def _parsed(data: str | bytes) -> Message | str | bytes:
    if isinstance(data, bytes):
        return data
    try:
        value = json.loads(data)
    except ValueError:
        return data
    return value if isinstance(value, dict) else data


def duration(samples: int) -> str:
    """Format a number of samples as a duration of the protocol, such as `PT0.2S`."""
    text = f"{samples / WIRE_SAMPLE_RATE:.6f}".rstrip("0").rstrip(".")
    return f"PT{text}S"


def shown(value: object) -> str:
    """Format a value as JSON for an error message, cut to 120 characters."""
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
