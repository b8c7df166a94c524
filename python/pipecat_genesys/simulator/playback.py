"""The caller's ear: bot audio queued by the client and played in real time.

Time is counted in whole samples at 8 kHz since the call's ``open``, the same timeline as the
stream position of the caller's audio, so that the two tracks lie side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookMediaFormat

SILENCE = {AudioHookMediaFormat.PCMU: b"\xff", AudioHookMediaFormat.L16: b"\x00\x00"}
"""One sample of silence. In mu-law, zero bytes are the loudest sample there is."""

_ROUNDING = 1e-3
"""Part of a sample forgiven for floating-point clocks; months of uptime stay within it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of bot audio heard without a break, in samples since ``open``.

    Attributes:
        start: First sample.
        end: One past the last.
        cut: Whether it was cut short, by ``barge_in`` or by the end of the call.
    """

    start: int
    end: int
    cut: bool = False

    @property
    def seconds(self) -> float:
        """How long it was heard."""
        return (self.end - self.start) / WIRE_SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Underrun:
    """A hole inside an utterance: the queue ran dry and more came soon after.

    Attributes:
        at: Where it begins, in seconds since ``open``.
        seconds: How long it lasted.
    """

    at: float
    seconds: float


class Playback:
    """The queue between the server's audio messages and the caller's ear.

    Pure: every method that depends on time takes it. For every sample,
    ``received == heard + pending + dropped``.

    Args:
        origin: The moment of ``open``, in seconds on the caller's monotonic clock.
        media_format: How the samples are coded.
        record: Whether to keep what was heard; without it only the spans are kept.
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
        """Queue a message of bot audio.

        Call :meth:`advance` first, so that a queue that has run dry is seen to have done so.

        Args:
            payload: Whole samples as they came.
            now: Seconds on the monotonic clock.

        Returns:
            Whether playback starts with it, the queue having been empty.
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
        """Let time pass.

        Returns:
            The moment the queue ran dry, on the monotonic clock, if it has done so by ``now``.
        """
        if self._start is None or self.sample_at(now) < self._end:
            return None
        self._spans.append(Span(self._start, self._end))
        self._start = None
        return self._moment(self._end)

    def clear(self, now: float) -> int:
        """Drop what has not been heard yet.

        Returns:
            The number of samples dropped.
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
        """When the queue runs dry, on the monotonic clock; None while nothing plays."""
        return None if self._start is None else self._moment(self._end)

    @property
    def is_playing(self) -> bool:
        """Whether the queue holds anything, as of the last call that took the time."""
        return self._start is not None

    @property
    def spans(self) -> Sequence[Span]:
        """The stretches heard so far, without the one being played."""
        return self._spans

    @property
    def received(self) -> int:
        """Samples received in all."""
        return self._received

    @property
    def dropped(self) -> int:
        """Samples that were never heard because the queue was cleared."""
        return self._dropped

    def pending(self, now: float) -> int:
        """Samples queued and not heard yet."""
        return 0 if self._start is None else max(0, self._end - self.sample_at(now))

    def heard(self, now: float) -> int:
        """Samples heard by ``now``."""
        done = sum(span.end - span.start for span in self._spans)
        if self._start is None:
            return done
        return done + min(self._end, max(self._start, self.sample_at(now))) - self._start

    def audible_since(self, now: float) -> float | None:
        """Start of the stretch being heard, in seconds since ``open``; None in silence."""
        if self._start is None or self.sample_at(now) >= self._end:
            return None
        return self._start / WIRE_SAMPLE_RATE

    def silent_since(self, now: float) -> float | None:
        """End of the last audible sample, in seconds since ``open``.

        None while bot audio is heard; zero if none ever was.
        """
        return None if self.audible_since(now) is not None else self._end / WIRE_SAMPLE_RATE

    def underruns(self, shorter_than: float = 0.5) -> list[Underrun]:
        """Holes inside utterances.

        The protocol does not mark utterances: a pause shorter than ``shorter_than`` seconds is
        taken for a hole in one, unless the audio before it was cut.
        """
        # By sample counts: a float difference of two times could fall on either side.
        limit = shorter_than * WIRE_SAMPLE_RATE
        started = [] if self._start is None else [Span(self._start, self._end)]
        spans = [*self._spans, *started]
        return [
            Underrun(before.end / WIRE_SAMPLE_RATE, (after.start - before.end) / WIRE_SAMPLE_RATE)
            for before, after in pairwise(spans)
            if not before.cut and after.start - before.end < limit
        ]

    def render(self, now: float) -> bytes:
        """What the caller heard from ``open`` until ``now``, with silence in between.

        Returns:
            Samples in the wire's own coding.

        Raises:
            ValueError: If nothing was recorded on request.
        """
        if not self._record:
            raise ValueError("this playback was told not to record")
        length = max(0, self.sample_at(now))
        track = bytearray(SILENCE[self.media_format] * length)
        for at, payload in self._chunks:
            audible = payload[: max(0, length - at) * self._width]
            track[at * self._width : at * self._width + len(audible)] = audible
        return bytes(track)

    def sample_at(self, now: float) -> int:
        """The sample being played at ``now``, counted from ``open``."""
        return math.floor((now - self._origin) * WIRE_SAMPLE_RATE + _ROUNDING)

    def _moment(self, sample: int) -> float:
        return self._origin + sample / WIRE_SAMPLE_RATE
