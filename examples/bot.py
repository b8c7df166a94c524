"""A voice bot for Genesys Audio Connector in one file; needs no keys and no downloads.

It greets, repeats what the caller said, falls silent when talked over, and knows two keys: 1 plays
a longer prompt, 9 says goodbye and ends the call with output variables for the Architect flow.

Run it (``make demo`` runs it and calls it)::

    pip install uvicorn        # beside pipecat-genesys
    python examples/bot.py
    # Genesys connects to wss://your-host/audiohook; put TLS and authentication in front.
"""

import asyncio
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
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
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
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments, WebSocketRunnerArguments
from pipecat.transports.base_transport import BaseTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params

SAMPLE_RATE = 16000
PROMPTS = Path(__file__).parent / "audio"


class EnergyVAD(VADAnalyzer):
    """Voice activity by loudness; good enough for a clean line, and needs no model."""

    THRESHOLD_DBFS = -45.0

    def num_frames_required(self) -> int:
        """Return the samples in an analysis window: 20 ms."""
        return self.sample_rate // 50

    def voice_confidence(self, buffer: bytes) -> float:
        """Return 1.0 for a window louder than the threshold, else 0.0."""
        samples = array("h", buffer)
        power = sum(x * x for x in samples) / len(samples)
        level = 10 * math.log10(power / 32768**2) if power else -math.inf
        return float(level > self.THRESHOLD_DBFS)


class RepeatBot(FrameProcessor):
    """Repeats the caller; stands where speech recognition, a model and a voice would be."""

    # Kept from before the voice was noticed, so that the first syllable is repeated too.
    PRE_ROLL_BYTES = int(0.3 * SAMPLE_RATE) * 2

    def __init__(self, serializer: GenesysAudioHookSerializer):
        super().__init__()
        self._serializer = serializer
        self.samples_heard = 0
        self._heard = bytearray()
        self._keys: list[str] = []
        self._listening = False
        self._leaving = False
        self._last_words = False
        self._played_out = asyncio.Event()

        @serializer.event_handler("on_open")
        async def on_open(_, message):
            if not serializer.call.is_connection_probe:
                await self.play("greeting")

        @serializer.event_handler("on_playback_started")
        async def on_playback_started(_, message):
            self._played_out.clear()

        @serializer.event_handler("on_playback_completed")
        async def on_playback_completed(_, message):
            self._played_out.set()

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        """React to the caller's voice and keys."""
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.samples_heard += frame.num_frames
            self._heard += frame.audio
            if not self._listening:
                del self._heard[: -self.PRE_ROLL_BYTES]
        elif isinstance(frame, VADUserStartedSpeakingFrame):
            self._listening = True
            # Silences the transport here and, by a barge-in event, Genesys.
            await self.broadcast_interruption()
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self._listening = False
            if not self._leaving:
                await self.speak(bytes(self._heard))
            self._heard.clear()
        elif isinstance(frame, InputDTMFFrame):
            await self.on_key(frame.button)
        elif isinstance(frame, BotStartedSpeakingFrame) and self._leaving:
            self._last_words = True
        elif isinstance(frame, BotStoppedSpeakingFrame) and self._last_words:
            self._last_words = False
            self.create_task(self.end_call())
        await self.push_frame(frame, direction)

    async def on_key(self, key: KeypadEntry):
        """Answer a key press."""
        self._keys.append(key.value)
        if key is KeypadEntry.ONE:
            await self.broadcast_interruption()
            await self.play("menu")
        elif key is KeypadEntry.NINE and not self._leaving:
            self._serializer.set_output_variables(
                {"intent": "goodbye", "keys": self._keys, "satisfied": True}
            )
            # What the bot was saying ends here, so that the next it finishes is the goodbye.
            await self.broadcast_interruption()
            self._leaving = True
            await self.play("goodbye")

    async def end_call(self):
        """End the session once the caller has heard the last word."""
        try:
            await asyncio.wait_for(self._played_out.wait(), timeout=2)
        except TimeoutError:
            logger.warning("no word from Genesys that the goodbye was played; ending anyway")
        await self.pipeline_worker.queue_frame(EndFrame())

    async def play(self, prompt: str):
        """Speak a recorded prompt."""
        with wave.open(str(PROMPTS / f"{prompt}.wav")) as wav:
            await self.speak(wav.readframes(wav.getnframes()))

    async def speak(self, pcm: bytes):
        """Send 16-bit mono audio to the caller, as a text-to-speech service would."""
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(pcm, SAMPLE_RATE, 1))
        await self.push_frame(TTSStoppedFrame())


async def run_bot(transport: BaseTransport, serializer: GenesysAudioHookSerializer):
    """Run the bot for one call."""
    # Reacting to 60 ms of voice keeps barge-in under the caller's patience whatever the position
    # of the first syllable in Genesys's 200 ms packets.
    vad = EnergyVAD(params=VADParams(confidence=0.5, start_secs=0.06, stop_secs=0.2, min_volume=0))
    repeat = RepeatBot(serializer)
    worker = PipelineWorker(
        Pipeline([transport.input(), VADProcessor(vad_analyzer=vad), repeat, transport.output()]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
        # A caller on hold is silent; the end of the call is Genesys's word.
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    logger.info(f"call over; samples heard at {SAMPLE_RATE} Hz: {repeat.samples_heard}")


async def bot(runner_args: RunnerArguments):
    """Answer one connection."""
    assert isinstance(runner_args, WebSocketRunnerArguments), "this bot takes WebSockets"
    serializer = GenesysAudioHookSerializer()
    transport = FastAPIWebsocketTransport(
        websocket=runner_args.websocket,
        params=FastAPIWebsocketParams(**genesys_params(serializer)),
    )
    await run_bot(transport, serializer)


app = FastAPI()


@app.websocket("/audiohook")
async def audiohook(websocket: WebSocket):
    """Where Genesys connects. Check who is calling before accept() in production."""
    await websocket.accept()
    await bot(WebSocketRunnerArguments(websocket=websocket))


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, host=os.environ.get("HOST", "127.0.0.1"), port=int(os.environ.get("PORT", 8765))
    )
