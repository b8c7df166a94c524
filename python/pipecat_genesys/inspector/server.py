"""The inspector's web server: the page, the data of the calls, the live feed and the phone."""

from __future__ import annotations

import asyncio
import io
import json
import math
import mimetypes
import os
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipecat_genesys.capture import RecordedCall, create_file, end_line, head_line
from pipecat_genesys.errors import PipecatGenesysError
from pipecat_genesys.simulator import (
    CallOptions,
    CaptureEntry,
    ConnectFailedError,
    Party,
    replay_call,
)

from .analysis import CallAnalysis
from .audio_tracks import MAX_COLUMNS, peaks
from .calls import (
    CallList,
    CallSource,
    InspectedCall,
    call_headers,
    capture_entry,
    head_of,
    message_line,
)
from .captures import CaptureFiles
from .comparison import compare
from .guard import Guard
from .phone import LANGUAGES, PhoneCall, PhoneTarget, fault_names
from .proxy import CallProxy
from .report_page import WEB, report_page

_MAX_LIMIT = 5000
_BATCH = 0.1
_MAX_BATCH = 1000
"""Maximum number of messages and marks in one live batch; the page fetches the others."""

_FIRST_SCAN = 2.0
"""Maximum time for which the first scan of a folder delays the page, in seconds."""

_KEPT_WAVS = 3
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html"}


class InspectorStartError(PipecatGenesysError):
    """The inspector cannot start; the message has the reason and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectorSettings:
    """The settings of an inspector. Exactly one of `captures`, `proxy` and `phone` is set.

    Attributes:
        captures: A capture file, or a folder of capture files.
        proxy: URL of the server to which the proxy forwards calls.
        listen: Port of the proxy; 0 for any free port.
        save: Folder in which the proxy's calls are saved as captures, or None.
        ca_file: Certificates that the proxy trusts, in PEM format; None for the certificates of the
            system.
        phone: URL of the server that the phone calls.
        options: Credentials of the phone and of replays.
        explain: Called with the error of a failed connection; returns the reason and advice.
        port: Port of the page; 0 for any free port.
    """

    captures: Path | None = None
    proxy: str | None = None
    listen: int = 0
    save: Path | None = None
    ca_file: str | None = None
    phone: str | None = None
    options: CallOptions = field(default_factory=CallOptions)
    explain: Callable[[ConnectFailedError], str] = str
    port: int = 0

    @property
    def source(self) -> str:
        """Name of the source of the calls: `files`, `proxy` or `phone`."""
        return "files" if self.captures else "proxy" if self.proxy else "phone"

    @property
    def target(self) -> str | None:
        """URL of the server, or None for captures."""
        return self.proxy or self.phone


class Inspector:
    """The calls of one source and the web server that shows them.

    Args:
        settings: The source of the calls, the ports and the credentials.
        warn: Called with a warning for the user's terminal.

    Attributes:
        calls: The live calls and replays.
        files: The capture files, or None.
        proxy: The proxy, or None.
        url: URL of the page with the token, once the inspector runs.
    """

    def __init__(self, settings: InspectorSettings, warn: Callable[[str], None] = print) -> None:
        self.settings = settings
        self.calls = CallList()
        self.files = None if settings.captures is None else CaptureFiles(settings.captures)
        self.proxy: CallProxy | None = None
        self.url = ""
        self._warn = warn
        self._savers: dict[str, _Saver] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Inspector]:
        """Run the sources and the web server.

        Raises:
            InspectorStartError: If the port of the page is taken.
            ProxyStartError: If the port of the proxy is taken.
        """
        token = secrets.token_urlsafe(24)
        listener = _listen(self.settings.port)
        async with AsyncExitStack() as stack:
            stack.callback(listener.close)
            port = listener.getsockname()[1]
            self.url = f"http://127.0.0.1:{port}/?token={token}"
            if self.settings.proxy is not None:
                self.proxy = CallProxy(
                    self.calls,
                    self.settings.proxy,
                    self.settings.listen,
                    ca_file=self.settings.ca_file,
                    on_failure=self._warn,
                )
                await self.proxy.start()
                stack.push_async_callback(self.proxy.stop)
            server = uvicorn.Server(
                uvicorn.Config(
                    _application(self, token, port),
                    ws="websockets-sansio",
                    lifespan="off",
                    log_config=None,
                    access_log=False,
                    timeout_graceful_shutdown=1,
                )
            )
            server.config.load()
            server.lifespan = server.config.lifespan_class(server.config)
            # `Server.serve` is not used, because it installs signal handlers, and the command
            # has its own signal handlers.
            await server.startup(sockets=[listener])
            serving = asyncio.create_task(server.main_loop())
            stack.push_async_callback(self._stop, server, serving, listener)
            self._spawn(self._keep_time())
            if self.files is not None:
                first = asyncio.create_task(self.files.rescan())
                self._spawn(self._watch(self.files, first))
                # Wait for a limited time. If the folder is large, the page opens earlier, and shows
                # each call when it has been read.
                await asyncio.wait({first}, timeout=_FIRST_SCAN)
            yield self

    @staticmethod
    async def _watch(files: CaptureFiles, first: asyncio.Task[None]) -> None:
        await first
        await files.watch()

    async def _stop(
        self, server: uvicorn.Server, serving: asyncio.Task[None], listener: socket.socket
    ) -> None:
        server.should_exit = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await serving
        await server.shutdown(sockets=[listener])
        for saver in self._savers.values():
            saver.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_time(self) -> None:
        """Advance the time of live calls, and save the calls of the proxy, until cancelled."""
        while True:
            for call in self.calls:
                call.tick()
                if self.settings.save is not None and call.source is CallSource.PROXY:
                    self._save(call, self.settings.save)
            await asyncio.sleep(_BATCH)

    def _save(self, call: InspectedCall, folder: Path) -> None:
        saver = self._savers.get(call.id)
        try:
            if saver is None:
                if not call.analysis.messages:
                    return
                saver = self._savers[call.id] = _Saver(folder, call)
            saver.update()
        except OSError as error:
            if saver is None:
                saver = self._savers[call.id] = _Saver.failed(call)
            saver.close()
            text = f"{call.name} is no longer saved: {error.strerror or error}; the call goes on"
            call.analysis.note(call.analysis.now, text)
            self._warn(text)

    # Methods that return calls of all sources.

    def versions(self) -> dict[str, int]:
        """Return a map from the id of each call to its version number.

        Each change of a call increases the version number of that call.
        """
        versions = {} if self.files is None else self.files.versions()
        for call in self.calls:
            # An error can occur without a new message, so an error also increases the number.
            versions[call.id] = 2 * call.analysis.version + (call.error is not None)
        return versions

    def summary(self, call_id: str) -> dict[str, Any] | None:
        """Return the entry of a call for the list on the page; None if there is no such call."""
        call = self.calls.get(call_id)
        if call is not None:
            return call.summary()
        return None if self.files is None else self.files.summary(call_id)

    def summaries(self) -> list[dict[str, Any]]:
        """Return the entries of all calls for the list on the page."""
        files = [] if self.files is None else self.files.summaries()
        return [*files, *(call.summary() for call in self.calls)]

    async def find(self, call_id: str) -> InspectedCall:
        """Return a call with its messages.

        Raises:
            HTTPException: With status 404, if there is no such call.
        """
        call = self.calls.get(call_id)
        if call is None and self.files is not None:
            call = await self.files.load(call_id)
        if call is None:
            raise HTTPException(404, f"there is no call {call_id[:80]!r}; reload the list")
        return call

    # Replay.

    def replay(self, call: InspectedCall, url: str) -> InspectedCall:
        """Start the replay of a call, and return the call that the replay makes.

        Raises:
            HTTPException: With status 400, if the call cannot be replayed.
        """
        entries = tuple(_entries(call.analysis))
        if not any(entry.direction == "to_server" for entry in entries):
            raise HTTPException(400, "the call has no message of the client to replay")
        if not url.startswith(("ws://", "wss://")):
            raise HTTPException(
                400, f"{url[:200]!r} is not the URL of a server; it begins with ws:// or wss://"
            )
        recorded = RecordedCall(url, call.analysis.mode, call_headers(call), entries)
        made = self.calls.add(CallSource.REPLAY, f"replay of {call.name}", url)
        made.analysis = CallAnalysis(call.analysis.mode, call.analysis.session_id)
        made.headers = call.headers
        made.origin = time.monotonic()
        self._spawn(self._replay(recorded, url, made))
        return made

    async def _replay(self, recorded: RecordedCall, url: str, made: InspectedCall) -> None:
        def observe(entry: CaptureEntry) -> None:
            if not made.analysis.messages:
                made.origin = time.monotonic()
            made.analysis.receive(
                entry.at, entry.direction, entry.content, size=entry.size, note=entry.note
            )

        options = replace(self.settings.options, rtt=0.0)
        try:
            report = await replay_call(recorded, url, options=options, observer=observe)
        except ConnectFailedError as error:
            made.error = self.settings.explain(error)
            return
        except (ValueError, OSError) as error:
            made.error = str(error)
            return
        by = Party.SERVER if report.now.closed_socket else Party.CLIENT
        made.analysis.end(time.monotonic() - (made.origin or 0.0), by)


def _entries(analysis: CallAnalysis) -> Iterator[CaptureEntry]:
    for message in analysis.messages:
        if message.type != "note":
            yield capture_entry(message)


class _Saver:
    """Writes a call to a capture file while it runs."""

    def __init__(self, folder: Path, call: InspectedCall) -> None:
        self._call = call
        self._written = 0
        started = "" if call.started is None else call.started.strftime("%Y%m%d-%H%M%S-")
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in call.name[:60])
        path = folder / f"{started}{name}-{secrets.token_hex(3)}.jsonl"
        descriptor = create_file(path, replace=False)
        self._file: TextIO = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._file.write(head_line(head_of(call)))

    @classmethod
    def failed(cls, call: InspectedCall) -> _Saver:
        """Return a saver that writes nothing, for a call whose file cannot be created."""
        saver = cls.__new__(cls)
        saver._call = call
        saver._written = sys.maxsize
        saver._file = io.StringIO()
        saver._file.close()
        return saver

    def update(self) -> None:
        """Write the new messages.

        Raises:
            OSError: If the file cannot be written.
        """
        messages = self._call.analysis.messages
        if self._file.closed:
            return
        for message in messages[self._written :]:
            if message.type != "note":
                self._file.write(message_line(message))
        self._written = len(messages)
        ending = self._call.analysis.ending
        if ending is not None:
            self._file.write(end_line(ending.at, ending.by or Party.CLIENT, ending.code))
            self._file.close()
        else:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            self._file.close()


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise InspectorStartError(
            f"cannot listen on 127.0.0.1:{port}: {reason}; choose another port with --port"
        ) from None
    return listener


# Classes and functions of the web application.


class _Json(Response):
    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        # Surrogates, which JSON escapes can contain, cannot be encoded as UTF-8.
        return json.dumps(content, separators=(",", ":"), allow_nan=False).encode()


def _application(inspector: Inspector, token: str, port: int) -> Starlette:
    web = _Web(inspector)
    routes: Sequence[BaseRoute] = [
        Route("/api/config", web.config),
        Route("/api/calls", web.list_calls),
        Route("/api/calls/{id}", web.call),
        Route("/api/calls/{id}/messages", web.messages),
        Route("/api/calls/{id}/marks", web.marks),
        Route("/api/calls/{id}/peaks/{party}", web.peaks),
        Route("/api/calls/{id}/audio/{party}.wav", web.audio),
        Route("/api/calls/{id}/capture", web.capture),
        Route("/api/calls/{id}/report.html", web.report),
        Route("/api/calls/{id}/replay", web.replay, methods=["POST"]),
        Route("/api/calls/{id}/diff/{other}", web.diff),
        WebSocketRoute("/api/live", web.live),
        WebSocketRoute("/api/phone", web.phone),
        Route("/{path:path}", web.static),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, token=token, port=port)],
        exception_handlers={HTTPException: _error, Exception: _failure},
    )


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _Json({"error": error.detail}, error.status_code)


async def _failure(request: Request, error: Exception) -> Response:
    return _Json({"error": f"the inspector failed: {type(error).__name__}: {error}"[:500]}, 500)


def _number(request: Request, name: str, default: float, low: float, high: float) -> float:
    text = request.query_params.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise HTTPException(400, f"{name} is {text[:40]!r}, not a number from {low:g} to {high:g}")
    return value


class _Web:
    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._wavs: dict[tuple[str, str, int], bytes] = {}

    async def config(self, request: Request) -> Response:
        settings = self._inspector.settings
        return _Json(
            {
                "source": settings.source,
                "version": version("pipecat-genesys"),
                "target": settings.target,
                "listen": None if self._inspector.proxy is None else self._inspector.proxy.port,
                "faults": fault_names() if settings.phone else [],
                "languages": list(LANGUAGES),
            }
        )

    async def list_calls(self, request: Request) -> Response:
        return _Json({"calls": self._inspector.summaries()})

    async def call(self, request: Request) -> Response:
        return _Json((await self._find(request)).details())

    async def messages(self, request: Request) -> Response:
        messages = (await self._find(request)).analysis.messages
        first = int(_number(request, "from", 0, 0, 1e9))
        limit = int(_number(request, "limit", 1000, 1, 1e9))
        chosen = messages[first : first + min(limit, _MAX_LIMIT)]
        return _Json(
            {
                "total": len(messages),
                "messages": [message.as_json(full=limit == 1) for message in chosen],
            }
        )

    async def marks(self, request: Request) -> Response:
        marks = (await self._find(request)).analysis.marks
        return _Json({"marks": [mark.as_json() for mark in marks]})

    async def peaks(self, request: Request) -> Response:
        call = await self._find(request)
        track = call.analysis.tracks().get(request.path_params["party"])
        if track is None:
            raise self._no_party(call, request)
        first = _number(request, "from", 0.0, 0.0, 1e7)
        last = _number(request, "to", max(call.analysis.now, first), first, 1e7)
        columns = int(_number(request, "columns", 1000, 1, MAX_COLUMNS))
        values = await asyncio.to_thread(peaks, track, first, last, columns)
        return _Json({"from": first, "to": last, "peaks": values})

    async def audio(self, request: Request) -> Response:
        call = await self._find(request)
        party = request.path_params["party"]
        try:
            body = await self._wav(call, party)
        except KeyError:
            raise self._no_party(call, request) from None
        return _ranged(request, body, "audio/wav", f"{_file_name(call)}-{party[:20]}.wav")

    async def _wav(self, call: InspectedCall, party: str) -> bytes:
        """Return the audio of a party as a WAV file.

        The files of ended calls are cached, because a browser requests one file in many parts.

        Raises:
            KeyError: If the call has no such party.
        """
        key = (call.id, party, call.analysis.version)
        body = self._wavs.get(key)
        if body is None:
            body = await asyncio.to_thread(call.wav, party)
            if not call.is_running:
                self._wavs[key] = body
                while len(self._wavs) > _KEPT_WAVS:
                    del self._wavs[next(iter(self._wavs))]
        return body

    async def capture(self, request: Request) -> Response:
        call = await self._find(request)
        name = f"{_file_name(call)}.jsonl"
        return StreamingResponse(
            call.capture(),
            media_type="application/x-ndjson",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    async def report(self, request: Request) -> Response:
        call = await self._find(request)
        page = await asyncio.to_thread(report_page, call)
        name = f"{_file_name(call)}.html"
        return Response(
            page.encode("utf-8", "replace"),
            media_type="text/html; charset=utf-8",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )

    async def replay(self, request: Request) -> Response:
        call = await self._find(request)
        try:
            body = await request.json()
            url = body["url"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise HTTPException(400, 'the body must be {"url": "ws://..."}') from None
        target = url or self._inspector.settings.target or call.url
        return _Json({"id": self._inspector.replay(call, str(target)).id})

    async def diff(self, request: Request) -> Response:
        one = await self._find(request)
        two = await self._inspector.find(request.path_params["other"])
        try:
            rows = await asyncio.to_thread(compare, one.analysis, two.analysis)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        return _Json({"rows": rows})

    async def static(self, request: Request) -> Response:
        name = request.path_params["path"] or "index.html"
        try:
            path = (WEB / name).resolve()
            is_file = path.is_relative_to(WEB.resolve()) and path.is_file()
        except (OSError, ValueError):  # a name that is too long, or that has a null character
            is_file = False
        media_type = (
            _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] if is_file else ""
        )
        if not is_file or name.endswith(".d.ts") or not media_type:
            raise HTTPException(404, f"there is no file {name[:80]!r}")
        return FileResponse(path, media_type=media_type)

    async def live(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await _LiveFeed(self._inspector, websocket).run()

    async def phone(self, websocket: WebSocket) -> None:
        await websocket.accept()
        settings = self._inspector.settings
        if settings.phone is None:
            error = "this inspector cannot call: start `pipecat-genesys inspect --phone URL`"
            await websocket.send_text(json.dumps({"state": "ended", "id": None, "error": error}))
            await websocket.close()
            return
        target = PhoneTarget(settings.phone, settings.options, settings.explain)
        lock = asyncio.Lock()

        async def send(message: Mapping[str, Any] | bytes) -> None:
            async with lock:
                if isinstance(message, bytes):
                    await websocket.send_bytes(message)
                else:
                    await websocket.send_text(json.dumps(message))

        call = PhoneCall(target, self._inspector.calls, send)
        try:
            while True:
                event = await websocket.receive()
                if event["type"] == "websocket.disconnect":
                    break
                if event.get("bytes") is not None:
                    call.hear(event["bytes"])
                    continue
                command = _parsed(event.get("text"))
                if command is not None:
                    await call.command(command)
        except WebSocketDisconnect:
            pass
        finally:
            await asyncio.shield(call.close())

    async def _find(self, request: Request) -> InspectedCall:
        return await self._inspector.find(request.path_params["id"])

    @staticmethod
    def _no_party(call: InspectedCall, request: Request) -> HTTPException:
        parties = ", ".join(call.analysis.tracks())
        party = request.path_params["party"][:40]
        return HTTPException(404, f"the call has no party {party!r}; it has {parties}")


def _parsed(text: object) -> dict[str, Any] | None:
    try:
        value = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _file_name(call: InspectedCall) -> str:
    """Return a name that can be used in an HTTP header and as a file name."""
    stem = Path(call.name).stem[:60]
    safe = (c if c.isascii() and (c.isalnum() or c in "-_.") else "_" for c in stem)
    return "".join(safe) or "call"


def _ranged(request: Request, body: bytes, media_type: str, name: str) -> Response:
    """Return a response with a body, or with the part of it that the `Range` header requests."""
    headers = {"accept-ranges": "bytes", "content-disposition": f'inline; filename="{name}"'}
    asked = request.headers.get("range", "")
    first_text, dash, last_text = asked.removeprefix("bytes=").partition("-")
    if not asked.startswith("bytes=") or not dash or "," in asked:
        return Response(body, media_type=media_type, headers=headers)
    try:
        first = int(first_text) if first_text else max(0, len(body) - int(last_text))
        last = int(last_text) if first_text and last_text else len(body) - 1
    except ValueError:
        return Response(body, media_type=media_type, headers=headers)
    last = min(last, len(body) - 1)
    if first > last:
        headers["content-range"] = f"bytes */{len(body)}"
        return Response(status_code=416, headers=headers)
    headers["content-range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], 206, media_type=media_type, headers=headers)


class _LiveFeed:
    """The live feed of one page: batches of changes, at most one every 100 ms.

    A batch is made after the previous batch was sent, so a slow page gets fewer batches with the
    newest state.
    """

    def __init__(self, inspector: Inspector, websocket: WebSocket) -> None:
        self._inspector = inspector
        self._websocket = websocket
        self._seen: dict[str, int] = {}
        self._subscribed: str | None = None
        self._messages = 0
        self._marks = 0
        self._version = -1

    async def run(self) -> None:
        """Send batches until the page disconnects."""
        sending = asyncio.create_task(self._send())
        try:
            while True:
                command = _parsed(await self._websocket.receive_text())
                if command is not None and "subscribe" in command:
                    await self._subscribe(command["subscribe"], command)
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _subscribe(self, call_id: object, command: Mapping[str, Any]) -> None:
        self._subscribed = call_id if isinstance(call_id, str) else None
        self._version = -1
        first = command.get("from", 0)
        self._messages = first if isinstance(first, int) and first >= 0 else 0
        self._marks = 0

    async def _send(self) -> None:
        while True:
            batch = self._list_changes()
            details = await self._call_changes()
            for message in (batch, details):
                if message:
                    text = json.dumps(message, separators=(",", ":"), allow_nan=False)
                    await self._websocket.send_text(text)
            await asyncio.sleep(_BATCH)

    def _list_changes(self) -> dict[str, Any]:
        versions = self._inspector.versions()
        changed = [
            summary
            for call_id, number in versions.items()
            if self._seen.get(call_id) != number
            and (summary := self._inspector.summary(call_id)) is not None
        ]
        removed = list(self._seen.keys() - versions.keys())
        self._seen = versions
        batch: dict[str, Any] = {"calls": changed} if changed else {}
        return batch | ({"removed": removed} if removed else {})

    async def _call_changes(self) -> dict[str, Any]:
        subscribed = self._subscribed
        if subscribed is None:
            return {}
        number = self._inspector.versions().get(subscribed)
        if number is None or number == self._version:
            return {}
        try:
            call = await self._inspector.find(subscribed)
        except HTTPException:
            return {}
        if subscribed != self._subscribed:
            return {}
        self._version = number
        analysis = call.analysis
        messages, marks = analysis.messages, analysis.marks
        if len(messages) < self._messages or len(marks) < self._marks:
            self._messages = self._marks = 0
        first = max(self._messages, len(messages) - _MAX_BATCH)
        first_mark = max(self._marks, len(marks) - _MAX_BATCH)
        self._messages, self._marks = len(messages), len(marks)
        return {
            "id": call.id,
            "total": len(messages),
            "total_marks": len(marks),
            "messages": [message.as_json() for message in messages[first:]],
            "marks": [mark.as_json() for mark in marks[first_mark:]],
            "numbers": analysis.numbers(),
            "call": call.summary(),
        }
