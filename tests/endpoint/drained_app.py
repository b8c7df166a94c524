"""The application that the tests of `pipecat-genesys serve` run."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router

API_KEY = "an-api-key-of-the-tests"
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="


async def silent_bot(call: AudioHookCall) -> None:
    """Serve a call as a bot that never sends audio."""
    await call.run(Pipeline([call.transport.input(), call.transport.output()]))


app = FastAPI()


@app.post("/webhook")
async def webhook(content: dict[str, Any]) -> int:
    """Return the number of entries in the body, which is JSON."""
    return len(content)


app.include_router(audiohook_router(silent_bot, credentials={API_KEY: SECRET}))
