"""Tests of `gc_tuning`: when the garbage of ended calls is collected."""

from __future__ import annotations

import asyncio
import gc
import itertools
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import virtual_loop
from pipecat.frames.frames import (
    Frame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat_genesys.endpoint import AudioHookCall, gc_tuning
from pipecat_genesys.endpoint.gc_tuning import CollectedCalls
from pipecat_genesys.simulator import SimulatedCall
from pipecat_genesys.simulator.sounds import sample_speech
from pipecat_genesys.transport import seconds_until_underrun, task_manager
from pipecat_genesys.vad import TelephoneVADAnalyzer

from .served import SIGNED, echo, hang_up, served

_SERVER_PACKAGES = (
    "fastapi.",
    "pipecat.",
    "pipecat_genesys.call",
    "pipecat_genesys.endpoint",
    "pipecat_genesys.transport",
    "starlette.",
    "uvicorn.",
)


@pytest.fixture
def collections(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Return the times of full collections; automatic collections are disabled.

    The pause between collections is removed, so that the test is fast.
    """
    monkeypatch.setattr(gc_tuning, "_MOST_TIME", 1.0)
    times: list[float] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            times.append(asyncio.get_running_loop().time())

    gc.collect()
    gc.disable()
    gc.callbacks.append(note)
    yield times
    gc.callbacks.remove(note)
    gc.unfreeze()
    gc.enable()


class Talker(FrameProcessor):
    """Repeatedly sends 80 ms of audio within 60 ms, and then waits for 50 ms."""

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


async def talking_bot(call: AudioHookCall) -> None:
    await call.run(Pipeline([call.transport.input(), Talker(), call.transport.output()]))


async def pipecat_bot(call: AudioHookCall) -> None:
    """Serve a call with Pipecat's aggregators, and with handlers that refer to the pipeline."""
    aggregators = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=TelephoneVADAnalyzer(),
            user_idle_timeout=5,
            user_turn_strategies=UserTurnStrategies(stop=[SpeechTimeoutUserTurnStopStrategy()]),
        ),
    )
    transport = call.transport
    pipeline = Pipeline(
        [transport.input(), aggregators.user(), transport.output(), aggregators.assistant()]
    )

    @transport.event_handler("on_client_connected")
    async def on_client_connected(transport: Any, client: Any) -> None:
        assert pipeline.processors

    @transport.call.event_handler("on_close")
    async def on_close(call: Any, message: Any) -> None:
        assert pipeline.processors

    @aggregators.user().event_handler("on_user_turn_idle")
    async def on_user_turn_idle(aggregator: Any) -> None:
        assert pipeline.processors

    await call.run(pipeline)


async def leaking_bot(call: AudioHookCall) -> None:
    """Leave a reference cycle of 10,000 objects, which only a garbage collection frees."""
    cycle: list[Any] = [[] for _ in range(10_000)]
    cycle.append(cycle)
    await talking_bot(call)


async def speak(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.say(sample_speech(0.5))
    await hang_up(caller)


async def hang_up_at_once(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.hang_up()
    await caller.ended(5)


async def test_no_collection_while_a_call_runs_and_ended_calls_leave_nothing(
    collections: list[float],
) -> None:
    async with (
        served(talking_bot, wrap=CollectedCalls) as server,
        SimulatedCall(server.url, options=SIGNED) as caller,
    ):
        await caller.opened()
        for _ in range(25):
            await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        assert not collections
        await hang_up(caller)


async def test_what_bots_leave_is_collected_ten_or_more_calls_at_a_time(
    collections: list[float],
) -> None:
    left: weakref.WeakSet[object] = weakref.WeakSet()

    class Cycle(list[Any]):
        """A list that can be in a set of weak references."""

        __hash__ = object.__hash__

    async def bot(call: AudioHookCall) -> None:
        cycle = Cycle([] for _ in range(10_000))
        cycle.append(cycle)
        left.add(cycle)
        await call.run(Pipeline([call.transport.input(), call.transport.output()]))

    async with served(bot, wrap=CollectedCalls) as server:
        # If the collector also examined the objects from before the first call, collections would
        # be slow, and therefore rare.
        gc.freeze()
        calls = 0
        async with asyncio.timeout(60):
            while len(collections) < 3:
                # A collection in a process that has run many tests may take seconds, so a call may
                # be closed late.
                report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
                assert report.closed_latency is not None, report
                calls += 1
    assert calls >= 30
    # The garbage of a call that ended after the last collection may remain.
    assert len(left) <= 2


@pytest.mark.skipif(
    not task_manager.IS_SUPPORTED, reason="with pipecat before 1.5, calls leave garbage"
)
@pytest.mark.parametrize("bot", [echo, talking_bot, pipecat_bot])
async def test_an_ended_call_leaves_nothing_for_the_collector(
    bot: Callable[[AudioHookCall], Coroutine[Any, Any, None]],
) -> None:
    async with served(bot) as server:
        # The first call imports modules and fills caches.
        for _ in range(2):
            assert (await SimulatedCall(server.url, options=SIGNED).run(speak)).clean
        await server.idle()
        gc.collect()
        gc.disable()
        try:
            call = SimulatedCall(server.url, options=SIGNED)
            report = await call.run(speak)
            await server.idle()
            # The server's task for the connection ends shortly after the endpoint has removed the
            # call.
            await asyncio.sleep(0.1)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            garbage = [type(found) for found in gc.garbage]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
    assert report.clean, report
    # The call of the simulator, in the same process, also leaves reference cycles, which are not
    # counted.
    server_kinds = [kind for kind in garbage if kind.__module__.startswith(_SERVER_PACKAGES)]
    assert not server_kinds, Counter(server_kinds)


async def test_a_call_can_still_be_read_after_it_has_ended() -> None:
    calls: list[AudioHookCall] = []
    ended = asyncio.Event()

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)
        call.transport.call.set_output_variables({"order": 7})
        await echo(call)
        ended.set()

    async with served(bot) as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(speak)
        await server.idle()
    assert report.clean, report
    await asyncio.wait_for(ended.wait(), 5)
    call = calls[0].transport.call
    assert call.output_variables == {"order": 7}
    assert call.conversation_id is not None
    assert not await call.pause()


async def test_bot_is_ahead_by_more_than_the_last_collection_took_when_the_next_begins(
    collections: list[float],
) -> None:
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

    async with served(leaking_bot, wrap=CollectedCalls) as server:
        gc.freeze()
        gc.callbacks.append(note)
        try:
            async with SimulatedCall(server.url, options=SIGNED) as caller:
                await caller.opened()
                await caller.wait_for_bot_audio()
                async with asyncio.timeout(60):
                    while len(collections) < 3:
                        await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
                await caller.hang_up()
                await caller.ended(5)
        finally:
            gc.callbacks.remove(note)
    assert all(lead > seconds for lead, seconds in zip(ahead[1:], took, strict=False)), (
        ahead,
        took,
    )
    assert seconds_until_underrun() == math.inf


def collection_times(
    monkeypatch: pytest.MonkeyPatch,
    scenario: Callable[[Callable[[], Coroutine[Any, Any, None]]], Coroutine[Any, Any, None]],
    *,
    collection_seconds: float = 0.0,
) -> list[float]:
    """Run a scenario in virtual time; return the seconds at which collections started.

    Args:
        scenario: Called with a coroutine function that runs one connection, which ends immediately.
        collection_seconds: Duration of a collection.
    """
    times: list[float] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        return

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_loop.VirtualLoop)
        begin = loop.time()

        def collect() -> None:
            times.append(loop.time() - begin)
            loop.advance(collection_seconds)

        monkeypatch.setattr(gc_tuning, "time", SimpleNamespace(monotonic=loop.time))
        virtual = SimpleNamespace(collect=collect, freeze=lambda: None, unfreeze=lambda: None)
        monkeypatch.setattr(gc_tuning, "gc", virtual)
        # With this value, `CollectedCalls` finds garbage at every check.
        monkeypatch.setattr(gc_tuning, "_SPARE_BLOCKS", -math.inf)
        calls = CollectedCalls(application)

        async def connection() -> None:
            await calls({"type": "websocket"}, None, None)

        await scenario(connection)

    virtual_loop.run(main())
    return times


@pytest.mark.parametrize(
    ("lead", "waited"),
    [
        (math.inf, 0.0),
        # A collection is expected to take 0.2 s. The lead is the bot audio that Genesys has not
        # played yet. The required lead decreases from 0.6 s to 0.3 s in 5 s.
        (0.4, 5 * 2 / 3),
        (0.0, 5.0),
    ],
)
def test_collection_waits_for_bots_that_are_ahead_and_at_most_5_s(
    monkeypatch: pytest.MonkeyPatch, lead: float, waited: float
) -> None:
    async def ten_calls(connection: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for _ in range(10):
            await connection()
        await asyncio.sleep(20)

    monkeypatch.setattr(gc_tuning, "can_block", lambda seconds: lead >= seconds)
    assert collection_times(monkeypatch, ten_calls) == [pytest.approx(waited, abs=0.02)]


def test_collections_take_one_per_cent_of_the_time_however_many_connections_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def flood(connection: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for _ in range(6_000):
            await connection()
            await asyncio.sleep(0.01)

    monkeypatch.setattr(gc_tuning, "can_block", lambda seconds: True)
    times = collection_times(monkeypatch, flood, collection_seconds=0.1)
    # The first collection starts after ten connections; after that, a collection starts every ten
    # seconds.
    assert len(times) == 6
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == pytest.approx([10.1] * 5, abs=0.15)


def test_garbage_of_the_last_calls_is_collected_although_no_further_call_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def burst(connection: Callable[[], Coroutine[Any, Any, None]]) -> None:
        for _ in range(20):
            await connection()
            await asyncio.sleep(0.01)
        await asyncio.sleep(30)

    monkeypatch.setattr(gc_tuning, "can_block", lambda seconds: True)
    times = collection_times(monkeypatch, burst, collection_seconds=0.1)
    assert times == pytest.approx([0.1, 10.2], abs=0.15)


@pytest.mark.parametrize(("seconds", "frozen"), [(0.5, 0), (5.0, 1)])
def test_only_connections_that_become_calls_are_excluded_from_collections(
    monkeypatch: pytest.MonkeyPatch, seconds: float, frozen: int
) -> None:
    """Collections of new objects free what a refused connection leaves."""
    times: list[None] = []
    monkeypatch.setattr(gc_tuning, "gc", SimpleNamespace(freeze=lambda: times.append(None)))

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(seconds)

    async def main() -> None:
        await CollectedCalls(application)({"type": "websocket"}, None, None)
        await asyncio.sleep(10)

    virtual_loop.run(main())
    assert len(times) == frozen
