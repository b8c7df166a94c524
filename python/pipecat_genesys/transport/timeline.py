"""Delays frames in the queue of bot audio until the caller has heard the audio before each frame.

Bot audio is sent to Genesys ahead of real time. Processors after the output must not get frames so
early: a recording, a context or a transcript must contain only the audio that the caller heard.
Therefore every queued frame has a position in the stream of bot audio, and is passed on when the
playout clock reaches that position. An interruption discards the frames whose positions were not
reached.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

from loguru import logger
from pipecat.frames.frames import Frame, OutputAudioRawFrame, TTSStoppedFrame

from pipecat_genesys.call import Call
from pipecat_genesys.call.frames import copy_audio_frame
from pipecat_genesys.protocol import WIRE_SAMPLE_RATE

from .pacer import AudioPacer
from .recording import HeardAudio, RecorderAlignment

try:
    from pipecat.audio.utils import scale_audio
    from pipecat.frames.frames import VolumeFrame, VolumeGainFrame
except ImportError:  # pipecat versions before 1.13 have no output volume
    VolumeFrame = VolumeGainFrame = ()  # type: ignore[assignment,misc]

try:
    from pipecat.frames.frames import UninterruptibleFrame
except ImportError:  # pipecat versions before 1.0 do not have this frame
    UninterruptibleFrame = ()  # type: ignore[assignment,misc]

# Length in seconds of the pieces in which audio is passed on. A piece is passed on when the caller
# hears its middle, so its parts are early or late by at most half of this length. The first piece
# of a turn is half as long, and is passed on when the caller hears its beginning.
_PIECE_SECONDS = 0.2
# Time in seconds for which the task of the timeline waits for more frames before it ends, because
# starting a new task takes more CPU time than waiting.
_LINGER_SECONDS = 1.0
_SAMPLE_BYTES = 2
# Maximum time in seconds to wait for Genesys's report that it plays the audio, before the audio is
# passed on to a recorder.
_UNREPORTED_SECONDS = 0.5
# Maximum time in seconds to wait for late caller audio before bot audio is passed on to a recorder.
_LATE_CALLER_SECONDS = 0.15
# Frames are passed on at multiples of this time on the event loop's clock, in seconds. Thus the
# timers of many calls expire together, and the process wakes up less often. With a recorder, frames
# are passed on at their exact times.
_GRID_SECONDS = 0.01
# Limit of the audio that waits, in seconds. `add` waits while more audio is waiting.
_MAX_WAITING_SECONDS = 60.0


def is_interruptible(frame: Frame) -> bool:
    """Return whether an interruption discards a frame."""
    interruptible = getattr(frame, "interruptible", None)  # exists in pipecat 1.11 and newer
    if interruptible is None:
        return not isinstance(frame, UninterruptibleFrame)
    return bool(interruptible)


class _Entry(NamedTuple):
    """A frame with its place in the stream of bot audio.

    Attributes:
        frame: The frame.
        start: The position where the frame's audio begins. For a frame without audio, this is the
            end of the audio before the frame.
        samples: The length of the frame's audio on the wire.
        due: The position at which the frame is passed on.
    """

    frame: Frame
    start: int
    samples: int
    due: int


class PlayoutTimeline:
    """Sends bot audio before Genesys plays it, and passes on frames when Genesys plays them.

    Attributes:
        recording: Prepares the audio for a recorder; None if no recorder follows the output. With a
            recorder, audio is passed on when the caller has heard its end.
    """

    def __init__(
        self,
        call: Call,
        pacer: AudioPacer,
        pass_on: Callable[[Frame], Awaitable[None]],
        create_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        *,
        volume: float = 1.0,
    ) -> None:
        """Create an empty timeline.

        Args:
            call: Encodes the audio.
            pacer: Sends the audio.
            pass_on: Called with each frame when it is due.
            create_task: Creates the task that waits for the playout clock.
            volume: Factor for the samples; `VolumeFrame` and `VolumeGainFrame` change it.
        """
        self._call = call
        self._pacer = pacer
        self._pass_on = pass_on
        self._create_task = create_task
        self._volume, self._gain = volume, 1.0
        # `_waiting`: frames whose audio is not encoded yet. `_entries`: frames whose audio was
        # passed to the pacer.
        self._waiting: deque[Frame] = deque()
        self._waiting_seconds = 0.0
        self._entries: deque[_Entry] = deque()
        self._remainder = b""
        self._layout = (0, 0)
        self._task: asyncio.Task[None] | None = None
        self._wakeup: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        # The time at which the task ends if no frame is added, and the timer for this time. The
        # timer is not set again for each frame, so it may be too early.
        self._lingers_until = 0.0
        self._linger_timer: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()
        # Set while no frame waits to be passed on.
        self._passed = asyncio.Event()
        self._passed.set()
        self._ended = False
        self.recording: RecorderAlignment | None = None
        pacer.on_progress = self.poke

    @property
    def is_empty(self) -> bool:
        """Whether every frame was passed on."""
        return not (self._waiting or self._entries)

    async def add(self, frame: Frame) -> None:
        """Add a frame after all other frames.

        If more than 60 s of audio wait, this method also waits, so that the audio does not fill
        memory. If the wait is cancelled, the frame is not added.

        Args:
            frame: Audio, or any frame that must stay in order with the audio.
        """
        if isinstance(frame, OutputAudioRawFrame):
            if self._waiting_seconds > _MAX_WAITING_SECONDS:
                await self._wait_for_room()
            for piece in self._cut(frame):
                self._waiting_seconds += _seconds(piece)
                self._waiting.append(piece)
        else:
            if isinstance(frame, TTSStoppedFrame):
                self._remainder = b""
            if self.is_empty and self._task is None and not self._pacer.queue.unsent_samples:
                if isinstance(frame, TTSStoppedFrame):
                    self._pacer.finish()
                if self._pacer.queue.clock.lead(time.monotonic()) <= 0 or self._ended:
                    await self._pass_on(frame)
                    return
            self._waiting.append(frame)
        self._feed_all()
        if self._task is None:
            await self._pass_on_due()
            if not self.is_empty and self._task is None:
                self._passed.clear()
                self._task = self._create_task(self._run())
        elif self._passed.is_set():
            self._passed.clear()
            self._wake()

    def record(self, frame: OutputAudioRawFrame, start: int) -> bool:
        """Pass on audio that was sent without this timeline when the caller has heard it.

        Args:
            frame: The audio.
            start: The position of its beginning.

        Returns:
            Whether the audio will be passed on; False if no recorder follows the output.
        """
        if self.recording is None:
            return False
        self._add_entry(frame, start, self._pacer.queue.end - start)
        if self._task is None:
            self._passed.clear()
            self._task = self._create_task(self._run())
        elif self._passed.is_set():
            self._passed.clear()
            self._wake()
        return True

    def interrupt(self) -> HeardAudio | None:
        """Discard the interruptible frames that the caller has not heard.

        The pacer must be interrupted first.

        Returns:
            The audio that the caller has heard and that was not passed on yet, for a recorder.
        """
        queue = self._pacer.queue
        self._remainder = b""
        protected = queue.is_protected(time.monotonic())
        heard = None if protected else self._take_heard()
        kept: deque[_Entry] = deque()
        position = queue.clock.total
        for entry in self._entries:
            was_sent = entry.start < queue.clock.total
            if was_sent and protected:
                # The audio remains in Genesys's queue, so the caller will hear it.
                kept.append(entry)
            elif not is_interruptible(entry.frame):
                due = position + entry.due - entry.start
                kept.append(_Entry(entry.frame, position, entry.samples, due))
                position += entry.samples
        self._entries = kept
        self._waiting = deque(frame for frame in self._waiting if not is_interruptible(frame))
        self._waiting_seconds = sum(_seconds(frame) for frame in self._waiting)
        self._room.set()
        self.poke()
        return heard

    def end(self) -> None:
        """Discard all audio and pass on all other frames, because the call takes no more audio.

        A recorder still gets the audio that the caller has heard.
        """
        if self._ended:
            return
        self._ended = True
        heard = self._take_heard()
        lost = sum(_seconds(entry.frame) for entry in self._entries) + self._waiting_seconds
        self._entries = deque(entry for entry in self._entries if not _is_audio(entry.frame))
        if heard is not None:
            assert self.recording is not None
            self._entries.appendleft(_Entry(self.recording.bot_audio(*heard), 0, 0, 0))
        if lost > _PIECE_SECONDS:
            logger.debug(f"{lost:.1f} s of bot audio were not heard: the call has ended")
        self.poke()
        self._room.set()

    def poke(self) -> None:
        """Encode waiting frames if the pacer accepts more audio, and pass on the due frames."""
        self._feed_all()
        if not self._passed.is_set():
            self._wake()

    async def close(self) -> None:
        """Discard all frames, and end the task."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._waiting.clear()
        self._entries.clear()
        self._passed.set()

    async def drained(self) -> None:
        """Wait until every frame was passed on and Genesys has played all audio."""
        await self._passed.wait()
        while not self._ended and not self._pacer.is_held:
            lead = self._pacer.queue.ahead(time.monotonic())
            if lead <= 0:
                return
            await asyncio.sleep(min(lead, _PIECE_SECONDS / 2))

    # -- audio to the pacer ------------------------------------------------------------------

    async def _wait_for_room(self) -> None:
        while self._waiting_seconds > _MAX_WAITING_SECONDS and not self._ended:
            self._room.clear()
            await self._room.wait()

    def _cut(self, frame: OutputAudioRawFrame) -> list[OutputAudioRawFrame]:
        """Cut audio into pieces. An incomplete sample at the end is kept for the next frame."""
        layout = (frame.sample_rate, frame.num_channels)
        if layout != self._layout:
            self._layout, self._remainder = layout, b""
        audio = self._remainder + frame.audio if self._remainder else frame.audio
        width = _SAMPLE_BYTES * frame.num_channels
        whole = len(audio) // width * width
        self._remainder = audio[whole:]
        longest = max(1, round(_PIECE_SECONDS * frame.sample_rate)) * width
        pieces, begin = [], 0
        if whole and self.is_empty and self._pacer.queue.ahead(time.monotonic()) <= 0:
            first = min(whole, longest // width // 2 * width or width)
            pieces.append(copy_audio_frame(frame, audio[:first]))
            begin = first
        for at in range(begin, whole, longest):
            pieces.append(copy_audio_frame(frame, audio[at : min(at + longest, whole)]))
        return pieces

    def _feed_all(self) -> None:
        """Pass audio to the pacer while the pacer accepts more, and then let the pacer send."""
        fed = False
        while self._waiting and self._feed():
            fed = True
        if fed:
            self._pacer.poke()

    def _feed(self) -> bool:
        """Encode the first waiting frame, and pass its audio to the pacer.

        Returns:
            Whether the pacer has accepted the audio of the frame.
        """
        frame, call, queue = self._waiting[0], self._call, self._pacer.queue
        now = time.monotonic()
        wire = b""
        if isinstance(frame, OutputAudioRawFrame) and not self._ended:
            medium = call.session.media
            if medium is None or not queue.has_room(now):
                return False
            try:
                if call.takes_bot_audio():
                    pcm = self._at_volume(frame.audio)
                    wire = call.codec.encode(pcm, frame.sample_rate, frame.num_channels, medium)
            except ValueError as error:
                call.log.once("ERROR", f"bot audio dropped: {error}", "bot audio invalid")
        self._waiting.popleft()
        if not (self._ended and isinstance(frame, OutputAudioRawFrame)):
            self._add_entry(frame, queue.end, len(wire) // queue.frame_bytes)
        if isinstance(frame, OutputAudioRawFrame):
            self._waiting_seconds = max(0.0, self._waiting_seconds - _seconds(frame))
            if self._waiting_seconds <= _MAX_WAITING_SECONDS:
                self._room.set()
        elif isinstance(frame, VolumeFrame):
            self._volume = frame.volume
        elif isinstance(frame, VolumeGainFrame):
            self._gain = frame.gain
        # `AudioPacer.finish` may call `_feed` again, so it is called last.
        if wire:
            queue.put(wire, now, interruptible=is_interruptible(frame))
        elif isinstance(frame, TTSStoppedFrame):
            self._pacer.finish()
        return True

    def _add_entry(self, frame: Frame, start: int, samples: int) -> None:
        """Add a frame at a position. With a recorder, add empty audio before the first audio."""
        queue = self._pacer.queue
        unplayed = queue.end - queue.clock.played(time.monotonic())
        is_first = not self._entries and start + unplayed <= queue.end
        if is_first and self.recording and samples and isinstance(frame, OutputAudioRawFrame):
            self._entries.append(_Entry(copy_audio_frame(frame, b""), start, 0, start))
        due = start if is_first else start + samples // 2
        self._entries.append(_Entry(frame, start, samples, due))

    def _at_volume(self, pcm: bytes) -> bytes:
        volume = self._volume * self._gain
        return pcm if volume == 1.0 else scale_audio(pcm, volume)

    def detach(self) -> None:
        """Remove the references to the output, after `close`."""
        self._pass_on, self._create_task = _discard, asyncio.ensure_future
        self.recording = None

    # -- frames to Pipecat in real time ------------------------------------------------------

    async def _run(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            while True:
                await self._pass_on_due()
                if not self.is_empty:
                    self._set_timer(self._delay())
                elif not self._passed.is_set():
                    self._passed.set()
                    self._lingers_until = loop.time() + _LINGER_SECONDS
                elif loop.time() >= self._lingers_until:
                    return
                if self._linger_timer is None:
                    self._linger_timer = loop.call_later(_LINGER_SECONDS, self._end_lingering)
                self._wakeup = loop.create_future()
                try:
                    await self._wakeup
                finally:
                    self._wakeup = None
                    self._cancel_timer()
        finally:
            self._task = None
            self._passed.set()
            if self._linger_timer is not None:
                self._linger_timer.cancel()
                self._linger_timer = None

    def _wake(self) -> None:
        """Run the task now if a frame is due, or when the first frame will be due."""
        wakeup = self._wakeup
        if wakeup is None or wakeup.done():
            return
        delay = self._delay()
        if delay == 0.0 or self.is_empty:
            wakeup.set_result(None)
        else:
            self._set_timer(delay)

    def _end_lingering(self) -> None:
        """End the task if no frame was added for some time."""
        self._linger_timer = None
        wakeup = self._wakeup
        if wakeup is None or wakeup.done() or not self._passed.is_set():
            return  # The task sets the timer again.
        loop = asyncio.get_running_loop()
        if loop.time() >= self._lingers_until:
            wakeup.set_result(None)
        else:
            self._linger_timer = loop.call_at(self._lingers_until, self._end_lingering)

    def _set_timer(self, delay: float | None) -> None:
        """Replace the timer. It calls `poke` after `delay` seconds; None sets no new timer."""
        self._cancel_timer()
        if delay is not None:
            loop = asyncio.get_running_loop()
            at = loop.time() + delay
            if self.recording is None:
                at = math.ceil(at / _GRID_SECONDS) * _GRID_SECONDS
            self._timer = loop.call_at(at, self.poke)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _pass_on_due(self) -> None:
        while self._entries:
            delay = self._delay()
            if delay is None or delay > 0:
                return
            entry, recording = self._entries[0], self.recording
            frame = entry.frame
            if recording is not None and entry.samples:
                frame = recording.bot_audio(*self._join(*self._recorded_part()))
            else:
                self._entries.popleft()
            if recording is not None and isinstance(frame, OutputAudioRawFrame) and not frame.audio:
                frame = recording.turn_begins(frame)
            await self._pass_on(frame)

    def _delay(self) -> float | None:
        """Return the seconds until the first frame is due; None if this is not known."""
        if not self._entries:
            return None
        if self._ended:
            return 0.0
        clock = self._pacer.queue.clock
        entry = self._entries[0]
        due = entry.due
        if entry.samples and self.recording is not None:
            due = self._recorded_part()[1]
        if due > clock.total or (entry.samples and entry.start >= clock.total):
            return None
        at = clock.time_of(due)
        if entry.samples and self.recording is not None:
            at = clock.reported_time_of(due)
            if not clock.is_reported(entry.start):
                at += _UNREPORTED_SECONDS
            elif not self.recording.has_caller_audio:
                at += _LATE_CALLER_SECONDS
        return max(0.0, at - time.monotonic())

    # -- audio for a recorder ----------------------------------------------------------------

    def _recorded_part(self) -> tuple[int, int]:
        """Return how many audio frames are passed on as one frame, and the end position.

        The frame is at least `_PIECE_SECONDS` long if enough audio is known. Thus the recorder
        has already received the caller's audio of the time at which the frame begins.
        """
        first = self._entries[0]
        least = round(_PIECE_SECONDS * WIRE_SAMPLE_RATE)
        count, end = 0, first.start
        enough: tuple[int, int] | None = None
        for entry in self._entries:
            if not entry.samples or not _can_join(first.frame, entry.frame):
                break
            count, end = count + 1, entry.start + entry.samples
            if enough is None and end - first.start >= least:
                enough = count, end
            elif enough is not None and end - enough[1] >= least:
                return enough
        return count, end

    def _join(self, count: int, end: int) -> HeardAudio:
        """Take the first frames, and return their audio until a position as one frame."""
        taken = [self._entries.popleft() for _ in range(count)]
        first, last = taken[0], taken[-1]
        frame = first.frame
        assert isinstance(frame, OutputAudioRawFrame)
        audio = b"".join(entry.frame.audio for entry in taken)  # type: ignore[attr-defined]
        if end < last.start + last.samples:
            width = _SAMPLE_BYTES * frame.num_channels
            missing = (last.start + last.samples - end) / WIRE_SAMPLE_RATE
            audio = audio[: max(0, len(audio) - round(missing * frame.sample_rate) * width)]
        if len(taken) > 1 or len(audio) != len(frame.audio):
            frame = copy_audio_frame(frame, audio)
        return HeardAudio(frame, self._pacer.queue.clock.reported_time_of(first.start))

    def _take_heard(self) -> HeardAudio | None:
        """Take the audio that the caller has heard and that was not passed on to a recorder."""
        if self.recording is None:
            return None
        played = self._pacer.queue.clock.played(time.monotonic())
        while self._entries and _is_audio(self._entries[0].frame) and not self._entries[0].samples:
            self._entries.popleft()
        count = 0
        for entry in self._entries:
            joins = _can_join(self._entries[0].frame, entry.frame)
            if not entry.samples or entry.start >= played or not joins:
                break
            count += 1
        return self._join(count, played) if count else None


def _is_audio(frame: Frame) -> bool:
    return isinstance(frame, OutputAudioRawFrame)


def _can_join(first: Frame, other: Frame) -> bool:
    """Return whether the audio of two frames can be passed on in one frame."""
    return (
        isinstance(first, OutputAudioRawFrame)
        and isinstance(other, OutputAudioRawFrame)
        and type(first) is type(other)
        and (first.sample_rate, first.num_channels) == (other.sample_rate, other.num_channels)
        and is_interruptible(first) == is_interruptible(other)
    )


def _seconds(frame: Frame) -> float:
    """Return the length of a frame's audio in seconds; 0 for a frame without audio."""
    if not isinstance(frame, OutputAudioRawFrame):
        return 0.0
    return len(frame.audio) / (_SAMPLE_BYTES * frame.num_channels) / frame.sample_rate


async def _discard(_: Frame) -> None:
    return
