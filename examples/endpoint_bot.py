"""A bot for production: `audiohook_router` authenticates calls, limits and drains them.

The bot greets the caller, repeats the caller's audio, and ends the call on key 9. To run it::

    export GENESYS_API_KEY=... GENESYS_CLIENT_SECRET=...
    pipecat-genesys serve examples.endpoint_bot:app --port 8765

To call it from a second terminal, with the same two variables set::

    pipecat-genesys call ws://127.0.0.1:8765/audiohook wait:bot wait:2 press:9 wait:end

Environment variables:

* `GENESYS_API_KEY`: the API key of the integration in Genesys Cloud.
* `GENESYS_CLIENT_SECRET`, or `GENESYS_CLIENT_SECRET_FILE`: its client secret, or a file that
  contains the secret.
* `AUDIOHOOK_AUTHORITY`: the host in the integration's URL. Required behind a proxy.
* `REDIS_URL`: a Redis that several processes share to recognise replayed requests.
* `MAX_CALLS`: the largest number of simultaneous calls in one process; the default is 50.
"""

import os
import wave
from pathlib import Path

from fastapi import FastAPI
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
from pipecat_genesys.auth import ReplayStore, SignatureVerifier
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router

PROMPTS = Path(__file__).parent / "audio"
SAMPLE_RATE = 16000


class EchoBot(FrameProcessor):
    """Greets the caller, repeats all audio, and ends the call on key 9."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """React to the caller's audio and keys."""
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.play("greeting")
        elif isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        elif isinstance(frame, InputDTMFFrame) and frame.button is KeypadEntry.NINE:
            await self.play("goodbye")
            await self.push_frame(EndFrame())

    async def play(self, prompt: str) -> None:
        """Speak a recorded prompt, as a text-to-speech service does.

        Args:
            prompt: Name of a WAV file in `examples/audio`, without `.wav`.
        """
        with wave.open(str(PROMPTS / f"{prompt}.wav")) as wav:
            pcm, rate = wav.readframes(wav.getnframes()), wav.getframerate()
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(pcm, rate, 1))
        await self.push_frame(TTSStoppedFrame())


async def bot(call: AudioHookCall) -> None:
    """Run the bot for one call."""
    transport = call.transport
    transport.call.set_output_variables({"handled": True})
    await call.run(
        Pipeline([transport.input(), EchoBot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
    )


def verifier() -> SignatureVerifier:
    """Return a verifier with the credentials from the environment.

    Raises:
        KeyError: If the API key or the client secret is not set.
    """
    secret_file = os.environ.get("GENESYS_CLIENT_SECRET_FILE")
    secret = Path(secret_file).read_text() if secret_file else os.environ["GENESYS_CLIENT_SECRET"]
    store: ReplayStore | None = None
    if url := os.environ.get("REDIS_URL"):
        from pipecat_genesys.auth.redis_store import RedisReplayStore
        from redis.asyncio import Redis

        store = RedisReplayStore(Redis.from_url(url, socket_timeout=0.2))
    return SignatureVerifier(
        {os.environ["GENESYS_API_KEY"]: secret.strip()},
        authority=os.environ.get("AUDIOHOOK_AUTHORITY") or None,
        replay_store=store,
    )


app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
app.include_router(
    audiohook_router(bot, verifier=verifier(), max_calls=int(os.environ.get("MAX_CALLS") or 50))
)
