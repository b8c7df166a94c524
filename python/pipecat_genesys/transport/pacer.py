"""Decides when bot audio is sent, and how much audio each message contains.

The lead is the duration of the audio that was sent and that Genesys has not played yet. A turn is
the bot's audio from its first sound until Genesys has no audio left and the bot has stopped.
Genesys limits the rate of messages. A token bucket models this limit: each message takes one token.

Two goals conflict: the caller should hear the bot immediately, and the rate limit requires few,
long messages. Therefore the first audio of a turn is sent immediately. Later audio waits until half
of the audio that Genesys held after the last message is played, or until the unsent audio is as
long as the lead. Each message then contains all unsent audio, and the lead grows up to its maximum.
If the source is faster than real time, the lead reaches half of its maximum after a few messages;
then two messages per second are sent, with half a second of audio each. If the source is in real
time, no audio accumulates. The messages are short while the bucket has many tokens, and become
longer when it has few, so that the bucket is never empty.

The end of an utterance is sent immediately. If the source pauses, the unsent audio is sent too.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple
from weakref import WeakSet

from pipecat_genesys.protocol import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE

from .observer import TransportObserver
from .playout_clock import PlayoutClock
from .rate_limit import TokenBucket
from .writer import Writer

# Limits for audio messages, per second and in a burst. Genesys allows 5 per second, and 25 in a
# burst.
_RATE, _BURST = 4.8, 22
# With fewer tokens than `_PLENTY`, messages become longer, up to `_STEADY_SECONDS` of audio. For
# messages of that length, the rate is sufficient without additional tokens.
_PLENTY = 12.0
_STEADY_SECONDS = 0.25
# If the lead is below this limit, in seconds, Genesys may play all of the audio while the event
# loop is busy.
_SMALL_LEAD_SECONDS = 0.2
# After an underrun in the middle of a turn, sending waits for this many seconds, so that some audio
# is buffered (the cushion). A source in real time delivers no audio ahead. Without a cushion, each
# message that is delayed more than every earlier message would cause another gap. The first cushion
# of a turn is short, so that the gap stays below 20 ms, the length of one frame in telephony. If
# there is another underrun in the turn, the source has more jitter than the event loop, and the
# longer cushion is used for the rest of the turn.
_FIRST_CUSHION_SECONDS, _NEXT_CUSHION_SECONDS = 0.012, 0.03
# Number of tokens that are reserved for the beginning and the end of utterances.
_RESERVE = 2.0
# Maximum time to wait for a playback report, in seconds.
_REPORT_SECONDS = 0.5
# Shortest delay of a timer, in seconds, because a timer may fire too early by one step of the
# clock.
_SHORTEST_SECONDS = 0.001


class Packet(NamedTuple):
    """One audio message.

    Attributes:
        audio: The wire audio.
        waited: Seconds that the oldest audio of the message waited because of the rate limit.
        gap: Seconds of silence that the caller heard before the message, in the middle of a turn.
    """

    audio: bytes
    waited: float
    gap: float


class PacingQueue:
    """Holds the bot audio that is not sent yet, and computes when the audio is due, without I/O.

    Times are seconds on a monotonic clock. A position is the number of samples of bot audio since
    the beginning of the call, without the samples that an interruption discarded.

    Attributes:
        clock: Computes how much of the audio Genesys has played.
        bucket: Limits the rate of audio messages.
        frame_bytes: Bytes of one sample on the wire.
    """

    def __init__(
        self, *, max_lead: float = 1.0, pause_seconds: float = 0.045, frame_bytes: int = 1
    ) -> None:
        """Create an empty queue.

        Args:
            max_lead: Maximum duration of the audio that is sent and not played yet, in seconds. A
                message of up to 0.25 s, and the end of an utterance, may exceed it.
            pause_seconds: Time without new audio after which the unsent audio is sent, as far as
                `max_lead` and the rate of messages allow, in seconds.
            frame_bytes: Bytes of one sample on the wire.
        """
        self.clock = PlayoutClock()
        self.bucket = TokenBucket(_RATE, _BURST)
        self.frame_bytes = frame_bytes
        self._max_lead = max_lead
        self._pause = pause_seconds
        self._buffer = bytearray()
        # The parts of the buffer in order. Each part has its length, and a flag that tells whether
        # an interruption discards the part.
        self._stretches: deque[tuple[int, bool]] = deque()
        self._over = False
        self._newest = 0.0
        self._starved_at: float | None = None
        self._not_before = 0.0
        self._last_lead = 0.0
        self._cushion = _FIRST_CUSHION_SECONDS
        # End position of the sent audio that an interruption must not discard.
        self._protected_until = 0

    def put(self, audio: bytes, now: float, *, interruptible: bool = True) -> None:
        """Add wire audio.

        Args:
            audio: The audio.
            now: The time.
            interruptible: Whether an interruption discards the audio.
        """
        if not audio:
            return
        self._buffer += audio
        self._stretches.append((len(audio), interruptible))
        self._newest = now
        self._over = False

    def finish(self) -> None:
        """Record that the utterance ends with the added audio. It may be sent immediately."""
        self._over = True
        if not self._buffer:
            self.clock.end_turn()

    def clear(self, now: float) -> float:
        """Discard all audio that Genesys has not played.

        Returns:
            The part of the turn that the caller has heard, in seconds.
        """
        self._buffer.clear()
        self._stretches.clear()
        self._over, self._starved_at, self._protected_until = True, None, 0
        return self.clock.clear(now)

    def drop_interruptible(self) -> None:
        """Discard the unsent audio that may be interrupted."""
        kept, begin = bytearray(), 0
        for length, interruptible in self._stretches:
            if not interruptible:
                kept += self._buffer[begin : begin + length]
            begin += length
        self._buffer = kept
        self._stretches = deque(stretch for stretch in self._stretches if not stretch[1])

    def is_protected(self, now: float) -> bool:
        """Return whether some of the unplayed audio is audio that must not be interrupted."""
        if any(not interruptible for _, interruptible in self._stretches):
            return True
        return self.clock.played(now) < self._protected_until

    def hold_until(self, when: float) -> None:
        """Send nothing before the time `when`, because Genesys sent error 429 (``retryAfter``)."""
        self._not_before = max(self._not_before, when)

    def is_limited(self, now: float) -> bool:
        """Return whether sending is forbidden now, because Genesys sent error 429."""
        return now < self._not_before

    @property
    def is_empty(self) -> bool:
        """Whether all added audio was sent."""
        return not self._buffer

    @property
    def unsent_samples(self) -> int:
        """Number of samples that were added and are not sent yet."""
        return len(self._buffer) // self.frame_bytes

    @property
    def end(self) -> int:
        """The position after the last sample that was added."""
        return self.clock.total + self.unsent_samples

    @property
    def is_over(self) -> bool:
        """Whether the utterance ends with the added audio."""
        return self._over

    def ahead(self, now: float) -> float:
        """Return the seconds of sent and unsent audio that Genesys has not played."""
        return self.clock.lead(now) + self._seconds(len(self._buffer))

    def has_room(self, now: float) -> bool:
        """Return whether more audio should be added: `ahead` is less than twice the maximum lead.

        The queue thus holds about as much unsent audio as the maximum lead, so that audio is
        available when a message is due.
        """
        return self.ahead(now) < 2 * self._max_lead

    def available(self, now: float) -> float:
        """Return the seconds of audio that may be sent before the audio is due.

        This is the unsent audio. Before the end of the utterance, it is limited by the maximum
        lead. The result is 0 if the bucket has few tokens, or if error 429 forbids sending.
        """
        if now < self._not_before or not self.bucket.has(now, _PLENTY):
            return 0.0
        gathered = self._seconds(len(self._buffer))
        if self._over:
            return gathered
        return max(0.0, min(gathered, self._max_lead - self.clock.lead(now)))

    def poll(self, now: float, *, early: bool = False) -> Packet | None:
        """Take the next message, if it is due.

        Args:
            now: The time.
            early: Whether to take the `available` audio before it is due.
        """
        due = self.due_at(now)
        if due is None or (due > now and not (early and self.available(now))):
            return None
        return self.take(now)

    def take(self, now: float) -> Packet:
        """Take the next message, even if it is not due. The queue must not be empty.

        Args:
            now: The time.
        """
        most = MAX_MESSAGE_BYTES
        if not self._over:
            # Limit the message so that the lead stays below its maximum. A message of up to
            # `_STEADY_SECONDS` may exceed the maximum.
            room = max(self._max_lead - self.clock.lead(now), _STEADY_SECONDS)
            most = min(most, int(room * WIRE_SAMPLE_RATE) * self.frame_bytes)
        most -= most % self.frame_bytes
        audio = bytes(self._buffer[:most])
        del self._buffer[:most]
        waited = now - self._starved_at if self._starved_at is not None else 0.0
        self._starved_at = None
        if not self.clock.in_turn:
            self._cushion = _FIRST_CUSHION_SECONDS
        elif self.clock.empty_since(now) is not None:
            self._cushion = _NEXT_CUSHION_SECONDS
        self.bucket.take(now)
        gap = self.clock.add(len(audio) // self.frame_bytes, now)
        self._take_stretches(len(audio))
        self._last_lead = self.clock.lead(now)
        if not self._buffer and (self._over or now >= self._newest + self._pause):
            self.clock.end_turn()
        return Packet(audio, waited, gap)

    def _take_stretches(self, size: int) -> None:
        end = self.clock.total
        while size:
            length, interruptible = self._stretches.popleft()
            taken = min(length, size)
            size -= taken
            if taken < length:
                self._stretches.appendleft((length - taken, interruptible))
            if not interruptible:
                self._protected_until = end - size // self.frame_bytes

    def due_at(self, now: float) -> float | None:
        """Return the time at which the next message is due, unless more audio is added before.

        The result is None if the queue is empty.
        """
        if not self._buffer:
            return None
        lead = self.clock.lead(now)
        tokens = self.bucket.level(now)
        if self._over or (lead <= 0 and not self.clock.in_turn):
            due = now + self.bucket.seconds_until(1.0, tokens)
        else:
            # Send when Genesys has played half of the lead after the last message. Send earlier if
            # the lead is small, or if the unsent audio is as long as the lead. Thus a source that
            # is faster than real time reaches half of the maximum lead after a few messages.
            unsent = self._seconds(len(self._buffer))
            ahead = min(self._last_lead, self._max_lead)
            least = ahead * (0.5 if ahead > _SMALL_LEAD_SECONDS else 0.75)
            least = max(least, min(unsent, self._max_lead / 2))
            wait = max(lead - least, self.bucket.seconds_until(_needed_tokens(unsent), tokens), 0.0)
            if wait > 0:
                # Also send when the source pauses, because this may be the end of an utterance.
                # Audio that would exceed the maximum lead still waits.
                paused_in = self._newest + self._pause - now
                room_in = lead - self._max_lead
                reserve_in = self.bucket.seconds_until(_RESERVE, tokens)
                wait = max(0.0, min(wait, max(paused_in, room_in, reserve_in)))
            due = now + wait
            empty_since = self.clock.empty_since(now)
            if empty_since is not None:
                due = max(due, empty_since + self._cushion)
        if tokens < 1.0 and self._starved_at is None and not self.bucket.has(now):
            self._starved_at = now
        return max(due, self._not_before)

    def _seconds(self, size: int) -> float:
        return size / self.frame_bytes / WIRE_SAMPLE_RATE


def _needed_tokens(unsent: float) -> float:
    """Return the number of tokens at which unsent audio is sent in the middle of a turn.

    A short message needs many tokens, and a message of `_STEADY_SECONDS` needs one.

    Args:
        unsent: Duration of the audio, in seconds.
    """
    return max(1.0, _PLENTY - (_PLENTY - 1.0) * unsent / _STEADY_SECONDS)


class AudioPacer:
    """Queues bot audio for the socket when the audio is due.

    The pacer has no task. Every event after which audio can be due calls `poke`, which sends the
    audio. A timer calls `poke` when audio becomes due without an event. A silent bot needs no CPU
    time.

    Attributes:
        queue: The audio that is not sent yet.
        on_progress: Called when audio was sent, and when Genesys reported its playback.
        caller_stopped_at: Time at which the caller's turn ended, on the monotonic clock; None after
            the bot has answered.
    """

    def __init__(self, queue: PacingQueue, writer: Writer, observer: TransportObserver) -> None:
        """Create the pacer of a call. The pacer sends nothing before `release`.

        Args:
            queue: The audio that is not sent yet.
            writer: The queue for audio that is due.
            observer: Notified of each message.
        """
        self.queue = queue
        self.on_progress: Callable[[], None] = lambda: None
        self.caller_stopped_at: float | None = None
        self._writer = writer
        self._observer = observer
        self._timer: asyncio.TimerHandle | None = None
        self._held = True
        # The event is set while Genesys has no unplayed audio according to its reports.
        self._completed = asyncio.Event()
        self._completed.set()
        writer.on_idle = self.poke
        _pacers.add(self)

    def hold(self) -> None:
        """Send no audio until `release` is called.

        Call this method while the session is not open yet, is paused, or has ended.
        """
        if not self._held:
            self._held = True
            # Silence before `release` does not count as an underrun.
            self.queue.clock.end_turn()
            self.stop()

    def release(self) -> None:
        """Send audio when it is due."""
        if self._held:
            self._held = False
            self.poke()

    @property
    def is_held(self) -> bool:
        """Whether the pacer sends no audio until `release` is called."""
        return self._held

    def put(self, audio: bytes, *, interruptible: bool = True) -> None:
        """Add wire audio, and send the audio that is due."""
        self.queue.put(audio, time.monotonic(), interruptible=interruptible)
        self.poke()

    def finish(self) -> None:
        """Record that the utterance ends with the added audio, and send the audio."""
        self.queue.finish()
        self.poke()

    def interrupt(self) -> float | None:
        """Discard the audio that the caller has not heard.

        Returns:
            The part of the turn that the caller has heard, in seconds. None if some of the audio
            must not be interrupted; then only unsent interruptible audio is discarded.
        """
        now = time.monotonic()
        if self.queue.is_protected(now):
            self.queue.drop_interruptible()
            heard = None
        else:
            self._writer.drop_audio()
            heard = self.queue.clear(now)
            self._completed.set()
        self.poke()
        return heard

    def is_audible(self) -> bool:
        """Return whether Genesys has audio to play, or the socket has not taken all audio yet."""
        return self._writer.queued_audio_bytes > 0 or self.queue.clock.lead(time.monotonic()) > 0

    def limit(self, seconds: float) -> None:
        """Send nothing for `seconds`, because Genesys sent error 429."""
        self.queue.hold_until(time.monotonic() + seconds)
        self._observer.rate_limited(seconds)
        self.poke()

    def playback_started(self) -> None:
        """Correct the playout clock after ``playback_started``, and send audio that is now due."""
        self.queue.clock.started(time.monotonic())
        self.poke()
        self.on_progress()

    def playback_completed(self) -> None:
        """Correct the playout clock, because ``playback_completed`` arrived."""
        if self.queue.clock.completed(time.monotonic()):
            self._completed.set()
        self.poke()
        self.on_progress()

    async def wait_completed(self) -> None:
        """Wait until Genesys reports that all sent audio is played, for at most 0.5 s."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_REPORT_SECONDS):
                await self._completed.wait()

    def poke(self, *, early: bool = False) -> None:
        """Send the audio that is due now, and set a timer for the audio that is due later.

        Args:
            early: Whether to send the available audio before it is due.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        queue = self.queue
        # Queue only one message for the socket, because audio in this queue can still be discarded.
        # The writer calls `poke` when the socket has accepted all messages.
        if self._held or self._writer.is_closed or self._writer.queued_audio_bytes:
            return
        if queue.is_empty:
            return
        now = time.monotonic()
        due = queue.due_at(now)
        assert due is not None
        if due > now and not (early and queue.available(now)):
            delay = max(_SHORTEST_SECONDS, due - now)
            self._timer = asyncio.get_running_loop().call_later(delay, self.poke)
            return
        packet = queue.take(now)
        self._writer.put(packet.audio)
        self._completed.clear()
        seconds = len(packet.audio) / queue.frame_bytes / WIRE_SAMPLE_RATE
        self._observer.audio_sent(seconds, queue.bucket.level(now), packet.waited)
        if self.caller_stopped_at is not None:
            self._observer.answered(now - self.caller_stopped_at)
            self.caller_stopped_at = None
        if packet.gap:
            self._observer.underrun(packet.gap)
        self.on_progress()

    def stop(self) -> None:
        """Cancel the timer; the next `poke` sets it again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def detach(self) -> None:
        """Remove the references to other objects of the call, which has ended."""
        self.stop()
        self.on_progress = self._writer.on_idle = _do_nothing

    def until_underrun(self, now: float, *, topped_up: bool = False) -> float:
        """Return the seconds until the caller hears a gap, if no more audio is sent.

        The result is inf while the bot is silent.

        Args:
            now: The time.
            topped_up: Whether to count the available audio as sent.
        """
        if self._writer.is_closed:
            return math.inf
        clock = self.queue.clock
        # A source may continue if it paused a short time ago and did not mark the end of the
        # utterance.
        lead = clock.lead(now)
        if not clock.in_turn and (not lead or self.queue.is_over):
            return math.inf
        # The clock counts a message as sent when the message is queued. Queued audio has not
        # reached Genesys, so it is subtracted.
        queued = self._writer.queued_audio_bytes / self.queue.frame_bytes / WIRE_SAMPLE_RATE
        return lead - queued + (self.queue.available(now) if topped_up else 0.0)


def _do_nothing() -> None:
    return


_pacers: WeakSet[AudioPacer] = WeakSet()


def seconds_until_underrun() -> float:
    """Return the time in seconds that this process may block before a caller hears a gap.

    Returns:
        The smallest duration of the audio that Genesys has left to play, in seconds, among all
        calls with `AudioHookTransport` in which the bot speaks; inf if there is no such call.
    """
    now = time.monotonic()
    return min((pacer.until_underrun(now) for pacer in _pacers), default=math.inf)


def can_block(seconds: float) -> bool:
    """Return whether this process may block now without a caller hearing a gap.

    If the result is False, but unsent audio would prevent the gap, this function sends that audio
    early, up to the maximum lead, if Genesys's rate limit allows it. Call this function again after
    the event loop has sent the audio.

    Args:
        seconds: Time for which the process would block.
    """
    if seconds_until_underrun() >= seconds:
        return True
    now = time.monotonic()
    near = [pacer for pacer in _pacers if pacer.until_underrun(now) < seconds]
    if all(pacer.until_underrun(now, topped_up=True) >= seconds for pacer in near):
        for pacer in near:
            pacer.poke(early=True)
    return False
