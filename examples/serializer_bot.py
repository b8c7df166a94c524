"""The bot of `bot.py` on Pipecat's own WebSocket transport, with the drop-in serializer.

A bot that uses Pipecat's `GenesysAudioHookSerializer` needs two changes: the import of the
serializer and the parameters of the transport. docs/transport.md compares both transports.

To run it, and to call it from a second terminal::

    python examples/serializer_bot.py
    pipecat-genesys call ws://127.0.0.1:8765/audiohook wait:bot wait:quiet press:9 wait:end
"""

import asyncio
import os

from bot import SAMPLE_RATE, RepeatBot, voice_activity
from fastapi import FastAPI, WebSocket
from loguru import logger
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    Frame,
    TTSStartedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from pipecat_genesys import GenesysAudioHookSerializer, genesys_params


class EndAfterPlayback(FrameProcessor):
    """Ends the session when the caller has heard the bot's last words.

    At an `EndFrame`, Pipecat's transport closes the socket as soon as the audio is sent. At that
    time, Genesys may still have up to one second of audio to play, and cannot close the session as
    the protocol requires. This processor therefore delays the `EndFrame` until the session has
    ended in the order of the protocol. `AudioHookTransport` does not need this processor.

    Args:
        serializer: The serializer of the call, attached to its transport.
    """

    def __init__(self, serializer: GenesysAudioHookSerializer):
        super().__init__()
        self._serializer = serializer
        self._sending = False
        self._sent = asyncio.Event()
        self._played = asyncio.Event()

        @serializer.event_handler("on_playback_started")
        async def on_playback_started(_, message):
            self._played.clear()

        @serializer.event_handler("on_playback_completed")
        async def on_playback_completed(_, message):
            self._played.set()

    async def process_frame(self, frame: Frame, direction: FrameDirection):
        """Pass all frames on; end the session before an `EndFrame`."""
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSStartedFrame):
            self._sending = False
            self._sent.clear()
        elif isinstance(frame, BotStartedSpeakingFrame):
            self._sending = True
        elif isinstance(frame, BotStoppedSpeakingFrame) and self._sending:
            self._sent.set()
        elif isinstance(frame, EndFrame):
            await self._wait(self._sent, 10, "Pipecat did not report the end of the bot's speech")
            await self._wait(self._played, 2, "Genesys did not report the end of playback")
            await self._serializer.call.disconnect("completed")
            # Genesys now closes the session and the socket, which cancels the worker and this wait.
            await asyncio.sleep(5)
            logger.warning("Genesys did not close the socket; closing it")
        await self.push_frame(frame, direction)

    async def _wait(self, event: asyncio.Event, seconds: float, problem: str):
        try:
            await asyncio.wait_for(event.wait(), seconds)
        except TimeoutError:
            logger.warning(f"{problem} within {seconds:g} s; the call is ended now")


app = FastAPI()


@app.websocket("/audiohook")
async def audiohook(websocket: WebSocket):
    """Run the bot for one call."""
    await websocket.accept()
    serializer = GenesysAudioHookSerializer()
    transport = FastAPIWebsocketTransport(
        websocket, FastAPIWebsocketParams(**genesys_params(serializer))
    )
    serializer.attach(transport)
    repeat = RepeatBot(serializer.call)
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                voice_activity(),
                repeat,
                EndAfterPlayback(serializer),
                transport.output(),
            ]
        ),
        params=PipelineParams(audio_in_sample_rate=SAMPLE_RATE, audio_out_sample_rate=SAMPLE_RATE),
        # A caller on hold is silent for minutes, so no timeout may end the call. Genesys ends the
        # call.
        idle_timeout_secs=None,
    )

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(transport, client):
        await worker.cancel()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()
    logger.info(f"call over; samples heard at {SAMPLE_RATE} Hz: {repeat.samples_heard}")


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(
        app, host=os.environ.get("HOST") or "127.0.0.1", port=int(os.environ.get("PORT") or 8765)
    )
