"""The servers that are compared: each bot on each combination of transport and serializer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import WebSocket
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.serializers import genesys as pipecat_genesys_serializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params
from pipecat_genesys.transport import AudioHookTransport
from pipecat_genesys.transport import run_call as run_our_call

from .bots import RATE_IN, RATE_OUT, CallerAudioCounter, MarkerEchoBot
from .working_bot import working_bot

RunPipeline = Callable[..., Awaitable[None]]
Configuration = Callable[[WebSocket], tuple[Any, RunPipeline]]


def _stock_transport(websocket: WebSocket, **params: Any) -> FastAPIWebsocketTransport:
    return FastAPIWebsocketTransport(websocket, FastAPIWebsocketParams(**params))


def _runs(transport: FastAPIWebsocketTransport, **options: Any) -> RunPipeline:
    """Return a function that runs a pipeline on pipecat's transport until the call ends."""

    async def run(pipeline: Pipeline, **more: Any) -> None:
        worker = PipelineWorker(pipeline, **options, **more)

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(transport: Any, client: Any) -> None:
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    return run


def _documented(websocket: WebSocket) -> tuple[Any, RunPipeline]:
    """Use the documented parameters of pipecat; `audio_out_fixed_packet_size` has no effect."""
    transport = _stock_transport(
        websocket,
        serializer=pipecat_genesys_serializer.GenesysAudioHookSerializer(),
        audio_in_enabled=True,
        audio_out_enabled=True,
        audio_out_fixed_packet_size=1600,
    )
    return transport, _runs(transport)


def _tuned(worker_options: dict[str, Any], **more: Any) -> Configuration:
    """Return a configuration of pipecat in which no audio is lost and no call is cut off."""

    def configure(websocket: WebSocket) -> tuple[Any, RunPipeline]:
        kind = pipecat_genesys_serializer.GenesysAudioHookSerializer
        transport = _stock_transport(
            websocket,
            serializer=kind(kind.InputParams(resampler_clear_after_secs=None)),
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_end_silence_secs=0,
            **more,
        )
        return transport, _runs(transport, **worker_options)

    return configure


def _ours_on_stock_transport(websocket: WebSocket) -> tuple[Any, RunPipeline]:
    transport = _stock_transport(websocket, **genesys_params(GenesysAudioHookSerializer()))
    return transport, _runs(transport, **_NO_IDLE_TIMEOUT)


def _ours(websocket: WebSocket) -> tuple[Any, RunPipeline]:
    return AudioHookTransport(websocket), run_our_call


_NO_IDLE_TIMEOUT: dict[str, Any] = {"idle_timeout_secs": None}
# The worker runs without pipecat's observers for RTVI and for turns.
_LEAN = _NO_IDLE_TIMEOUT | {"enable_rtvi": False, "enable_turn_tracking": False}

CONFIGURATIONS: dict[str, Configuration] = {
    "documented": _documented,
    "tuned": _tuned(_NO_IDLE_TIMEOUT, fixed_audio_packet_size=1600),
    "tuned-200ms": _tuned(_NO_IDLE_TIMEOUT, audio_out_10ms_chunks=20),
    "tuned-lean": _tuned(_LEAN, audio_out_10ms_chunks=20),
    "ours-stock": _ours_on_stock_transport,
    "ours-transport": _ours,
    "ours-transport-telephone-vad": _ours,
}
"""For each name of a server, a function that takes a WebSocket. The function returns a transport,
and a function that runs a pipeline."""


async def run_call(
    server: str, bot: str, websocket: WebSocket, counter: CallerAudioCounter
) -> None:
    """Run a call to its end.

    Args:
        server: A key of `CONFIGURATIONS`.
        bot: One of `BOTS`.
        websocket: The connection, not yet accepted.
        counter: Counts the caller audio that the bot receives.
    """
    await websocket.accept()
    transport, run = CONFIGURATIONS[server](websocket)
    before: list[Any] = [MarkerEchoBot(counter)]
    after: list[Any] = []
    if bot == "working":
        vad = "telephone" if server.endswith("telephone-vad") else "silero"
        before, after = working_bot(vad, counter)
    await run(
        Pipeline([transport.input(), *before, transport.output(), *after]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )
