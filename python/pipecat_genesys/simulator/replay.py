"""Writes the capture file of a simulated call while it runs, and replays a captured call.

`CaptureFile` writes a capture; `pipecat_genesys.capture.file` has the format.

A replay sends the client's messages of a recorded call again, and compares the server's messages.
The client's messages are sent as recorded, at the recorded times, with three exceptions. The times
of messages after `opened` are counted from the `opened` of the replay. The answer to `disconnect`
is sent after the `disconnect` of the replay. `serverseq` counts the server messages of the replay.
The session id is not changed.

In a recording of the endpoint, masked or missing audio is replayed as silence. Before the
comparison, the server's messages of the replay are masked in the same way as the recording. If
messages are missing in a recording, the messages after the gap are sent without a pause for the
missing messages.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import zip_longest
from types import TracebackType
from typing import Any, Self

from pipecat_genesys.capture import (
    AUDIO,
    CaptureEntry,
    CaptureHead,
    Choices,
    Direction,
    MarkKind,
    Party,
    RecordedCall,
    content_size,
    create_file,
    end_line,
    entry_line,
    has_gaps,
    head_line,
    make_replayable,
    mask_server_parameters,
)
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookMediaFormat,
    AudioHookMessageType,
    CloseReason,
)

from .connection import (
    CallConnection,
    CallOptions,
    ConnectionEnd,
    audiohook_headers,
)
from .session.events import Event, SocketClosed
from .session.parameters import CallParameters

_T = AudioHookMessageType
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_AUDIO_TOLERANCE = 0.2
"""Difference in the duration of bot audio that is not reported, in seconds: one frame."""


class CaptureFile:
    """Writes a call to a capture file. Pass it to a `SimulatedCall` as the observer.

    The capture file is a context manager. Entering it creates the file, and leaving it closes the
    file.

    Args:
        path: Path of the file. An existing file is replaced.
        url: URL of the server.
        parameters: Parameters of the call.
    """

    def __init__(self, path: str | os.PathLike[str], url: str, parameters: CallParameters) -> None:
        self._path = path
        headers = audiohook_headers(parameters, "")
        del headers["X-API-KEY"]
        self._head = CaptureHead(url, parameters.mode, headers)

    def __enter__(self) -> Self:
        self._file = open(create_file(self._path, replace=True), "w", encoding="utf-8", newline="")
        self._file.write(head_line(self._head))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __call__(self, item: CaptureEntry | Event) -> None:
        """Write a message or the end of the call. Other events are not written."""
        if isinstance(item, CaptureEntry):
            self._file.write(entry_line(item))
        elif isinstance(item, SocketClosed):
            self._file.write(end_line(item.at, item.by, item.code))


@dataclass(frozen=True, slots=True)
class ServerSide:
    """The messages of a server in a call, without times, and whether the server closed the socket.

    Attributes:
        texts: The type and the parameters of each text message except pongs. UUIDs are replaced by
            a placeholder.
        pongs: Number of pongs.
        audio: Duration of the audio in seconds.
        closed_socket: Whether the server closed the socket before the client did.
    """

    texts: tuple[str, ...]
    pongs: int
    audio: float
    closed_socket: bool

    @property
    def was_closed(self) -> bool:
        """Whether the last text message was `closed`."""
        return bool(self.texts) and self.texts[-1].startswith(f"{_T.CLOSED} ")


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The messages of the server in the recorded call and in the replay.

    Attributes:
        before: The server's messages in the recorded call.
        now: The server's messages in the replay.
        entries: All messages of the replay.
        is_partial: Whether messages are missing in the recording. Pongs and audio are then not
            compared.
    """

    before: ServerSide
    now: ServerSide
    entries: tuple[CaptureEntry, ...]
    is_partial: bool = False

    @property
    def first_difference(self) -> str | None:
        """The first text message that differs, with its number from 1; None if there is none."""
        pairs = zip_longest(self.before.texts, self.now.texts, fillvalue="nothing")
        for number, (before, now) in enumerate(pairs, start=1):
            if before != now:
                return f"server message {number} differs: {before} recorded, {now} now"
        return None

    @property
    def differences(self) -> tuple[str, ...]:
        """The differences, one per line. Text messages are compared as a unified diff."""
        before, now = self.before, self.now
        lines = [
            line.rstrip("\n")
            for line in unified_diff(before.texts, now.texts, "recorded", "now", lineterm="", n=1)
        ]
        if self.is_partial:
            return tuple(lines)
        # If a call ended without `closed`, the pong for the last ping may be missing.
        was_closed = all(side.was_closed for side in (before, now))
        if abs(before.pongs - now.pongs) > (0 if was_closed else 1):
            lines.append(f"pongs: {before.pongs} recorded, {now.pongs} now")
        if abs(before.audio - now.audio) > _AUDIO_TOLERANCE:
            lines.append(f"audio: {before.audio:.2f} s recorded, {now.audio:.2f} s now")
        if before.closed_socket != now.closed_socket:
            party = "server" if now.closed_socket else "client"
            lines.append(f"the socket was closed by the {party} this time")
        return tuple(lines)


async def replay_call(
    recorded: RecordedCall,
    url: str,
    *,
    options: CallOptions | None = None,
    observer: Callable[[CaptureEntry], None] | None = None,
) -> ReplayReport:
    """Replay the client's side of a recorded call.

    Cancelling this function aborts the connection.

    Args:
        recorded: The recorded call.
        url: URL of the server.
        options: Credentials and timings.
        observer: Called with every message when it is sent or received.

    Raises:
        ConnectFailedError: If the WebSocket cannot be established.
        ValueError: If the capture contains no client message, or lacks the content of audio.
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
        self._given = recorded
        self._recorded = recorded = make_replayable(recorded)
        self._url = url
        self._options = options
        self._observer = observer
        self._clock = asyncio.get_running_loop().time
        self._entries: list[CaptureEntry] = []
        self._received_types: set[str] = set()
        self._serverseq = 0
        self._changed = asyncio.Event()
        self._is_over = False
        self._started_at = 0.0
        sent = [e for e in recorded.entries if e.direction is Direction.TO_SERVER]
        if not sent:
            raise ValueError("the capture contains no message of the client")
        if any(entry.content is None for entry in sent):
            raise ValueError(
                "the capture contains no audio; it was written with record_audio=False"
            )

    async def run(self) -> ReplayReport:
        connection = await CallConnection.open(self._url, self._recorded.headers, self._options)
        self._started_at = self._clock()
        reading = asyncio.create_task(self._read(connection))
        try:
            await self._send_all(connection)
            # The closing handshake of the WebSocket has its own timeout.
            end = await reading
        except BaseException:
            connection.drop()
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        by_server = self._recorded.ended_by is Party.SERVER
        choices = self._choices()
        return ReplayReport(
            server_side(self._recorded.entries, by_server, choices),
            server_side(self._entries, end.by is Party.SERVER, choices),
            tuple(self._entries),
            has_gaps(self._given),
        )

    def _choices(self) -> Choices | None:
        """Return which personal data to mask in the replay: all kinds that the recording masked."""
        choices = self._given.choices
        if choices is None:
            return None
        was_paused = any(mark.kind is MarkKind.PAUSED for mark in self._given.marks)
        return choices.paused if was_paused else choices

    async def _read(self, connection: CallConnection) -> ConnectionEnd:
        try:
            return await connection.run(self._on_message)
        finally:
            self._is_over = True
            self._changed.set()

    def _on_message(self, message: str | bytes) -> None:
        kind, seq = AUDIO, None
        if isinstance(message, str):
            kind, seq = _type_and_seq(message)
            self._serverseq = max(self._serverseq, seq or 0)
            self._received_types.add(kind)
        self._record(Direction.FROM_SERVER, kind, seq, message)
        self._changed.set()

    async def _send_all(self, connection: CallConnection) -> None:
        """Send the recorded messages of the client at the recorded times, and close."""
        shift = recorded_serverseq = 0.0
        opened_at = _first(self._recorded.entries, _T.OPENED)
        is_open = opened_at is None
        for entry in self._recorded.entries:
            if entry.direction is Direction.FROM_SERVER:
                recorded_serverseq = max(recorded_serverseq, entry.seq or 0)
                continue
            if not is_open and opened_at is not None and entry.at >= opened_at:
                await self._wait_for(_T.OPENED, self._options.timeouts.open)
                shift, is_open = self._elapsed() - opened_at, True
            if _close_reason(entry) == CloseReason.DISCONNECT:
                await self._wait_for(_T.DISCONNECT, self._options.timeouts.close)
            await self._sleep_until(entry.at + shift)
            if self._is_over:
                return
            assert entry.content is not None
            message = self._restamped(entry.content, int(recorded_serverseq))
            connection.send(message)
            self._record(Direction.TO_SERVER, entry.type, entry.seq, message)
        await self._finish(connection, shift)

    async def _finish(self, connection: CallConnection, shift: float) -> None:
        """Close the WebSocket if the recorded client sent `close`; otherwise abort it."""
        if any(_close_reason(entry) is not None for entry in self._recorded.entries):
            await self._wait_for(_T.CLOSED, self._options.timeouts.close)
            return connection.close()
        await self._sleep_until((self._recorded.ended_at or 0.0) + shift)
        return connection.drop_when_sent()

    def _restamped(self, content: str | bytes, recorded_serverseq: int) -> str | bytes:
        """Return a recorded client message with the `serverseq` of the replay."""
        if isinstance(content, bytes):
            return content
        message = _parsed(content)
        if message is None:
            return content
        serverseq = message.get("serverseq")
        if isinstance(serverseq, int):
            # If the recorded client acknowledged too many messages as a fault, the replayed
            # `serverseq` is too high by the same amount.
            message["serverseq"] = max(0, self._serverseq + serverseq - recorded_serverseq)
        return json.dumps(message, separators=(",", ":"))

    async def _wait_for(self, kind: str, timeout: float) -> None:  # noqa: ASYNC109 - no exception
        """Wait until the server has sent a message of this type, or until `timeout` expires."""
        try:
            async with asyncio.timeout(timeout):
                while kind not in self._received_types and not self._is_over:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return

    async def _sleep_until(self, elapsed: float) -> None:
        """Wait until a time in seconds since the start, or until the connection ends."""
        while not self._is_over and (wait := elapsed - self._elapsed()) > 0:
            self._changed.clear()
            try:
                async with asyncio.timeout(wait):
                    await self._changed.wait()
            except TimeoutError:
                return

    def _elapsed(self) -> float:
        return self._clock() - self._started_at

    def _record(
        self, direction: Direction, kind: str, seq: int | None, content: str | bytes
    ) -> None:
        entry = CaptureEntry(
            self._elapsed(), direction, kind, seq, content_size(content), content=content
        )
        self._entries.append(entry)
        if self._observer is not None:
            self._observer(entry)


def server_side(
    entries: Iterable[CaptureEntry], closed_socket: bool, choices: Choices | None = None
) -> ServerSide:
    """Summarize what a server sent in a call.

    Args:
        entries: All messages of the call.
        closed_socket: Whether the server closed the socket before the client did.
        choices: The kinds of personal data to mask in the messages; None to mask nothing.
    """
    received = [entry for entry in entries if entry.direction is Direction.FROM_SERVER]
    texts = [entry for entry in received if not entry.is_audio]
    width = _frame_bytes(texts)
    return ServerSide(
        texts=tuple(
            _type_and_parameters(entry, choices) for entry in texts if entry.type != _T.PONG
        ),
        pongs=sum(entry.type == _T.PONG for entry in texts),
        audio=sum(e.size for e in received if e.is_audio) / width / WIRE_SAMPLE_RATE,
        closed_socket=closed_socket,
    )


def _frame_bytes(texts: Sequence[CaptureEntry]) -> int:
    opened = next((entry for entry in texts if entry.type == _T.OPENED), None)
    is_linear = opened is not None and f'"{AudioHookMediaFormat.L16}"' in str(opened.content)
    return 2 if is_linear else 1


def _type_and_parameters(entry: CaptureEntry, choices: Choices | None) -> str:
    message = _parsed(entry.content)
    if message is None:
        return str(entry.content)
    given = message.get("parameters")
    if choices is not None and isinstance(given, dict):
        given = mask_server_parameters(entry.type, given, choices)
    parameters = json.dumps(given, sort_keys=True)
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


def _close_reason(entry: CaptureEntry) -> str | None:
    """Return the reason of the client's `close`, or None for any other message."""
    if entry.direction is not Direction.TO_SERVER or entry.type != _T.CLOSE:
        return None
    parameters = (_parsed(entry.content) or {}).get("parameters")
    return str(parameters.get("reason")) if isinstance(parameters, dict) else ""


def _first(entries: Iterable[CaptureEntry], kind: str) -> float | None:
    """Return the time of the first server message of this type."""
    found = (e for e in entries if e.type == kind and e.direction is Direction.FROM_SERVER)
    return next((entry.at for entry in found), None)
