"""What calls leave behind is collected while others come, as `pipecat-genesys serve` has it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.endpoint.serving import CollectedCalls
from pipecat_genesys.simulator import ConnectFailedError, SimulatedCall

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
    gc.enable()


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
        while len(collected) < 3 and calls < 300:
            report = await SimulatedCall(server.url, options=SIGNED).run(brief)
            assert report.clean, report
            calls += 1
        gc.unfreeze()
    # Not for every call; and then they are gone, but for the one that was about to end.
    assert 30 <= calls < 300
    assert len(transports) <= 2


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
