"""The bot of the soak, served as in production.

    pipecat-genesys serve load.soak_bot:app

The bot greets the caller. When the caller stops speaking, the bot answers for three seconds, in
pieces that arrive several times faster than real time, like audio from a speech service. A DTMF key
interrupts the bot.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
from typing import Any

from fastapi import FastAPI
from loguru import logger
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.frame_processor import FrameDirection
from pipecat_genesys.endpoint import AudioHookCall, audiohook_router
from pipecat_genesys.transport import seconds_until_underrun

from . import API_KEY, CLIENT_SECRET
from .bots import GREETING, RATE_IN, RATE_OUT, CallerAudioCounter, CallerAudioProcessor

_ANSWER_SECONDS = 3
_PIECE_BYTES = RATE_OUT // 10 * 2
_PIECE_INTERVAL_SECONDS = 0.03
# Silence that ends the caller's turn, in seconds.
_TURN_END_SECONDS = 0.3
# Two limits in seconds. Collections shorter than the first limit are not recorded, because they are
# inaudible. A longer lead than the second limit is recorded as the second limit.
# `CollectionMonitor` defines the lead.
_LONG_COLLECTION_SECONDS, _LONGEST_LEAD_SECONDS = 0.01, 10.0


class SoakBot(CallerAudioProcessor):
    """Greets the caller and answers each turn.

    Args:
        counter: Counts the caller audio of all calls.
    """

    def __init__(self, counter: CallerAudioCounter) -> None:
        super().__init__()
        self._counter = counter
        self._greeted = False
        self._caller_has_spoken = False
        self._silent_seconds = 0.0
        self._speaking: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            await self._stop_speaking()
        await super().process_frame(frame, direction)

    async def cleanup(self) -> None:
        await self._stop_speaking()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def receive_audio(self, frame: InputAudioRawFrame) -> None:
        seconds = frame.num_frames / frame.sample_rate
        self._counter.seconds += seconds
        if not self._greeted:
            self._greeted = True
            await self._speak(1)
        # The silence of the callers contains only zeros, so no voice activity detector is needed.
        if frame.audio.strip(b"\0"):
            self._caller_has_spoken, self._silent_seconds = True, 0.0
            return
        self._silent_seconds += seconds
        if self._caller_has_spoken and self._silent_seconds >= _TURN_END_SECONDS:
            self._caller_has_spoken = False
            await self._speak(_ANSWER_SECONDS)

    async def _speak(self, seconds: int) -> None:
        await self._stop_speaking()
        self._speaking = self.create_task(self._push_speech(GREETING * seconds))

    async def _push_speech(self, audio: bytes) -> None:
        await self.push_frame(TTSStartedFrame())
        for begin in range(0, len(audio), _PIECE_BYTES):
            piece = audio[begin : begin + _PIECE_BYTES]
            await self.push_frame(TTSAudioRawFrame(piece, RATE_OUT, 1))
            await asyncio.sleep(_PIECE_INTERVAL_SECONDS)
        await self.push_frame(TTSStoppedFrame())

    async def _stop_speaking(self) -> None:
        speaking, self._speaking = self._speaking, None
        if speaking is not None and not speaking.done():
            await self.cancel_task(speaking)


class CollectionMonitor:
    """Records each long garbage collection, and the lead of the bots when it starts.

    The lead is the duration of the bot audio that a caller has received and not played yet. If
    several bots speak, the shortest lead is recorded.
    """

    def __init__(self) -> None:
        self._began = self._lead = 0.0
        self._collections: list[tuple[float, float]] = []
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._began, self._lead = now, min(seconds_until_underrun(), _LONGEST_LEAD_SECONDS)
        elif now - self._began >= _LONG_COLLECTION_SECONDS:
            self._collections.append((now - self._began, self._lead))

    def read(self) -> dict[str, float]:
        """Return the longest collection and the shortest lead after a collection, in ms.

        Only the collections since the previous use of this method count.
        """
        collections, self._collections = self._collections, []
        return {
            "gc_longest_ms": 1000 * max((seconds for seconds, _ in collections), default=0.0),
            "gc_margin_ms": 1000
            * min((lead - seconds for seconds, lead in collections), default=0),
        }


async def bot(call: AudioHookCall) -> None:
    """Run one call."""
    await call.run(
        Pipeline([call.transport.input(), SoakBot(counter), call.transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )


logger.remove()
counter = CallerAudioCounter()
monitor = CollectionMonitor()
app = FastAPI()
app.include_router(
    audiohook_router(
        bot, credentials={API_KEY: CLIENT_SECRET}, max_calls=int(os.environ.get("MAX_CALLS", "500"))
    )
)


@app.get("/state")
async def state() -> dict[str, float]:
    """Return the statistics that cannot be read from outside the process."""
    counts = {"heard_seconds": counter.seconds, "tasks": len(asyncio.all_tasks())}
    return counts | monitor.read()
