"""Tests that a failure in one call affects no other call, and leaves no task or socket behind.

The tests cover the rows of the table "When something goes wrong" in docs/endpoint.md, except for a
bot that raises (test_bots.py), SIGTERM (test_drain.py), and peers that are dead, do not read or
flood (tests/transport/test_connection.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from echo_server import Echo
from pipecat.frames.frames import Frame, InputDTMFFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.processors.frame_processor import FrameDirection
from pipecat_genesys.auth import SignatureVerifier
from pipecat_genesys.auth.redis_store import RedisReplayStore
from pipecat_genesys.endpoint import AudioHookCall
from pipecat_genesys.simulator import (
    FAULTS,
    CallEndedError,
    CallReport,
    ConnectFailedError,
    Fault,
    SimulatedCall,
    new_call,
    sample_speech,
)
from redis.asyncio import Redis
from redis_server import RedisServer

from .served import (
    API_KEY,
    SECRET,
    SIGNED,
    ServedEndpoint,
    hang_up,
    hang_up_at_once,
    next_pong,
    served,
)

SPEECH = sample_speech(1.5)


class Bots:
    """A bot that echoes; a digit makes it block the event loop.

    Attributes:
        echoes: The echo of each call, by session id.
        transports: Weak references to the transports that are still in memory.
    """

    def __init__(self) -> None:
        self.echoes: dict[str, Echo] = {}
        self.transports: weakref.WeakSet[Any] = weakref.WeakSet()

    async def __call__(self, call: AudioHookCall) -> None:
        echo = self.echoes[call.session_id] = BlockingEcho()
        self.transports.add(call.transport)
        await call.run(Pipeline([call.transport.input(), echo, call.transport.output()]))


# pipecat 1.0 keeps references to the last pipelines that ended, and thus to their transports, so
# transports are not counted with that version.
FREES_PIPELINES = find_spec("pipecat.pipeline.worker") is not None


class BlockingEcho(Echo):
    """Blocks the event loop when the caller presses a digit; the digit is the time in seconds."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InputDTMFFrame):
            time.sleep(int(frame.button.value))  # noqa: ASYNC251 - blocking is the purpose
        await super().process_frame(frame, direction)


def descriptors() -> int:
    """Return the number of open file descriptors of this process; 0 if the system has no list."""
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


async def becomes(true: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until a condition is true, for at most `seconds`; return whether it is true."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - a closing descriptor sets no event
                await asyncio.sleep(0.02)
    return bool(true())


@asynccontextmanager
async def nothing_left(server: ServedEndpoint, bots: Bots) -> AsyncIterator[None]:
    """When the context ends, check that no new task, file descriptor or transport remains."""
    # The first call creates objects that all later calls share. These objects remain.
    await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
    await server.idle()
    before, open_before = asyncio.all_tasks(), descriptors()
    yield
    await server.idle()
    assert await becomes(lambda: asyncio.all_tasks() <= before), asyncio.all_tasks() - before
    assert await becomes(lambda: descriptors() <= open_before), (descriptors(), open_before)
    bots.echoes.clear()
    gc.collect()
    if FREES_PIPELINES:
        assert list(bots.transports) == []


class HealthyCall:
    """A call that runs while a test makes another call fail.

    Attributes:
        call: The call.
        is_talking: Set when the caller has heard the bot.
        running: The task that runs the call.
    """

    def __init__(self, server: ServedEndpoint, bots: Bots) -> None:
        self._bots = bots
        self.call = SimulatedCall(server.url, options=SIGNED)
        self.is_talking = asyncio.Event()
        self._may_end = asyncio.Event()
        self.running = asyncio.create_task(self.call.run(self._script))

    async def _script(self, caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for_bot_audio()
        self.is_talking.set()
        await self._may_end.wait()
        await next_pong(caller)
        await hang_up(caller)

    async def end_and_check(self) -> None:
        """End the call; check that the server broke no rule and that the bot received all audio."""
        self._may_end.set()
        report = await self.running
        assert report.clean, (report.violations, report.script_error)
        heard = self._bots.echoes[self.call.parameters.session_id].heard / 16000
        assert heard == pytest.approx(report.audio_to_server.size / 8000, abs=1e-3)


@asynccontextmanager
async def beside_healthy_calls(
    server: ServedEndpoint, bots: Bots
) -> AsyncIterator[list[HealthyCall]]:
    """Run two healthy calls during the context, and check them at its end."""
    healthy = [HealthyCall(server, bots) for _ in range(2)]
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*(one.is_talking.wait() for one in healthy))
        yield healthy
        await asyncio.gather(*(one.end_and_check() for one in healthy))
    finally:
        for one in healthy:
            one.running.cancel()


async def call_with_fault(server: ServedEndpoint, fault: Fault) -> CallReport:
    """Run a call whose client has a fault; the fault occurs while the caller speaks."""

    async def script(caller: SimulatedCall) -> None:
        with contextlib.suppress(CallEndedError):
            if not caller.parameters.is_probe:
                await caller.opened()
                # One fault sends a message with 8 s of audio, which delays the speech by 8 s.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(caller.say(SPEECH), 3)
            await caller.hang_up()
            await caller.ended(12)

    parameters = fault.parameters(new_call())
    options = fault.options(SIGNED)
    return await SimulatedCall(server.url, parameters, options=options, fault=fault).run(script)


@pytest.mark.timeout(120)
async def test_every_fault_of_a_client_is_handled() -> None:
    bots = Bots()
    async with served(bots, max_calls=100) as server, nothing_left(server, bots):
        async with beside_healthy_calls(server, bots):
            reports = await asyncio.gather(
                *(call_with_fault(server, fault) for fault in FAULTS.values())
            )
        metrics = await server.metrics()
    for fault, report in zip(FAULTS.values(), reports, strict=True):
        assert fault.is_handled(report), (fault.name, report.violations, report.ending)
    # There are 3 connections of calls without a fault, one connection for each fault, and one more
    # for the client that loses its connection and connects twice.
    assert metrics["audiohook_connections_total"] == 3 + len(FAULTS) + 1
    assert metrics["audiohook_opens_total{kind=probe}"] == 1
    assert metrics["audiohook_ends_total{reason=lost}"] >= 1
    assert metrics["audiohook_bot_failures_total"] == 0


async def test_bot_that_blocks_the_event_loop_for_1_s_ends_no_call_and_loses_no_audio() -> None:
    bots = Bots()
    async with served(bots) as server, nothing_left(server, bots):
        async with beside_healthy_calls(server, bots):

            async def script(caller: SimulatedCall) -> None:
                await caller.opened()
                await caller.press("1")
                await next_pong(caller)
                await hang_up(caller)

            report = await SimulatedCall(server.url, options=SIGNED).run(script)
        metrics = await server.metrics()
    assert report.clean, (report.violations, report.script_error)
    # The metric tells an operator that the event loop was blocked.
    lag = "audiohook_event_loop_lag_seconds"
    assert metrics[f"{lag}_bucket{{le=0.5}}"] < metrics[f"{lag}_count"]


@pytest.mark.parametrize("how", ["gone", "frozen"])
async def test_calls_go_on_and_new_ones_are_refused_while_redis_is(how: str) -> None:
    bots = Bots()
    async with contextlib.AsyncExitStack() as during:
        redis = during.enter_context(RedisServer())
        client = Redis(unix_socket_path=redis.socket, socket_timeout=0.3)
        during.push_async_callback(client.aclose)
        verifier = SignatureVerifier(
            {API_KEY: SECRET}, replay_store=RedisReplayStore(client), refusal_seconds=0.5
        )
        async with served(bots, verifier=verifier) as server:
            async with nothing_left(server, bots):
                async with beside_healthy_calls(server, bots):
                    if how == "gone":
                        redis.stop()
                    else:
                        redis.suspend()
                    with pytest.raises(ConnectFailedError, match="HTTP status 401"):
                        async with SimulatedCall(server.url, options=SIGNED):
                            pass
                    if how == "gone":
                        redis.start()
                    else:
                        redis.resume()
                    report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
                # The connection pool keeps its sockets open, and `nothing_left` would count them.
                await client.connection_pool.disconnect()
            metrics = await server.metrics()
            assert (await server.get("/readyz"))[0] == 200
    assert report.clean, (report.violations, report.script_error)
    assert metrics["audiohook_refusals_total{reason=replay-store}"] == 1


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_step_of_the_wall_clock_refuses_signatures_and_ends_no_call(
    monkeypatch: pytest.MonkeyPatch, step: float
) -> None:
    bots = Bots()
    verifier = SignatureVerifier({API_KEY: SECRET}, clock=lambda: time.time())
    true_time = time.time
    async with served(bots, verifier=verifier) as server, nothing_left(server, bots):
        async with beside_healthy_calls(server, bots) as healthy:
            with monkeypatch.context() as stepped:
                # Only the verifier uses the changed clock; the simulator signs with the real date.
                stepped.setattr(time, "time", lambda: true_time() + step)
                with pytest.raises(ConnectFailedError, match="HTTP status 401"):
                    async with SimulatedCall(server.url, options=SIGNED):
                        pass
                await asyncio.gather(*(next_pong(one.call) for one in healthy))
            report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        metrics = await server.metrics()
    assert report.clean, (report.violations, report.script_error)
    assert metrics["audiohook_refusals_total{reason=time}"] == 1
