"""A simulated call over a real WebSocket, driven by a script. See :class:`SimulatedCall`."""

# A wait is told how long it may take, and says so when it fails; a bare cancellation could not.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from websockets.asyncio.client import ClientConnection

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
)
from pipecat_genesys.simulator import events as ev
from pipecat_genesys.simulator.acting import ActingSession
from pipecat_genesys.simulator.caller import Spoken, Utterance
from pipecat_genesys.simulator.capture import CaptureEntry
from pipecat_genesys.simulator.errors import AwaitTimeoutError, CallEndedError, SimulatorError
from pipecat_genesys.simulator.faults import Fault
from pipecat_genesys.simulator.options import CallOptions, audiohook_headers, sign_headers
from pipecat_genesys.simulator.parameters import CallMode, CallParameters, new_call
from pipecat_genesys.simulator.report import CallReport, build_report
from pipecat_genesys.simulator.rules import Rule
from pipecat_genesys.simulator.session import (
    CallStateError,
    GenesysClientSession,
    SessionState,
)
from pipecat_genesys.simulator.stream import Stream
from pipecat_genesys.simulator.waiting import EventLog
from pipecat_genesys.simulator.wav import read_stereo_wav, read_wav, write_wav
from pipecat_genesys.simulator.websocket import CallSocket, SocketEnd, open_socket

_E = TypeVar("_E", bound=ev.Event)
Observer = Callable[[CaptureEntry | ev.Event], None]


class SimulatedCall:
    """One call from Genesys Cloud to a voice bot.

    The stream, the pings and every reaction run by themselves; the script says what the caller
    does and waits for what the bot does::

        async with SimulatedCall("ws://localhost:8765/genesys") as call:
            await call.opened()
            await call.wait_for_bot_audio()
            spoken = await call.say("question.wav")
            await call.wait_for_bot_audio(since=spoken.end)
            await call.hang_up()
            report = await call.ended()

    Leaving the block hangs up if nobody has, and waits for the end. Times are in seconds; those
    of events are counted from ``open``.

    Args:
        url: The server, ``ws://`` or ``wss://``.
        parameters: Who calls; a new call with random ids by default.
        options: How.
        fault: What the client does wrong, of ``FAULTS``; nothing by default.
        continues: The call whose conversation this one carries on; see :func:`continuation`.
        observer: Called with every message and every event as they happen. What it raises ends
            the call and surfaces in the script.
    """

    def __init__(
        self,
        url: str,
        parameters: CallParameters | None = None,
        *,
        options: CallOptions | None = None,
        fault: Fault | None = None,
        continues: SimulatedCall | None = None,
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
        self._script_error: str | None = None

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
                await self.hang_up()
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

    async def run(self, script: Callable[[SimulatedCall], Awaitable[object]]) -> CallReport:
        """Place the call, play a script, hang up, and report.

        A server that cannot be reached, drops the call or does not do what the script waits for
        ends in the report's ``script_error``. Anything else the script raises is raised.
        """
        try:
            async with self:
                await script(self)
        except SimulatorError as error:
            self._script_error = str(error)
        return self.report()

    def report(self) -> CallReport:
        """How the call went so far."""
        return build_report(self.session, self.events, time.monotonic(), self._script_error)

    # What the caller does.

    async def say(
        self,
        speech: bytes | str | os.PathLike[str],
        party: AudioHookChannel = AudioHookChannel.EXTERNAL,
    ) -> Spoken:
        """Speak, after whatever is being said already.

        Args:
            speech: 8 kHz mu-law, or the path of a WAV file (see :func:`read_wav`).
            party: Who; ``internal`` is the agent of a monitored call.

        Returns:
            Where it lies in the stream, once its last sample has been sent.

        Raises:
            CallEndedError: If the call ends first.
            CallStateError: If the call is a connection probe, which carries no audio.
            ValueError: If the file is not one that can be read, or there is no such party.
        """
        ulaw = speech if isinstance(speech, bytes) else read_wav(speech)
        return await self._said(self.stream.voice(party).say(ulaw))

    async def converse(self, recording: str | os.PathLike[str]) -> tuple[Spoken, Spoken]:
        """Let both parties of a monitored call speak.

        Args:
            recording: A stereo WAV file, the customer left and the agent right.

        Returns:
            Where it lies in the stream, by party.

        Raises:
            CallEndedError: If the call ends first.
            ValueError: If the file is not one that can be read, or the call is not monitored.
        """
        parties = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
        sides = zip(parties, read_stereo_wav(recording), strict=True)
        first, second = [self.stream.voice(party).say(ulaw) for party, ulaw in sides]
        return await self._said(first), await self._said(second)

    async def _said(self, utterance: Utterance) -> Spoken:
        if self.parameters.is_probe:
            raise CallStateError("nobody speaks in a connection probe: it carries no audio")
        patience = self.options.timeouts.open + utterance.length / WIRE_SAMPLE_RATE + 60
        return await self._log.until(lambda: utterance.spoken, "the end of what was said", patience)

    async def press(self, digit: str) -> None:
        """Press a key, one of ``0-9*#``.

        Raises:
            CallStateError: If the session is not open yet, here and in the verbs below.
            CallEndedError: If it is over.
        """
        self._act(lambda now: self.session.press_dtmf(digit, now))

    async def update(self, language: str) -> None:
        """Change the conversation's language."""
        self._act(lambda now: self.session.send_update(language, now))

    async def pause(self) -> None:
        """Pause the stream on the client's side."""
        self._act(self.session.pause)

    async def resume(self) -> None:
        """End the client's own pause."""
        self._act(self.session.resume)

    async def discard(self, samples: int) -> None:
        """Drop the caller's next samples and report them."""
        self._act(lambda now: self.session.report_discarded(samples, now))

    async def hang_up(self) -> None:
        """Send ``close``, unless the session is closing already. :meth:`ended` waits."""
        self._act(self.session.hang_up)

    # What the bot does.

    async def opened(self, timeout: float | None = None) -> ev.Opened:
        """Wait until the server has accepted the call.

        Args:
            timeout: Seconds; by default a second more than the client itself waits.

        Raises:
            CallEndedError: If the call ends first, here and below.
            AwaitTimeoutError: If it does not happen in time, here and below.
        """
        limit = self.options.timeouts.open + 1 if timeout is None else timeout
        return await self._log.until(lambda: _first(ev.Opened, self.events), "Opened", limit)

    async def ended(self, timeout: float | None = None) -> CallReport:
        """Wait until the socket is gone.

        Args:
            timeout: Seconds; none by default.

        Returns:
            How the call went.
        """
        await self._log.until(lambda: self._log.over or None, "the end of the call", timeout)
        return self.report()

    @overload
    async def wait_for(
        self, wanted: type[_E], timeout: float = ..., *, since: float = ...
    ) -> _E: ...

    @overload
    async def wait_for(
        self, wanted: Callable[[ev.Event], bool], timeout: float = ..., *, since: float = ...
    ) -> ev.Event: ...

    async def wait_for(
        self,
        wanted: type[_E] | Callable[[ev.Event], bool],
        timeout: float = 10.0,
        *,
        since: float = 0.0,
    ) -> _E | ev.Event:
        """Wait for an event, past or to come, that was not returned by a wait before.

        Args:
            wanted: Its class, or what is true of it.
            timeout: Seconds from now.
            since: Pass over events before this moment, in seconds since ``open``.
        """
        if isinstance(wanted, type):
            kind = wanted
            return await self._log.until(
                lambda: self._log.claim_kind(kind, since), kind.__name__, timeout
            )
        name = getattr(wanted, "__name__", repr(wanted))
        matches: Callable[[ev.Event], bool] = wanted
        return await self._log.until(lambda: self._log.claim(matches, since), name, timeout)

    async def wait_for_bot_audio(
        self, timeout: float = 10.0, *, since: float = 0.0
    ) -> ev.PlaybackStarted:
        """Wait until the caller begins to hear the bot."""
        return await self.wait_for(ev.PlaybackStarted, timeout, since=since)

    async def playback_completed(
        self, timeout: float = 30.0, *, since: float = 0.0
    ) -> ev.PlaybackCompleted:
        """Wait until the bot's queue has run dry."""
        return await self.wait_for(ev.PlaybackCompleted, timeout, since=since)

    async def wait_for_silence(self, seconds: float = 0.5, timeout: float = 30.0) -> float:
        """Wait until no bot audio has been heard for ``seconds``.

        Returns:
            When the last audible sample ended, in seconds since ``open``; 0 if there was none.
        """
        deadline = time.monotonic() + timeout
        what = f"{seconds:g} s of silence"
        while True:
            silent_since = self.session.playback.silent_since(time.monotonic())
            quiet = 0.0 if silent_since is None else self.elapsed - silent_since
            if silent_since is not None and quiet >= seconds:
                return silent_since
            if self._log.over:
                raise self._log.error(CallEndedError, f"the call ended while waiting for {what}")
            wait = min(max(seconds - quiet, 0.001), max(deadline - time.monotonic(), 0.0))
            if not wait:
                raise self._log.error(AwaitTimeoutError, f"no {what} within {timeout:g} s")
            await asyncio.sleep(min(wait, 0.05) if silent_since is None else wait)

    # What is on record.

    @property
    def events(self) -> Sequence[ev.Event]:
        """All events so far."""
        return self._log.events

    @property
    def elapsed(self) -> float:
        """Seconds since ``open``."""
        return time.monotonic() - self._began

    def save_recording(self, target: str | os.PathLike[str]) -> None:
        """Write the call as a stereo WAV file: the caller left, the bot as heard right.

        Of a monitored call it is the customer left and the agent right, as they were sent.

        Raises:
            ValueError: If the options say not to record.
        """
        lost = self.session.socket_closed
        end = time.monotonic() if lost is None else self._began + lost.at
        caller = audio.ulaw_decode(self.stream.voice(AudioHookChannel.EXTERNAL).track)
        if self.parameters.mode is CallMode.MONITOR:
            agent = self.stream.voice(AudioHookChannel.INTERNAL).track
            return write_wav(target, caller, audio.ulaw_decode(agent))
        heard = self.session.playback.render(end)
        if self.session.playback.media_format is AudioHookMediaFormat.PCMU:
            heard = audio.ulaw_decode(heard)
        lead = b"\0\0" * self.stream.lead_samples
        return write_wav(target, caller, lead + heard)

    # The machinery.

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


def _first(kind: type[_E], events: Iterable[ev.Event]) -> _E | None:
    return next((event for event in events if isinstance(event, kind)), None)
