"""What the checks say of real servers: pipecat's own serializer, and ours, on the stock transport.

`docs/conformance.md` tells the same; what a server is found to break is a fact about that version
of it, so a newer pipecat may well break less, and must not break more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from echo_server import Echo, PipelineParams, PipelineWorker, WorkerRunner
from fastapi import FastAPI, WebSocket
from loopback import serving
from pipecat.pipeline.pipeline import Pipeline
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat_genesys import AudioHookChannel, GenesysAudioHookSerializer, genesys_params
from pipecat_genesys.conformance import CATALOGUE, Outcome, Patience, Target, run
from pipecat_genesys.simulator import CallMode

# Talk for the default twelve seconds: at its nine audio messages a second pipecat's has used up
# the burst after six, or a little later on a machine that was elsewhere for a second.
PATIENCE = Patience(open=5, pong=2, close=2, settle=0.5)

theirs = pytest.importorskip("pipecat.serializers.genesys")
PIPECAT = version("pipecat-ai")
_BROKEN_IN_BOTH = {
    "closed-once",
    "message-position",
    "open-other-version",
    "opened-nothing-fits",
    "opened-only-l16",
    "other-id",
    "other-version",
    "seq-gap",
    "seq-repeat",
    "serverseq-ahead",
    "update-answered",
}
BROKEN_BY_PIPECAT = {
    CallMode.BOT: _BROKEN_IN_BOTH | {"rate-of-audio"},
    CallMode.MONITOR: _BROKEN_IN_BOTH | {"opened-inverted-channels", "silent-monitor"},
}


def application(serializer: Callable[[], Any], params: Callable[[Any], dict[str, Any]]) -> FastAPI:
    """An echo pipeline for every call."""
    app = FastAPI()

    @app.websocket("/audiohook")
    async def audiohook(websocket: WebSocket) -> None:
        await websocket.accept()
        transport = FastAPIWebsocketTransport(
            websocket, FastAPIWebsocketParams(**params(serializer()))
        )
        worker = PipelineWorker(
            Pipeline([transport.input(), Echo(), transport.output()]),
            params=PipelineParams(audio_in_sample_rate=16000, audio_out_sample_rate=16000),
        )

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(transport: Any, client: Any) -> None:
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    return app


async def broken_rules(app: FastAPI, mode: CallMode) -> dict[str, str]:
    async with serving(app, ws_max_size=65536) as url:
        results = await run(Target(url=url, mode=mode, patience=PATIENCE), CATALOGUE.values())
    return {r.check.id: r.detail for r in results if r.outcome is Outcome.FAILED}


def documented(serializer: Any) -> dict[str, Any]:
    """The parameters that pipecat's documentation shows."""
    return {
        "serializer": serializer,
        "audio_in_enabled": True,
        "audio_out_enabled": True,
        "add_wav_header": False,
    }


def listening() -> GenesysAudioHookSerializer:
    """Ours, for both parties of a call."""
    both = AudioHookChannel.BOTH
    return GenesysAudioHookSerializer(GenesysAudioHookSerializer.InputParams(channel=both))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mode", "serializer"),
    [(CallMode.BOT, GenesysAudioHookSerializer), (CallMode.MONITOR, listening)],
)
async def test_ours_on_the_stock_transport(mode: CallMode, serializer: Any) -> None:
    assert await broken_rules(application(serializer, genesys_params), mode) == {}


@pytest.mark.timeout(300)
@pytest.mark.skipif(not PIPECAT.startswith("1.14."), reason="what other versions break differs")
@pytest.mark.parametrize("mode", CallMode)
async def test_pipecats_own(mode: CallMode) -> None:
    app = application(theirs.GenesysAudioHookSerializer, documented)
    found = await broken_rules(app, mode)
    assert set(found) == BROKEN_BY_PIPECAT[mode]


def test_the_guide_lists_what_pipecats_own_breaks() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    section = guide.split("## What they find in pipecat", 1)[1].split("\n## ", 1)[0]
    listed = set(re.findall(r"^\| `([a-z0-9-]+)`", section, re.MULTILINE))
    assert listed == BROKEN_BY_PIPECAT[CallMode.BOT] | BROKEN_BY_PIPECAT[CallMode.MONITOR]
