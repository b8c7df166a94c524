"""The end of a server is not the end of its calls."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.simulator import ConnectFailedError, PongReceived, SimulatedCall

from .served import SIGNED, fetch, samples, served

APPLICATION = Path(__file__).parent / "drained_app.py"


async def test_calls_end_by_themselves_and_no_more_are_taken() -> None:
    async with served() as server:

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            draining = asyncio.create_task(server.endpoint.drain(30))
            await asyncio.sleep(0.2)
            assert await server.get("/readyz") == (503, "draining")
            with pytest.raises(ConnectFailedError, match="HTTP 503"):
                async with SimulatedCall(server.url, options=SIGNED):
                    pass
            await caller.wait_for(PongReceived)
            assert not draining.done()
            await caller.hang_up()
            await caller.ended(5)
            await asyncio.wait_for(draining, 5)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        seen = await server.metrics()
    assert report.script_error is None
    assert report.clean, report.violations
    assert report.ending.disconnect_reason is None
    assert seen["audiohook_drains_total"] == 1
    assert seen["audiohook_drain_cut_calls_total"] == 0
    assert seen["audiohook_refusals_total{reason=draining}"] == 1


async def test_a_balancer_has_time_to_notice() -> None:
    async with served() as server:
        draining = asyncio.create_task(server.endpoint.drain(30, 1.0))
        await asyncio.sleep(0.2)
        assert await server.get("/readyz") == (503, "draining")

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            await caller.hang_up()
            await caller.ended(5)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        assert report.clean, report.violations
        await asyncio.wait_for(draining, 5)


async def test_who_does_not_end_in_time_hears_goodbye() -> None:
    async with served() as server:

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            await server.endpoint.drain(0.3)
            await caller.ended(5)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        seen = await server.metrics()
    assert report.script_error is None
    assert report.violations == ()
    # To Genesys's failure path, which may find the caller somebody to talk to.
    assert report.ending.disconnect_reason == "error"
    assert report.ending.disconnect_info == "the server is stopping"
    assert report.ending.closed_received
    assert seen["audiohook_drain_cut_calls_total"] == 1


@asynccontextmanager
async def serve(*options: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """`pipecat-genesys serve`, in a process of its own; ready when this gives it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "import sys; from pipecat_genesys.cli import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", command, "serve", f"{APPLICATION.stem}:app"),
        *("--port", str(port), *options),
        cwd=APPLICATION.parent,
    )
    url = f"ws://127.0.0.1:{port}/audiohook"
    try:
        async with asyncio.timeout(60):
            while True:
                assert process.returncode is None
                try:
                    await asyncio.to_thread(fetch, f"http://127.0.0.1:{port}/", "/readyz")
                    break
                except OSError:
                    await asyncio.sleep(0.1)
        yield process, url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def talk(caller: SimulatedCall, opened: asyncio.Barrier) -> None:
    await caller.opened()
    await opened.wait()
    first = await caller.wait_for(PongReceived)
    await caller.wait_for(PongReceived, since=first.at + 2)
    await caller.hang_up()
    await caller.ended(5)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(("workers", "loop"), [(1, "asyncio"), (2, "asyncio"), (2, "uvloop")])
async def test_sigterm_cuts_no_call(workers: int, loop: str) -> None:
    options = ("--workers", str(workers), "--loop", loop, "--drain-seconds", "30")
    async with serve(*options) as (process, url):
        opened = asyncio.Barrier(5)
        calls = [SimulatedCall(url, options=SIGNED) for _ in range(4)]
        talking = [asyncio.create_task(call.run(partial(talk, opened=opened))) for call in calls]
        async with asyncio.timeout(20):
            await opened.wait()
        status, text = await asyncio.to_thread(fetch, url.replace("ws", "http", 1), "/metrics")
        assert status == 200
        seen = samples(text)
        # Whichever process is asked.
        assert sum(v for k, v in seen.items() if k.startswith("audiohook_active_calls")) == 4
        process.send_signal(signal.SIGTERM)
        reports: list[Any] = await asyncio.gather(*talking)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    for report in reports:
        assert report.script_error is None
        assert report.clean, report.violations
        # The caller said goodbye, nobody else.
        assert report.ending.disconnect_reason is None


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
async def test_a_second_sigterm_does_not_wait() -> None:
    async with serve("--drain-seconds", "60") as (process, url):

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.5)
            assert process.returncode is None
            os.kill(process.pid, signal.SIGTERM)
            async with asyncio.timeout(20):
                await process.wait()

        report = await SimulatedCall(url, options=SIGNED).run(script)
    assert not report.ending.closed_received
