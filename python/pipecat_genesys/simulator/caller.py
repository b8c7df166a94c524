"""Who speaks into the stream: what is said, laid out on the grid of frames that are sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
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
    """Where something that was said lies in the stream.

    Attributes:
        first_sample: Stream position of its first sample.
        end_sample: Stream position after its last sample.
        suppressed: Samples of it that did not go out because the stream was paused, or does not
            carry this party, or ended.
        lead: Seconds of the stream that lie before ``open``.
    """

    first_sample: int
    end_sample: int
    suppressed: int
    lead: float = 0.0

    @property
    def start(self) -> float:
        """When it began, in seconds since ``open``."""
        return self.first_sample / WIRE_SAMPLE_RATE - self.lead

    @property
    def end(self) -> float:
        """When it ended, in seconds since ``open``."""
        return self.end_sample / WIRE_SAMPLE_RATE - self.lead


class Utterance:
    """Something being said; ``spoken`` is set once its last sample has been sent."""

    def __init__(self, ulaw: bytes) -> None:
        self.rest = memoryview(ulaw)
        self.length = len(ulaw)
        self.first_sample: int | None = None
        self.suppressed = 0
        self.spoken: Spoken | None = None


class Voice:
    """Cuts what one party says into frames, with silence when there is nothing to say.

    An utterance begins with the frame being gathered, the next one to be sent. On the wire that
    cannot be told from somebody who began up to one frame earlier.

    Args:
        record: Whether to keep the track that was sent. A session that continues another one
            sends part of it again.
    """

    def __init__(self, *, record: bool = True) -> None:
        self.lead = 0.0
        self._queue: deque[Utterance] = deque()
        self._current: list[tuple[Utterance, int, int]] = []
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
            mu-law: what was said at that position before, as far as it goes, then what is said
            now. One utterance starts per frame boundary: the rest of its last frame is silence.
        """
        self._current.clear()
        again = bytes(self._track[position : position + samples])
        position, samples = position + len(again), samples - len(again)
        if not self._queue or not samples:
            return again + ULAW_SILENCE * samples
        utterance = self._queue[0]
        if utterance.first_sample is None:
            utterance.first_sample = position
        taken = bytes(utterance.rest[:samples])
        utterance.rest = utterance.rest[samples:]
        self._current.append((utterance, position, len(taken)))
        return again + taken.ljust(samples, ULAW_SILENCE)

    def frame_sent(self, position: int, frame: bytes, *, went_out: bool) -> None:
        """Tell what became of the frame made last.

        Args:
            position: Stream position of its first sample.
            frame: The frame, as made.
            went_out: Whether it was sent.
        """
        if self._record:
            known = len(self._track) - position
            self._track += ULAW_SILENCE * -known
            new = frame[max(0, known) :]
            self._track += new if went_out else ULAW_SILENCE * len(new)
        for utterance, at, samples in self._current:
            if not went_out:
                utterance.suppressed += samples
            first = utterance.first_sample
            if not utterance.rest and first is not None:
                end = at + samples
                utterance.spoken = Spoken(first, end, utterance.suppressed, self.lead)
                self._queue.popleft()
        self._current.clear()

    @property
    def track(self) -> bytes:
        """What went out, mu-law, silence where nothing did."""
        return bytes(self._track)


def encode(frames: Mapping[AudioHookChannel, bytes], samples: int, media: Media) -> bytes:
    """Put mu-law frames on the wire's medium.

    Args:
        frames: By party; one that is missing is silent.
        samples: Length of each.
        media: The medium selected: its parties, in its order and its coding.
    """
    coded = [frames.get(channel, ULAW_SILENCE * samples) for channel in media.channels]
    if media.format is AudioHookMediaFormat.L16:
        coded = [audio.ulaw_decode(channel) for channel in coded]
    if len(coded) == 1:
        return coded[0]
    return audio.merge_stereo(coded[0], coded[1], media.format.sample_width)
