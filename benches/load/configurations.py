"""The servers that are compared: one bot on each combination of transport and serializer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import WebSocket
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.serializers import genesys as pipecat_genesys_serializer
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params
from pipecat_genesys.transport import AudioHookTransport, call_worker

from .bots import RATE_IN, RATE_OUT, CallerAudioCounter, EchoBot

MakeWorker = Callable[..., Any]
Configuration = Callable[[WebSocket], tuple[Any, MakeWorker]]


def _stock_transport(websocket: WebSocket, **params: Any) -> FastAPIWebsocketTransport:
    return FastAPIWebsocketTransport(websocket, FastAPIWebsocketParams(**params))


def _documented(websocket: WebSocket) -> tuple[Any, MakeWorker]:
    """Use the parameters of pipecat's documentation, one of which pipecat does not have."""
    params = {
        "serializer": pipecat_genesys_serializer.GenesysAudioHookSerializer(),
        "audio_in_enabled": True,
        "audio_out_enabled": True,
        "audio_out_fixed_packet_size": 1600,
    }
    return _stock_transport(websocket, **params), PipelineWorker


def _tuned(make_worker: MakeWorker, **more: Any) -> Configuration:
    """Set pipecat's parameters so that no audio is lost and no call is cut off."""

    def configure(websocket: WebSocket) -> tuple[Any, MakeWorker]:
        kind = pipecat_genesys_serializer.GenesysAudioHookSerializer
        transport = _stock_transport(
            websocket,
            serializer=kind(kind.InputParams(resampler_clear_after_secs=None)),
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_end_silence_secs=0,
            **more,
        )
        return transport, make_worker

    return configure


def _worker_without_idle_timeout(pipeline: Any, **options: Any) -> PipelineWorker:
    return PipelineWorker(pipeline, idle_timeout_secs=None, **options)


def _lean_worker(pipeline: Any, **options: Any) -> PipelineWorker:
    """Create a worker without the observers for RTVI and for turns."""
    return _worker_without_idle_timeout(
        pipeline, enable_rtvi=False, enable_turn_tracking=False, **options
    )


def _ours_on_stock_transport(websocket: WebSocket) -> tuple[Any, MakeWorker]:
    serializer = GenesysAudioHookSerializer()
    params = genesys_params(serializer)
    return _stock_transport(websocket, **params), _worker_without_idle_timeout


def _ours(websocket: WebSocket) -> tuple[Any, MakeWorker]:
    return AudioHookTransport(websocket), call_worker


CONFIGURATIONS: dict[str, Configuration] = {
    "documented": _documented,
    "tuned": _tuned(_worker_without_idle_timeout, fixed_audio_packet_size=1600),
    "tuned-200ms": _tuned(_worker_without_idle_timeout, audio_out_10ms_chunks=20),
    "tuned-lean": _tuned(_lean_worker, audio_out_10ms_chunks=20),
    "ours-stock": _ours_on_stock_transport,
    "ours-transport": _ours,
}
"""For each name, a function from a WebSocket to a transport and the factory of its worker."""


async def run_call(server: str, websocket: WebSocket, counter: CallerAudioCounter) -> None:
    """Run a call to its end.

    Args:
        server: A key of `CONFIGURATIONS`.
        websocket: The connection, not yet accepted.
        counter: Counts the caller audio that the bot receives.
    """
    await websocket.accept()
    transport, make_worker = CONFIGURATIONS[server](websocket)
    worker = make_worker(
        Pipeline([transport.input(), EchoBot(counter), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )
    if isinstance(transport, FastAPIWebsocketTransport):

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(transport: Any, client: Any) -> None:
            await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
