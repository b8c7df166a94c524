"""The bot of the load test, and two classes that the bot of the soak test also uses."""

from __future__ import annotations

import math

from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.load.delays import ECHO_START_SECONDS

# Pipecat's default sample rates.
RATE_IN, RATE_OUT = 16000, 24000
_GREETING_SECONDS = 1.0


def _tone() -> bytes:
    count = round(RATE_OUT * _GREETING_SECONDS)
    samples = (round(6000 * math.sin(2 * math.pi * 440 * n / RATE_OUT)) for n in range(count))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in samples)


GREETING = _tone()
"""One second of a tone at `RATE_OUT`."""


class CallerAudioCounter:
    """Counts the calls of a process and the caller audio that its bots have received."""

    def __init__(self) -> None:
        self.calls = 0
        self.seconds = 0.0


class CallerAudioProcessor(FrameProcessor):
    """Passes the caller's audio to `receive_audio`; a DTMF key interrupts the bot."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.receive_audio(frame)
            return
        if isinstance(frame, InputDTMFFrame):
            await self.broadcast_interruption()
        await self.push_frame(frame, direction)

    async def receive_audio(self, frame: InputAudioRawFrame) -> None:
        """Handle one frame of the caller's audio."""
        raise NotImplementedError


class MarkerEchoBot(CallerAudioProcessor):
    """Greets the caller, then repeats the caller's audio; a DTMF key interrupts the bot.

    The echo starts after the greeting has played. An earlier echo would wait for the end of the
    greeting, and would have this delay for the rest of the call.
    """

    def __init__(self, counter: CallerAudioCounter) -> None:
        super().__init__()
        self._counter = counter
        self._received_seconds = 0.0

    async def receive_audio(self, frame: InputAudioRawFrame) -> None:
        seconds = frame.num_frames / frame.sample_rate
        if not self._received_seconds:
            self._counter.calls += 1
            await self.push_frame(TTSStartedFrame())
            await self.push_frame(TTSAudioRawFrame(GREETING, RATE_OUT, 1))
            await self.push_frame(TTSStoppedFrame())
        elif self._received_seconds >= ECHO_START_SECONDS:
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        self._received_seconds += seconds
        self._counter.seconds += seconds
