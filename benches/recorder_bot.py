"""The bot of `measure_recorder.py`: an echo without authentication and without a log.

pipecat-genesys serve recorder_bot:app

`POST /setting/NAME` selects the setting of the recorder for the calls that begin afterwards.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from load.bots import RATE_IN, RATE_OUT, CallerAudioCounter, MarkerEchoBot
from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat_genesys.endpoint import AudioHookCall, RecordingSettings, audiohook_router

_FOLDER = Path(os.environ["TMPDIR"])
_FLIGHT, _CALLS = _FOLDER / "flight", _FOLDER / "calls"
_SETTINGS = {
    "off": RecordingSettings(),
    "flight recorder": RecordingSettings(flight_folder=_FLIGHT),
    "masked": RecordingSettings(_CALLS, flight_folder=_FLIGHT),
    "recorded": RecordingSettings(_CALLS, flight_folder=_FLIGHT, audio="record"),
}


async def bot(call: AudioHookCall) -> None:
    """Run one call."""
    await call.run(
        Pipeline([call.transport.input(), MarkerEchoBot(counter), call.transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )


logger.remove()
counter = CallerAudioCounter()
app = FastAPI()
_router = audiohook_router(bot, unauthenticated=True, max_calls=1000)
app.include_router(_router)


@app.post("/setting/{name}")
async def select(name: str) -> None:
    """Select a setting of the recorder."""
    _router.endpoint.set_recording(_SETTINGS[name])
