"""Whatever becomes of one call, the others do not notice, and nothing of it is left behind.

The table "When something goes wrong" in docs/endpoint.md, on calls that run: what is not here is in
test_bots.py (a bot that raises), test_drain.py (SIGTERM) and tests/transport/test_line.py (peers
that are dead, do not read or flood).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
    ConnectFailedError,
    Fault,
    PongReceived,
    SimulatedCall,
    new_call,
    speech_like,
)
from redis.asyncio import Redis
from redis_server import RedisServer

from .served import API_KEY, SECRET, SIGNED, Served, served

SPEECH = speech_like(1.5)


class Bots:
    """Echoes, of which one may block the event loop; remembers what was heard, by session."""

    def __init__(self) -> None:
        self.echoes: dict[str, Echo] = {}
        self.transports: weakref.WeakSet[Any] = weakref.WeakSet()

    async def __call__(self, call: AudioHookCall) -> None:
        echo = self.echoes[call.session_id] = Blockable()
        self.transports.add(call.transport)
        await call.run(Pipeline([call.transport.input(), echo, call.transport.output()]))


class Blockable(Echo):
    """Does in the event loop what should not be done there, for as long as the key says."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, InputDTMFFrame):
            time.sleep(int(frame.button.value))  # noqa: ASYNC251 - that is what it is about
        await super().process_frame(frame, direction)


def descriptors() -> int:
    return len(os.listdir("/dev/fd")) if os.path.isdir("/dev/fd") else 0


async def becomes(true: Any, seconds: float = 10.0) -> bool:
    """Whether it does, in time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not true():  # noqa: ASYNC110 - descriptors tell nobody when they close
                await asyncio.sleep(0.02)
    return bool(true())


@asynccontextmanager
async def nothing_left(server: Served, bots: Bots) -> AsyncIterator[None]:
    """See that what is done leaves no task, no descriptor and no call in memory."""
    # Whatever the first call creates for all that follow.
    await SimulatedCall(server.url, options=SIGNED).run(brief)
    await server.idle()
    before, open_before = asyncio.all_tasks(), descriptors()
    yield
    await server.idle()
    assert await becomes(lambda: asyncio.all_tasks() <= before), asyncio.all_tasks() - before
    assert await becomes(lambda: descriptors() <= open_before), (descriptors(), open_before)
    bots.echoes.clear()
    gc.collect()
    assert list(bots.transports) == []


async def brief(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.hang_up()
    await caller.ended(5)


class Healthy:
    """A call that goes on beside what a test does, and how it went."""

    def __init__(self, server: Served, bots: Bots) -> None:
        self._bots = bots
        self.call = SimulatedCall(server.url, options=SIGNED)
        self.enough = asyncio.Event()
        self.opened = asyncio.Event()
        self.running = asyncio.create_task(self.call.run(self._script))

    async def _script(self, caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.wait_for_bot_audio()
        self.opened.set()
        await self.enough.wait()
        # To the very end there is an answer.
        await self.hears_of_the_server()
        await caller.hang_up()
        await caller.ended(5)

    async def hears_of_the_server(self) -> None:
        """Wait for an answer to a ping that is yet to come."""
        await self.call.wait_for(PongReceived, since=self.call.elapsed)

    async def went_well(self) -> None:
        """Nobody noticed anything: neither Genesys nor the bot."""
        self.enough.set()
        report = await self.running
        assert report.clean, report
        heard = self._bots.echoes[self.call.parameters.session_id].heard / 16000
        assert heard == pytest.approx(report.audio_to_server.size / 8000, abs=1e-3)


@asynccontextmanager
async def beside_healthy_calls(server: Served, bots: Bots) -> AsyncIterator[list[Healthy]]:
    """Two calls, which must not notice what is done."""
    healthy = [Healthy(server, bots) for _ in range(2)]
    try:
        async with asyncio.timeout(20):
            await asyncio.gather(*(one.opened.wait() for one in healthy))
        yield healthy
        await asyncio.gather(*(one.went_well() for one in healthy))
    finally:
        for one in healthy:
            one.running.cancel()


async def ill(server: Served, fault: Fault) -> Any:
    """A call with a fault."""

    async def script(caller: SimulatedCall) -> None:
        # Nothing but the fault is to be seen; it comes while the caller speaks.
        with contextlib.suppress(CallEndedError):
            if not caller.parameters.is_probe:
                await caller.opened()
                await caller.say(SPEECH)
            await caller.hang_up()
            await caller.ended(12)

    parameters = fault.parameters(new_call())
    options = fault.options(SIGNED)
    return await SimulatedCall(server.url, parameters, options=options, fault=fault).run(script)


@pytest.mark.timeout(120)
async def test_whatever_a_client_does_wrong() -> None:
    bots = Bots()
    async with served(bots, max_calls=100) as server, nothing_left(server, bots):
        async with beside_healthy_calls(server, bots):
            reports = await asyncio.gather(*(ill(server, fault) for fault in FAULTS.values()))
        seen = await server.metrics()
    for fault, report in zip(FAULTS.values(), reports, strict=True):
        assert fault.is_handled(report), (fault.name, report)
    # Each was taken in, the connection that was lost and made again twice.
    assert seen["audiohook_connections_total"] == 3 + len(FAULTS) + 1
    assert seen["audiohook_opens_total{kind=probe}"] == 1
    assert seen["audiohook_ends_total{reason=lost}"] >= 1
    assert seen["audiohook_bot_failures_total"] == 0


async def test_a_bot_that_blocks_the_event_loop_for_a_second() -> None:
    """Everybody waits; nobody is cut off, and nothing that was said is lost."""
    bots = Bots()
    async with served(bots) as server, nothing_left(server, bots):
        async with beside_healthy_calls(server, bots):

            async def script(caller: SimulatedCall) -> None:
                await caller.opened()
                await caller.press("1")
                await caller.wait_for(PongReceived, since=caller.elapsed)
                await caller.hang_up()
                await caller.ended(5)

            report = await SimulatedCall(server.url, options=SIGNED).run(script)
        seen = await server.metrics()
    assert report.clean, report
    # Who is paged sees that it was the event loop.
    lag = "audiohook_event_loop_lag_seconds"
    assert seen[f"{lag}_bucket{{le=0.5}}"] < seen[f"{lag}_count"]


@pytest.mark.parametrize("how", ["gone", "frozen"])
async def test_redis_goes_away_during_calls(how: str) -> None:
    """Closed, not open: calls that run go on, new ones are refused until it is back."""
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
                        redis.freeze()
                    with pytest.raises(ConnectFailedError, match="HTTP 401"):
                        async with SimulatedCall(server.url, options=SIGNED):
                            pass
                    if how == "gone":
                        redis.start()
                    else:
                        redis.thaw()
                    report = await SimulatedCall(server.url, options=SIGNED).run(brief)
                # A pool keeps what it has.
                await client.connection_pool.disconnect()
            seen = await server.metrics()
            assert (await server.get("/readyz"))[0] == 200
    assert report.clean, report
    assert seen["audiohook_refusals_total{reason=replay-store}"] == 1


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
async def test_the_wall_clock_steps(monkeypatch: pytest.MonkeyPatch, step: float) -> None:
    """Signatures are of another time then; calls that run do not look at it."""
    bots = Bots()
    verifier = SignatureVerifier({API_KEY: SECRET}, clock=lambda: time.time())
    true_time = time.time
    async with served(bots, verifier=verifier) as server, nothing_left(server, bots):
        async with beside_healthy_calls(server, bots) as healthy:
            with monkeypatch.context() as stepped:
                # Of all but whoever signs, for whom the date is the system's.
                stepped.setattr(time, "time", lambda: true_time() + step)
                with pytest.raises(ConnectFailedError, match="HTTP 401"):
                    async with SimulatedCall(server.url, options=SIGNED):
                        pass
                await asyncio.gather(*(one.hears_of_the_server() for one in healthy))
            report = await SimulatedCall(server.url, options=SIGNED).run(brief)
        seen = await server.metrics()
    assert report.clean, report
    assert seen["audiohook_refusals_total{reason=time}"] == 1
