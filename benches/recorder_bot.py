"""The bot of `measure_recorder.py`: an echo without authentication and without a log.

pipecat-genesys serve recorder_bot:app
"""

from __future__ import annotations

from fastapi import FastAPI
from load.bots import RATE_IN, RATE_OUT, CallerAudioCounter, MarkerEchoBot
from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router


async def bot(call: AudioHookCall) -> None:
    """Run one call."""
    await call.run(
        Pipeline([call.transport.input(), MarkerEchoBot(counter), call.transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )


logger.remove()
counter = CallerAudioCounter()
app = FastAPI()
app.include_router(audiohook_router(bot, unauthenticated=True, max_calls=1000))
