"""Live calls: this module parses the copies that the forwarder makes of the WebSocket traffic.

The `websockets` library parses the traffic, without I/O. If the traffic of a call cannot be parsed,
the call is shown up to that point, and its connection continues.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from http.client import parse_headers
from io import BytesIO
from typing import Any

from websockets.exceptions import InvalidHeader
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.headers import parse_extension
from websockets.protocol import OPEN, Protocol, Side

from pipecat_genesys.errors import PipecatGenesysError
from pipecat_genesys.simulator import Direction, Party

from .analysis import CallAnalysis
from .calls import CallList, CallSource, InspectedCall, safe_headers
from .forwarder import MAX_HEAD, Record, RecordReader

_MAX_WINDOW_BITS = 15
_MAX_MESSAGE = 16 * 1024 * 1024
_START_TIMEOUT = 20.0
_STOP_TIMEOUT = 2.0
_DIRECTIONS = {Record.TO_SERVER: Direction.TO_SERVER, Record.TO_CLIENT: Direction.FROM_SERVER}


class ProxyStartError(PipecatGenesysError):
    """The proxy cannot listen; the message has the reason and the remedy."""


class _Stream:
    """One direction of a connection: the HTTP head, then WebSocket frames."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.first_line = ""
        self.headers: dict[str, str] = {}
        self.head_done = False
        self.frames: Protocol | None = None
        self.parts: list[bytes] = []
        self.opcode = Opcode.TEXT
        self.fragments = 0

    def take_head(self) -> bool:
        """Parse the head if it is complete, and return whether it is complete."""
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.buffer[: end + 4])
        del self.buffer[: end + 4]
        line, _, fields = head.partition(b"\r\n")
        self.first_line = line.decode("latin-1")
        with suppress(Exception):
            # If the headers cannot be parsed, the call is shown without headers.
            self.headers = {k.lower(): v for k, v in parse_headers(BytesIO(fields)).items()}
        self.head_done = True
        return True


class _Traffic:
    """The parser of one connection.

    Args:
        calls: The list of calls.
        url: URL of the server.
        at: Time of the connection on the monotonic clock.
    """

    def __init__(self, calls: CallList, url: str, at: float) -> None:
        self._calls = calls
        self._url = url
        self._at = at
        self._streams = {direction: _Stream() for direction in Direction}
        self._is_blind = False
        self._close: tuple[Party, int | None, str | None] | None = None
        self.call: InspectedCall | None = None

    def receive(self, direction: Direction, data: bytes, at: float) -> None:
        """Parse bytes of one direction."""
        if self._is_blind:
            return
        stream = self._streams[direction]
        stream.buffer += data
        if not stream.head_done:
            if not stream.take_head():
                self._is_blind = len(stream.buffer) > MAX_HEAD
                return
            if direction is Direction.TO_SERVER:
                self._begin(stream, at)
            else:
                self._answer(stream)
        for one in Direction:
            self._read_frames(one, at)

    def receive_safely(self, direction: Direction, data: bytes, at: float) -> None:
        """Parse bytes of one direction. A failure ends only the parsing of this call."""
        try:
            self.receive(direction, data, at)
        except Exception as error:
            self._is_blind = True
            if self.call is not None:
                text = f"the inspector cannot show the rest of this call: {error!r}"[:500]
                self.call.analysis.note(self.call.analysis.now, text)

    def lose(self) -> None:
        """Stop parsing, because the forwarder has not copied the rest of the traffic."""
        self._is_blind = True
        if self.call is not None:
            self.call.analysis.note(
                self.call.analysis.now,
                "the inspector was too slow: the rest of this call is not shown; the call goes on",
            )

    def refuse(self, reason: str) -> None:
        """Record why the forwarder refused the request, such as an unreachable server."""
        if self.call is not None:
            self.call.error = reason

    def end(self, by: str, at: float) -> None:
        """Record the end of the connection."""
        call = self.call
        if call is None:
            return
        if call.error is None and not self._streams[Direction.FROM_SERVER].head_done:
            call.error = "the connection ended before the server answered the upgrade request"
        party = Party(by) if by in tuple(Party) else None
        if self._close is None:
            call.analysis.end(self._seconds(at), party)
        else:
            call.analysis.end(self._seconds(at), *self._close)

    def _begin(self, stream: _Stream, at: float) -> None:
        if stream.headers.get("upgrade", "").lower() != "websocket":
            self._is_blind = True
            return
        session = stream.headers.get("audiohook-session-id", "")[:200]
        parts = stream.first_line.split(" ")
        path = parts[1][:500] if len(parts) > 1 else ""
        call = self._calls.add(CallSource.PROXY, session or path, self._url)
        call.analysis = CallAnalysis(session_id=session)
        call.headers = safe_headers(stream.headers)
        call.origin = at
        self.call = call

    def _answer(self, stream: _Stream) -> None:
        call = self.call
        if call is None:
            return
        status = stream.first_line.split(" ", 2)[1:2]
        if status != ["101"]:
            call.error = f"the server refused the call: {stream.first_line[:200]}"
            self._is_blind = True
            return
        try:
            extensions = _compression(stream.headers.get("sec-websocket-extensions", ""))
        except (ValueError, InvalidHeader) as error:
            call.error = f"the answer to the upgrade request cannot be read: {error}"
            self._is_blind = True
            return
        sides = {Direction.TO_SERVER: Side.SERVER, Direction.FROM_SERVER: Side.CLIENT}
        for direction, side in sides.items():
            frames = Protocol(side, state=OPEN, max_size=_MAX_MESSAGE)
            frames.extensions = [make(direction) for make in extensions]
            self._streams[direction].frames = frames

    def _read_frames(self, direction: Direction, at: float) -> None:
        stream = self._streams[direction]
        frames = stream.frames
        if frames is None or not stream.buffer or self.call is None:
            return
        data = bytes(stream.buffer)
        stream.buffer.clear()
        frames.receive_data(data)
        # Discard the library's answers to pings and close frames, because the inspector only
        # listens.
        frames.data_to_send()
        for event in frames.events_received():
            if isinstance(event, Frame):
                self._frame(stream, direction, event, at)
        if frames.parser_exc is not None and stream.frames is not None:
            stream.frames = None
            party = "client" if direction is Direction.TO_SERVER else "server"
            reason = " ".join(str(frames.parser_exc).split()) or type(frames.parser_exc).__name__
            self.call.analysis.report_fault(
                self._seconds(at), f"frame of the {party} cannot be parsed: {reason}"
            )

    def _frame(self, stream: _Stream, direction: Direction, frame: Frame, at: float) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY):
            stream.parts, stream.opcode, stream.fragments = [], frame.opcode, 0
        elif frame.opcode is not Opcode.CONT:
            if frame.opcode is Opcode.CLOSE and self._close is None:
                self._note_close(stream, direction)
            return
        stream.parts.append(bytes(frame.data))
        stream.fragments += 1
        if not frame.fin:
            return
        payload = b"".join(stream.parts)
        note = "" if stream.fragments == 1 else f"{stream.fragments} fragments"
        stream.parts = []
        call = self.call
        assert call is not None
        if not call.analysis.messages:
            call.origin = at
        content: str | bytes = payload
        if stream.opcode is Opcode.TEXT:
            try:
                content = payload.decode()
            except UnicodeDecodeError as error:
                content = payload.decode("utf-8", "replace")
                note = f"{note}; {error}" if note else str(error)
                call.analysis.receive(self._seconds(at), direction, content, note=note)
                call.analysis.report_fault(self._seconds(at), f"text is not UTF-8: {error}")
                return
        call.analysis.receive(self._seconds(at), direction, content, note=note)

    def _note_close(self, stream: _Stream, direction: Direction) -> None:
        """Record the close frame that was sent first. The second close frame only answers it."""
        close = None if stream.frames is None else stream.frames.close_rcvd
        party = Party.CLIENT if direction is Direction.TO_SERVER else Party.SERVER
        code = None if close is None else int(close.code)
        self._close = (party, code, (close.reason or None) if close is not None else None)

    def _seconds(self, at: float) -> float:
        origin = self._at if self.call is None or self.call.origin is None else self.call.origin
        return at - origin


def _compression(header: str) -> list[Callable[[Direction], PerMessageDeflate]]:
    """Return functions that create the WebSocket extensions that the server accepted.

    Raises:
        ValueError: If an extension is not permessage-deflate, or a parameter is wrong.
        InvalidHeader: If the header cannot be parsed.
    """
    made: list[Callable[[Direction], PerMessageDeflate]] = []
    for name, parameters in parse_extension(header) if header else []:
        if name != "permessage-deflate":
            raise ValueError(f"unknown WebSocket extension {name}")
        given = dict(parameters)
        bits = {
            party: int(given.get(f"{party}_max_window_bits") or _MAX_WINDOW_BITS)
            for party in ("client", "server")
        }

        def make(
            direction: Direction,
            given: dict[str, str | None] = given,
            bits: dict[str, int] = bits,
        ) -> PerMessageDeflate:
            party = "client" if direction is Direction.TO_SERVER else "server"
            return PerMessageDeflate(
                remote_no_context_takeover=f"{party}_no_context_takeover" in given,
                local_no_context_takeover=False,
                remote_max_window_bits=bits[party],
                local_max_window_bits=_MAX_WINDOW_BITS,
            )

        made.append(make)
    return made


class CallProxy:
    """The process of the forwarder, and a parser for each forwarded connection.

    Args:
        calls: The list to which calls are added.
        url: URL of the server, `ws://` or `wss://`.
        port: Port to listen on; 0 for any free port.
        ca_file: Certificates to trust, in PEM format; None for the system's certificates.
        on_end: Called with each call that has ended.
        on_failure: Called with a message if the process ends before `stop`.

    Attributes:
        port: The port on which the proxy listens.
    """

    def __init__(
        self,
        calls: CallList,
        url: str,
        port: int = 0,
        *,
        ca_file: str | None = None,
        on_end: Callable[[InspectedCall], None] | None = None,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.port = port
        self._on_failure = on_failure
        self._is_stopping = False
        self._calls = calls
        self._url = url
        self._ca_file = ca_file
        self._on_end = on_end
        self._traffic: dict[int, _Traffic] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._server: asyncio.Server | None = None
        self._ready: asyncio.Future[int] | None = None
        self._token = secrets.token_hex(16)
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Start the process, and wait until it listens.

        Raises:
            ProxyStartError: If the port is taken, or the process does not start.
        """
        self._ready = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._read, "127.0.0.1", 0)
        settings: dict[str, Any] = {
            "inspector": self._server.sockets[0].getsockname()[1],
            "token": self._token,
            "url": self._url,
            "ca_file": self._ca_file,
            "host": "127.0.0.1",
            "port": self.port,
        }
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pipecat_genesys.inspector.forwarder",
            stdin=asyncio.subprocess.PIPE,
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(settings).encode() + b"\n")
        try:
            async with asyncio.timeout(_START_TIMEOUT):
                self.port = await self._ready
        except TimeoutError:
            await self.stop()
            raise ProxyStartError(
                f"the proxy's process did not start in {_START_TIMEOUT:g} s; try again"
            ) from None
        except ProxyStartError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop the process. This disconnects running calls."""
        self._is_stopping = True
        has_connection = bool(self._writers)
        for writer in list(self._writers):
            writer.close()
        if self._server is not None:
            self._server.close()
        if self._process is None:
            return
        try:
            # The forwarder ends when its connection to the inspector is closed.
            async with asyncio.timeout(_STOP_TIMEOUT if has_connection else 0):
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            token = await reader.readexactly(len(self._token))
            if not secrets.compare_digest(token, self._token.encode()):
                return
            records = RecordReader()
            while data := await reader.read(1 << 18):
                for record in records.feed(data):
                    self._handle(*record)
                # Let other tasks run, so that parsing does not delay the page.
                await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            self._end_all()
        is_running = self._ready is not None and self._ready.done() and not self._is_stopping
        if is_running and self._on_failure is not None:
            self._on_failure(
                "the proxy has ended and accepts no calls; start `pipecat-genesys inspect` again"
            )

    def _handle(self, kind: Record, number: int, at: float, payload: bytes) -> None:
        assert self._ready is not None
        if kind is Record.LISTENING:
            self._ready.set_result(int(payload))
        elif kind is Record.FAILED:
            reason = payload.decode("utf-8", "replace")
            self._ready.set_exception(
                ProxyStartError(
                    f"cannot listen on 127.0.0.1:{self.port}: {reason}; choose another port with "
                    "--listen"
                )
            )
        elif kind is Record.NEW:
            self._traffic[number] = _Traffic(self._calls, self._url, at)
        elif (traffic := self._traffic.get(number)) is not None:
            if kind in _DIRECTIONS:
                traffic.receive_safely(_DIRECTIONS[kind], payload, at)
            elif kind is Record.REFUSED:
                traffic.refuse(payload.decode("utf-8", "replace"))
            elif kind is Record.LOST:
                traffic.lose()
            elif kind is Record.END:
                self._end(number, payload.decode("ascii", "replace"), at)

    def _end(self, number: int, by: str, at: float) -> None:
        traffic = self._traffic.pop(number)
        traffic.end(by, at)
        if traffic.call is not None and self._on_end is not None:
            self._on_end(traffic.call)

    def _end_all(self) -> None:
        for number in list(self._traffic):
            self._end(number, "", time.monotonic())
