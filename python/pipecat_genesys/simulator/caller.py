"""The caller's mouth: what is said, laid out on the grid of frames that the stream sends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import (
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
    Media,
)

ULAW_SILENCE = b"\xff"


@dataclass(frozen=True, slots=True)
class Spoken:
    """Where something the caller said lies in the stream.

    Attributes:
        first_sample: Stream position of its first sample.
        end_sample: Stream position after its last sample.
        suppressed: Samples of it that did not go out because the stream was paused, or has no
            audio, or ended.
    """

    first_sample: int
    end_sample: int
    suppressed: int

    @property
    def start(self) -> float:
        """When it began, in seconds since ``open``."""
        return self.first_sample / WIRE_SAMPLE_RATE

    @property
    def end(self) -> float:
        """When it ended, in seconds since ``open``."""
        return self.end_sample / WIRE_SAMPLE_RATE


class Utterance:
    """Something being said; ``spoken`` is set once its last sample has been sent."""

    def __init__(self, ulaw: bytes) -> None:
        self.rest = memoryview(ulaw)
        self.length = len(ulaw)
        self.first_sample: int | None = None
        self.suppressed = 0
        self.spoken: Spoken | None = None


class CallerVoice:
    """Cuts what the caller says into frames, with silence when there is nothing to say.

    An utterance begins with the frame being gathered, the next one to be sent. On the wire that
    cannot be told from a caller who began up to one frame earlier.

    Args:
        record: Whether to keep the track that was sent.
    """

    def __init__(self, *, record: bool = True) -> None:
        self._queue: deque[Utterance] = deque()
        self._current: list[tuple[Utterance, int]] = []
        self._track = bytearray()
        self._record = record

    def say(self, ulaw: bytes) -> Utterance:
        """Queue mu-law speech after whatever is queued already.

        Raises:
            ValueError: If there is none.
        """
        if not ulaw:
            raise ValueError("nothing to say")
        utterance = Utterance(ulaw)
        self._queue.append(utterance)
        return utterance

    def frame(self, position: int, samples: int) -> bytes:
        """Make the next frame.

        Args:
            position: Stream position of its first sample.
            samples: Its length.

        Returns:
            mu-law. One utterance starts per frame boundary: the rest of its last frame is silence.
        """
        self._current.clear()
        if not self._queue:
            return ULAW_SILENCE * samples
        utterance = self._queue[0]
        if utterance.first_sample is None:
            utterance.first_sample = position
        taken = bytes(utterance.rest[:samples])
        utterance.rest = utterance.rest[samples:]
        self._current.append((utterance, len(taken)))
        return taken.ljust(samples, ULAW_SILENCE)

    def frame_sent(self, position: int, frame: bytes, *, went_out: bool) -> None:
        """Tell what became of the frame made last.

        Args:
            position: Stream position of its first sample.
            frame: The frame, as made.
            went_out: Whether it was sent.
        """
        if self._record:
            gap = position - len(self._track)
            self._track += ULAW_SILENCE * gap
            self._track += frame if went_out else ULAW_SILENCE * len(frame)
        for utterance, samples in self._current:
            if not went_out:
                utterance.suppressed += samples
            first = utterance.first_sample
            if not utterance.rest and first is not None:
                utterance.spoken = Spoken(first, position + samples, utterance.suppressed)
                self._queue.popleft()
        self._current.clear()

    @property
    def track(self) -> bytes:
        """What went out since ``open``, mu-law, silence where nothing did."""
        return bytes(self._track)


def encode(frame: bytes, media: Media) -> bytes:
    """Put a mu-law frame of the caller on the wire's medium; other channels are silent."""
    coded = [
        frame if channel is AudioHookChannel.EXTERNAL else ULAW_SILENCE * len(frame)
        for channel in media.channels
    ]
    if media.format is AudioHookMediaFormat.L16:
        coded = [audio.ulaw_decode(channel) for channel in coded]
    if len(coded) == 1:
        return coded[0]
    return audio.merge_stereo(coded[0], coded[1], media.format.sample_width)
