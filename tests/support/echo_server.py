"""A server on FastAPI with pipecat's stock transport, the serializer and an echo pipeline."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import WebSocket
from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params

try:
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.workers.runner import WorkerRunner
except ImportError:  # pipecat before 1.3 has other module names
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineParams
    from pipecat.pipeline.task import PipelineTask as PipelineWorker

    class WorkerRunner(PipelineRunner):  # type: ignore[no-redef]
        async def add_workers(self, worker: PipelineWorker) -> None:
            self.worker = worker

        async def run(self) -> None:
            await super().run(self.worker)


class Echo(FrameProcessor):
    """Sends back the audio that it receives.

    Attributes:
        heard: Number of samples received.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self.heard += frame.num_frames
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        else:
            await self.push_frame(frame, direction)


class EchoServer:
    """The server side of one call.

    Attributes:
        rate: Sample rate of the pipeline in Hz.
        url: The URL, set by the test's fixture.
        echo: The processor in the pipeline; None before the call.
        serializer: The serializer; None before the call.
        worker: The worker that runs the pipeline.
        done: Set when the pipeline has ended.
    """

    def __init__(self, rate: int = 16000) -> None:
        self.rate = rate
        self.url = ""
        self.echo: Echo | None = None
        self.serializer: GenesysAudioHookSerializer | None = None
        self.worker: Any = None
        self.done = asyncio.Event()

    async def answer(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.serializer = GenesysAudioHookSerializer()
        self.echo = Echo()
        transport = FastAPIWebsocketTransport(
            websocket, FastAPIWebsocketParams(**genesys_params(self.serializer))
        )
        self.serializer.attach(transport)
        self.worker = PipelineWorker(
            Pipeline([transport.input(), self.echo, transport.output()]),
            params=PipelineParams(audio_in_sample_rate=self.rate, audio_out_sample_rate=self.rate),
        )

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(transport: Any, client: Any) -> None:
            await self.worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        try:
            await runner.run()
        finally:
            self.done.set()

    async def end(self) -> None:
        await self.worker.queue_frame(EndFrame())


class EchoCenter:
    """A server for concurrent calls; each call has a separate `EchoServer`."""

    def __init__(self) -> None:
        self._calls: dict[str, EchoServer] = {}
        self._news = asyncio.Condition()

    async def answer(self, websocket: WebSocket) -> None:
        call = EchoServer()
        async with self._news:
            self._calls[websocket.headers["audiohook-session-id"]] = call
            self._news.notify_all()
        await call.answer(websocket)

    async def call(self, session_id: str) -> EchoServer:
        """Wait until a session has connected; return the server's side of its newest connection."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: session_id in self._calls)
            return self._calls[session_id]
