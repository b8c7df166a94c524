"""The caller's audio stream: when its frames are due, and what is in them."""

from __future__ import annotations

from pipecat_genesys.protocol.types import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE, AudioHookChannel
from pipecat_genesys.simulator.caller import Voice, encode
from pipecat_genesys.simulator.options import CallOptions
from pipecat_genesys.simulator.parameters import CallMode, CallParameters
from pipecat_genesys.simulator.session import FRAME_SAMPLES, GenesysClientSession, SessionState


class Stream:
    """Sends the parties' voices in frames of 200 ms, on a schedule that never drifts.

    Args:
        parameters: Who calls.
        options: How much had gathered when ``open`` was sent, and how that goes out.
    """

    def __init__(self, parameters: CallParameters, options: CallOptions) -> None:
        parties = [AudioHookChannel.EXTERNAL]
        if parameters.mode is CallMode.MONITOR:
            parties.append(AudioHookChannel.INTERNAL)
        self._voices = {party: Voice(record=options.record_audio) for party in parties}
        self._backlog = options.backlog
        self._at_once = options.catch_up_at_once
        self._origin: float | None = None
        self.lead_samples = 0
        """Samples of the stream that lie before ``open``."""

    def start(self, now: float) -> None:
        """``open`` goes out at ``now``, on the monotonic clock."""
        if self._origin is None:
            self._origin = now - self._backlog
        lead = now - self._origin
        self.lead_samples = round(lead * WIRE_SAMPLE_RATE)
        for voice in self._voices.values():
            voice.lead = lead

    def continue_from(self, other: Stream) -> None:
        """Carry on with another stream's voices, on its timeline."""
        self._voices = other._voices
        self._origin = other._origin

    def voice(self, party: AudioHookChannel) -> Voice:
        """The voice of a party.

        Raises:
            ValueError: If the call has no such party.
        """
        try:
            return self._voices[party]
        except KeyError:
            parties = ", ".join(self._voices)
            raise ValueError(f"there is no party {party!r} in this call, only {parties}") from None

    def frame_due(self, position: int) -> float:
        """When the frame that begins at this stream position is full, on the monotonic clock."""
        assert self._origin is not None
        return self._origin + (position + FRAME_SAMPLES) / WIRE_SAMPLE_RATE

    def send_due(self, session: GenesysClientSession, now: float) -> None:
        """Give the session all frames that are due."""
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
        frames = {party: voice.frame(position, samples) for party, voice in self._voices.items()}
        payload = samples if media is None else encode(frames, samples, media)
        went_out = session.send_audio(payload, now)
        for party, voice in self._voices.items():
            carried = media is not None and party in media.channels
            voice.frame_sent(position, frames[party], went_out=went_out and carried)
