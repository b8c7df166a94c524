"""The servers that are compared: one bot, on each way there is to take a call from Genesys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastapi import WebSocket
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers import genesys as theirs
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params
from pipecat_genesys.transport import AudioHookTransport, call_worker

from . import ECHO_FROM

_GREETING_SECONDS = 1.0
# Pipecat's defaults.
RATE_IN, RATE_OUT = 16000, 24000


def _greeting() -> bytes:
    count = round(RATE_OUT * _GREETING_SECONDS)
    wave = (round(6000 * math.sin(2 * math.pi * 440 * n / RATE_OUT)) for n in range(count))
    return b"".join(sample.to_bytes(2, "little", signed=True) for sample in wave)


GREETING = _greeting()


class Tally:
    """What all bots of a process have heard."""

    def __init__(self) -> None:
        self.calls = 0
        self.heard_seconds = 0.0


class Listener(FrameProcessor):
    """Hears the caller; a key interrupts what is being said."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.hear(frame)
            return
        if isinstance(frame, InputDTMFFrame):
            await self.broadcast_interruption()
        await self.push_frame(frame, direction)

    async def hear(self, frame: InputAudioRawFrame) -> None:
        """Take what the caller says."""
        raise NotImplementedError


class Echo(Listener):
    """Greets, then says what it hears as it hears it, and falls silent when a key is pressed.

    The echo begins after the greeting, or it would be late by its length ever after.
    """

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._heard = 0.0

    async def hear(self, frame: InputAudioRawFrame) -> None:
        seconds = frame.num_frames / frame.sample_rate
        if not self._heard:
            self._tally.calls += 1
            await self.push_frame(TTSStartedFrame())
            await self.push_frame(TTSAudioRawFrame(GREETING, RATE_OUT, 1))
            await self.push_frame(TTSStoppedFrame())
        elif self._heard >= ECHO_FROM:
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        self._heard += seconds
        self._tally.heard_seconds += seconds


Take = Callable[[WebSocket], tuple[Any, Callable[..., Any]]]


def _stock(websocket: WebSocket, **params: Any) -> FastAPIWebsocketTransport:
    return FastAPIWebsocketTransport(websocket, FastAPIWebsocketParams(**params))


def _documented(websocket: WebSocket) -> tuple[Any, Callable[..., Any]]:
    """As in the documentation of pipecat's serializer, the parameter that does not exist too."""
    params = {
        "serializer": theirs.GenesysAudioHookSerializer(),
        "audio_in_enabled": True,
        "audio_out_enabled": True,
        "audio_out_fixed_packet_size": 1600,
    }
    return _stock(websocket, **params), PipelineWorker


def _tuned(**more: Any) -> Take:
    """As well as can be done with pipecat's parameters: nothing lost, nobody cut off."""

    def take(websocket: WebSocket) -> tuple[Any, Callable[..., Any]]:
        kind = theirs.GenesysAudioHookSerializer
        transport = _stock(
            websocket,
            serializer=kind(kind.InputParams(resampler_clear_after_secs=None)),
            audio_in_enabled=True,
            audio_out_enabled=True,
            audio_out_end_silence_secs=0,
            **more,
        )
        return transport, _patient_worker

    return take


def _patient_worker(pipeline: Any, **options: Any) -> PipelineWorker:
    return PipelineWorker(pipeline, idle_timeout_secs=None, **options)


def _lean_worker(pipeline: Any, **options: Any) -> PipelineWorker:
    """Without what watches a pipeline for a browser and counts turns."""
    return _patient_worker(pipeline, enable_rtvi=False, enable_turn_tracking=False, **options)


def _lean(websocket: WebSocket) -> tuple[Any, Callable[..., Any]]:
    return _tuned(audio_out_10ms_chunks=20)(websocket)[0], _lean_worker


def _ours_on_stock(websocket: WebSocket) -> tuple[Any, Callable[..., Any]]:
    serializer = GenesysAudioHookSerializer()
    return _stock(websocket, **genesys_params(serializer)), _patient_worker


def _ours(websocket: WebSocket) -> tuple[Any, Callable[..., Any]]:
    return AudioHookTransport(websocket), call_worker


SERVERS: dict[str, Take] = {
    "documented": _documented,
    "tuned": _tuned(fixed_audio_packet_size=1600),
    "tuned-200ms": _tuned(audio_out_10ms_chunks=20),
    "tuned-lean": _lean,
    "ours-stock": _ours_on_stock,
    "ours-transport": _ours,
}


async def answer(kind: str, websocket: WebSocket, tally: Tally) -> None:
    """Take a call, to its end."""
    await websocket.accept()
    transport, make_worker = SERVERS[kind](websocket)
    worker = make_worker(
        Pipeline([transport.input(), Echo(tally), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )
    if isinstance(transport, FastAPIWebsocketTransport):

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(transport: Any, client: Any) -> None:
            await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
