"""What a bot may do, and what becomes of its call and of others."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from echo_server import Echo
from loguru import logger
from pipecat.frames.frames import EndFrame, Frame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.conformance import CATALOGUE, Outcome, Target, Timeouts, run_checks
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.simulator import (
    CallMode,
    Opened,
    PongReceived,
    SimulatedCall,
    StreamPaused,
    StreamResumed,
    new_call,
)

from .served import API_KEY, SECRET, SIGNED, Served, echo, served


async def listen(caller: SimulatedCall) -> None:
    """Stay until the bot ends the call."""
    await caller.opened()
    await caller.ended(10)


async def call(server: Served, script: Any, **options: Any) -> Any:
    report = await SimulatedCall(server.url, options=SIGNED, **options).run(script)
    await server.idle()
    return report


@pytest.fixture
def log() -> Any:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    yield lines
    logger.remove(sink)


async def test_a_bot_knows_who_calls() -> None:
    known: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        known.append(call)
        call.transport.call.set_output_variables({"seen": call.input_variables["account"]})
        await echo(call)

    parameters = new_call(input_variables={"account": "4711"})
    async with served(bot) as server:

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            await caller.hang_up()
            await caller.ended(5)

        report = await call(server, script, parameters=parameters)
    assert report.clean, report.violations
    (one,) = known
    assert one.session_id == parameters.session_id
    assert one.request is not None
    assert one.request.correlation_id == parameters.correlation_id
    assert one.opening.parameters is not None
    assert one.opening.parameters.organization_id == parameters.organization_id
    assert report.ending.closed_output_variables["seen"] == "4711"


async def test_a_bot_that_raises_ends_its_call_and_no_other(log: list[str]) -> None:
    async def bot(call: AudioHookCall) -> None:
        if call.input_variables:
            raise RuntimeError("no such account")
        await echo(call)

    async with served(bot) as server:
        calls: dict[str, Any] = {}

        async def healthy(caller: SimulatedCall) -> None:
            await caller.opened()
            poor = SimulatedCall(server.url, new_call(input_variables={"a": "b"}), options=SIGNED)
            calls["failed"] = await poor.run(listen)
            ponged = await caller.wait_for(PongReceived)
            assert float(ponged.rtt) < 1
            await caller.hang_up()
            await caller.ended(5)

        calls["healthy"] = await SimulatedCall(server.url, options=SIGNED).run(healthy)
        await server.idle()
        seen = await server.metrics()
    assert calls["healthy"].script_error is None
    assert calls["healthy"].clean, calls["healthy"].violations
    # Before `opened`, so that it never was a call: Genesys takes the failure path.
    assert calls["failed"].ending.disconnect_reason == "error"
    assert calls["failed"].ending.closed_received
    assert seen["audiohook_bot_failures_total"] == 1
    assert any("no such account" in line for line in log)


async def test_a_bot_that_raises_in_mid_call() -> None:
    async def bot(call: AudioHookCall) -> None:
        talking = asyncio.create_task(echo(call))
        await call.transport.connection.started.wait()
        await asyncio.sleep(0.5)
        talking.cancel()
        raise RuntimeError("its database is gone")

    async with served(bot) as server:
        report = await call(server, listen)
    assert report.violations == ()
    assert report.ending.disconnect_reason == "error"
    assert report.ending.closed_received


async def test_a_bot_that_returns_has_ended_its_call() -> None:
    async def bot(call: AudioHookCall) -> None:
        call.transport.call.set_output_variables({"done": "yes"})
        talking = asyncio.create_task(echo(call))
        await call.transport.connection.started.wait()
        await asyncio.sleep(0.5)
        talking.cancel()

    async with served(bot) as server:
        report = await call(server, listen)
    assert report.violations == ()
    assert report.ending.disconnect_reason == "completed"
    assert report.ending.output_variables["done"] == "yes"


async def test_a_bot_may_refuse() -> None:
    async def bot(call: AudioHookCall) -> None:
        await call.refuse("error", "closed on Sundays")

    async with served(bot) as server:
        report = await call(server, listen)
    assert report.ending.disconnect_reason == "error"
    assert report.ending.disconnect_info == "closed on Sundays"
    assert report.ending.closed_received


async def test_opened_comes_in_time_from_a_bot_that_is_late() -> None:
    """Paused, and resumed when there is somebody to hear."""

    async def bot(call: AudioHookCall) -> None:
        await asyncio.sleep(1.5)
        await echo(call)

    times: dict[str, float] = {}

    async def script(caller: SimulatedCall) -> None:
        opened = await caller.opened()
        assert opened.start_paused
        times["opened"] = opened.at
        await caller.wait_for(StreamPaused)
        times["resumed"] = (await caller.wait_for(StreamResumed)).at
        await caller.wait_for_bot_audio()
        await caller.hang_up()
        await caller.ended(5)

    async with served(bot, ready_seconds=0.5) as server:
        report = await call(server, script)
        seen = await server.metrics()
    assert report.script_error is None
    assert report.clean, report.violations
    assert 0.5 <= times["opened"] < 1.4
    assert times["resumed"] >= 1.5
    assert seen["audiohook_late_bots_total"] == 1


async def test_opened_waits_for_the_bot_that_is_in_time() -> None:
    """So that what the bot decides before its pipeline runs is in `opened`."""

    async def bot(call: AudioHookCall) -> None:
        await asyncio.sleep(0.3)
        call.transport.call.set_supported_languages(["de-DE"])
        await echo(call)

    async def script(caller: SimulatedCall) -> None:
        opened = await caller.wait_for(Opened)
        assert not opened.start_paused
        assert list(opened.supported_languages or ()) == ["de-DE"]
        await caller.hang_up()
        await caller.ended(5)

    async with served(bot) as server:
        report = await call(server, script, parameters=new_call(supported_languages=True))
    assert report.script_error is None
    assert report.clean, report.violations


async def test_hooks_that_a_bot_adds_run_before_opened() -> None:
    async def bot(call: AudioHookCall) -> None:
        @call.transport.call.event_handler("on_opening")
        async def on_opening(session: Any, _: Any) -> None:
            await session.disconnect("error", info="not today")

        await echo(call)

    async with served(bot) as server:
        report = await call(server, listen)
    assert report.ending.disconnect_info == "not today"


async def test_a_caller_who_hangs_up_before_the_bot_is_there() -> None:
    ended: list[float] = []

    async def bot(call: AudioHookCall) -> None:
        await asyncio.sleep(1)
        await echo(call)
        ended.append(time.monotonic())

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.hang_up()
        await caller.ended(5)

    async with served(bot, ready_seconds=0.2) as server:
        report = await call(server, script)
    assert report.clean, report.violations
    assert len(ended) == 1


async def test_a_bot_that_does_not_end_with_its_call_is_cancelled(log: list[str]) -> None:
    cancelled: list[bool] = []

    async def bot(call: AudioHookCall) -> None:
        await echo(call)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.hang_up()
        await caller.ended(5)

    async with served(bot, after_call_seconds=0.3) as server:
        report = await call(server, script)
        assert server.endpoint.active_calls == 0
    assert report.clean, report.violations
    assert cancelled == [True]
    assert any("cancelled: the bot ran" in line for line in log)


async def test_the_bot_hangs_up() -> None:
    class Brief(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)

    async def bot(call: AudioHookCall) -> None:
        brief = Brief()

        async def hang_up() -> None:
            await call.transport.connection.started.wait()
            await asyncio.sleep(0.3)
            await brief.push_frame(EndFrame())

        ending = asyncio.create_task(hang_up())
        await call.run(Pipeline([call.transport.input(), Echo(), brief, call.transport.output()]))
        await ending

    async with served(bot) as server:
        report = await call(server, listen)
    assert report.clean, report.violations
    assert report.ending.disconnect_reason == "completed"


@pytest.mark.timeout(200)
async def test_every_conformance_check_passes() -> None:
    """Those of authentication among them."""
    async with served() as server:
        target = Target(
            url=server.url,
            mode=CallMode.BOT,
            api_key=API_KEY,
            secret=SECRET,
            timeouts=Timeouts(pong=2, close=2, observation=0.5, conversation=1),
        )
        results = await run_checks(target, CATALOGUE.values())
        await server.idle()
    assert [r for r in results if r.outcome is Outcome.FAILED] == []
    signed = {r.outcome for r in results if r.check.signed}
    assert signed == {Outcome.PASSED}
