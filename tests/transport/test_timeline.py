"""Tests of the task of `PlayoutTimeline`, which passes on frames after the audio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from pipecat.frames.frames import DataFrame, Frame
from pipecat_genesys.call import Call
from pipecat_genesys.protocol import Draft
from pipecat_genesys.transport import TransportObserver
from pipecat_genesys.transport.pacer import AudioPacer, PacingQueue
from pipecat_genesys.transport.timeline import PlayoutTimeline
from pipecat_genesys.transport.writer import Writer


async def _send(_: Draft) -> bool:
    raise AssertionError("this test sends no message")


async def _write(_: str | bytes) -> None:
    raise AssertionError("this test writes no message")


async def test_the_end_of_the_audio_is_known_while_the_task_waits_for_more_frames() -> None:
    queue = PacingQueue()
    pacer = AudioPacer(queue, Writer(_write, _write), TransportObserver())
    pacer.release()
    passed: list[Frame] = []
    tasks: list[asyncio.Task[None]] = []

    async def pass_on(frame: Frame) -> None:
        passed.append(frame)

    def create_task(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        tasks.append(asyncio.create_task(coroutine))
        return tasks[-1]

    timeline = PlayoutTimeline(Call(None, _send), pacer, pass_on, create_task)
    for _ in range(3):
        # The caller hears 20 ms of audio before the frame.
        queue.clock.add(160, time.monotonic())
        await timeline.add(DataFrame())
        await timeline.drained()
        assert not tasks[0].done(), "the task waits for more frames"
    assert len(passed) == 3
    assert len(tasks) == 1
    await timeline.close()
