"""The bot of transport_bot.py as production would run it: `audiohook_router` lets the calls in.

    export GENESYS_API_KEY=... GENESYS_CLIENT_SECRET=...
    pipecat-genesys serve examples.endpoint_bot:app --port 8765

and, in another terminal with the same two variables,

    pipecat-genesys call ws://localhost:8765/audiohook wait:bot press:9

More variables: GENESYS_CLIENT_SECRET_FILE (instead of the secret itself), AUDIOHOOK_AUTHORITY (the
public host, behind a proxy), REDIS_URL (nonces are then common to all processes), MAX_CALLS.
"""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import FastAPI
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat_genesys.auth import ReplayStore, SignatureVerifier
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router

from .transport_bot import RATE, Parrot


async def bot(call: AudioHookCall) -> None:
    """A call."""
    transport = call.transport
    transport.call.set_output_variables({"handled": True})
    await call.run(
        Pipeline([transport.input(), Parrot(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE, audio_out_sample_rate=RATE),
    )


def verifier() -> SignatureVerifier:
    """Who may call, by the environment."""
    secret_file = os.environ.get("GENESYS_CLIENT_SECRET_FILE")
    secret = Path(secret_file).read_text() if secret_file else os.environ["GENESYS_CLIENT_SECRET"]
    store: ReplayStore | None = None
    if url := os.environ.get("REDIS_URL"):
        from pipecat_genesys.auth.redis_store import RedisReplayStore
        from redis.asyncio import Redis

        store = RedisReplayStore(Redis.from_url(url, socket_timeout=0.4))
    return SignatureVerifier(
        {os.environ["GENESYS_API_KEY"]: secret.strip()},
        authority=os.environ.get("AUDIOHOOK_AUTHORITY"),
        replay_store=store,
    )


app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
app.include_router(
    audiohook_router(bot, verifier=verifier(), max_calls=int(os.environ.get("MAX_CALLS", "50")))
)
