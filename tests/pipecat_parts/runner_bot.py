"""A bot for Pipecat's development runner, which `test_runner.py` starts as a program.

Genesys calls the route `/audiohook` of this module. Pipecat's evals use the runner's routes.
"""

from __future__ import annotations

from fastapi import WebSocket
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMRunFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.run import app, main
from pipecat.runner.types import WebSocketRunnerArguments
from pipecat_genesys.transport import AudioHookTransport, run_call

try:
    from pipecat.evals.transport import EvalTransportParams
    from pipecat.runner.utils import create_transport
except ImportError:  # pipecat before 1.4 has no evals
    EvalTransportParams = create_transport = None

RATE = 24000


class Greeter(FrameProcessor):
    """Answers each LLM request with a text and half a second of audio."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMTextFrame("Good morning."))
        await self.push_frame(LLMFullResponseEndFrame())
        await self.push_frame(TTSStartedFrame())
        await self.push_frame(TTSAudioRawFrame(b"\x00\x40\x00\xc0" * (RATE // 4), RATE, 1))
        await self.push_frame(TTSStoppedFrame())


async def bot(runner_args: WebSocketRunnerArguments) -> None:
    """Serve one call from Genesys or one eval. The runner calls this function for its routes."""
    is_call = "audiohook-session-id" in runner_args.websocket.headers
    if is_call:
        transport = AudioHookTransport(runner_args.websocket)
    else:
        params = {"eval": lambda: EvalTransportParams(audio_in_enabled=True)}
        transport = await create_transport(runner_args, params)
    aggregators = LLMContextAggregatorPair(LLMContext())
    steps = [transport.input(), aggregators.user(), Greeter(), transport.output()]

    @transport.event_handler("on_client_connected")
    async def on_client_connected(*_: object) -> None:
        if is_call:
            await aggregators.user().queue_frame(LLMRunFrame())

    await run_call(Pipeline([*steps, aggregators.assistant()]), enable_rtvi=not is_call)


@app.websocket("/audiohook")
async def audiohook(websocket: WebSocket) -> None:
    """Accept a call from Genesys."""
    await websocket.accept()
    await bot(WebSocketRunnerArguments(websocket=websocket))


if __name__ == "__main__":
    main()
