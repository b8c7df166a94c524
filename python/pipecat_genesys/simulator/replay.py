"""Playing a recorded call's client side again, and comparing what the server makes of it.

The client's messages go out as they were, at the times they had, but for what depends on the
server: what followed ``opened`` keeps its distance to the new ``opened``, the answer to a
``disconnect`` waits for it, and ``serverseq`` says what has been seen this time. The session's id
stays, so that everything the client says is still true.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookMediaFormat,
    AudioHookMessageType,
    CloseReason,
)
from pipecat_genesys.simulator.capture import AUDIO, CaptureEntry, Direction, wire_size
from pipecat_genesys.simulator.capture_file import RecordedCall
from pipecat_genesys.simulator.events import Party
from pipecat_genesys.simulator.options import CallOptions, sign_headers
from pipecat_genesys.simulator.websocket import CallSocket, SocketEnd, open_socket

_T = AudioHookMessageType
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_AUDIO_TOLERANCE = 0.2
"""Seconds of bot audio, more or less, that are no difference: a frame's worth."""


@dataclass(frozen=True, slots=True)
class ServerSide:
    """What is compared of a server: what it said, not when.

    Attributes:
        texts: Its messages, pongs apart, each as type and parameters. UUIDs are blanked.
        pongs: How many.
        audio: Seconds of audio.
        closed_socket: Whether it, not the client, closed the socket.
    """

    texts: tuple[str, ...]
    pongs: int
    audio: float
    closed_socket: bool

    @property
    def was_closed(self) -> bool:
        """Whether its last word was ``closed``."""
        return bool(self.texts) and self.texts[-1].startswith(f"{_T.CLOSED} ")


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """A server's side, before and now.

    Attributes:
        before: As recorded.
        now: As it was this time.
        entries: All messages of this time.
    """

    before: ServerSide
    now: ServerSide
    entries: tuple[CaptureEntry, ...]

    @property
    def differences(self) -> tuple[str, ...]:
        """In words, a line each; the texts as a unified diff."""
        before, now = self.before, self.now
        lines = [
            line.rstrip("\n")
            for line in unified_diff(before.texts, now.texts, "recorded", "now", lineterm="", n=1)
        ]
        # Where the call was cut rather than closed, a last pong may or may not have made it.
        closed = all(side.was_closed for side in (before, now))
        if abs(before.pongs - now.pongs) > (0 if closed else 1):
            lines.append(f"pongs: {before.pongs} recorded, {now.pongs} now")
        if abs(before.audio - now.audio) > _AUDIO_TOLERANCE:
            lines.append(f"audio: {before.audio:.2f} s recorded, {now.audio:.2f} s now")
        if before.closed_socket != now.closed_socket:
            who = "server" if now.closed_socket else "client"
            lines.append(f"the socket was closed by the {who} this time")
        return tuple(lines)


async def replay_call(
    recorded: RecordedCall,
    url: str,
    *,
    options: CallOptions | None = None,
    observer: Callable[[CaptureEntry], None] | None = None,
) -> ReplayReport:
    """Play a capture's client side again.

    Args:
        recorded: The capture.
        url: The server.
        options: Credentials and timings.
        observer: Called with every message as it happens.

    Raises:
        ConnectFailedError: If there is no WebSocket to be had.
        ValueError: If there is nothing to replay, or audio was not recorded.
    """
    return await _Replay(recorded, url, options or CallOptions(), observer).run()


class _Replay:
    def __init__(
        self,
        recorded: RecordedCall,
        url: str,
        options: CallOptions,
        observer: Callable[[CaptureEntry], None] | None,
    ) -> None:
        self._recorded = recorded
        self._url = url
        self._options = options
        self._observer = observer
        self._entries: list[CaptureEntry] = []
        self._seen: set[str] = set()
        self._serverseq = 0
        self._changed = asyncio.Event()
        self._over = False
        self._began = 0.0
        mine = [e for e in recorded.entries if e.direction is Direction.TO_SERVER]
        if not mine:
            raise ValueError("the capture has no message of the client's")
        if any(entry.content is None for entry in mine):
            raise ValueError("the capture has no audio: it was made with record_audio=False")

    async def run(self) -> ReplayReport:
        options = self._options
        connection = await open_socket(
            self._url,
            sign_headers(self._url, self._recorded.headers, options),
            timeout=options.connect_timeout,
            close_timeout=options.socket_close_timeout,
            ssl=options.ssl,
        )
        socket = CallSocket(connection, options.socket_close_timeout)
        self._began = time.monotonic()
        reading = asyncio.create_task(self._read(socket))
        try:
            await self._play(socket)
            # The closing handshake of the WebSocket has a time limit of its own.
            end = await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        by_server = self._recorded.ended_by is Party.SERVER
        return ReplayReport(
            server_side(self._recorded.entries, by_server),
            server_side(self._entries, end.by is Party.SERVER),
            tuple(self._entries),
        )

    async def _read(self, socket: CallSocket) -> SocketEnd:
        try:
            return await socket.run(self._on_message)
        finally:
            self._over = True
            self._changed.set()

    def _on_message(self, message: str | bytes) -> None:
        kind, seq = AUDIO, None
        if isinstance(message, str):
            kind, seq = _type_and_seq(message)
            self._serverseq = max(self._serverseq, seq or 0)
            self._seen.add(kind)
        self._record(Direction.FROM_SERVER, kind, seq, message)
        self._changed.set()

    async def _play(self, socket: CallSocket) -> None:
        """Send what the client sent, when it sent it."""
        shift = seen_then = 0.0
        opened_at = _first(self._recorded.entries, _T.OPENED)
        is_open = opened_at is None
        for entry in self._recorded.entries:
            if entry.direction is Direction.FROM_SERVER:
                seen_then = max(seen_then, entry.seq or 0)
                continue
            if not is_open and opened_at is not None and entry.at >= opened_at:
                await self._until(_T.OPENED, self._options.timeouts.open)
                shift, is_open = self._elapsed() - opened_at, True
            if _reason(entry) == CloseReason.DISCONNECT:
                await self._until(_T.DISCONNECT, self._options.timeouts.close)
            await self._sleep_until(entry.at + shift)
            if self._over:
                return
            assert entry.content is not None
            message = self._restamped(entry.content, int(seen_then))
            socket.send(message)
            self._record(Direction.TO_SERVER, entry.type, entry.seq, message)
        await self._finish(socket, shift)

    async def _finish(self, socket: CallSocket, shift: float) -> None:
        said_goodbye = any(_reason(entry) is not None for entry in self._recorded.entries)
        if said_goodbye:
            await self._until(_T.CLOSED, self._options.timeouts.close)
            return socket.close()
        await self._sleep_until((self._recorded.ended_at or 0.0) + shift)
        return socket.drop_when_sent()

    def _restamped(self, content: str | bytes, seen_then: int) -> str | bytes:
        if isinstance(content, bytes):
            return content
        message = json.loads(content)
        serverseq = message.get("serverseq")
        if isinstance(serverseq, int):
            # A client that was ahead of the server, as a fault, still is.
            message["serverseq"] = max(0, self._serverseq + serverseq - seen_then)
        return json.dumps(message, separators=(",", ":"))

    async def _until(self, kind: str, patience: float) -> None:
        """Wait until the server has said so, within reason."""
        try:
            async with asyncio.timeout(patience):
                while kind not in self._seen and not self._over:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    async def _sleep_until(self, elapsed: float) -> None:
        """Wait for a moment, or for the end of the connection."""
        while not self._over and (wait := elapsed - self._elapsed()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _record(
        self, direction: Direction, kind: str, seq: int | None, content: str | bytes
    ) -> None:
        entry = CaptureEntry(
            self._elapsed(), direction, kind, seq, wire_size(content), content=content
        )
        self._entries.append(entry)
        if self._observer is not None:
            self._observer(entry)


def server_side(entries: Iterable[CaptureEntry], closed_socket: bool) -> ServerSide:
    """Sum up what a server said in a call.

    Args:
        entries: All messages of the call.
        closed_socket: Whether the server closed the socket.
    """
    theirs = [entry for entry in entries if entry.direction is Direction.FROM_SERVER]
    texts = [entry for entry in theirs if not entry.is_audio]
    width = _frame_bytes(texts)
    return ServerSide(
        texts=tuple(_words(entry) for entry in texts if entry.type != _T.PONG),
        pongs=sum(entry.type == _T.PONG for entry in texts),
        audio=sum(e.size for e in theirs if e.is_audio) / width / WIRE_SAMPLE_RATE,
        closed_socket=closed_socket,
    )


def _frame_bytes(texts: Sequence[CaptureEntry]) -> int:
    opened = next((entry for entry in texts if entry.type == _T.OPENED), None)
    is_linear = opened is not None and f'"{AudioHookMediaFormat.L16}"' in str(opened.content)
    return 2 if is_linear else 1


def _words(entry: CaptureEntry) -> str:
    message = _parsed(entry.content)
    if message is None:
        return str(entry.content)
    parameters = json.dumps(message.get("parameters"), sort_keys=True)
    return f"{entry.type} {_UUID.sub('<uuid>', parameters)}"


def _parsed(content: str | bytes | None) -> dict[str, Any] | None:
    try:
        value = json.loads(content) if isinstance(content, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _type_and_seq(text: str) -> tuple[str, int | None]:
    message = _parsed(text) or {}
    kind, seq = message.get("type"), message.get("seq")
    return (
        kind[:40] if isinstance(kind, str) else "?",
        seq if isinstance(seq, int) and not isinstance(seq, bool) else None,
    )


def _reason(entry: CaptureEntry) -> str | None:
    """Of the client's ``close``; None for any other message."""
    if entry.direction is not Direction.TO_SERVER or entry.type != _T.CLOSE:
        return None
    parameters = (_parsed(entry.content) or {}).get("parameters")
    return str(parameters.get("reason")) if isinstance(parameters, dict) else ""


def _first(entries: Iterable[CaptureEntry], kind: str) -> float | None:
    found = (e for e in entries if e.type == kind and e.direction is Direction.FROM_SERVER)
    return next((entry.at for entry in found), None)
