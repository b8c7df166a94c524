"""A server whose bots echo or are slow, on our transport and on pipecat's transport.

`measure_echo.py` and `measure_transport.py` start this server with `server_process.py`. The server
listens at ws://127.0.0.1:PORT/SERVER/BOT/RATE, prints the port, and ends when its standard input is
closed.

    SERVER  "transport": our transport; "serializer": our serializer on pipecat's transport;
            "pipecat": pipecat's serializer on pipecat's transport
    BOT     "echo": repeats the caller's audio; "slow-start": needs 2 s to set up;
            "slow": needs 260 ms for each 200 ms of the caller's audio
    RATE    sample rate of the pipeline in Hz

Both serializers send 200 ms of audio in a message, and neither discards audio.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket
from pipecat.frames.frames import Frame, InputAudioRawFrame, OutputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import genesys_params
from pipecat_genesys.transport import AudioHookTransport, call_worker
from serializers import LOSSLESS, SERIALIZERS

SETUP_SECONDS = 2
PACKET_SECONDS = 0.26

app = FastAPI()


class EchoProcessor(FrameProcessor):
    """Repeats the caller's audio."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await self.push_frame(OutputAudioRawFrame(frame.audio, frame.sample_rate, 1))
        else:
            await self.push_frame(frame, direction)


class SlowStartBot(FrameProcessor):
    """Needs 2 s to set up."""

    async def setup(self, setup: Any) -> None:
        await super().setup(setup)
        await asyncio.sleep(SETUP_SECONDS)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class SlowBot(FrameProcessor):
    """Processes each packet of the caller's audio more slowly than in real time."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            await asyncio.sleep(PACKET_SECONDS)
        await self.push_frame(frame, direction)


BOTS: dict[str, type[FrameProcessor]] = {
    "echo": EchoProcessor,
    "slow-start": SlowStartBot,
    "slow": SlowBot,
}


@app.websocket("/{server}/{bot}/{rate}")
async def answer(websocket: WebSocket, server: str, bot: str, rate: int) -> None:
    """Run a call to its end."""
    await websocket.accept()
    params = PipelineParams(audio_in_sample_rate=rate, audio_out_sample_rate=rate)
    processor = BOTS[bot]()
    if server == "transport":
        ours = AudioHookTransport(websocket)
        worker = call_worker(Pipeline([ours.input(), processor, ours.output()]), params=params)
    else:
        kind = SERIALIZERS["ours" if server == "serializer" else server]
        serializer = kind(kind.InputParams(**LOSSLESS))
        stock = FastAPIWebsocketTransport(
            websocket, FastAPIWebsocketParams(**genesys_params(serializer))
        )
        pipeline = Pipeline([stock.input(), processor, stock.output()])
        worker = PipelineWorker(pipeline, params=params, idle_timeout_secs=None)

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
