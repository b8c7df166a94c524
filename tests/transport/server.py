"""A server on FastAPI whose calls run on `AudioHookTransport` and a pipecat pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from echo_server import WorkerRunner
from fastapi import FastAPI, WebSocket
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.transport import AudioHookParams, AudioHookTransport, call_worker

try:
    from pipecat.pipeline.worker import PipelineParams
except ImportError:  # pipecat before 1.3 has other module names
    from pipecat.pipeline.task import PipelineParams


class TransportServer:
    """A server for one call at a time.

    Attributes:
        transport: The transport of the newest call.
        worker: The worker of the newest call.
        called: Event that is set when a call has connected.
        done: Event that is set when the pipeline of the newest call has ended.
        prepare: Called with each transport before its pipeline runs.
        app: The ASGI application.
    """

    def __init__(
        self,
        *processors: Callable[[], Any],
        rate: int = 16000,
        params: AudioHookParams | None = None,
        observer: Any = None,
    ) -> None:
        self.processors = processors
        self.rate = rate
        self.params = params
        self.observer = observer
        self.transport: AudioHookTransport | None = None
        self.worker: Any = None
        self.called = asyncio.Event()
        self.done = asyncio.Event()
        self.prepare: Callable[[AudioHookTransport], None] = lambda _: None
        self.app = FastAPI()
        self.app.websocket("/audiohook")(self.answer)

    async def answer(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.done.clear()
        self.transport = transport = AudioHookTransport(
            websocket, self.params, observer=self.observer
        )
        self.prepare(transport)
        middle = [make() for make in self.processors]
        self.worker = call_worker(
            Pipeline([transport.input(), *middle, transport.output()]),
            params=PipelineParams(audio_in_sample_rate=self.rate, audio_out_sample_rate=self.rate),
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self.called.set()
        try:
            await runner.run()
        finally:
            self.done.set()

    async def queue(self, *frames: Any) -> None:
        await self.worker.queue_frames(list(frames))
