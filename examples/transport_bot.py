"""A bot on `AudioHookTransport`: it greets, repeats what it hears, and says goodbye on 9.

    uvicorn --app-dir examples transport_bot:app --port 8765

Call it with `pipecat-genesys call ws://localhost:8765/audiohook wait:bot press:9`. Before you put
it on a public address, let only Genesys in: docs/security.md.
"""

from __future__ import annotations

import wave
from pathlib import Path

from fastapi import FastAPI, WebSocket
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.transport import AudioHookTransport, run_call

AUDIO = Path(__file__).parent / "audio"
RATE = 16000
app = FastAPI()


def spoken(name: str) -> list[Frame]:
    """A turn of the bot's, as a speech service would give it."""
    with wave.open(str(AUDIO / name)) as wav:
        pcm, rate = wav.readframes(wav.getnframes()), wav.getframerate()
    return [TTSStartedFrame(), TTSAudioRawFrame(pcm, rate, 1), TTSStoppedFrame()]


class Parrot(FrameProcessor):
    """The bot."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Greet, repeat, and go."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            for one in spoken("greeting.wav"):
                await self.push_frame(one)
        elif isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        elif isinstance(frame, InputDTMFFrame) and frame.button is KeypadEntry.NINE:
            for one in (*spoken("goodbye.wav"), EndFrame()):
                await self.push_frame(one)


@app.websocket("/audiohook")
async def audiohook(websocket: WebSocket) -> None:
    """A call."""
    await websocket.accept()
    transport = AudioHookTransport(websocket)
    transport.call.set_output_variables({"handled": True})
    await run_call(
        Pipeline([transport.input(), Parrot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )
