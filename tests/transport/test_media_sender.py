"""Tests of the functions that replace `_next_frame` of Pipecat's media sender."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pipecat
import pytest
from pipecat.frames.frames import DataFrame, Frame
from pipecat_genesys.transport import media_sender


class SpeakingSender:
    """A replacement for Pipecat's media sender. At the start, the bot is speaking."""

    def __init__(self) -> None:
        self._audio_queue: asyncio.Queue[Frame] = asyncio.Queue()
        self._bot_speaking = True
        self._transport = SimpleNamespace(create_task=asyncio.ensure_future)
        self.handled = 0
        self.handled_at_stop: list[int] = []
        self.stopped = asyncio.Event()

    async def _filter_audio(self, frame: Frame) -> None:
        self.handled += 1

    def _apply_volume(self, frame: Frame) -> None: ...

    async def _bot_stopped_speaking(self) -> None:
        self._bot_speaking = False
        self.handled_at_stop.append(self.handled)
        self.stopped.set()


async def _run(sender: Any) -> None:
    async for _ in media_sender._next_frames(sender):
        pass


async def test_a_bot_without_frames_for_some_time_has_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(media_sender, "BOT_VAD_STOP_FALLBACK_SECS", 0.2)
    sender = SpeakingSender()
    task = asyncio.create_task(_run(sender))
    # Frames are queued for longer than `BOT_VAD_STOP_FALLBACK_SECS`.
    for _ in range(10):
        sender._audio_queue.put_nowait(DataFrame())
        await asyncio.sleep(0.04)
    async with asyncio.timeout(10):
        await sender.stopped.wait()
    assert sender.handled_at_stop == [10]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.skipif(
    not pipecat.__version__.startswith("1.14."), reason="other versions of Pipecat may differ"
)
def test_function_of_this_version_of_pipecat_is_replaced() -> None:
    sender = SpeakingSender()
    media_sender.save_timers(sender)
    assert "_next_frame" in vars(sender)
    media_sender.restore(sender)
    assert "_next_frame" not in vars(sender)
