"""Tests that other calls continue if a bot exits, ignores cancellation or never yields."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger
from pipecat.frames.frames import Frame, InputAudioRawFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat_genesys.call import CallParams
from pipecat_genesys.call.containment import cancel_tasks
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.simulator import CallReport, SimulatedCall, new_call
from pipecat_genesys.transport import AudioHookParams, task_manager

from .served import SIGNED, ServedEndpoint, echo, hang_up, hang_up_at_once, next_pong, served

EXITS = [SystemExit(3), KeyboardInterrupt()]


async def wait_for_the_end(caller: SimulatedCall) -> None:
    """Run a caller who stays connected until the bot ends the call."""
    await caller.opened()
    await caller.ended(10)


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the log lines of level INFO and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="INFO")
    yield lines
    logger.remove(sink)


async def failing_beside_healthy_call(server: ServedEndpoint) -> CallReport:
    """During a healthy call, make a call for which the bot fails; return its report."""
    failed: list[CallReport] = []

    async def healthy(caller: SimulatedCall) -> None:
        await caller.opened()
        parameters = new_call(input_variables={"fail": "yes"})
        failed.append(
            await SimulatedCall(server.url, parameters, options=SIGNED).run(wait_for_the_end)
        )
        await next_pong(caller)
        await hang_up(caller)

    report = await SimulatedCall(server.url, options=SIGNED).run(healthy)
    await server.idle()
    assert report.script_error is None
    assert report.clean, report.violations
    return failed[0]


@pytest.mark.parametrize("error", EXITS, ids=["SystemExit", "KeyboardInterrupt"])
async def test_bot_that_ends_the_process_ends_its_own_call_only(
    error: BaseException, log: list[str]
) -> None:
    async def bot(call: AudioHookCall) -> None:
        if call.input_variables:
            raise error
        await echo(call)

    async with served(bot) as server:
        report = await failing_beside_healthy_call(server)
        metrics = await server.metrics()
    assert report.ending.disconnect_reason == "error"
    assert metrics["audiohook_bot_failures_total"] == 1
    assert len([line for line in log if "return from the bot" in line]) == 1


@pytest.mark.parametrize("error", EXITS, ids=["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("event", ["on_opening", "on_open", "on_client_connected"])
async def test_event_handler_that_ends_the_process_ends_its_own_call_only(
    event: str, error: BaseException, log: list[str]
) -> None:
    async def bot(call: AudioHookCall) -> None:
        transport = call.transport
        source = transport if event.startswith("on_client") else transport.call

        async def handler(*_: Any) -> None:
            if call.input_variables:
                raise error

        source.add_event_handler(event, handler)
        await echo(call)

    async with served(bot) as server:
        report = await failing_beside_healthy_call(server)
    assert report.ending.disconnect_reason == "error"
    assert len([line for line in log if f"the handler of '{event}' raised" in line]) == 1


@pytest.mark.skipif(not task_manager.IS_SUPPORTED, reason="pipecat creates the tasks itself")
@pytest.mark.parametrize("error", EXITS, ids=["SystemExit", "KeyboardInterrupt"])
async def test_frame_processor_that_ends_the_process_ends_its_own_call_only(
    error: BaseException, log: list[str]
) -> None:
    class Failing(FrameProcessor):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, InputAudioRawFrame):
                raise error
            await self.push_frame(frame, direction)

    async def bot(call: AudioHookCall) -> None:
        if not call.input_variables:
            await echo(call)
            return
        transport = call.transport
        await call.run(
            Pipeline([transport.input(), Failing(), transport.output()]), cancel_timeout_secs=0.5
        )

    async with served(bot, after_call_seconds=5) as server:
        report = await failing_beside_healthy_call(server)
        metrics = await server.metrics()
    assert report.ending.disconnect_reason == "error"
    assert metrics["audiohook_bot_failures_total"] == 1
    assert len([line for line in log if "return from the bot" in line]) == 1


@pytest.mark.parametrize("error", EXITS, ids=["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("moment", ["in the call", "in a task of a task", "after the call"])
async def test_task_of_a_bot_that_ends_the_process_ends_its_own_call_only(
    moment: str, error: BaseException, log: list[str]
) -> None:
    """If a task of a bot raises SystemExit or KeyboardInterrupt, only the bot's call ends."""
    tasks: list[asyncio.Task[None]] = []

    async def fail() -> None:
        raise error

    async def fail_in_a_task() -> None:
        tasks.append(asyncio.create_task(fail()))
        await tasks[-1]

    async def bot(call: AudioHookCall) -> None:
        if not call.input_variables:
            await echo(call)
        elif moment == "after the call":
            await call.transport.call.disconnect()
            await echo(call)
            tasks.append(asyncio.create_task(fail()))
            await asyncio.Event().wait()
        else:
            made = fail() if moment == "in the call" else fail_in_a_task()
            tasks.append(asyncio.create_task(made))
            await echo(call)

    async with served(bot, after_call_seconds=30) as server:
        report = await failing_beside_healthy_call(server)
        metrics = await server.metrics()
    assert report.ending.disconnect_reason == (
        "completed" if moment == "after the call" else "error"
    )
    assert metrics["audiohook_bot_failures_total"] == 1
    assert len([line for line in log if "a task of the bot raised" in line]) == 1
    assert all(task.cancelled() for task in tasks)


async def test_task_of_a_bot_that_is_cancelled_before_it_starts_leaves_no_warning() -> None:
    results: list[object] = []

    async def work() -> str:
        return "done"

    async def bot(call: AudioHookCall) -> None:
        asyncio.create_task(work()).cancel()
        results.append(await asyncio.create_task(work(), name="work"))
        results.append(await asyncio.wait_for(work(), 1))
        await echo(call)

    async with served(bot) as server:
        report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
    assert report.clean, report.violations
    assert results == ["done", "done"]


async def ignore_cancellation() -> None:
    """Wait for one second, also if the task is cancelled."""
    ends_at = asyncio.get_running_loop().time() + 1
    while (left := ends_at - asyncio.get_running_loop().time()) > 0:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(left)


async def test_place_of_a_bot_that_ignores_cancellation_is_freed(
    monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    monkeypatch.setattr("pipecat_genesys.endpoint.call_handler._CANCEL_SECONDS", 0.1)
    left: list[bool] = []

    async def bot(call: AudioHookCall) -> None:
        await echo(call)
        await ignore_cancellation()
        left.append(True)

    async with served(bot, after_call_seconds=0.1, max_calls=1) as server:
        await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        await asyncio.wait_for(server.endpoint.admission.empty(), 5)
        assert not left
        # The drain waits only for running calls; it does not wait for tasks of ended calls.
        await asyncio.wait_for(server.endpoint.drain(60), 5)
        metrics = await server.metrics()
    assert metrics["audiohook_stuck_bots_total"] == 1
    assert any("the bot ignored its cancellation" in line for line in log)


async def test_place_of_a_call_whose_hook_ignores_cancellation_is_freed(
    monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    monkeypatch.setattr("pipecat_genesys.transport.connection._CANCEL_SECONDS", 0.1)
    monkeypatch.setattr("pipecat_genesys.transport.connection._END_SECONDS", 0.2)

    async def bot(call: AudioHookCall) -> None:
        async def on_closing(*_: Any) -> None:
            await ignore_cancellation()

        call.transport.call.add_event_handler("on_closing", on_closing)
        await echo(call)

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.hang_up()
        await caller.ended(5)

    async with served(bot) as server:
        await SimulatedCall(server.url, options=SIGNED).run(script)
        await asyncio.wait_for(server.endpoint.admission.empty(), 5)
        metrics = await server.metrics()
    assert metrics["audiohook_stuck_bots_total"] == 1
    assert any("ignored its cancellation" in line for line in log)


def test_task_that_ignores_its_cancellation_does_not_keep_the_process_running() -> None:
    """At its end, `asyncio.run` must not wait for a task that ignored `cancel_tasks`."""
    code = (
        "import asyncio\n"
        "from pipecat_genesys.call.containment import cancel_tasks\n"
        "async def stubborn():\n"
        "    while True:\n"
        "        try: await asyncio.sleep(3600)\n"
        "        except asyncio.CancelledError: pass\n"
        "async def main():\n"
        "    task = asyncio.create_task(stubborn())\n"
        "    await asyncio.sleep(0)\n"
        "    assert await cancel_tasks([task], 0.1) == [task]\n"
        "async def interrupted():\n"
        "    task = asyncio.create_task(stubborn())\n"
        "    await asyncio.sleep(0)\n"
        "    asyncio.create_task(cancel_tasks([task], 0.1))\n"
        "    await asyncio.sleep(0)\n"
        "asyncio.run(main())\n"
        "asyncio.run(interrupted())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_cancel_tasks_waits_for_tasks_that_clean_up() -> None:
    cleaned_up = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned_up.append(True)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    assert await cancel_tasks([task], 5) == []
    assert cleaned_up


@pytest.mark.parametrize("verb", ["send_event", "send_transcript", "pause", "resume", "disconnect"])
@pytest.mark.parametrize("hook", ["on_opening", "on_closing"])
async def test_hook_that_sends_in_a_loop_does_not_stop_the_event_loop(hook: str, verb: str) -> None:
    async def bot(call: AudioHookCall) -> None:
        session = call.transport.call

        async def repeat(*_: Any) -> None:
            arguments: dict[str, tuple[Any, ...]] = {"send_event": ("mood", 1)}
            options = {"send_transcript": {"text": "a", "offset": 0, "duration": 1}}
            while True:
                await getattr(session, verb)(*arguments.get(verb, ()), **options.get(verb, {}))

        session.add_event_handler(hook, repeat)
        await echo(call)

    async def script(caller: SimulatedCall) -> None:
        with contextlib.suppress(Exception):
            await caller.opened()
            await caller.hang_up()
        await caller.ended(10)

    params = AudioHookParams(call=CallParams(hook_timeout_secs=0.1))
    async with served(bot, params=params) as server:
        await SimulatedCall(server.url, options=SIGNED).run(script)
        await server.idle()


async def test_interrupted_cancel_tasks_still_waits_for_tasks_that_clean_up() -> None:
    cleaned_up = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            cleaned_up.append(True)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    cancelling = asyncio.create_task(cancel_tasks([task], 5))
    await asyncio.sleep(0)
    cancelling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelling
    assert cleaned_up
