"""`SimulatedCall`: a call over a real WebSocket, controlled by a script.

`SimulatedCall` connects to a server, passes server messages and the time to the session, and sends
the session's messages. A script calls its methods to act and to wait. `continuation` makes a call
that continues another call.
"""

# The timeouts are part of the error messages, so they cannot be left to `asyncio.timeout`.
# ruff: noqa: ASYNC109

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self, TypeVar, overload

from pipecat_genesys import audio
from pipecat_genesys.capture import CallMode, CaptureEntry, Party
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookChannel, AudioHookMediaFormat

from .caller_audio import CallerAudio, QueuedSpeech, Spoken
from .connection import (
    CallConnection,
    CallOptions,
    ConnectionEnd,
    audiohook_headers,
)
from .event_log import AwaitTimeoutError, CallEndedError, EventLog, SimulatorError
from .faults import Fault, FaultInjector
from .report import CallReport, build_report
from .session import GenesysClientSession
from .session import events as ev
from .session.machine import CallStateError, SessionState
from .session.parameters import (
    FRAME_SAMPLES,
    CallParameters,
    PreviousSession,
    new_call,
)
from .session.rules import ServerRule
from .sounds import read_stereo_wav, read_wav, write_wav

HISTORY = 20.0
"""Duration of the audio that Genesys sends again in a session that continues another one."""

Observer = Callable[[CaptureEntry | ev.Event], None]
"""Called with every message and every event of a call."""

_E = TypeVar("_E", bound=ev.Event)
_RUNNING = (SessionState.IDLE, SessionState.OPENING, SessionState.OPEN)


class SimulatedCall:
    """One call from Genesys Cloud to a server.

    The call is an asynchronous context manager. Entering it connects and sends `open`. Leaving it
    hangs up if the call is still running, and waits for the end. Caller audio, pings and the
    reactions to server messages need no action of the script. The script decides what the caller
    does, and waits for what the bot does::

        async with SimulatedCall("ws://localhost:8765/audiohook") as call:
            await call.opened()
            await call.wait_for_bot_audio()
            spoken = await call.say("question.wav")
            await call.wait_for_bot_audio(since=spoken.end)
            await call.hang_up()
            report = await call.ended()

    Durations are in seconds. The times of events are in seconds since `open`.

    Args:
        url: URL of the server, `ws://` or `wss://`.
        parameters: Contents of `open`, and the mode of the call; a new call to a voice bot with
            random ids by default.
        options: Credentials, timeouts and network delay.
        fault: Wrong or rare behaviour of the client, see `FAULTS`; none by default.
        continues: The call that this call continues, see `continuation`.
        observer: Called with every message and every event when it happens. An exception raised
            by the observer ends the call and is raised in the script.

    Attributes:
        url: URL of the server.
        parameters: Parameters of the call, changed by the fault.
        options: Options of the call, changed by the fault.
        fault: The fault, or None.
        session: The session of the call.
        caller_audio: The audio of the caller, and of the agent in a monitored call.
        observer: The observer, or None.
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
        self.session = GenesysClientSession(
            self.parameters,
            timeouts=self.options.timeouts,
            limits=self.options.limits,
            record_audio=self.options.record_audio,
            completed_after_barge_in=self.options.completed_after_barge_in,
        )
        self.caller_audio = CallerAudio(
            self.parameters.mode,
            backlog=self.options.backlog,
            catch_up_at_once=self.options.catch_up_at_once,
            record=self.options.record_audio,
        )
        if continues is not None:
            self.caller_audio.continue_from(continues.caller_audio)
        self.observer = observer
        self._continues = continues
        self._faults = FaultInjector(
            self.session,
            fault.acts if fault else (),
            fault.one_byte_frames if fault else 0,
        )
        self._log = EventLog(self.session.capture)
        self._observed_entries = 0
        self._wake = asyncio.Event()
        self._connection: CallConnection | None = None
        self._task: asyncio.Task[None] | None = None
        self._started_at = 0.0
        self._clock: Callable[[], float] = time.monotonic

    # Methods that begin and end the call.

    async def run(self, script: Callable[[SimulatedCall], Awaitable[object]]) -> CallReport:
        """Place the call, run a script, hang up, and return the report.

        A `SimulatorError` in the script, or while connecting, becomes the `script_error` of the
        report. Any other exception is raised.

        Args:
            script: Called with the call when `open` has been sent.
        """
        try:
            async with self:
                await script(self)
        except SimulatorError as error:
            return self.report(str(error))
        return self.report()

    def report(self, script_error: str | None = None) -> CallReport:
        """Return a report of the call up to now.

        Args:
            script_error: The error that ended the script, or None.
        """
        return build_report(self.session, self.events, self._clock(), script_error)

    async def __aenter__(self) -> Self:
        """Connect, and send `open`.

        Raises:
            ConnectFailedError: If the WebSocket cannot be established.
        """
        self._clock = asyncio.get_running_loop().time
        for attempt in range(self.options.lost_attempts):
            await self._lose(await self._connect(attempt))
        self._connection = await self._connect(self.options.lost_attempts)
        now = self._started_at = self._clock()
        self.caller_audio.start(now)
        self.session.start(now)
        self._faults.update(now)
        self._task = asyncio.create_task(self._run(self._connection))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up if the call is still running, and wait for its end.

        After an exception or a cancellation, the wait is limited to `socket_close_timeout` and the
        delay of the network. When this method returns, the socket is closed and all tasks of the
        call have ended.
        """
        assert self._connection is not None
        assert self._task is not None
        try:
            if not self._task.done():
                self._do(self.session.hang_up)
                options = self.options
                timeout = options.socket_close_timeout + options.rtt + 2 * options.jitter
                if kind is None:
                    # The session limits the wait for `closed`. The additional time is a margin.
                    timeout = 2 * timeout + options.timeouts.close + 1
                await asyncio.wait({self._task}, timeout=timeout)
        finally:
            if not self._task.done():
                self._connection.drop()
                await asyncio.wait({self._task}, timeout=self.options.socket_close_timeout)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._log.failure is not None and kind is None:
            raise self._log.failure

    # State.

    @property
    def events(self) -> Sequence[ev.Event]:
        """All events so far."""
        return self._log.events

    @property
    def elapsed(self) -> float:
        """Seconds since `open`."""
        return self._clock() - self._started_at

    @property
    def fault_happened(self) -> bool:
        """Whether the client performed a faulty action, or the fault has no actions."""
        return self._faults.has_acted

    # Methods for the actions of the caller.

    async def say(
        self,
        speech: bytes | str | os.PathLike[str],
        party: AudioHookChannel = AudioHookChannel.EXTERNAL,
    ) -> Spoken:
        """Speak, after any speech of this party that is still queued.

        Cancelling this method does not remove the speech from the queue.

        Args:
            speech: 8 kHz mu-law, or the path of a WAV file (see `read_wav`).
            party: The party that speaks; `internal` is the agent of a monitored call.

        Returns:
            The position of the speech in the stream, when its last sample was sent.

        Raises:
            CallEndedError: If the call ends first.
            CallStateError: If the call is a connection probe, which carries no audio.
            ValueError: If the file cannot be read, or if the call has no such party.
        """
        ulaw = speech if isinstance(speech, bytes) else read_wav(speech)
        return await self._said(self.caller_audio.voice(party).say(ulaw))

    async def converse(self, recording: str | os.PathLike[str]) -> tuple[Spoken, Spoken]:
        """Speak for both parties of a monitored call.

        Args:
            recording: Path of a stereo WAV file. The left channel has the customer and the right
                channel has the agent.

        Returns:
            The position of the customer's speech and of the agent's speech in the stream.

        Raises:
            CallEndedError: If the call ends first.
            ValueError: If the file cannot be read, or if the call is not monitored.
        """
        parties = (AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL)
        voices = [self.caller_audio.voice(party) for party in parties]
        sides = read_stereo_wav(recording)
        customer, agent = [voice.say(side) for voice, side in zip(voices, sides, strict=True)]
        return await self._said(customer), await self._said(agent)

    async def _said(self, speech: QueuedSpeech) -> Spoken:
        if self.parameters.is_probe:
            raise CallStateError("cannot speak: a connection probe carries no audio")
        timeout = self.options.timeouts.open + speech.length / WIRE_SAMPLE_RATE + 60
        return await self._log.until(lambda: speech.spoken, "the end of the speech", timeout)

    async def press(self, digit: str) -> None:
        """Press a key, one of `0-9*#`.

        Raises:
            CallStateError: If the session is not open yet.
            CallEndedError: If the call has ended.
            ValueError: If there is no such key.
        """
        self._do(lambda now: self.session.press_dtmf(digit, now))

    async def update(self, language: str) -> None:
        """Change the language of the conversation.

        Raises:
            CallStateError: If the session is not open yet.
            CallEndedError: If the call has ended.
        """
        self._do(lambda now: self.session.send_update(language, now))

    async def pause(self) -> None:
        """Pause the stream on the client's side.

        Raises:
            CallStateError: If the session is not open yet.
            CallEndedError: If the call has ended.
        """
        self._do(self.session.pause)

    async def resume(self) -> None:
        """End the client's own pause.

        Raises:
            CallStateError: If the session is not open yet, or the client has not paused the stream.
            CallEndedError: If the call has ended.
        """
        self._do(self.session.resume)

    async def discard(self, samples: int) -> None:
        """Skip samples of the caller's audio, and report them with `discarded`.

        Raises:
            CallStateError: If the session is not open yet.
            CallEndedError: If the call has ended.
            ValueError: If `samples` is not positive.
        """
        self._do(lambda now: self.session.report_discarded(samples, now))

    async def hang_up(self) -> None:
        """Send `close`, unless the session is already closing. `ended` waits for the end."""
        self._do(self.session.hang_up)

    # Waiting.

    async def opened(self, timeout: float | None = None) -> ev.Opened:
        """Wait until the server has accepted the call.

        Args:
            timeout: Maximum time; by default one second more than the client's own timeout.

        Raises:
            CallEndedError: If the call ends first.
            AwaitTimeoutError: If `timeout` expires first.
        """
        limit = self.options.timeouts.open + 1 if timeout is None else timeout
        return await self._log.until(
            lambda: next((event for event in self.events if isinstance(event, ev.Opened)), None),
            "Opened",
            limit,
        )

    async def ended(self, timeout: float | None = None) -> CallReport:
        """Wait until the socket is closed, and return the report of the call.

        Args:
            timeout: Maximum time; unlimited by default.

        Raises:
            AwaitTimeoutError: If `timeout` expires first.
        """
        await self._log.until(lambda: self._log.is_over or None, "the end of the call", timeout)
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
        """Wait for an event. Each event is returned by one wait only.

        Past events are returned as well, unless an earlier wait has returned them.

        Args:
            wanted: Class of the event, or a function that takes an event and returns whether it is
                the wanted event.
            timeout: Maximum time from now.
            since: Skip events before this time, in seconds since `open`.

        Raises:
            CallEndedError: If the call ends first.
            AwaitTimeoutError: If `timeout` expires first.
        """
        if isinstance(wanted, type):
            kind = wanted
            return await self._log.until(
                lambda: self._log.claim_type(kind, since), kind.__name__, timeout
            )
        name = getattr(wanted, "__name__", repr(wanted))
        matches: Callable[[ev.Event], bool] = wanted
        return await self._log.until(lambda: self._log.claim(matches, since), name, timeout)

    async def wait_for_bot_audio(
        self, timeout: float = 10.0, *, since: float = 0.0
    ) -> ev.BotAudioStarted:
        """Wait until the caller begins to hear the bot. See `wait_for`."""
        return await self.wait_for(ev.BotAudioStarted, timeout, since=since)

    async def playback_completed(
        self, timeout: float = 30.0, *, since: float = 0.0
    ) -> ev.BotAudioCompleted:
        """Wait until the playback queue is empty. See `wait_for`."""
        return await self.wait_for(ev.BotAudioCompleted, timeout, since=since)

    async def wait_for_silence(self, seconds: float = 0.5, timeout: float = 30.0) -> float:
        """Wait until no bot audio has been audible for some time.

        Args:
            seconds: Duration of the silence.
            timeout: Maximum time from now.

        Returns:
            The end of the last bot audio, in seconds since `open`; 0 if there was none.

        Raises:
            CallEndedError: If the call ends first.
            AwaitTimeoutError: If `timeout` expires first.
        """
        deadline = self._clock() + timeout
        what = f"{seconds:g} s of silence"
        while True:
            silent_since = self.session.playback.silent_since(self._clock())
            quiet = 0.0 if silent_since is None else self.elapsed - silent_since
            if silent_since is not None and quiet >= seconds:
                return silent_since
            if self._log.is_over:
                raise self._log.error(CallEndedError, f"the call ended while waiting for {what}")
            wait = min(max(seconds - quiet, 0.001), max(deadline - self._clock(), 0.0))
            if not wait:
                raise self._log.error(AwaitTimeoutError, f"waited {timeout:g} s for {what}")
            await asyncio.sleep(min(wait, 0.05) if silent_since is None else wait)

    # Recording.

    def save_recording(self, target: str | os.PathLike[str]) -> None:
        """Write the call as a stereo WAV file.

        The left channel has the caller's audio. The right channel has the bot audio that the caller
        heard, or the agent's audio in a monitored call.

        Args:
            target: Path of the file.

        Raises:
            ValueError: If the options have `record_audio=False`.
            OSError: If the file cannot be written.
        """
        caller = audio.ulaw_decode(self.caller_audio.voice(AudioHookChannel.EXTERNAL).track)
        if self.parameters.mode is CallMode.MONITOR:
            agent = self.caller_audio.voice(AudioHookChannel.INTERNAL).track
            return write_wav(target, caller, audio.ulaw_decode(agent))
        lost = self.session.socket_closed
        end = self._clock() if lost is None else self._started_at + lost.at
        heard = self.session.playback.render(end)
        if self.session.playback.media_format is AudioHookMediaFormat.PCMU:
            heard = audio.ulaw_decode(heard)
        lead = b"\0\0" * self.caller_audio.lead_samples
        return write_wav(target, caller, lead + heard)

    # The loop between the socket, the clock and the session.

    async def _connect(self, attempt: int) -> CallConnection:
        headers = audiohook_headers(self.parameters, self.options.api_key, attempt)
        return await CallConnection.open(self.url, headers, self.options)

    async def _lose(self, connection: CallConnection) -> None:
        """Send `open` and abort the connection, to simulate a connection that is lost."""
        session = GenesysClientSession(self.parameters)
        session.start(self._clock())
        for message in session.messages_to_send():
            connection.send(message)
        connection.drop_when_sent()
        await connection.run(lambda message: None)

    async def _run(self, connection: CallConnection) -> None:
        """Run the call until its socket is closed, or until an exception is raised."""
        reading = asyncio.create_task(connection.run(self._on_message))
        timing = asyncio.create_task(self._keep_time())
        try:
            await asyncio.wait({reading, timing}, return_when=asyncio.FIRST_COMPLETED)
            finished = timing if timing.done() else reading
            end = finished.result()
            if isinstance(end, ConnectionEnd):
                self._on_end(end)
        except Exception as error:
            # If the script is waiting for an event, this exception is raised in the script.
            self._log.failure = error
            connection.drop()
        finally:
            for task in (reading, timing):
                task.cancel()
            await asyncio.gather(reading, timing, return_exceptions=True)
            self._log.notify()

    async def _keep_time(self) -> None:
        """Send frames of caller audio, and call `tick` of the session, when they are due."""
        while True:
            self._do(lambda now: None)
            due = [self.session.next_deadline(), self._faults.next_deadline()]
            if self.session.state is SessionState.OPEN and not self.parameters.is_probe:
                due.append(self.caller_audio.frame_due(self.session.position))
            moments = [moment for moment in due if moment is not None]
            self._wake.clear()
            wait = max(0.0, min(moments) - self._clock()) if moments else None
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _do(self, action: Callable[[float], object]) -> None:
        """Pass the current time to the session, perform an action, and send the messages."""
        now = self._clock()
        self._advance(now)
        try:
            action(now)
        except CallStateError as error:
            if self.session.state in _RUNNING:
                raise
            # The action failed because the server ended the call. This is not a mistake of the
            # script.
            raise self._log.error(CallEndedError, str(error)) from None
        finally:
            self._publish()

    def _advance(self, now: float) -> None:
        self.session.tick(now)
        self._faults.update(now)
        self._send_frames(now)

    def _on_message(self, message: str | bytes) -> None:
        if self._faults.socket_should_drop:
            return  # The client dropped the socket before the message arrived.
        now = self._clock()
        self.session.tick(now)
        self._faults.update(now)
        if isinstance(message, str):
            self.session.receive_text(message, now)
        else:
            self.session.receive_binary(message, now)
        self._faults.update(now)
        if self._continues is not None and self.session.state is SessionState.OPEN:
            # The server has accepted the new session, so the previous session sends `close`.
            self._continues._do(self._continues.session.hand_over)
            self._continues = None
        # After `opened`, all caller audio since `open` is due.
        self._send_frames(now)
        self._publish()

    def _on_end(self, end: ConnectionEnd) -> None:
        now = self._clock()
        if end.fault is not None:
            self.session.report_breach(ServerRule.WEBSOCKET_FAULT, end.fault, now)
        if end.is_doubtful:
            detail = (
                f"the server answered the close frame with code {end.code}: "
                "it may have closed the socket itself"
            )
            self.session.report_breach(ServerRule.SOCKET_CLOSE_RACE, detail, now)
        self.session.socket_lost(now, by=end.by, code=end.code, detail=end.detail)
        self._log.is_over = True
        self._publish()

    def _send_frames(self, now: float) -> None:
        if not self.parameters.is_probe:
            self.caller_audio.send_due(self.session, now)

    def _publish(self) -> None:
        """Send messages, collect events, wake waiting tasks, and call the observer."""
        connection = self._connection
        assert connection is not None
        for message in self.session.messages_to_send():
            connection.send(message)
        if self.session.socket_should_close:
            connection.close()
        if self._faults.socket_should_drop:
            connection.drop_when_sent()
            # End the session now. The socket is aborted after the queued messages are sent.
            self.session.socket_lost(self._clock(), by=Party.CLIENT)
        events = self.session.take_events()
        self._log.events.extend(events)
        entries = self.session.capture.entries[self._observed_entries :]
        self._observed_entries += len(entries)
        self._log.notify()
        self._wake.set()
        if self.observer is not None:
            for item in (*entries, *events):
                self.observer(item)


def continuation(call: SimulatedCall, *, url: str = "", history: float = HISTORY) -> SimulatedCall:
    """Return a call that continues the conversation of another call in a new session.

    Genesys does this if reconnection is enabled, after `reconnect` or after a lost connection.
    The new session has its own id and its own numbering. Its `open` lists the previous sessions,
    and its stream begins up to `history` seconds earlier; this audio is sent again as soon as the
    session is open. When the new session is open, the previous one closes with reason `reconnect`.
    `paused`, `resumed` and `discarded` messages of the repeated audio are not sent again. Source:
    the session walkthrough of Genesys's documentation::

        await call.wait_for(ReconnectRequested)
        async with continuation(call) as moved:
            await moved.opened()

    Args:
        call: The call to continue, running or lost. It must record its audio.
        url: URL of the server; the same server by default.
        history: Duration of the audio to send again, in seconds.

    Returns:
        The new call. Entering it connects.

    Raises:
        ValueError: If the call does not record its audio.
    """
    if not call.options.record_audio:
        raise ValueError("cannot continue the call: its audio is not recorded (record_audio=False)")
    session, before = call.session, call.parameters
    repeated = min(round(history * WIRE_SAMPLE_RATE), session.position)
    previous = PreviousSession(before.session_id, session.last_server_seq, session.last_seq)
    parameters = replace(
        before,
        session_id=str(uuid.uuid4()),
        position=session.position - repeated // FRAME_SAMPLES * FRAME_SAMPLES,
        continued_sessions=(*before.continued_sessions, previous),
    )
    return SimulatedCall(
        url or call.url,
        parameters,
        options=replace(call.options, backlog=0.0, lost_attempts=0),
        continues=call,
        observer=call.observer,
    )
