"""Tests that run all checks on a server with pipecat's serializer, and on one with ours.

Both servers use Pipecat's own WebSocket transport. `docs/conformance.md` lists the findings. The
findings on pipecat's serializer hold for one version of pipecat; other versions are not tested.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
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
from pipecat_genesys.conformance import CATALOGUE, Outcome, Target, Timeouts, run_checks
from pipecat_genesys.simulator import CallMode

# The servers answer within milliseconds, so short limits suffice. pipecat sends nine audio messages
# per second, 4 more than the limit of 5 per second, and thus exceeds the burst of 25 messages
# within seven seconds. The conversation takes longer than seven seconds.
TIMEOUTS = Timeouts(open=5, pong=3, close=3, observation=0.5, conversation=12)

theirs = pytest.importorskip("pipecat.serializers.genesys")
PIPECAT = version("pipecat-ai")
_FAILED_IN_BOTH_MODES = {
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
FAILED_BY_PIPECAT = {
    CallMode.BOT: _FAILED_IN_BOTH_MODES | {"rate-of-audio"},
    CallMode.MONITOR: _FAILED_IN_BOTH_MODES | {"opened-inverted-channels", "silent-monitor"},
}


def application(serializer: Callable[[], Any], params: Callable[[Any], dict[str, Any]]) -> FastAPI:
    """Make an application that runs an echo pipeline for every call."""
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


async def failed_checks(app: FastAPI, mode: CallMode) -> dict[str, str]:
    # The rates are measured without other calls, which would slow the server down.
    rates = [check for check in CATALOGUE.values() if check.id.startswith("rate-of")]
    others = [check for check in CATALOGUE.values() if check not in rates]
    async with serving(app, ws_max_size=65536) as url:
        results = await run_checks(Target(url=url, mode=mode, timeouts=TIMEOUTS), rates)
        short = replace(TIMEOUTS, conversation=2.0)
        results += await run_checks(Target(url=url, mode=mode, timeouts=short), others)
    return {r.check.id: r.detail for r in results if r.outcome is Outcome.FAILED}


def documented(serializer: Any) -> dict[str, Any]:
    """Return the transport parameters that pipecat's documentation shows."""
    return {
        "serializer": serializer,
        "audio_in_enabled": True,
        "audio_out_enabled": True,
        "add_wav_header": False,
    }


def stereo_serializer() -> GenesysAudioHookSerializer:
    """Make our serializer for both parties of a monitored call."""
    both = AudioHookChannel.BOTH
    return GenesysAudioHookSerializer(GenesysAudioHookSerializer.InputParams(channel=both))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("mode", "serializer"),
    [(CallMode.BOT, GenesysAudioHookSerializer), (CallMode.MONITOR, stereo_serializer)],
)
async def test_our_serializer_on_the_stock_transport_passes_every_check(
    mode: CallMode, serializer: Any
) -> None:
    assert await failed_checks(application(serializer, genesys_params), mode) == {}


@pytest.mark.timeout(300)
@pytest.mark.skipif(not PIPECAT.startswith("1.14."), reason="the findings hold for pipecat 1.14")
@pytest.mark.parametrize("mode", CallMode)
async def test_pipecats_serializer_fails_the_documented_checks(mode: CallMode) -> None:
    app = application(theirs.GenesysAudioHookSerializer, documented)
    found = await failed_checks(app, mode)
    assert set(found) == FAILED_BY_PIPECAT[mode]


def test_the_guide_lists_the_checks_that_pipecats_serializer_fails() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    section = guide.split("## Findings on pipecat", 1)[1].split("\n## ", 1)[0]
    listed = set(re.findall(r"^\| `([a-z0-9-]+)`", section, re.MULTILINE))
    assert listed == FAILED_BY_PIPECAT[CallMode.BOT] | FAILED_BY_PIPECAT[CallMode.MONITOR]
