"""A voice bot for Genesys Audio Connector in one file, without API keys and downloads.

The bot greets the caller, repeats the caller's words, and stops speaking when the caller interrupts
it. Key 1 plays a longer prompt. Key 9 plays a goodbye and ends the call with output variables for
the Architect flow.

To run it, and to call it from a second terminal::

    python examples/bot.py
    pipecat-genesys call ws://127.0.0.1:8765/audiohook wait:bot wait:quiet press:9 wait:end

`make demo` runs two servers and calls both. This server accepts every caller.
`examples/endpoint_bot.py` has the authentication and the limits that a public server needs.
"""

import math
import os
import wave
from array import array
from pathlib import Path

from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.transport import AudioHookTransport, run_call

SAMPLE_RATE = 16000
PROMPTS = Path(__file__).parent / "audio"


class EnergyVAD(VADAnalyzer):
    """Voice activity detection by loudness, without a model; not suitable for noisy lines."""

    THRESHOLD_DBFS = -45.0

    def num_frames_required(self) -> int:
        """Return the number of samples in an analysis window: 20 ms."""
        return self.sample_rate // 50

    def voice_confidence(self, buffer: bytes) -> float:
        """Return 1.0 for a window louder than the threshold, else 0.0."""
        samples = array("h", buffer)
        power = sum(x * x for x in samples) / len(samples)
        level = 10 * math.log10(power / 32768**2) if power else -math.inf
        return float(level > self.THRESHOLD_DBFS)


def voice_activity() -> VADProcessor:
    """Return the pipeline step that detects when the caller starts and stops speaking."""
    # If speech is detected after 60 ms, the bot stops speaking at most 300 ms after the caller's
    # first syllable, at any position of the syllable in Genesys's 200 ms packets.
    params = VADParams(confidence=0.5, start_secs=0.06, stop_secs=0.2, min_volume=0)
    return VADProcessor(vad_analyzer=EnergyVAD(params=params))


class RepeatBot(FrameProcessor):
    """Repeats the caller. A real bot has speech recognition, a language model and a voice instead.

    Args:
        call: The call's events and output variables: `transport.call`.
    """

    # Length of the audio from before the detection of the voice. This audio is repeated too, so
    # that the first syllable is not missing.
    PRE_ROLL_BYTES = int(0.3 * SAMPLE_RATE) * 2

    def __init__(self, call):
        super().__init__()
        self._call = call
        self.samples_heard = 0
        self._heard = bytearray()
        self._keys: list[str] = []
        self._caller_speaks = False
        self._ending = False

        @call.event_handler("on_open")
        async def on_open(call, message):
            if not call.is_connection_probe:
                await self.play("greeting")

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        """React to the caller's voice and keys."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.samples_heard += frame.num_frames
            self._heard += frame.audio
            if not self._caller_speaks:
                del self._heard[: -self.PRE_ROLL_BYTES]
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            self._caller_speaks = True
            # The interruption stops the bot audio in the pipeline and, through a `barge_in` event,
            # in Genesys.
            await self.broadcast_interruption()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._caller_speaks = False
            if not self._ending:
                await self.speak(bytes(self._heard))
            self._heard.clear()
        elif isinstance(frame, InputDTMFFrame):
            await self.on_key(frame.button)
        await self.push_frame(frame, direction)

    async def on_key(self, key: KeypadEntry):
        """Play the prompt for a key; key 9 also ends the call."""
        self._keys.append(key.value)
        if key is KeypadEntry.ONE:
            await self.broadcast_interruption()
            await self.play("menu")
        elif key is KeypadEntry.NINE and not self._ending:
            self._ending = True
            self._call.set_output_variables(
                {"intent": "goodbye", "keys": self._keys, "satisfied": True}
            )
            await self.broadcast_interruption()
            await self.play("goodbye")
            # The transport ends the session when the caller has heard the goodbye.
            await self.push_frame(EndFrame())

    async def play(self, prompt: str):
        """Speak a recorded prompt.

        Args:
            prompt: Name of a WAV file in `examples/audio`, without `.wav`.
        """
        with wave.open(str(PROMPTS / f"{prompt}.wav")) as wav:
            await self.speak(wav.readframes(wav.getnframes()))

    async def speak(self, pcm: bytes):
        """Send 16-bit mono audio to the caller, as a text-to-speech service does."""
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(pcm, SAMPLE_RATE, 1))
        await self.push_frame(TTSStoppedFrame())


app = FastAPI()


@app.websocket("/audiohook")
async def audiohook(websocket: WebSocket):
    """Run the bot for one call."""
    await websocket.accept()
    transport = AudioHookTransport(websocket)
    repeat = RepeatBot(transport.call)
    await run_call(
        Pipeline([transport.input(), voice_activity(), repeat, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
    )
    logger.info(f"call over; samples heard at {SAMPLE_RATE} Hz: {repeat.samples_heard}")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, host=os.environ.get("HOST") or "127.0.0.1", port=int(os.environ.get("PORT") or 8765)
    )
