"""Tests of calls whose bot ends, fails or is late; other calls are not affected."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from echo_server import Echo
from loguru import logger
from pipecat.frames.frames import EndFrame, Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_input import BaseInputTransport
from pipecat_genesys.conformance import CATALOGUE, Outcome, Target, Timeouts, run_checks
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.simulator import (
    CallMode,
    CallReport,
    Opened,
    PongReceived,
    SimulatedCall,
    StreamPaused,
    StreamResumed,
    new_call,
)

from .served import API_KEY, SECRET, SIGNED, ServedEndpoint, echo, hang_up, hang_up_at_once, served


async def wait_for_the_end(caller: SimulatedCall) -> None:
    """Run a caller who stays connected until the bot ends the call."""
    await caller.opened()
    await caller.ended(10)


async def call(server: ServedEndpoint, script: Any, **options: Any) -> CallReport:
    """Make a call, and wait until no call is running on the server."""
    report = await SimulatedCall(server.url, options=SIGNED, **options).run(script)
    await server.idle()
    return report


async def talk_until_started(call: AudioHookCall) -> asyncio.Task[None]:
    """Start an echo, and return its task 0.3 s after the pipeline has started."""
    talking = asyncio.create_task(echo(call))
    await call.transport.connection.started.wait()
    await asyncio.sleep(0.3)
    return talking


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the log lines of level WARNING and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    yield lines
    logger.remove(sink)


async def test_audio_that_a_bot_pushes_into_the_input_reaches_the_pipeline() -> None:
    """Audio that a bot passes to `push_audio_frame` of the input reaches the pipeline."""
    heard = asyncio.Event()
    pushed = b"\x34\x12" * 320

    class Listener(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)
            if isinstance(frame, InputAudioRawFrame) and frame.audio == pushed:
                heard.set()

    async def bot(call: AudioHookCall) -> None:
        entry = call.transport.input()
        assert isinstance(entry, BaseInputTransport)
        pipeline = Pipeline([entry, Listener(), call.transport.output()])
        running = asyncio.create_task(call.run(pipeline))
        await call.transport.connection.started.wait()
        await entry.push_audio_frame(InputAudioRawFrame(pushed, 16000, 1))
        await running

    async def listen(caller: SimulatedCall) -> None:
        await caller.opened()
        await asyncio.wait_for(heard.wait(), 5)
        await hang_up(caller)

    async with served(bot) as server:
        report = await call(server, listen)
    assert report.clean, report


async def test_bot_reads_who_calls_and_the_input_variables() -> None:
    calls: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        calls.append(call)
        call.transport.call.set_output_variables({"seen": call.input_variables["account"]})
        await echo(call)

    parameters = new_call(input_variables={"account": "4711"})
    async with served(bot) as server:
        report = await call(server, hang_up_at_once, parameters=parameters)
    assert report.clean, report.violations
    (of_bot,) = calls
    assert of_bot.session_id == parameters.session_id
    assert of_bot.request is not None
    assert of_bot.request.correlation_id == parameters.correlation_id
    assert of_bot.opening.parameters is not None
    assert of_bot.opening.parameters.organization_id == parameters.organization_id
    assert report.ending.closed_output_variables["seen"] == "4711"


async def test_bot_that_raises_before_opened_ends_its_own_call_only(log: list[str]) -> None:
    async def bot(call: AudioHookCall) -> None:
        if call.input_variables:
            raise RuntimeError("no such account")
        await echo(call)

    reports: dict[str, CallReport] = {}
    async with served(bot) as server:

        async def healthy(caller: SimulatedCall) -> None:
            await caller.opened()
            failing = SimulatedCall(
                server.url, new_call(input_variables={"a": "b"}), options=SIGNED
            )
            reports["failing"] = await failing.run(wait_for_the_end)
            pong = await caller.wait_for(PongReceived)
            assert float(pong.rtt) < 1
            await hang_up(caller)

        reports["healthy"] = await call(server, healthy)
        metrics = await server.metrics()
    assert reports["healthy"].script_error is None
    assert reports["healthy"].clean, reports["healthy"].violations
    # The server has sent no `opened`, so Genesys uses the failure path of the flow.
    assert reports["failing"].ending.disconnect_reason == "error"
    assert reports["failing"].ending.closed_received
    assert metrics["audiohook_bot_failures_total"] == 1
    assert any("no such account" in line for line in log)


async def test_bot_that_raises_during_the_call_disconnects_with_error() -> None:
    async def bot(call: AudioHookCall) -> None:
        (await talk_until_started(call)).cancel()
        raise RuntimeError("no connection to the database")

    async with served(bot) as server:
        report = await call(server, wait_for_the_end)
    assert report.violations == ()
    assert report.ending.disconnect_reason == "error"
    assert report.ending.closed_received


async def test_bot_that_returns_disconnects_with_completed_and_its_variables() -> None:
    async def bot(call: AudioHookCall) -> None:
        call.transport.call.set_output_variables({"done": "yes"})
        (await talk_until_started(call)).cancel()

    async with served(bot) as server:
        report = await call(server, wait_for_the_end)
    assert report.violations == ()
    assert report.ending.disconnect_reason == "completed"
    assert report.ending.output_variables["done"] == "yes"


async def test_bot_that_refuses_disconnects_with_its_reason() -> None:
    """A bot calls `refuse`; the client receives the reason and the info in `disconnect`."""

    async def bot(call: AudioHookCall) -> None:
        await call.refuse("error", "closed on Sundays")

    async with served(bot) as server:
        report = await call(server, wait_for_the_end)
    assert report.ending.disconnect_reason == "error"
    assert report.ending.disconnect_info == "closed on Sundays"
    assert report.ending.closed_received


async def test_opened_comes_in_time_and_paused_while_the_bot_starts() -> None:
    """After `ready_seconds`, `opened` is sent; the session is paused until the bot is ready."""
    is_open = asyncio.Event()

    async def bot(call: AudioHookCall) -> None:
        await is_open.wait()
        await echo(call)

    async def script(caller: SimulatedCall) -> None:
        opened = await caller.opened()
        assert opened.start_paused
        assert opened.at >= 0.5
        await caller.wait_for(StreamPaused)
        is_open.set()
        await caller.wait_for(StreamResumed)
        await caller.wait_for_bot_audio()
        await hang_up(caller)

    async with served(bot, ready_seconds=0.5) as server:
        report = await call(server, script)
        metrics = await server.metrics()
    assert report.script_error is None
    assert report.clean, report.violations
    assert metrics["audiohook_late_bots_total"] == 1


async def test_opened_has_the_languages_that_the_bot_sets_before_its_pipeline_runs() -> None:
    async def bot(call: AudioHookCall) -> None:
        await asyncio.sleep(0.3)
        call.transport.call.set_supported_languages(["de-DE"])
        await echo(call)

    async def script(caller: SimulatedCall) -> None:
        opened = await caller.wait_for(Opened)
        assert not opened.start_paused
        assert list(opened.supported_languages or ()) == ["de-DE"]
        await hang_up(caller)

    async with served(bot) as server:
        report = await call(server, script, parameters=new_call(supported_languages=True))
    assert report.script_error is None
    assert report.clean, report.violations


async def test_on_opening_handler_of_a_bot_may_disconnect_before_opened() -> None:
    async def bot(call: AudioHookCall) -> None:
        @call.transport.call.event_handler("on_opening")
        async def on_opening(session: Any, _: Any) -> None:
            await session.disconnect("error", info="not today")

        await echo(call)

    async with served(bot) as server:
        report = await call(server, wait_for_the_end)
    assert report.ending.disconnect_info == "not today"


async def test_bot_still_ends_when_the_caller_hangs_up_before_its_pipeline_runs() -> None:
    hung_up = asyncio.Event()
    ended: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        await hung_up.wait()
        await echo(call)
        ended.append(call)

    async def script(caller: SimulatedCall) -> None:
        await hang_up_at_once(caller)
        hung_up.set()

    async with served(bot, ready_seconds=0.2) as server:
        report = await call(server, script)
    assert report.clean, report.violations
    assert len(ended) == 1


async def test_bot_that_goes_on_after_its_call_is_cancelled(log: list[str]) -> None:
    """The endpoint cancels a bot that still runs `after_call_seconds` after its call has ended."""
    cancelled: list[AudioHookCall] = []

    async def bot(call: AudioHookCall) -> None:
        await echo(call)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(call)
            raise

    async with served(bot, after_call_seconds=0.3) as server:
        report = await call(server, hang_up_at_once)
        assert server.endpoint.active_calls == 0
    assert report.clean, report.violations
    assert len(cancelled) == 1
    assert any("cancelled: the bot ran" in line for line in log)


async def test_end_frame_from_within_the_pipeline_disconnects_with_completed() -> None:
    class CallEndingProcessor(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)

    async def bot(call: AudioHookCall) -> None:
        processor = CallEndingProcessor()

        async def end() -> None:
            await call.transport.connection.started.wait()
            await asyncio.sleep(0.3)
            await processor.push_frame(EndFrame())

        ending = asyncio.create_task(end())
        pipeline = [call.transport.input(), Echo(), processor, call.transport.output()]
        await call.run(Pipeline(pipeline))
        await ending

    async with served(bot) as server:
        report = await call(server, wait_for_the_end)
    assert report.clean, report.violations
    assert report.ending.disconnect_reason == "completed"


@pytest.mark.timeout(200)
async def test_endpoint_passes_every_conformance_check() -> None:
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
