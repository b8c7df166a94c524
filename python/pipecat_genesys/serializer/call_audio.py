"""One call's audio, both ways: the medium's layout on one side, the pipeline's PCM on the other."""

from __future__ import annotations

from pipecat_genesys import audio
from pipecat_genesys.protocol import MAX_MESSAGE_BYTES, WIRE_SAMPLE_RATE, AudioHookChannel, Media

from .params import SerializerParams


class CallAudio:
    """Converts between wire audio and 16-bit PCM; knows nothing of frames or states.

    Attributes:
        sample_rate: Rate of the PCM given to the pipeline, in Hz; 0 until known.
    """

    def __init__(self, params: SerializerParams) -> None:
        self._params = params
        self._inbound: audio.InboundAudio | None = None
        self._pick: int | None = None
        self._outbound: audio.OutboundAudio | None = None
        self._outbound_rate = 0
        self._held = b""
        self.sample_rate = params.sample_rate or 0

    @property
    def delay_samples(self) -> int:
        """How much later than on the wire a sample is in the pipeline, in wire samples."""
        return round(self._inbound.delay_seconds * WIRE_SAMPLE_RATE) if self._inbound else 0

    def set_sample_rate(self, rate: int) -> None:
        """Give the pipeline's input rate; again and again is fine."""
        if rate != self.sample_rate:
            self.sample_rate = rate
            self._inbound = None

    def decode(self, data: bytes, medium: Media) -> tuple[bytes, ...]:
        """Turn one wire message into PCM at `sample_rate`.

        Args:
            data: Whole samples of all the medium's channels.
            medium: What the session carries.

        Returns:
            A buffer for each channel the application wants, external first.
        """
        inbound = self._inbound
        if inbound is None:
            inbound = self._inbound = self._open_inbound(medium)
        if self._pick is not None:
            data = audio.split_stereo(data, medium.format.sample_width)[self._pick]
        pcm = inbound.process(data)
        if len(pcm) == 2 and medium.channels[0] is AudioHookChannel.INTERNAL:
            return pcm[::-1]
        return pcm

    def _open_inbound(self, medium: Media) -> audio.InboundAudio:
        self.sample_rate = self.sample_rate or WIRE_SAMPLE_RATE
        params = self._params
        channels = len(medium.channels)
        if channels == 2 and not (params.process_external and params.process_internal):
            external = AudioHookChannel.EXTERNAL
            wanted = external if params.process_external else AudioHookChannel.INTERNAL
            self._pick = medium.channels.index(wanted)
            channels = 1
        return audio.InboundAudio(
            medium.format, channels, self.sample_rate, byteorder=params.l16_byteorder
        )

    def encode(self, pcm: bytes, rate: int, channels: int, medium: Media) -> bytes:
        """Turn PCM into wire audio.

        Args:
            pcm: 16-bit little-endian samples, interleaved; stereo is mixed down.
            rate: Their rate in Hz; it may change from call to call.
            channels: How many channels.
            medium: What the session carries.

        Returns:
            The wire audio, before what is held.

        Raises:
            ValueError: If the length does not fit the channels, the rate cannot be resampled,
                or it is more than fits into a message. Nothing has changed then.
        """
        if channels == 2:
            pcm = audio.mix_stereo(pcm)
        elif channels != 1:
            raise ValueError(f"{channels} channels of bot audio; Genesys takes mono or stereo")
        # What is short and not below the wire's rate fits whatever the format.
        if len(pcm) > MAX_MESSAGE_BYTES or rate < WIRE_SAMPLE_RATE:
            size = len(pcm) // 2 * WIRE_SAMPLE_RATE * medium.format.sample_width // max(rate, 1)
            if size > MAX_MESSAGE_BYTES:
                raise ValueError(
                    f"{size} bytes of audio in one message; Genesys accepts {MAX_MESSAGE_BYTES}; "
                    "use shorter frames (audio_out_10ms_chunks)"
                )
        if self._outbound is not None and self._outbound_rate == rate:
            return self._outbound.process(pcm)
        fresh = audio.OutboundAudio(medium.format, rate, byteorder=self._params.l16_byteorder)
        wire = fresh.process(pcm)
        tail = self._outbound.flush() if self._outbound is not None else b""
        self._outbound, self._outbound_rate = fresh, rate
        return tail + wire

    def hold(self, wire: bytes) -> int:
        """Keep wire audio until it may be sent.

        Args:
            wire: What `encode` gave.

        Returns:
            How many bytes of it were dropped because a message's worth is held already.
        """
        held = self._held + wire
        self._held = held[:MAX_MESSAGE_BYTES]
        return len(held) - len(self._held)

    def release(self, wire: bytes) -> bytes:
        """Take what may be sent now: what is held, then this; what does not fit stays held."""
        if not self._held:
            return wire
        held = self._held + wire
        self._held = held[MAX_MESSAGE_BYTES:]
        return held[:MAX_MESSAGE_BYTES]

    def forget(self) -> int:
        """Forget the bot audio that is not on the wire: the caller talks over it, or hung up.

        Returns:
            How many bytes were held.
        """
        forgotten = len(self._held)
        self._held = b""
        self._outbound = None
        return forgotten
