"""One connection to a server, on which a check can say anything, right or wrong.

Unlike the simulator's client it judges nothing and reacts to nothing by itself: it numbers what it
sends, as long as it is not told otherwise, and keeps what arrives in order.
"""

# A wait is told how long it may take, and says so when it fails; a bare cancellation could not.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import CallParameters
from pipecat_genesys.simulator.websocket import open_socket

from .checking import BrokenRule

Message = dict[str, Any]
SILENCE = b"\xff"
_SHOWN = 120


@dataclass
class Heard:
    """What has arrived on a line.

    Attributes:
        at: When, in seconds from the connection.
        message: A JSON object, or else what it was.
        size: Bytes.
        sent: How many messages this side had sent by then.
    """

    at: float
    message: Message | str | bytes
    size: int
    sent: int


@dataclass
class Ended:
    """How the socket ended.

    Attributes:
        at: When, in seconds from the connection.
        code: The close code the server sent, None where it just dropped the connection.
    """

    at: float
    code: int | None


class Line:
    """A connection; use it in ``async with``.

    Args:
        url: The server.
        headers: Of the upgrade request.
        call: Who calls.
        connect_timeout: Seconds.
        ssl: For ``wss``, where the default is not wanted.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        call: CallParameters,
        connect_timeout: float,
        ssl: SSLContext | None = None,
    ) -> None:
        self.call = call
        self.heard: list[Heard] = []
        self.ended: Ended | None = None
        self.seq = 0
        self.samples = 0
        self._url, self._headers, self._timeout, self._ssl = url, headers, connect_timeout, ssl
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._began = 0.0
        self._seen = 0

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            ConnectFailedError: If the server refuses, or nobody listens.
        """
        self._socket = await open_socket(
            self._url, self._headers, timeout=self._timeout, close_timeout=1, ssl=self._ssl
        )
        self._began = time.monotonic()
        self._reader = asyncio.create_task(self._read(self._socket))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the socket, as the client does in the end, and leave nothing behind."""
        assert self._socket is not None
        assert self._reader is not None
        await self._socket.close()
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> None:
        try:
            while True:
                data = await socket.recv()
                message: Message | str | bytes = data
                if isinstance(data, str):
                    try:
                        parsed = json.loads(data)
                    except ValueError:
                        parsed = None
                    message = parsed if isinstance(parsed, dict) else data
                size = len(data.encode() if isinstance(data, str) else data)
                self.heard.append(Heard(self.now, message, size, self.seq))
                self._news.set()
        except ConnectionClosed as closed:
            self.ended = Ended(self.now, closed.rcvd.code if closed.rcvd else None)
            self._news.set()

    @property
    def now(self) -> float:
        """Seconds since the connection was made."""
        return time.monotonic() - self._began

    # -- to the server -------------------------------------------------------------------------

    async def send(
        self, kind: str, parameters: Mapping[str, Any] | None = None, **envelope: Any
    ) -> int:
        """Send a message.

        Args:
            kind: Its type.
            parameters: Its parameters, none by default.
            **envelope: Fields of the envelope that are to be other than right; None leaves out.

        Returns:
            The ``seq`` it had.
        """
        self.seq = envelope.get("seq") or self.seq + 1
        message = {
            "version": "2",
            "id": self.call.session_id,
            "type": kind,
            "seq": self.seq,
            "serverseq": self.server_seq,
            "position": duration(self.samples),
            "parameters": dict(parameters or {}),
        } | envelope
        await self.raw(json.dumps({k: v for k, v in message.items() if v is not None}))
        return self.seq

    async def raw(self, data: str | bytes) -> None:
        """Send anything; nothing happens if the server has closed the socket."""
        assert self._socket is not None
        try:
            await self._socket.send(data)
        except ConnectionClosed:
            return

    async def audio(self, data: bytes | None = None, *, seconds: float = 0.2) -> None:
        """Send audio, mu-law silence of some length by default, and count it."""
        wire = SILENCE * round(seconds * WIRE_SAMPLE_RATE) if data is None else data
        self.samples += len(wire)
        await self.raw(wire)

    def drop(self) -> None:
        """Cut the connection without a word."""
        assert self._socket is not None
        self._socket.transport.abort()

    # -- from the server -----------------------------------------------------------------------

    @property
    def messages(self) -> list[Message]:
        """The messages that arrived so far."""
        return [one.message for one in self.heard if isinstance(one.message, dict)]

    @property
    def server_seq(self) -> int:
        """The newest ``seq`` that arrived, or 0."""
        numbers = [m["seq"] for m in self.messages if type(m.get("seq")) is int]
        return numbers[-1] if numbers else 0

    def of_type(self, *kinds: str) -> list[Message]:
        """The messages of some types that arrived so far."""
        return [message for message in self.messages if message.get("type") in kinds]

    async def until(
        self, wanted: Callable[[Message], bool], what: str, timeout: float, *, after: int = 0
    ) -> Message:
        """Wait for a message.

        Args:
            wanted: Whether a message is it.
            what: It, in words.
            timeout: Seconds.
            after: How many of the messages that have arrived not to look at.

        Raises:
            BrokenRule: If it does not come.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._news.clear()
            for message in self.messages[after:]:
                if wanted(message):
                    return message
            if self.ended is not None:
                raise BrokenRule(f"the server closed the socket instead of {what}{self._so_far()}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise BrokenRule(f"no {what} within {timeout:g} s{self._so_far()}")
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                continue

    async def one_of(self, *kinds: str, timeout: float, after: int | None = None) -> Message:
        """Wait for a message of some type, by default one that is still to come."""
        after = len(self.messages) if after is None else after
        what = " or ".join(repr(kind) for kind in kinds)
        return await self.until(lambda m: m.get("type") in kinds, what, timeout, after=after)

    async def settle(self, seconds: float) -> None:
        """Let some time pass, for whatever the server has to say, or until it hangs up."""
        deadline = time.monotonic() + seconds
        while self.ended is None and (left := deadline - time.monotonic()) > 0:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), left)
            except TimeoutError:
                return

    def _so_far(self) -> str:
        kinds = [str(message.get("type")) for message in self.messages[-6:]]
        return f"; so far: {', '.join(kinds)}" if kinds else "; nothing came at all"


def duration(samples: int) -> str:
    """Samples as the protocol writes them: seconds, exact to the sample."""
    text = f"{samples / WIRE_SAMPLE_RATE:.6f}".rstrip("0").rstrip(".")
    return f"PT{text}S"


def shown(value: object) -> str:
    """A value for a message to a person, not too long."""
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
