"""The application that `pipecat-genesys serve` runs in tests."""

from __future__ import annotations

from fastapi import FastAPI
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router

API_KEY = "some-key-that-nobody-knows"
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="


async def bot(call: AudioHookCall) -> None:
    """Listens, and says nothing."""
    await call.run(Pipeline([call.transport.input(), call.transport.output()]))


app = FastAPI()
app.include_router(audiohook_router(bot, credentials={API_KEY: SECRET}))
