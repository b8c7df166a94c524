"""What the soak calls: a bot that talks as people do, taken in as production would.

    pipecat-genesys serve load.desk:app

Greets, and whenever the caller falls silent it answers for three seconds, as a speech service gives
it: in pieces, several times as fast as it is spoken. A key silences it.
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
from .bots import GREETING, RATE_IN, RATE_OUT, Listener

_REPLY_SECONDS = 3
_PIECE = RATE_OUT // 10 * 2
_PIECE_EVERY = 0.03
# So long a silence ends what the caller says.
_SILENCE_SECONDS = 0.3
# A collection that might be heard; and how far ahead bots are, at most, as far as anybody cares.
_LONG_SECONDS, _FAR_SECONDS = 0.01, 10.0


class Desk(Listener):
    """Answers."""

    heard_seconds = 0.0

    def __init__(self) -> None:
        super().__init__()
        self._greeted = False
        self._spoken_to = False
        self._silence = 0.0
        self._saying: asyncio.Task[None] | None = None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InterruptionFrame):
            await self._hush()
        await super().process_frame(frame, direction)

    async def cleanup(self) -> None:
        await self._hush()
        await super().cleanup()  # type: ignore[no-untyped-call]

    async def hear(self, frame: InputAudioRawFrame) -> None:
        seconds = frame.num_frames / frame.sample_rate
        Desk.heard_seconds += seconds
        if not self._greeted:
            self._greeted = True
            await self._say(1)
        # What is said here is noise, and silence is digital: no recogniser is needed.
        if frame.audio.strip(b"\0"):
            self._spoken_to, self._silence = True, 0.0
            return
        self._silence += seconds
        if self._spoken_to and self._silence >= _SILENCE_SECONDS:
            self._spoken_to = False
            await self._say(_REPLY_SECONDS)

    async def _say(self, seconds: int) -> None:
        await self._hush()
        self._saying = self.create_task(self._speech(GREETING * seconds))

    async def _speech(self, audio: bytes) -> None:
        await self.push_frame(TTSStartedFrame())
        for begin in range(0, len(audio), _PIECE):
            await self.push_frame(TTSAudioRawFrame(audio[begin : begin + _PIECE], RATE_OUT, 1))
            await asyncio.sleep(_PIECE_EVERY)
        await self.push_frame(TTSStoppedFrame())

    async def _hush(self) -> None:
        saying, self._saying = self._saying, None
        if saying is not None and not saying.done():
            await self.cancel_task(saying)


class Collections:
    """What the garbage collector does to those who speak."""

    def __init__(self) -> None:
        self._ahead = self._began = 0.0
        self._found: list[tuple[float, float]] = []
        gc.callbacks.append(self._on_collection)

    def _on_collection(self, phase: str, info: dict[str, Any]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._began, self._ahead = now, min(seconds_until_underrun(), _FAR_SECONDS)
        elif now - self._began >= _LONG_SECONDS:
            self._found.append((now - self._began, self._ahead))

    def read(self) -> dict[str, float]:
        """The longest since the last reading; and by how much bots were further ahead, at least."""
        found, self._found = self._found, []
        return {
            "gc_longest_ms": 1000 * max((took for took, _ in found), default=0.0),
            "gc_spare_ms": 1000 * min((ahead - took for took, ahead in found), default=0.0),
        }


async def bot(call: AudioHookCall) -> None:
    """A call."""
    await call.run(
        Pipeline([call.transport.input(), Desk(), call.transport.output()]),
        params=PipelineParams(audio_in_sample_rate=RATE_IN, audio_out_sample_rate=RATE_OUT),
    )


logger.remove()
collections = Collections()
app = FastAPI()
app.include_router(
    audiohook_router(
        bot, credentials={API_KEY: CLIENT_SECRET}, max_calls=int(os.environ.get("MAX_CALLS", "500"))
    )
)


@app.get("/state")
async def state() -> dict[str, float]:
    """What only the process itself knows."""
    counts = {"heard_seconds": Desk.heard_seconds, "tasks": len(asyncio.all_tasks())}
    return counts | collections.read()
