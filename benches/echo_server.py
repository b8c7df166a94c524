"""Calls that are echoed: pipecat's stock transport, either serializer, any pipeline rate.

Serves ws://127.0.0.1:PORT/WHO/RATE, where WHO is "ours" or "pipecat", and prints the port. Ends
when its standard input does. `measure_echo.py` starts it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from lanes import SERIALIZERS, never_clearing
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat_genesys import genesys_params

try:
    from pipecat.pipeline.worker import PipelineParams, PipelineWorker
    from pipecat.workers.runner import WorkerRunner
except ImportError:  # pipecat before 1.3
    from pipecat.pipeline.runner import PipelineRunner
    from pipecat.pipeline.task import PipelineParams
    from pipecat.pipeline.task import PipelineTask as PipelineWorker

    class WorkerRunner(PipelineRunner):  # type: ignore[no-redef]
        async def add_workers(self, worker: PipelineWorker) -> None:
            self.worker = worker

        async def run(self) -> None:
            await super().run(self.worker)


app = FastAPI()


class Echo(FrameProcessor):
    """Sends back what it hears."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        else:
            await self.push_frame(frame, direction)


@app.websocket("/{who}/{rate}")
async def answer(websocket: WebSocket, who: str, rate: int) -> None:
    await websocket.accept()
    kind = SERIALIZERS[who]
    serializer = kind(kind.InputParams(**never_clearing(who)))
    # 200 ms of output in a message, whoever makes it.
    transport = FastAPIWebsocketTransport(
        websocket, FastAPIWebsocketParams(**genesys_params(serializer))
    )
    worker = PipelineWorker(
        Pipeline([transport.input(), Echo(), transport.output()]),
        params=PipelineParams(audio_in_sample_rate=rate, audio_out_sample_rate=rate),
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport: Any, client: Any) -> None:
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def main() -> None:
    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws="websockets-sansio")
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        print(listener.getsockname()[1], flush=True)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await serving


if __name__ == "__main__":
    asyncio.run(main())
