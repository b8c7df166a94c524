"""Aligns the tracks of Pipecat's recorder, `AudioBufferProcessor`, after the output.

The recorder has no timestamps. It appends each frame to a track, and adds silence to a track when
the other track is longer, or when a track got no frame for some time. Caller audio arrives in
messages of 200 ms, so when the bot begins to speak, the recorder does not have the caller's audio
of that time yet, and would put the bot's audio 200 to 400 ms too early. It would also lose parts of
the audio that it has to resample, because its resampler discards its contents between two messages.

Therefore the output computes how long both tracks are. It passes on bot audio when the recorder has
the caller's audio of the same time, with the missing silence before the audio, and at the
recorder's sample rate.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple, TypeVar

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    Frame,
    InputAudioRawFrame,
    OutputAudioRawFrame,
    UserStartedSpeakingFrame,
    UserStoppedSpeakingFrame,
)
from pipecat.processors.audio.audio_buffer_processor import AudioBufferProcessor
from pipecat.processors.frame_processor import FrameProcessor

from pipecat_genesys.audio import AudioError, Resampler

# Silence in seconds that the recorder adds if a track gets no frame for longer than this time.
_RECORDER_GAP_SECONDS = 0.2
# Shortest silence, in seconds, that is added in the middle of a turn. Shorter silence is an error
# of the clock.
_SHORTEST_GAP_SECONDS = 0.03
# If the silence before a turn is longer than this, in seconds, the recorder adds the silence.
_LONGEST_SILENCE_SECONDS = 1.0
# If caller audio is missing for longer than this, in seconds, the next audio is not delayed audio:
# the caller was on hold.
_LATE_SECONDS = 0.5
# Maximum time in seconds by which the caller's clock loses time against this process's clock, for
# each frame of caller audio.
_DRIFT_SECONDS = 0.0005
# Duration in seconds of the caller audio before the start of the recording that the recording may
# contain. A recording ends with the last complete frame, on average half of a frame before it is
# stopped.
_EARLY_SECONDS = 0.1
_SAMPLE_BYTES = 2
_STARTED_EVENT = "on_recording_started"

_AudioFrame = TypeVar("_AudioFrame", InputAudioRawFrame, OutputAudioRawFrame)


class HeardAudio(NamedTuple):
    """Bot audio that the caller has heard.

    Attributes:
        frame: The audio.
        start: The time at which a report about the beginning of the audio arrives.
    """

    frame: OutputAudioRawFrame
    start: float


def find_recorder(output: FrameProcessor) -> AudioBufferProcessor | None:
    """Return the first recorder after the output of a transport, or None."""
    after = output.next
    while after is not None:
        for one in _with_parts(after):
            if isinstance(one, AudioBufferProcessor):
                return one
        after = after.next
    return None


def _with_parts(processor: FrameProcessor) -> Iterator[FrameProcessor]:
    yield processor
    for part in processor.processors:
        yield from _with_parts(part)


class RecorderAlignment:
    """Computes the lengths of a recorder's tracks, and prepares the audio that it gets.

    Times are seconds on the monotonic clock. Lengths of tracks are in seconds.
    """

    def __init__(self, recorder: AudioBufferProcessor) -> None:
        """Create the alignment of a recorder that has received no audio yet."""
        self._recorder = recorder
        self._fills_gaps = hasattr(recorder, "_fill_buffer_silence_gap")  # pipecat 1.4 and newer
        # Pipecat before 1.8 does not report the start of a recording.
        if _STARTED_EVENT in recorder._event_handlers:
            recorder.add_event_handler(_STARTED_EVENT, self._recording_started)
        self._started_at: float | None = None
        self._was_recording = False
        self._caller_speaks = self._bot_speaks = False
        # Lengths of the tracks, and the times at which the recorder last extended them.
        self._caller_length = self._bot_length = 0.0
        self._caller_extended: float | None = None
        self._bot_extended: float | None = None
        # Time at which the newest caller audio was spoken, as it would arrive without jitter.
        self._caller_end: float | None = None
        # The time of the beginning of the caller's track. It changes when the recorder adds
        # silence.
        self._origin: float | None = None
        self._bot_end = 0.0
        # The end of a turn that was interrupted. It waits for the caller's audio of the same time.
        self._deferred: HeardAudio | None = None
        self._resamplers: dict[tuple[type[Frame], int], Resampler] = {}

    def observe(self, frame: Frame) -> Frame:
        """Record that the output pushes a frame downstream, and return the frame to push."""
        if isinstance(frame, InputAudioRawFrame):
            return self._add_caller_audio(frame)
        if isinstance(frame, BotStartedSpeakingFrame):
            self._bot_speaks = True
        elif isinstance(frame, BotStoppedSpeakingFrame):
            self._bot_speaks = False
        elif isinstance(frame, UserStartedSpeakingFrame):
            self._caller_speaks = True
        elif isinstance(frame, UserStoppedSpeakingFrame):
            self._caller_speaks = False
        return frame

    @property
    def has_caller_audio(self) -> bool:
        """Whether the caller's track is as long as the bot's. If not, bot audio extends it."""
        return self._bot_length <= self._caller_length

    def interrupted(self, heard: HeardAudio) -> OutputAudioRawFrame | None:
        """Handle an interruption of the bot.

        Args:
            heard: The last bot audio that the caller heard.

        Returns:
            The audio as a frame to push; None if the recorder does not have the caller audio of the
            same time yet. The audio is then stored for `take_deferred`.
        """
        if self.has_caller_audio:
            return self.bot_audio(*heard)
        self._deferred = heard
        return None

    def take_deferred(self) -> OutputAudioRawFrame | None:
        """Return the stored audio of an interrupted turn as a frame to push.

        Return None if no audio is stored, or if the recorder does not have the caller audio of the
        same time yet.
        """
        heard = self._deferred
        if heard is None or not self.has_caller_audio:
            return None
        self._deferred = None
        return self.bot_audio(*heard)

    def turn_begins(self, frame: OutputAudioRawFrame) -> OutputAudioRawFrame:
        """Return silence to push when the caller begins to hear the bot.

        The silence lasts from the recorder's last frame until now. It makes Pipecat report that the
        bot speaks.

        Args:
            frame: The first audio of the turn.
        """
        self._follow_recorder()
        now = time.monotonic()
        elapsed = 0.0 if self._bot_extended is None else now - self._bot_extended
        room = self._missing(now)
        silence = min(elapsed, room) if elapsed <= _LONGEST_SILENCE_SECONDS else 0.0
        rate = self._recorder.sample_rate or frame.sample_rate
        audio = bytes(max(1, round(silence * rate)) * _SAMPLE_BYTES * frame.num_channels)
        return self._add_bot_audio(_copy(frame, audio, rate))

    def bot_audio(self, frame: OutputAudioRawFrame, start: float) -> OutputAudioRawFrame:
        """Return bot audio to push, with the silence that the bot's track lacks before it.

        Args:
            frame: The audio, which the caller has heard.
            start: The time at which a report about the beginning of the audio arrives.
        """
        self._follow_recorder()
        gap, self._bot_end = start - self._bot_end, start + _seconds(frame)
        if not self._was_recording:
            return frame
        frame = self._resample(frame)
        if gap > _SHORTEST_GAP_SECONDS:
            silence = round(self._missing(start) * frame.sample_rate)
            width = _SAMPLE_BYTES * frame.num_channels
            frame = _copy(frame, bytes(silence * width) + frame.audio, frame.sample_rate)
        return self._add_bot_audio(frame)

    def _missing(self, start: float) -> float:
        """Return the silence that the bot's track needs before audio that began at `start`."""
        if self._origin is None:
            return 0.0
        return max(0.0, start - self._origin - self._bot_length)

    # -- what the recorder does --------------------------------------------------------------

    def _add_caller_audio(self, frame: InputAudioRawFrame) -> InputAudioRawFrame:
        self._follow_recorder()
        now, seconds = time.monotonic(), _seconds(frame)
        start = now - seconds
        if self._caller_end is not None and now - self._caller_end - seconds < _LATE_SECONDS:
            start = min(start, self._caller_end + _DRIFT_SECONDS)
        self._caller_end = start + seconds
        if not self._was_recording:
            return frame
        if self._started_at is not None:
            frame = _last(frame, now - self._started_at + _EARLY_SECONDS)
            seconds, self._started_at = _seconds(frame), None
            start = self._caller_end - seconds
        self._caller_length += self._gap(self._caller_extended, now, seconds)
        self._caller_extended = now
        if not self._bot_speaks:
            self._bot_length = max(self._bot_length, self._caller_length)
            self._bot_extended = now
        self._origin = start - self._caller_length
        self._caller_length += seconds
        self._flush()
        return self._resample(frame)

    def _add_bot_audio(self, frame: OutputAudioRawFrame) -> OutputAudioRawFrame:
        now, seconds = time.monotonic(), _seconds(frame)
        self._bot_length += self._gap(self._bot_extended, now, seconds)
        self._bot_extended = now
        if not self._caller_speaks:
            self._caller_length = max(self._caller_length, self._bot_length)
            self._caller_extended = now
        self._bot_length += seconds
        self._flush()
        return frame

    def _flush(self) -> None:
        """Begin with empty tracks if the recorder reports its audio in parts of `buffer_size`."""
        size = self._recorder._buffer_size / _SAMPLE_BYTES / (self._recorder.sample_rate or 1)
        if 0 < size <= max(self._caller_length, self._bot_length):
            self._caller_length = self._bot_length = 0.0
            self._caller_extended = self._bot_extended = time.monotonic()
            self._origin = self._caller_end

    async def _recording_started(self, _: AudioBufferProcessor) -> None:
        self._started_at = time.monotonic()

    def _gap(self, extended: float | None, now: float, seconds: float) -> float:
        if extended is None or not self._fills_gaps:
            return 0.0
        gap = now - extended - seconds
        return gap if gap > _RECORDER_GAP_SECONDS else 0.0

    def _follow_recorder(self) -> None:
        """Begin with empty tracks if the recorder has started a recording."""
        is_recording = self._recorder._recording
        if is_recording and not self._was_recording:
            self._caller_length = self._bot_length = 0.0
            self._caller_extended = self._bot_extended = None
            self._origin = self._caller_end
        self._was_recording = is_recording

    def _resample(self, frame: _AudioFrame) -> _AudioFrame:
        """Return the audio at the recorder's rate. Only mono audio is resampled."""
        rate = self._recorder.sample_rate
        if rate in (0, frame.sample_rate) or frame.num_channels != 1:
            return frame
        key = (
            InputAudioRawFrame if isinstance(frame, InputAudioRawFrame) else OutputAudioRawFrame,
            frame.sample_rate,
        )
        try:
            resampler = self._resamplers.get(key)
            if resampler is None:
                resampler = self._resamplers[key] = Resampler(frame.sample_rate, rate)
        except AudioError:
            return frame
        return _copy(frame, resampler.process(frame.audio), rate)


def _seconds(frame: InputAudioRawFrame | OutputAudioRawFrame) -> float:
    return len(frame.audio) / (_SAMPLE_BYTES * frame.num_channels) / frame.sample_rate


def _last(frame: InputAudioRawFrame, seconds: float) -> InputAudioRawFrame:
    """Return the last `seconds` of a frame."""
    width = _SAMPLE_BYTES * frame.num_channels
    size = max(1, round(seconds * frame.sample_rate)) * width
    return (
        frame if size >= len(frame.audio) else _copy(frame, frame.audio[-size:], frame.sample_rate)
    )


def _copy(frame: _AudioFrame, audio: bytes, rate: int) -> _AudioFrame:
    """Return a copy of a frame with other audio. The original frame is not changed."""
    copy = replace(frame, audio=audio, sample_rate=rate)
    for name in ("pts", "transport_source", "transport_destination", "interruptible"):
        if hasattr(frame, name):
            setattr(copy, name, getattr(frame, name))
    return copy
