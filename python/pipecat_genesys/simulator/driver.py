"""What keeps a simulated call going: its socket, its clock, and the session between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection

from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.acting import ActingSession
from pipecat_genesys.simulator.capture import CaptureEntry
from pipecat_genesys.simulator.errors import CallEndedError
from pipecat_genesys.simulator.faults import Fault
from pipecat_genesys.simulator.options import CallOptions, audiohook_headers, sign_headers
from pipecat_genesys.simulator.parameters import CallParameters, new_call
from pipecat_genesys.simulator.rules import Rule
from pipecat_genesys.simulator.session import CallStateError, GenesysClientSession, SessionState
from pipecat_genesys.simulator.stream import Stream
from pipecat_genesys.simulator.waiting import EventLog
from pipecat_genesys.simulator.websocket import CallSocket, SocketEnd, open_socket

Observer = Callable[[CaptureEntry | ev.Event], None]


class CallDriver:
    """The base of :class:`SimulatedCall`, which has the verbs; its arguments are described there.

    An asynchronous context manager: the call is placed at its beginning, and over at its end.
    """

    def __init__(
        self,
        url: str,
        parameters: CallParameters | None = None,
        *,
        options: CallOptions | None = None,
        fault: Fault | None = None,
        continues: CallDriver | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.url = url
        self.parameters = parameters or new_call()
        self.options = options or CallOptions()
        if fault is not None:
            self.parameters = fault.parameters(self.parameters)
            self.options = fault.options(self.options)
        self.fault = fault
        self.session = self._new_session()
        self.stream = Stream(self.parameters, self.options)
        self._continues = continues
        if continues is not None:
            self.stream.continue_from(continues.stream)
        self.observer = observer
        self._log = EventLog(self.session.capture)
        self._seen_entries = 0
        self._wake = asyncio.Event()
        self._socket: CallSocket | None = None
        self._task: asyncio.Task[None] | None = None
        self._began = 0.0

    # The life of the call.

    async def __aenter__(self) -> Self:
        """Connect and send ``open``.

        Raises:
            ConnectFailedError: If there is no WebSocket to be had.
        """
        options = self.options
        for attempt in range(options.lost_attempts):
            await self._lose(await self._connect(attempt))
        connection = await self._connect(options.lost_attempts)
        self._socket = CallSocket(connection, options.socket_close_timeout)
        self._began = time.monotonic()
        self.stream.start(self._began)
        self.session.start(self._began)
        self._task = asyncio.create_task(self._run(self._socket))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up unless that is done, wait for the end, and leave nothing behind."""
        assert self._socket is not None
        assert self._task is not None
        try:
            if not self._task.done():
                self._act(self.session.hang_up)
                closing = self.options.socket_close_timeout
                if kind is None:
                    # The session's own timer ends the wait for ``closed``; this is the margin.
                    closing = 2 * closing + self.options.timeouts.close + 1
                await asyncio.wait({self._task}, timeout=closing)
        finally:
            if not self._task.done():
                self._socket.drop()
                await asyncio.wait({self._task}, timeout=self.options.socket_close_timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._log.failure is not None and kind is None:
            raise self._log.failure

    @property
    def events(self) -> Sequence[ev.Event]:
        """All events so far."""
        return self._log.events

    @property
    def elapsed(self) -> float:
        """Seconds since ``open``."""
        return time.monotonic() - self._began

    def _new_session(self) -> GenesysClientSession:
        options = self.options
        common: dict[str, Any] = {
            "timeouts": options.timeouts,
            "limits": options.limits,
            "record_audio": options.record_audio,
            "completed_after_barge_in": options.completed_after_barge_in,
        }
        if self.fault is None:
            return GenesysClientSession(self.parameters, **common)
        return ActingSession(
            self.parameters,
            acts=self.fault.acts,
            one_byte_frames=self.fault.one_byte_frames,
            **common,
        )

    async def _connect(self, attempt: int) -> ClientConnection:
        options = self.options
        return await open_socket(
            self.url,
            sign_headers(
                self.url, audiohook_headers(self.parameters, options.api_key, attempt), options
            ),
            timeout=options.connect_timeout,
            close_timeout=options.socket_close_timeout,
            ssl=options.ssl,
        )

    async def _lose(self, connection: ClientConnection) -> None:
        """Send ``open`` on a connection, and lose it."""
        session = GenesysClientSession(self.parameters)
        session.start(time.monotonic())
        for message in session.messages_to_send():
            await connection.send(message)
        connection.transport.abort()
        await connection.wait_closed()

    async def _run(self, socket: CallSocket) -> None:
        """Carry the call until its socket is gone, or something here fails."""
        reading = asyncio.create_task(socket.run(self._on_message))
        timing = asyncio.create_task(self._keep_time())
        try:
            await asyncio.wait({reading, timing}, return_when=asyncio.FIRST_COMPLETED)
            finished = timing if timing.done() else reading
            end = finished.result()
            if isinstance(end, SocketEnd):
                self._on_end(end)
        except Exception as error:
            # It belongs to the script, which may be waiting: it is raised there.
            self._log.failure = error
            socket.drop()
        finally:
            for task in (reading, timing):
                task.cancel()
            await asyncio.gather(reading, timing, return_exceptions=True)
            self._log.notify()

    async def _keep_time(self) -> None:
        """Do what is due when it is due: frames on an absolute schedule, the session's timers."""
        while True:
            self._act(lambda now: None)
            due = [self.session.next_deadline()]
            if self.session.state is SessionState.OPEN and not self.parameters.is_probe:
                due.append(self.stream.frame_due(self.session.position))
            moments = [moment for moment in due if moment is not None]
            self._wake.clear()
            wait = max(0.0, min(moments) - time.monotonic()) if moments else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _act(self, verb: Callable[[float], object]) -> None:
        """Bring the session up to date, do something to it, and carry out what follows."""
        now = time.monotonic()
        self.session.tick(now)
        self._send_frames(now)
        try:
            verb(now)
        except CallStateError as error:
            if self.session.state in (SessionState.IDLE, SessionState.OPENING, SessionState.OPEN):
                raise
            # Not the script's mistake: the call ended under its hands.
            raise self._log.error(CallEndedError, str(error)) from None
        finally:
            self._publish()

    def _on_message(self, message: str | bytes) -> None:
        now = time.monotonic()
        if isinstance(message, str):
            self.session.receive_text(message, now)
        else:
            self.session.receive_binary(message, now)
        if self._continues is not None and self.session.state is SessionState.OPEN:
            # From here on the conversation is this session's.
            self._continues._act(self._continues.session.hand_over)
            self._continues = None
        # After ``opened``, everything the caller has said since ``open`` goes out at once.
        self._send_frames(now)
        self._publish()

    def _on_end(self, end: SocketEnd) -> None:
        now = time.monotonic()
        if end.fault is not None:
            self.session.report_fault(Rule.WEBSOCKET_FAULT, end.fault, now)
        if end.doubtful:
            detail = f"the closing handshake was answered with code {end.code}: who closed first?"
            self.session.report_fault(Rule.SOCKET_CLOSE_RACE, detail, now)
        self.session.socket_lost(now, by=end.by, code=end.code, detail=end.detail)
        self._log.over = True
        self._publish()

    def _send_frames(self, now: float) -> None:
        if not self.parameters.is_probe:
            self.stream.send_due(self.session, now)

    def _publish(self) -> None:
        """Send, tell the observer, and wake whoever waits."""
        socket = self._socket
        assert socket is not None
        for message in self.session.messages_to_send():
            socket.send(message)
        if self.session.socket_should_close:
            socket.close()
        if isinstance(self.session, ActingSession) and self.session.socket_should_drop:
            socket.drop_when_sent()
        events = self.session.take_events()
        self._log.events.extend(events)
        entries = self.session.capture.entries[self._seen_entries :]
        self._seen_entries += len(entries)
        self._log.notify()
        self._wake.set()
        if self.observer is not None:
            for item in (*entries, *events):
                self.observer(item)
