"""What calls leave behind is collected while others come, as `pipecat-genesys serve` has it."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import weakref
from collections.abc import Iterator

import pytest
from pipecat.frames.frames import (
    Frame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.endpoint.gc_tuning import CollectedCalls
from pipecat_genesys.simulator import ConnectFailedError, SimulatedCall
from pipecat_genesys.transport import seconds_until_underrun

from .served import SIGNED, served


@pytest.fixture
def collected() -> Iterator[list[float]]:
    """Collections of everything; Python itself makes none."""
    began: list[float] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            began.append(asyncio.get_running_loop().time())

    gc.collect()
    gc.disable()
    gc.callbacks.append(note)
    yield began
    gc.callbacks.remove(note)
    gc.unfreeze()
    gc.enable()


class Talker(FrameProcessor):
    """Says something short, again and again."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self.create_task(self._talk())

    async def _talk(self) -> None:
        while True:
            await self.push_frame(TTSStartedFrame())
            for _ in range(4):
                await self.push_frame(TTSAudioRawFrame(bytes(640), 16000, 1))
                await asyncio.sleep(0.015)
            await self.push_frame(TTSStoppedFrame())
            await asyncio.sleep(0.05)


async def talker(call: AudioHookCall) -> None:
    await call.run(Pipeline([call.transport.input(), Talker(), call.transport.output()]))


async def brief(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.hang_up()
    await caller.ended(5)


async def test_calls_that_ended_do_not_gather(collected: list[float]) -> None:
    transports: weakref.WeakSet[object] = weakref.WeakSet()

    async def bot(call: AudioHookCall) -> None:
        transports.add(call.transport)
        await call.run(Pipeline([call.transport.input(), call.transport.output()]))

    async with served(bot, wrap=CollectedCalls) as server:
        # What is here already is no call's; to look at it would take long, and so be seldom.
        gc.freeze()
        calls = 0
        async with asyncio.timeout(60):
            while len(collected) < 3:
                report = await SimulatedCall(server.url, options=SIGNED).run(brief)
                assert report.clean, report
                calls += 1
    # Not for every call; and then they are gone, but for the one that was about to end.
    assert calls >= 30
    assert len(transports) <= 2


async def test_nobody_hears_it(collected: list[float]) -> None:
    """It waits until the bot that speaks is ahead by more than the collection before took."""
    ahead: list[float] = []
    took: list[float] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            ahead.append(seconds_until_underrun())
            took.append(time.monotonic())
        else:
            took[-1] = time.monotonic() - took[-1]

    async with served(talker, wrap=CollectedCalls) as server:
        gc.freeze()
        gc.callbacks.append(note)
        try:
            async with SimulatedCall(server.url, options=SIGNED) as caller:
                await caller.opened()
                await caller.wait_for_bot_audio()
                async with asyncio.timeout(60):
                    while len(collected) < 3:
                        await SimulatedCall(server.url, options=SIGNED).run(brief)
                await caller.hang_up()
                await caller.ended(5)
        finally:
            gc.callbacks.remove(note)
    assert all(there > before for there, before in zip(ahead[1:], took, strict=False)), (
        ahead,
        took,
    )
    assert seconds_until_underrun() == math.inf


async def test_it_waits_and_not_for_ever(
    collected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer a caller is to hearing it the later it is; at last it is done all the same."""

    async def waited(lead: float) -> float:
        monkeypatch.setattr(
            "pipecat_genesys.endpoint.gc_tuning.can_block", lambda seconds: lead >= seconds
        )
        begun = asyncio.Event()

        def note(phase: str, info: dict[str, int]) -> None:
            if info["generation"] == 2:
                begun.set()

        async with served(wrap=CollectedCalls) as server:
            gc.freeze()
            collected.clear()
            gc.callbacks.append(note)
            for _ in range(10):
                report = await SimulatedCall(server.url, options=SIGNED).run(brief)
                assert report.clean, report
            ended = asyncio.get_running_loop().time()
            async with asyncio.timeout(30):
                await begun.wait()
            gc.callbacks.remove(note)
        return collected[0] - ended

    # The first is expected to take 0.2 s.
    far, near, never = [await waited(lead) for lead in (math.inf, 0.4, 0.0)]
    assert far < near < never < 6


async def test_a_flood_of_strangers_is_no_flood_of_collections(collected: list[float]) -> None:
    async def stranger(url: str) -> None:
        with pytest.raises(ConnectFailedError, match="HTTP 401"):
            async with SimulatedCall(url):
                pass

    async with served(wrap=CollectedCalls) as server:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(stranger(server.url) for _ in range(200)))
        seconds = asyncio.get_running_loop().time() - began
    # A collection takes a tenth of a second here, and more.
    assert len(collected) <= 1 + seconds
