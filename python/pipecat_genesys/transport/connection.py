"""Reads and writes the socket of a call, and ends the call.

The socket is open before the pipeline starts and after the pipeline ends. Therefore reading,
answering, sending and ending the call work without a pipeline; `Connection.deliver_to` connects a
pipeline.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

from loguru import logger
from pipecat.frames.frames import Frame
from starlette.websockets import WebSocket, WebSocketState

from pipecat_genesys.call import Call, CallParams, OpenGate, Phase
from pipecat_genesys.call.containment import cancel_tasks
from pipecat_genesys.call.frames import NOTICE_FRAMES, REPLY_FRAMES, input_audio_frame
from pipecat_genesys.protocol import (
    WIRE_SAMPLE_RATE,
    AudioHookMessageType,
    Draft,
    ErrorCode,
    State,
    WireMessage,
    events,
    server_messages,
)

from .observer import MessageTap, TransportObserver
from .pacer import AudioPacer, PacingQueue
from .rate_limit import IncomingLimit, TokenBucket
from .timeline import PlayoutTimeline
from .writer import Writer

# Maximum number of frames with caller audio and messages that are kept until the pipeline has
# started.
_MAX_EARLY_FRAMES = 300
# Genesys answers `disconnect` with `close` immediately, and closes the socket after `closed`.
_CLOSE_SECONDS = 5.0
_SOCKET_CLOSE_SECONDS = 2.0
_END_SECONDS = 10.0
# Maximum time in seconds to wait for cancelled tasks. Only tasks that run code of the
# application need this time.
_CANCEL_SECONDS = 5.0
# Limits for sent text messages, per second and in a burst. Genesys allows 5 per second, and 25 in a
# burst.
_TEXT_RATE, _TEXT_BURST = 4.8, 22
# The socket counts as blocked when a message has waited for the socket for this time, in seconds.
_BLOCKED_SECONDS = 1.0
# Number of tokens that are reserved for replies (`pong`, `updated`, `closed`), because replies
# never wait. Messages of the application do not use these tokens.
_REPLY_RESERVE = 6
# Limits for received text messages, per second and in a burst. A real client sends fewer messages:
# a ping every 5 s, and a few digits per second. After the longest stall of the network that a call
# survives, `dead_peer_seconds`, about ten messages arrive together. If a client exceeds the limits,
# its messages are read more slowly. If the client continues to exceed the limits, the client is
# disconnected.
_MAX_TEXT_RATE, _MAX_TEXT_BURST = 20, 100
# Limits for received audio messages, per second and in a burst: 200 ms of audio may arrive in 1600
# messages. The audio may be ahead of real time by `_MAX_AUDIO_AHEAD` seconds, because 20 s of audio
# can arrive together after a reconnection.
_MAX_AUDIO_RATE, _MAX_AUDIO_BURST = 100, 2000
_MAX_AUDIO_AHEAD = 30.0
# A client is disconnected when reading was delayed by more than this time in total, in seconds:
# because of its text messages, because of the number of its audio messages, or because its audio
# was ahead of real time. The first two totals are reset to zero when the client has sent so few
# messages that a complete burst is allowed again.
_MAX_TEXT_THROTTLED = 1.0
_MAX_AUDIO_THROTTLED = 5.0
_MAX_AHEAD_THROTTLED = 30.0
# Delay in seconds after each message of a client that is being disconnected. It is short, so that a
# `close` that the client sent after too many messages is still read.
_FLOODED_DELAY = 0.005
_SECOND_LOOK_SECONDS = 1.0
_EXTERNAL, _INTERNAL = "external", "internal"
# States in which bot audio is sent.
_SENDING = frozenset({State.ACTIVE})

Deliver = Callable[[Frame], Awaitable[None]]


class Connection:
    """A WebSocket with a call on it.

    Attributes:
        call: The call.
        pacer: Sends bot audio when it is due.
        observer: Receives the measurements for operators.
        timeline: The frames that wait until the caller has heard the bot audio before them; None
            if the transport has no output.
        ready: Set when a pipeline is set up and accepts frames.
        started: Set when the pipeline runs.
    """

    def __init__(
        self,
        websocket: WebSocket,
        call_params: CallParams,
        observer: TransportObserver,
        *,
        on_gone: Callable[[], Awaitable[None]],
        max_lead: float,
        dead_peer_seconds: float,
        open_gate: OpenGate | None = None,
        tap: MessageTap | None = None,
    ) -> None:
        """Create the connection; nothing is read before `begin`.

        Args:
            websocket: The accepted WebSocket.
            call_params: The parameters of the call.
            observer: Receives the measurements for operators.
            on_gone: Called when the socket is closed or lost.
            max_lead: Maximum duration of the bot audio that is sent and not played yet, in seconds.
            dead_peer_seconds: Time without a message after which the socket is closed, in seconds.
            open_gate: Called and awaited when ``open`` arrived, before ``opened`` is sent.
            tap: Receives each message that was received or sent.
        """
        self.call = Call(call_params, self.send, open_gate=open_gate)
        self.observer = observer
        self._writer = Writer(websocket.send_text, websocket.send_bytes, tap)
        self.pacer = AudioPacer(PacingQueue(max_lead=max_lead), self._writer, observer)
        self.timeline: PlayoutTimeline | None = None
        self.ready = asyncio.Event()
        self.started = asyncio.Event()
        self._websocket = websocket
        self._on_gone = on_gone
        self._tap = tap
        # Whether the application has closed the WebSocket, and the close code that the ASGI server
        # passed in `websocket.disconnect`.
        self._has_closed = False
        self._close_code: int | None = None
        self._dead_peer_seconds = dead_peer_seconds
        self._early: list[Frame] = []
        self._deliver: Deliver | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._outlives_pipeline = False
        self._heard_at = time.monotonic()
        self._incoming_text = IncomingLimit(_MAX_TEXT_RATE, _MAX_TEXT_BURST, _MAX_TEXT_THROTTLED)
        self._incoming_audio = IncomingLimit(
            _MAX_AUDIO_RATE, _MAX_AUDIO_BURST, _MAX_AUDIO_THROTTLED
        )
        self._incoming_audio_at = 0.0
        self._ahead_throttled = 0.0
        self._is_flooded = False
        self._outgoing_text = TokenBucket(_TEXT_RATE, _TEXT_BURST)
        # Held while a message of the application is sent, so that messages keep their order.
        self._send_lock = asyncio.Lock()
        # Smallest delay of caller audio that was measured in this call, in seconds.
        self._least_delay = math.inf

    # -- start and end of the connection -----------------------------------------------------

    def begin(self, *, outlives_pipeline: bool = False) -> None:
        """Start the tasks that read and write the socket, if they are not running.

        Args:
            outlives_pipeline: Whether the caller of this method ends the connection with `end`.
                Otherwise the connection ends when the pipeline is cleaned up. If any call of this
                method sets it, it stays set.
        """
        self._outlives_pipeline |= outlives_pipeline
        if not self._tasks:
            self._heard_at = time.monotonic()
            self._tasks = [
                asyncio.create_task(self._read(), name=f"{self.call}: reader"),
                asyncio.create_task(self._writer.run(), name=f"{self.call}: writer"),
                asyncio.create_task(self._watch(), name=f"{self.call}: watchdog"),
            ]

    async def deliver_to(self, deliver: Deliver) -> None:
        """Pass the frames that were received so far to a pipeline, and then each new frame.

        Args:
            deliver: Called with each frame.
        """
        while self._early:
            early, self._early = self._early, []
            for frame in early:
                await deliver(frame)
        self._deliver = deliver
        self.started.set()

    async def release(self) -> None:
        """Stop passing frames to the pipeline, because the pipeline is cleaned up.

        A session that still runs is ended with ``disconnect`` for the reason ``error``, because the
        pipeline failed or was cancelled before it ended the session. If `begin` was called with
        ``outlives_pipeline``, the session and the connection continue.
        """
        self._deliver = None
        if self._outlives_pipeline:
            return
        if self._tasks and self.call.phase is Phase.RUNNING:
            await self.disconnect(server_messages.disconnect("error", info="the bot has ended"))
        await self.end()

    async def end(self) -> None:
        """Cancel all tasks of the connection. The socket is not closed.

        If a hook ignores its cancellation, this method logs an error after 5 s and returns.
        """
        tasks, self._tasks = self._tasks, []
        if await cancel_tasks(tasks, _CANCEL_SECONDS):
            self.observer.ignored_cancellation()
            logger.error(
                f"{self.call}: a hook or a frame processor ignored its cancellation for "
                f"{_CANCEL_SECONDS:g} s and still runs; let CancelledError pass in the bot's code"
            )
        self.pacer.stop()

    def detach(self) -> None:
        """Remove the references between the parts of the connection and to its transport.

        Call this method after `end`. No message can be sent afterwards.
        """
        self._on_gone = _do_nothing
        self._deliver = self.timeline = None
        self.call.detach()
        self.pacer.detach()

    @property
    def outlives_pipeline(self) -> bool:
        """Whether the connection continues after the end of its pipeline; see `begin`."""
        return self._outlives_pipeline

    @property
    def is_speaking(self) -> bool:
        """Whether Genesys has not played all bot audio, or a frame waits in the timeline."""
        is_waiting = self.timeline is not None and not self.timeline.is_empty
        return is_waiting or self.pacer.queue.ahead(time.monotonic()) > 0

    # -- messages from Genesys ---------------------------------------------------------------

    async def _read(self) -> None:
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] != "websocket.receive":
                    self._close_code = message.get("code")
                    break
                self._heard_at = time.monotonic()
                # An ASGI server may omit the key `bytes` or the key `text`, or set it to None.
                data = message.get("bytes")
                if data is None:
                    data = message["text"]
                if self._tap is not None:
                    self._tap.received(data, self._heard_at)
                try:
                    frames = (
                        self._receive_audio(data)
                        if isinstance(data, bytes)
                        else await self._receive_text(data)
                    )
                except Exception as error:
                    # An exception in this package must not end the call.
                    self.call.record_defect(error)
                    frames = []
                for frame in frames:
                    if self._deliver is not None:
                        await self._deliver(frame)
                    elif not self.started.is_set() and len(self._early) < _MAX_EARLY_FRAMES:
                        self._early.append(frame)
                await self._throttle(data)
        except Exception as error:
            # ASGI servers raise different exceptions for a lost socket.
            logger.warning(f"{self.call}: the socket failed: {type(error).__name__}")
        await self._gone()

    def _receive_audio(self, data: bytes) -> list[Frame]:
        call = self.call
        parties = call.receive_audio(data)
        if not parties:
            return []
        delay = self._heard_at - call.session.position / WIRE_SAMPLE_RATE
        self._least_delay = min(self._least_delay, delay)
        self.observer.audio_received(delay - self._least_delay)
        rate = call.codec.sample_rate
        if len(parties) == 1:
            return [input_audio_frame(parties[0], rate, 1)]
        frames: list[Frame] = []
        for name, pcm in zip((_EXTERNAL, _INTERNAL), parties, strict=True):
            frame = input_audio_frame(pcm, rate, 1)
            frame.transport_source = name
            frames.append(frame)
        return frames

    async def _receive_text(self, text: str) -> list[Frame]:
        arrived = self._heard_at
        frames: list[Frame] = []
        try:
            for event in self.call.session.receive_text(text):
                reply = self.call.reply(event, await self.call.handle(event))
                if reply is not None:
                    frame = self._answer(event, reply, arrived)
                else:
                    frame = self._notice(event)
                if frame is not None:
                    frames.append(frame)
        finally:
            self._follow_session()
        return frames

    def _answer(self, event: events.Event, reply: Draft, arrived: float) -> Frame | None:
        """Send a reply, and return the frame that reports the answered message to the pipeline."""
        wire = self.call.to_wire(reply)
        if wire is None:
            return None
        now = time.monotonic()
        self._put(wire)
        self.observer.replied(wire.type.value, now - arrived)
        if isinstance(event, events.CloseReceived):
            self.observer.ended(event.reason)
        kind = type(event)
        refused = kind is events.OpenReceived and wire.type is not AudioHookMessageType.OPENED
        if refused or kind not in REPLY_FRAMES:
            # The pipeline gets no frame of a session that was refused or failed.
            return None
        message = {"type": wire.type.value, "seq": wire.seq, "parameters": dict(reply.parameters)}
        return REPLY_FRAMES[kind](event, message)

    def _notice(self, event: events.Event) -> Frame | None:
        """Process an event that needs no reply, and return the frame for the pipeline."""
        kind = type(event)
        if kind is events.PlaybackStarted:
            self.pacer.playback_started()
        elif kind is events.PlaybackCompleted:
            self.pacer.playback_completed()
        elif kind is events.Paused:
            self.observer.paused()
        elif kind is events.Resumed:
            # The clock of the audio may have stopped during the pause, so delays from before the
            # pause are not comparable.
            self._least_delay = math.inf
        elif isinstance(event, events.ErrorReceived) and event.code == ErrorCode.RATE_LIMIT:
            # Wait at least 1 s, because Genesys would extend the limit if audio arrived earlier.
            self.pacer.limit(max(1.0, float(event.retry_after or 0)))
        make = NOTICE_FRAMES.get(kind)
        return None if make is None else make(event)

    def _follow_session(self) -> None:
        """Start or stop the sending of bot audio, and end the timeline when the call ends."""
        call, pacer = self.call, self.pacer
        if call.media is not None:
            pacer.queue.frame_bytes = call.media.frame_bytes
        if call.session.state in _SENDING:
            pacer.release()
        else:
            pacer.hold()
        if call.phase is not Phase.RUNNING:
            pacer.interrupt()
            if self.timeline is not None:
                self.timeline.end()
        elif self.timeline is not None:
            # Bot audio can be encoded only after the medium was selected, when `open` was received.
            self.timeline.poke()

    async def _throttle(self, data: str | bytes) -> None:
        """Delay reading if the client sends more than a real client, to limit the use of memory."""
        now = time.monotonic()
        limit = self._incoming_text if isinstance(data, str) else self._incoming_audio
        wait = limit.received(now)
        if isinstance(data, bytes):
            wait = max(wait, self._audio_ahead(data, now))
        if wait <= 0:
            return
        is_flood = limit.is_exceeded or self._ahead_throttled > _MAX_AHEAD_THROTTLED
        if is_flood and self.call.phase is Phase.RUNNING:
            logger.warning(
                f"{self.call}: disconnected: the client exceeded the message rates for too long"
            )
            self._is_flooded = True
            self.call.record_ending("server", "flood")
            await self.call.disconnect("error", info="far more messages than a call has")
        if self._is_flooded:
            wait = _FLOODED_DELAY
        self.observer.throttled(wait)
        await asyncio.sleep(wait)
        self._heard_at = time.monotonic()

    def _audio_ahead(self, data: bytes, now: float) -> float:
        """Return the time in seconds to delay reading because the audio is ahead of real time."""
        media = self.call.media
        seconds = len(data) / (media.frame_bytes if media else 1) / WIRE_SAMPLE_RATE
        self._incoming_audio_at = max(self._incoming_audio_at, now) + seconds
        wait = max(0.0, self._incoming_audio_at - _MAX_AUDIO_AHEAD - now)
        self._ahead_throttled += wait
        return wait

    # -- messages to Genesys -----------------------------------------------------------------

    async def send(self, draft: Draft) -> bool:
        """Send a message of the application, within Genesys's rate.

        Messages are sent in the order in which this method is called. Each message waits until the
        rate limit allows it, with two exceptions. Messages from a hook do not wait, because no
        message from Genesys is processed until the hook returns. If the client has sent too many
        messages, messages do not wait either, because the replies have used up the rate limit. A
        message also waits until the socket has accepted all previous messages, so that waiting
        messages do not fill memory. Only ``disconnect`` does not wait for a peer that does not
        read. If the wait is cancelled, the message is not sent.

        Args:
            draft: The message.

        Returns:
            Whether the message will be sent.
        """
        if self.call.is_in_hook or self._is_flooded:
            # Let other tasks run. Without this wait, an application that sends in a loop would
            # block the event loop.
            await asyncio.sleep(0)
            return self._send_now(draft)
        if draft.type is AudioHookMessageType.DISCONNECT and self._is_blocked():
            return self._send_now(draft)
        async with self._send_lock:
            await self._writer.flushed()
            now = time.monotonic()
            wait = self._outgoing_text.ready_at(now, _REPLY_RESERVE) - now
            if wait > 0:
                await asyncio.sleep(wait)
            return self._send_now(draft)

    def _is_blocked(self) -> bool:
        since = self._writer.blocked_since
        return since is not None and time.monotonic() - since > _BLOCKED_SECONDS

    def _send_now(self, draft: Draft) -> bool:
        wire = self.call.to_wire(draft)
        if wire is None:
            return False
        self._put(wire)
        self._follow_session()
        return not self._writer.is_closed

    def _put(self, wire: WireMessage) -> None:
        self._outgoing_text.take(time.monotonic())
        self._writer.put(wire)

    # -- end of the call ---------------------------------------------------------------------

    async def disconnect(self, draft: Draft | None = None) -> None:
        """End the session, and wait until the client has closed the socket.

        The server sends ``disconnect``, the client sends ``close``, the server answers ``closed``,
        and the client closes the socket. If the client does not close the socket in time, this
        method closes the socket.

        Args:
            draft: The ``disconnect`` to send; None if it was sent before.
        """
        call = self.call
        if call.phase < Phase.ENDED:
            if draft is not None:
                await self.send(draft)
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await call.wait_for_phase(Phase.ENDED)
            except TimeoutError:
                logger.warning(f"{call}: no 'close' within {_CLOSE_SECONDS:g} s of 'disconnect'")
        try:
            async with asyncio.timeout(_SOCKET_CLOSE_SECONDS):
                await self._writer.flushed()
                await call.wait_for_phase(Phase.GONE)
        except TimeoutError:
            await self.close()

    async def close(self) -> None:
        """Close the socket, if it is open."""
        if self._websocket.client_state is WebSocketState.CONNECTED:
            self._has_closed = True
            try:
                async with asyncio.timeout(_SOCKET_CLOSE_SECONDS):
                    await self._websocket.close()
            except Exception as error:
                logger.debug(f"{self.call}: closing the socket failed: {type(error).__name__}")

    async def _watch(self) -> None:
        """Close the socket if the client stops sending or reading, or does not end the session."""
        if await self._is_alive():
            seconds = _CLOSE_SECONDS if self._is_flooded else _END_SECONDS
            try:
                # The limit covers `close`, `closed`, and the closing of the socket by the client.
                async with asyncio.timeout(seconds):
                    await self.call.wait_for_phase(Phase.GONE)
                return
            except TimeoutError:
                logger.warning(
                    f"{self.call}: the client did not end the session within {seconds:g} s"
                )
        self._tasks[0].cancel()
        await self.close()
        await self._gone()

    async def _is_alive(self) -> bool:
        """Return True when the call begins to end; False if the client sends or reads nothing."""
        overdue = False
        while self.call.phase is Phase.RUNNING:
            since = min(self._heard_at, self._writer.blocked_since or self._heard_at)
            left = since + self._dead_peer_seconds - time.monotonic()
            if left <= 0 and overdue:
                logger.warning(f"{self.call}: no message for {self._dead_peer_seconds:g} s")
                return False
            # Check twice: if this process was blocked, a ping may be waiting in the socket.
            overdue = left <= 0
            try:
                async with asyncio.timeout(max(left, _SECOND_LOOK_SECONDS)):
                    await self.call.wait_for_phase(Phase.ENDING)
            except TimeoutError:
                continue
        return True

    async def _gone(self) -> None:
        """Record that the socket is closed or lost. Calling this method again has no effect."""
        if self.call.phase is Phase.GONE:
            return
        if self.call.phase < Phase.ENDED:
            # A client that sends too many messages often does not read `disconnect` and sends no
            # `close`. The reason is then still `flood`.
            self.observer.ended("flood" if self._is_flooded else "lost")
        self._writer.is_closed = True
        if self._tap is not None:
            self._tap.closed(by_server=self._has_closed, code=self._close_code, at=time.monotonic())
        await self.call.connection_lost()
        self._follow_session()
        await self._on_gone()


async def _do_nothing() -> None:
    return
