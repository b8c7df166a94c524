"""Caller audio: the speech of each party, cut into frames that are sent on an exact schedule."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from pipecat_genesys import audio
from pipecat_genesys.capture import CallMode
from pipecat_genesys.protocol.types import (
    MAX_MESSAGE_BYTES,
    WIRE_SAMPLE_RATE,
    AudioHookChannel,
    AudioHookMediaFormat,
    Media,
)

from .session import GenesysClientSession
from .session.machine import SessionState
from .session.parameters import FRAME_SAMPLES

ULAW_SILENCE = b"\xff"
"""One sample of silence in mu-law."""
MAX_LIVE_SAMPLES = 4 * FRAME_SAMPLES
"""Maximum number of samples of a live source that wait to be sent."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """The position of finished speech in the stream.

    Attributes:
        first_sample: Stream position of the first sample.
        end_sample: Stream position after the last sample.
        suppressed: Number of samples that were not sent, because the stream was paused, had
            ended, or does not carry this party.
        lead: Duration of the stream before `open`, in seconds.
    """

    first_sample: int
    end_sample: int
    suppressed: int
    lead: float = 0.0

    @property
    def start(self) -> float:
        """Start of the speech, in seconds since `open`."""
        return self.first_sample / WIRE_SAMPLE_RATE - self.lead

    @property
    def end(self) -> float:
        """End of the speech, in seconds since `open`."""
        return self.end_sample / WIRE_SAMPLE_RATE - self.lead


class QueuedSpeech:
    """Speech that is not sent completely yet.

    Args:
        ulaw: The speech, 8 kHz mu-law.

    Attributes:
        rest: The part of the speech that is not sent yet.
        length: Number of samples of the whole speech.
        is_silence: Whether all samples are silent.
        first_sample: Stream position of the first sample, or None before it is sent.
        suppressed: Number of samples that were not sent so far, see `Spoken`.
        spoken: The position of the speech in the stream, or None before its last sample is sent.
    """

    def __init__(self, ulaw: bytes) -> None:
        self.rest = memoryview(ulaw)
        self.length = len(ulaw)
        self.is_silence = not ulaw.strip(ULAW_SILENCE)
        self.first_sample: int | None = None
        self.suppressed = 0
        self.spoken: Spoken | None = None


class Voice:
    """The audio of one party: queued speech, and silence while no speech is queued.

    Speech begins at a frame boundary, with the next frame to be sent. Speech is never added to a
    frame that was already sent.

    Args:
        record: Whether to keep the audio that was sent. The audio is needed to continue the call in
            another session, which sends part of the audio again.

    Attributes:
        lead: Duration of the stream before `open`, in seconds.
        speeches: The positions of all finished speeches that are not silent, oldest first.
    """

    def __init__(self, *, record: bool = True) -> None:
        self.lead = 0.0
        self.speeches: list[Spoken] = []
        self._queue: deque[QueuedSpeech] = deque()
        self._current: tuple[QueuedSpeech, int, int] | None = None
        self._track = bytearray()
        self._record = record
        self._live = bytearray()

    def feed(self, ulaw: bytes) -> None:
        """Add audio of a live source, such as a microphone.

        Live audio is sent while no speech is queued. At most `MAX_LIVE_SAMPLES` samples wait to be
        sent; the oldest samples are dropped.

        Args:
            ulaw: 8 kHz mu-law.
        """
        self._live += ulaw
        del self._live[:-MAX_LIVE_SAMPLES]

    def say(self, ulaw: bytes) -> QueuedSpeech:
        """Queue 8 kHz mu-law speech.

        Raises:
            ValueError: If the speech is empty.
        """
        if not ulaw:
            raise ValueError("nothing to say: the speech is empty")
        speech = QueuedSpeech(ulaw)
        self._queue.append(speech)
        return speech

    def next_frame(self, position: int, samples: int) -> bytes:
        """Return the next frame. Call `frame_done` before this method is called again.

        If the call continues another session, audio that the other session sent at this position is
        returned again. Queued speech begins after that audio. Without queued speech, the frame has
        live audio, and then silence.

        Args:
            position: Stream position of the first sample.
            samples: Number of samples in the frame.

        Returns:
            The frame in mu-law.
        """
        again = bytes(self._track[position : position + samples])
        position, samples = position + len(again), samples - len(again)
        self._current = None
        if not self._queue or not samples:
            live = bytes(self._live[:samples])
            del self._live[:samples]
            return again + live.ljust(samples, ULAW_SILENCE)
        speech = self._queue[0]
        if speech.first_sample is None:
            speech.first_sample = position
        taken = bytes(speech.rest[:samples])
        speech.rest = speech.rest[samples:]
        self._current = (speech, position, len(taken))
        return again + taken.ljust(samples, ULAW_SILENCE)

    def frame_done(self, position: int, frame: bytes, *, was_sent: bool) -> None:
        """Record whether the last frame was sent.

        Args:
            position: Stream position of the first sample.
            frame: The frame, as returned by `next_frame`.
            was_sent: Whether the frame was sent.
        """
        if self._record:
            known = len(self._track) - position
            self._track += ULAW_SILENCE * -known
            new = frame[max(0, known) :]
            self._track += new if was_sent else ULAW_SILENCE * len(new)
        if self._current is None:
            return
        speech, start, samples = self._current
        self._current = None
        if not was_sent:
            speech.suppressed += samples
        if not speech.rest and speech.first_sample is not None:
            speech.spoken = Spoken(
                speech.first_sample, start + samples, speech.suppressed, self.lead
            )
            if not speech.is_silence:
                self.speeches.append(speech.spoken)
            self._queue.popleft()

    @property
    def track(self) -> bytes:
        """The audio of this party in mu-law, with silence where nothing was sent."""
        return bytes(self._track)


class CallerAudio:
    """The audio of all parties of a call, sent in frames of 200 ms on an exact schedule.

    Args:
        mode: Mode of the call. A monitored call has two parties, every other call has one party.
        backlog: Duration of the audio that is recorded before `open`, in seconds.
        catch_up_at_once: Whether delayed audio is sent in one message that is as large as the
            protocol allows. Otherwise it is sent in frames of 200 ms.
        record: Whether to keep the audio that was sent.

    Attributes:
        lead_samples: Number of samples of the stream before `open`.
    """

    def __init__(
        self,
        mode: CallMode,
        *,
        backlog: float = 0.0,
        catch_up_at_once: bool = False,
        record: bool = True,
    ) -> None:
        self.lead_samples = 0
        parties = [AudioHookChannel.EXTERNAL]
        if mode is CallMode.MONITOR:
            parties.append(AudioHookChannel.INTERNAL)
        self._voices = {party: Voice(record=record) for party in parties}
        self._backlog = backlog
        self._at_once = catch_up_at_once
        self._origin: float | None = None

    def start(self, now: float) -> None:
        """Start the schedule when `open` is sent, at `now` in seconds on a monotonic clock."""
        if self._origin is None:
            self._origin = now - self._backlog
        lead = now - self._origin
        self.lead_samples = round(lead * WIRE_SAMPLE_RATE)
        for voice in self._voices.values():
            voice.lead = lead

    def continue_from(self, other: CallerAudio) -> None:
        """Use the audio and the timeline of the call that this call continues."""
        self._voices = other._voices
        self._origin = other._origin

    def voice(self, party: AudioHookChannel) -> Voice:
        """Return the voice of a party.

        Raises:
            ValueError: If the call has no such party.
        """
        try:
            return self._voices[party]
        except KeyError:
            parties = ", ".join(self._voices)
            raise ValueError(f"this call has no party {party!r}, only {parties}") from None

    def frame_due(self, position: int) -> float:
        """Return the time at which the frame that begins at this stream position is complete.

        The time is in seconds on a monotonic clock.
        """
        assert self._origin is not None
        return self._origin + (position + FRAME_SAMPLES) / WIRE_SAMPLE_RATE

    def send_due(self, session: GenesysClientSession, now: float) -> None:
        """Pass all frames that are due at `now` to the session."""
        while session.state is SessionState.OPEN and self.frame_due(session.position) <= now:
            self._send(session, self._due_samples(session, now), now)

    def _due_samples(self, session: GenesysClientSession, now: float) -> int:
        if not self._at_once:
            return FRAME_SAMPLES
        width = session.media.frame_bytes if session.media else 1
        late = round((now - self.frame_due(session.position)) * WIRE_SAMPLE_RATE)
        due = 1 + max(0, late) // FRAME_SAMPLES
        return FRAME_SAMPLES * min(due, MAX_MESSAGE_BYTES // (FRAME_SAMPLES * width))

    def _send(self, session: GenesysClientSession, samples: int, now: float) -> None:
        position, media = session.position, session.media
        frames = {
            party: voice.next_frame(position, samples) for party, voice in self._voices.items()
        }
        payload = samples if media is None else encode_frames(frames, samples, media)
        was_sent = session.send_audio(payload, now)
        for party, voice in self._voices.items():
            is_carried = media is not None and party in media.channels
            voice.frame_done(position, frames[party], was_sent=was_sent and is_carried)


def encode_frames(frames: Mapping[AudioHookChannel, bytes], samples: int, media: Media) -> bytes:
    """Convert mu-law frames to one message in the encoding and channel order of the medium.

    Args:
        frames: The frame of each party. A missing party is silent.
        samples: Number of samples in each frame.
        media: The selected medium.
    """
    coded = [frames.get(channel, ULAW_SILENCE * samples) for channel in media.channels]
    if media.format is AudioHookMediaFormat.L16:
        coded = [audio.ulaw_decode(channel) for channel in coded]
    if len(coded) == 1:
        return coded[0]
    return audio.merge_stereo(coded[0], coded[1], media.format.sample_width)
