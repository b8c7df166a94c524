"""Tests of Pipecat's debuggers Tail and Whisker in a call; both are separate packages."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from pipecat_genesys.simulator import SimulatedCall
from vehicles import ServedPipeline, Vehicle, call, utterance
from websockets.asyncio.client import connect


@pytest.fixture
def alarms() -> Iterator[list[str]]:
    """Return the log lines of level WARNING and above."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    yield lines
    logger.remove(sink)


@pytest.fixture
def port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


async def test_tail_shows_a_call_and_logs_no_alarm(port: int, alarms: list[str]) -> None:
    tail = pytest.importorskip("pipecat_tail.observer", reason="Tail is pipecat-ai-tail")
    types: list[str] = []
    connected = asyncio.Event()

    def prepare(served: ServedPipeline) -> None:
        # If this debugger were in `observers`, Pipecat would log that an RTVI processor is missing.
        served.worker.add_observer(tail.TailObserver(port=port))

    served = ServedPipeline(Vehicle.TRANSPORT, prepare=prepare)

    async def watch() -> None:
        async with connect(f"ws://localhost:{port}") as page:
            async for text in page:
                types.append(json.loads(text)["type"])
                connected.set()

    async def script(caller: SimulatedCall) -> None:
        await asyncio.wait_for(served.running.wait(), 5)
        task = asyncio.create_task(watch())
        await asyncio.wait_for(connected.wait(), 5)
        await served.queue(*utterance(0.5))
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.4)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    await call(served, script)
    assert {"bot-started-speaking", "bot-stopped-speaking"} <= {*types}
    assert alarms == []


async def test_one_whisker_server_records_all_calls_of_a_process_and_delays_no_end(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pipecat_whisker", reason="Whisker is pipecat-ai-whisker")
    msgpack: Any = pytest.importorskip("msgpack")
    path, record = tmp_path / "whisker_setup.py", tmp_path / "calls.whisker"
    path.write_text(
        "import asyncio\n\n"
        "from pipecat.workers.runner import WorkerRunner\n"
        "from pipecat_whisker import WhiskerServer\n\n"
        f"server = WhiskerServer(port={port}, file_name={str(record)!r})\n"
        "tasks = []\n\n\n"
        "async def run_server():\n"
        "    runner = WorkerRunner(handle_sigint=False)\n"
        "    await runner.add_workers(server)\n"
        "    await runner.run()\n\n\n"
        "async def setup_worker_runner(runner):\n"
        "    pass\n\n\n"
        "async def setup_pipeline_worker(worker):\n"
        "    if not tasks:\n"
        "        tasks.append(asyncio.create_task(run_server()))\n"
        "    worker.add_observer(server.create_observer(worker))\n"
        "    worker.whisker_tasks = tasks\n"
    )
    monkeypatch.setenv("PIPECAT_SETUP_FILES", str(path))

    async def one_call() -> ServedPipeline:
        served = ServedPipeline(Vehicle.TRANSPORT)

        async def script(caller: SimulatedCall) -> None:
            await served.queue(*utterance(0.5))
            await caller.wait_for_bot_audio()
            await caller.wait_for_silence(0.4)

        await call(served, script)
        return served

    served, _ = await asyncio.gather(one_call(), one_call())
    # The test cancels the task, as asyncio does when a signal ends the process.
    (task,) = served.worker.whisker_tasks
    assert not task.done()
    task.cancel()
    async with asyncio.timeout(5):
        await asyncio.gather(task, return_exceptions=True)
    events = list(msgpack.Unpacker(io.BytesIO(record.read_bytes())))
    assert "BotStartedSpeakingFrame" in str(events)
