"""Converts the audio of one call: wire audio to PCM, and PCM to wire audio."""

from __future__ import annotations

from pipecat_genesys import audio
from pipecat_genesys.protocol import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE, AudioHookChannel, Media

from .params import CallParams


class CallCodec:
    """Converts between wire audio and 16-bit PCM, for one call.

    Attributes:
        sample_rate: Rate of the PCM for the pipeline, in Hz; 0 until the rate is known.
    """

    def __init__(self, params: CallParams) -> None:
        """Create the codec of a call.

        Args:
            params: The parameters of the call: the parties and the rate of the pipeline's audio,
                and the byte order of L16.
        """
        self._params = params
        self._inbound: audio.InboundAudio | None = None
        # Indices of the channels to return, or None to return all channels in the order of the
        # wire.
        self._order: tuple[int, ...] | None = None
        self._outbound: audio.OutboundAudio | None = None
        self._outbound_rate = 0
        self.sample_rate = params.sample_rate or 0

    @property
    def delay_samples(self) -> int:
        """Delay of the inbound resampler, in samples at the wire's rate (8000 Hz)."""
        return round(self._inbound.delay_seconds * WIRE_SAMPLE_RATE) if self._inbound else 0

    def set_sample_rate(self, rate: int) -> None:
        """Set the pipeline's input rate in Hz; may be called repeatedly."""
        if rate != self.sample_rate:
            self.sample_rate = rate
            self._inbound = None

    def decode(self, data: bytes, medium: Media) -> tuple[bytes, ...]:
        """Convert one wire message to PCM at `sample_rate`.

        Args:
            data: Whole samples of all channels of the medium.
            medium: The medium of the session.

        Returns:
            One buffer of 16-bit mono PCM for each party that the parameters select; the external
            party is first.
        """
        if self._inbound is None:
            self._inbound = self._open_inbound(medium)
        pcm = self._inbound.process(data)
        if self._order is None:
            return pcm
        return tuple(pcm[index] for index in self._order)

    def _open_inbound(self, medium: Media) -> audio.InboundAudio:
        self.sample_rate = self.sample_rate or WIRE_SAMPLE_RATE
        params, channels = self._params, medium.channels
        wanted = (
            (AudioHookChannel.EXTERNAL, params.process_external),
            (AudioHookChannel.INTERNAL, params.process_internal),
        )
        if len(channels) == 2:
            order = tuple(channels.index(party) for party, is_wanted in wanted if is_wanted)
            self._order = None if order == (0, 1) else order
        return audio.InboundAudio(
            medium.format, len(channels), self.sample_rate, byteorder=params.l16_byteorder
        )

    def encode(self, pcm: bytes, rate: int, channels: int, medium: Media) -> bytes:
        """Convert PCM to wire audio.

        Args:
            pcm: 16-bit little-endian samples, interleaved; stereo is mixed down.
            rate: Sample rate of the PCM in Hz; it may be different in each call of `encode`.
            channels: Number of channels, 1 or 2.
            medium: The medium of the session.

        Returns:
            The wire audio.

        Raises:
            ValueError: If the length is not a multiple of the sample size, the rate cannot be
                resampled, there are more than two channels, or the result would be larger than
                one message. The codec's state is then unchanged.
        """
        if channels == 2:
            pcm = audio.mix_stereo(pcm)
        elif channels != 1:
            raise ValueError(f"bot audio has {channels} channels; it must be mono or stereo")

        # PCM of at most `MAX_MESSAGE_BYTES`, with a sample rate of at least `WIRE_SAMPLE_RATE`,
        # fits in one message in any format.
        if len(pcm) > MAX_MESSAGE_BYTES or rate < WIRE_SAMPLE_RATE:
            size = len(pcm) // 2 * WIRE_SAMPLE_RATE * medium.format.sample_width // max(rate, 1)
            if size > MAX_MESSAGE_BYTES:
                raise ValueError(
                    f"a frame gives a message of {size} bytes; Genesys accepts at most "
                    f"{MAX_MESSAGE_BYTES}; use shorter frames (audio_out_10ms_chunks)"
                )
        if self._outbound is not None and self._outbound_rate == rate:
            return self._outbound.process(pcm)
        fresh = audio.OutboundAudio(medium.format, rate, byteorder=self._params.l16_byteorder)
        wire = fresh.process(pcm)
        tail = self._outbound.flush() if self._outbound is not None else b""
        self._outbound, self._outbound_rate = fresh, rate
        return tail + wire

    def reset_outbound(self) -> None:
        """Discard the state of the outbound resampler, because the bot was interrupted."""
        self._outbound = None
