"""Calls whose bots are busy, on our transport and on pipecat's; `measure_transport.py` starts it.

Serves ws://127.0.0.1:PORT/WHO/CASE, where WHO counts `WHO` of that file, and prints the port. Ends
when its standard input does.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.serializers import genesys as theirs
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params
from pipecat_genesys.transport import AudioHookTransport, call_worker

logger.remove()
app = FastAPI()


class Busy(FrameProcessor):
    """Takes long to set up, or to hear."""

    def __init__(self, case: str) -> None:
        super().__init__()
        self._case = case

    async def setup(self, setup: Any) -> None:
        await super().setup(setup)
        if self._case == "start":
            await asyncio.sleep(2)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if self._case == "busy" and isinstance(frame, InputAudioRawFrame):
            await asyncio.sleep(0.26)
        await self.push_frame(frame, direction)


@app.websocket("/{who}/{case}")
async def answer(websocket: WebSocket, who: int, case: str) -> None:
    await websocket.accept()
    params = PipelineParams(audio_in_sample_rate=16000, audio_out_sample_rate=16000)
    if who == 0:
        ours = AudioHookTransport(websocket)
        worker = call_worker(Pipeline([ours.input(), Busy(case), ours.output()]), params=params)
    else:
        kind = GenesysAudioHookSerializer if who == 1 else theirs.GenesysAudioHookSerializer
        stock = FastAPIWebsocketTransport(
            websocket, FastAPIWebsocketParams(**genesys_params(kind()))
        )
        worker = PipelineWorker(
            Pipeline([stock.input(), Busy(case), stock.output()]), params=params
        )

        @stock.event_handler("on_client_disconnected")
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
