"""Plays bot audio in real time, and records which audio the caller heard.

Audio is counted in samples at 8 kHz since the client sent `open`. Caller audio is counted on the
same timeline, so both tracks of a recording are aligned.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookMediaFormat

SILENCE = {AudioHookMediaFormat.PCMU: b"\xff", AudioHookMediaFormat.L16: b"\x00\x00"}
"""One sample of silence in each encoding. In mu-law, a zero byte is the loudest sample."""

_ROUNDING = 1e-3
"""Part of a sample that is added to a time before rounding down. It compensates the
floating-point error of a clock that has run for months."""


@dataclass(frozen=True, slots=True)
class Span:
    """A period of bot audio that the caller heard without a gap, in samples since `open`.

    Attributes:
        start: Number of the first sample.
        end: Number of the sample after the last one.
        cut: Whether queued audio was dropped at the end, by `barge_in` or by the end of the call.
    """

    start: int
    end: int
    cut: bool = False

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return (self.end - self.start) / WIRE_SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Underrun:
    """A gap inside an utterance of the bot: the queue was empty and more audio came soon after.

    Attributes:
        at: Start of the gap, in seconds since `open`.
        seconds: Duration of the gap.
    """

    at: float
    seconds: float


class Playback:
    """The playback queue: bot audio that was received, heard, or dropped.

    The methods that take `now` expect seconds on a monotonic clock. At any time,
    `received == heard + pending + dropped`.

    Args:
        origin: Time of `open`, in seconds on the monotonic clock.
        media_format: Encoding of the samples.
        record: Whether to keep the audio that was heard. If False, only the positions of the audio
            are kept.

    Attributes:
        media_format: Encoding of the samples.
    """

    def __init__(
        self,
        origin: float = 0.0,
        media_format: AudioHookMediaFormat = AudioHookMediaFormat.PCMU,
        *,
        record: bool = True,
    ) -> None:
        self.media_format = media_format
        self._origin = origin
        self._width = media_format.sample_width
        self._record = record
        self._spans: list[Span] = []
        self._chunks: list[tuple[int, bytes]] = []
        self._start: int | None = None
        self._end = 0
        self._received = 0
        self._dropped = 0

    def receive(self, payload: bytes, now: float) -> bool:
        """Queue an audio message.

        Call `advance` first, so that a queue that has become empty is detected.

        Args:
            payload: Content of the message, whole samples.
            now: Time of arrival.

        Returns:
            Whether playback starts with this message because the queue was empty.
        """
        samples = len(payload) // self._width
        if samples == 0:
            return False
        starts = self._start is None
        if starts:
            self._start = self._end = self.sample_at(now)
        if self._record:
            self._chunks.append((self._end, payload))
        self._end += samples
        self._received += samples
        return starts

    def advance(self, now: float) -> float | None:
        """Play the queued audio up to the time `now`.

        Returns:
            The time at which the queue became empty, on the monotonic clock, or None if it still
            has audio or was empty before.
        """
        if self._start is None or self.sample_at(now) < self._end:
            return None
        self._spans.append(Span(self._start, self._end))
        self._start = None
        return self._moment(self._end)

    def clear(self, now: float) -> int:
        """Drop the audio that the caller has not heard yet.

        Returns:
            Number of samples dropped.
        """
        if self._start is None:
            return 0
        cut = min(self._end, max(self._start, self.sample_at(now)))
        dropped = self._end - cut
        while self._chunks and self._chunks[-1][0] >= cut:
            self._chunks.pop()
        if self._chunks:
            at, payload = self._chunks[-1]
            self._chunks[-1] = (at, payload[: (cut - at) * self._width])
        if cut > self._start:
            self._spans.append(Span(self._start, cut, cut=dropped > 0))
        self._start = None
        self._end = cut
        self._dropped += dropped
        return dropped

    def next_deadline(self) -> float | None:
        """Return the time at which the queue becomes empty, or None if it is empty."""
        return None if self._start is None else self._moment(self._end)

    @property
    def is_playing(self) -> bool:
        """Whether the queue had audio at the last call of `receive`, `advance` or `clear`."""
        return self._start is not None

    @property
    def spans(self) -> Sequence[Span]:
        """The periods of bot audio so far, except the current period."""
        return self._spans

    @property
    def received(self) -> int:
        """Number of samples received."""
        return self._received

    @property
    def dropped(self) -> int:
        """Number of samples that were cleared from the queue before the caller heard them."""
        return self._dropped

    def pending(self, now: float) -> int:
        """Return the number of samples that are queued and not heard yet."""
        return 0 if self._start is None else max(0, self._end - self.sample_at(now))

    def heard(self, now: float) -> int:
        """Return the number of samples heard until `now`."""
        done = sum(span.end - span.start for span in self._spans)
        if self._start is None:
            return done
        return done + min(self._end, max(self._start, self.sample_at(now))) - self._start

    def audible_since(self, now: float) -> float | None:
        """Return the start of the current bot audio in seconds since `open`, or None in silence."""
        if self._start is None or self.sample_at(now) >= self._end:
            return None
        return self._start / WIRE_SAMPLE_RATE

    def silent_since(self, now: float) -> float | None:
        """Return the end of the last bot audio, in seconds since `open`.

        Returns:
            None while bot audio is audible; 0 if there was no bot audio yet.
        """
        return None if self.audible_since(now) is not None else self._end / WIRE_SAMPLE_RATE

    def underruns(self, shorter_than: float = 0.5) -> list[Underrun]:
        """Return the gaps inside utterances of the bot.

        The protocol does not mark utterances. A silence counts as a gap inside an utterance if it
        is short and no queued audio was dropped at its beginning.

        Args:
            shorter_than: Duration in seconds from which a silence separates two utterances.
        """
        # Compare sample counts; a difference of two floating-point times is not exact.
        limit = shorter_than * WIRE_SAMPLE_RATE
        started = [] if self._start is None else [Span(self._start, self._end)]
        spans = [*self._spans, *started]
        return [
            Underrun(before.end / WIRE_SAMPLE_RATE, (after.start - before.end) / WIRE_SAMPLE_RATE)
            for before, after in pairwise(spans)
            if not before.cut and after.start - before.end < limit
        ]

    def render(self, now: float) -> bytes:
        """Return what the caller heard from `open` until `now`, including silence.

        Returns:
            Samples in the encoding of the medium.

        Raises:
            ValueError: If the audio is not recorded.
        """
        return self.excerpt(0, max(0, self.sample_at(now)))

    def excerpt(self, first: int, last: int) -> bytes:
        """Return the bot audio between two samples, including silence.

        The excerpt can contain audio that is queued and not heard yet.

        Args:
            first: Number of the first sample, counted from `open`.
            last: Number of the sample after the last one.

        Returns:
            Samples in the encoding of the medium.

        Raises:
            ValueError: If the audio is not recorded.
        """
        if not self._record:
            raise ValueError("bot audio is not recorded: record_audio is off")
        width = self._width
        track = bytearray(SILENCE[self.media_format] * max(0, last - first))
        begin = bisect_right(self._chunks, first, key=itemgetter(0)) - 1
        for at, payload in self._chunks[max(0, begin) :]:
            if at >= last:
                break
            audible = payload[max(0, first - at) * width : (last - at) * width]
            start = max(0, at - first) * width
            track[start : start + len(audible)] = audible
        return bytes(track)

    def sample_at(self, now: float) -> int:
        """Return the number of the sample that is played at `now`, counted from `open`."""
        return math.floor((now - self._origin) * WIRE_SAMPLE_RATE + _ROUNDING)

    def _moment(self, sample: int) -> float:
        return self._origin + sample / WIRE_SAMPLE_RATE
