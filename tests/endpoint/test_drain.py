"""Tests that a server waits until its calls have ended before it stops."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from pipecat_genesys.simulator import ConnectFailedError, SimulatedCall

from .served import SIGNED, fetch, hang_up, hang_up_at_once, next_pong, samples, served

APPLICATION = Path(__file__).parent / "drained_app.py"


async def test_drain_lets_calls_end_and_refuses_new_ones() -> None:
    async with served() as server:

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            draining = asyncio.create_task(server.endpoint.drain(30))
            await asyncio.sleep(0.2)
            assert await server.get("/readyz") == (503, "draining")
            with pytest.raises(ConnectFailedError, match="HTTP status 503"):
                async with SimulatedCall(server.url, options=SIGNED):
                    pass
            await next_pong(caller)
            assert not draining.done()
            await hang_up(caller)
            await asyncio.wait_for(draining, 5)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        metrics = await server.metrics()
    assert report.script_error is None
    assert report.clean, report.violations
    assert report.ending.disconnect_reason is None
    assert metrics["audiohook_drains_total"] == 1
    assert metrics["audiohook_drain_cut_calls_total"] == 0
    assert metrics["audiohook_refusals_total{reason=draining}"] == 1


async def test_drain_accepts_calls_while_the_load_balancer_learns_of_it() -> None:
    """A drain makes `/readyz` fail immediately, but calls are still accepted for 1 s."""
    async with served() as server:
        draining = asyncio.create_task(server.endpoint.drain(30, 1.0))
        await asyncio.sleep(0.2)
        assert await server.get("/readyz") == (503, "draining")
        report = await SimulatedCall(server.url, options=SIGNED).run(hang_up_at_once)
        assert report.clean, report.violations
        await asyncio.wait_for(draining, 5)


async def test_drain_disconnects_calls_that_outlast_it() -> None:
    async with served() as server:

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            await server.endpoint.drain(0.3)
            await caller.ended(5)

        report = await SimulatedCall(server.url, options=SIGNED).run(script)
        metrics = await server.metrics()
    assert report.script_error is None
    assert report.violations == ()
    # Genesys uses the failure path of the flow, which can transfer the caller to an agent.
    assert report.ending.disconnect_reason == "error"
    assert report.ending.disconnect_info == "the server is stopping"
    assert report.ending.closed_received
    assert metrics["audiohook_drain_cut_calls_total"] == 1


@asynccontextmanager
async def serve(
    *options: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Run `pipecat-genesys serve` in a process. When it is ready, yield the process and its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "import sys; from pipecat_genesys.cli import main; sys.exit(main())"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", command, "serve", f"{APPLICATION.stem}:app"),
        *("--port", str(port), *options),
        cwd=APPLICATION.parent,
        env={**os.environ, **(env or {})},
        stderr=asyncio.subprocess.PIPE if env else None,
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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize(
    ("workers", "loop", "number"),
    [
        (1, "asyncio", signal.SIGTERM),
        (1, "uvloop", signal.SIGINT),
        pytest.param(2, "asyncio", signal.SIGTERM, marks=pytest.mark.slow),
        (2, "uvloop", signal.SIGTERM),
    ],
)
async def test_a_signal_lets_calls_end(workers: int, loop: str, number: signal.Signals) -> None:
    """After a signal, the server waits until the running calls have ended."""
    options = ("--workers", str(workers), "--loop", loop, "--drain-seconds", "30")
    options += ("--separate-replay-stores",)
    async with serve(*options) as (process, url):
        opened, stopping = asyncio.Barrier(5), asyncio.Event()

        async def script(caller: SimulatedCall) -> None:
            await caller.opened()
            await opened.wait()
            await stopping.wait()
            # Without a drain, uvicorn would close the sockets less than 0.1 s after the signal.
            await asyncio.sleep(1)
            await next_pong(caller)
            await hang_up(caller)

        calls = [SimulatedCall(url, options=SIGNED) for _ in range(4)]
        running = [asyncio.create_task(call.run(script)) for call in calls]
        async with asyncio.timeout(20):
            await opened.wait()
        status, text = await asyncio.to_thread(fetch, url.replace("ws", "http", 1), "/metrics")
        assert status == 200
        # Each worker process reports the calls of all worker processes.
        active = [v for k, v in samples(text).items() if k.startswith("audiohook_active_calls")]
        assert sum(active) == 4
        process.send_signal(number)
        stopping.set()
        reports = await asyncio.gather(*running)
        async with asyncio.timeout(15):
            assert await process.wait() == 0
    for report in reports:
        assert report.script_error is None
        assert report.clean, report.violations
        # The caller ended the call; the server did not disconnect.
        assert report.ending.disconnect_reason is None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
async def test_workers_that_start_slowly_are_not_killed(tmp_path: Path) -> None:
    """A worker process that needs 7 s to start is not killed."""
    slow = "import sys, time\nif any('spawn_main' in one for one in sys.orig_argv): time.sleep(7)\n"
    (tmp_path / "sitecustomize.py").write_text(slow)
    options = ("--workers", "2", "--separate-replay-stores")
    async with serve(*options, env={"PYTHONPATH": str(tmp_path)}) as (process, _):
        process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(process.communicate(), 30)
    assert b"Started server process" in log
    assert b"died" not in log


HANDLED_BY_THE_LOOP = """
import asyncio, os, signal
from pipecat_genesys.endpoint.drain import drained_on_signals

async def main():
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, lambda word: (print(word), stopped.set()), "stopped")

    async def drain():
        await asyncio.sleep(0.3)
        print("drained")

    with drained_on_signals(drain):
        os.kill(os.getpid(), signal.SIGTERM)
        await stopped.wait()
    stopped.clear()
    os.kill(os.getpid(), signal.SIGTERM)
    await stopped.wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
async def test_a_signal_handler_of_the_event_loop_is_called_after_the_drain() -> None:
    """A handler of SIGTERM that a server adds to the event loop is called after the drain."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANDLED_BY_THE_LOOP), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert output.decode().split() == ["drained", "stopped", "stopped"]
    assert process.returncode == 0


HANDLED_BY_A_BOT = """
import asyncio, os, signal, sys
from fastapi import FastAPI
from loopback import serving
from pipecat.pipeline.pipeline import Pipeline
from pipecat_genesys.endpoint import audiohook_router
from pipecat_genesys.simulator import SimulatedCall

async def bot(call):
    if sys.argv[1] == "loop":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print, "bot")
    else:
        signal.signal(signal.SIGTERM, lambda *_: print("bot"))
    await call.run(Pipeline([call.transport.input(), call.transport.output()]))

async def script(caller):
    await caller.opened()
    await asyncio.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.2)
    print("draining" if router.endpoint.admission.draining else "not draining")
    await caller.hang_up()
    await caller.ended(5)
    await asyncio.wait_for(stopped.wait(), 5)

async def main():
    global stopped
    stopped = asyncio.Event()
    signal.signal(signal.SIGTERM, lambda *_: (print("stopped"), stopped.set()))
    async with serving(app, lifespan="on") as url:
        report = await SimulatedCall(url).run(script)
        assert report.script_error is None, report.script_error

app = FastAPI()
app.include_router(router := audiohook_router(bot, unauthenticated=True))
asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
@pytest.mark.parametrize("how", ["loop", "process"])
async def test_a_signal_handler_of_a_bot_does_not_prevent_the_drain(how: str) -> None:
    """If a bot replaces the handler of SIGTERM, the server still drains and then stops."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HANDLED_BY_A_BOT, how),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert output.decode().split() == ["draining", "stopped"]
    assert process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
async def test_workers_end_when_their_parent_is_killed() -> None:
    async with serve("--workers", "2", "--separate-replay-stores") as (process, _):
        workers = [
            child
            for child in psutil.Process(process.pid).children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        assert len(workers) == 2
        process.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, timeout=15)
        assert not alive


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to catch")
async def test_second_sigterm_stops_the_server_at_once() -> None:
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
