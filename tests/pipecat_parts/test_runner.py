"""Tests of a bot on Pipecat's development runner: calls on a Genesys route, and Pipecat's evals."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from pipecat_genesys.simulator import SimulatedCall

PROGRAM = Path(__file__).with_name("runner_bot.py")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def port() -> AsyncIterator[int]:
    """Return the port of a development runner that serves the bot."""
    pytest.importorskip(
        "pipecat.runner.run", reason="the runner is pipecat-ai[runner]", exc_type=ImportError
    )
    number = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), "--host", "127.0.0.1", "--port", str(number)),
        *("-t", "twilio"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=PROGRAM.parent,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(60):
        while "Uvicorn running" not in (line := (await process.stdout.readline()).decode()):
            lines.append(line)
            assert line, "".join(lines)
    reader = asyncio.create_task(process.stdout.read())
    yield number
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(20):
        await process.wait()
        await reader


@pytest.mark.asyncio(loop_scope="module")
async def test_the_runner_takes_calls_on_a_route_of_the_bot(port: int) -> None:
    caller = SimulatedCall(f"ws://127.0.0.1:{port}/audiohook")

    async def script(caller: SimulatedCall) -> None:
        await caller.opened(10)
        await caller.wait_for_bot_audio()
        await caller.wait_for_silence(0.3)

    report = await caller.run(script)
    assert report.script_error is None
    assert report.heard == pytest.approx(0.5, abs=0.05)
    assert report.violations == ()


@pytest.mark.asyncio(loop_scope="module")
# Pipecat imports a deprecated name from websockets.
@pytest.mark.filterwarnings("ignore:websockets:DeprecationWarning")
async def test_evals_in_text_mode_talk_to_the_same_bot(port: int, tmp_path: Path) -> None:
    pytest.importorskip("pipecat.evals.session", reason="pipecat before 1.9 has other evals")
    from pipecat.evals.scenario import EvalScenarioFile
    from pipecat.evals.session import EvalSession

    path = tmp_path / "greeting.yaml"
    path.write_text(
        "name: greeting\n"
        "scenarios:\n"
        "  - name: greeting\n"
        "    turns:\n"
        "      - user: hello\n"
        "        expect:\n"
        "          - event: llm_response\n"
        "            text_contains: Good morning\n"
        "            within_ms: 5000\n"
    )
    (scenario,) = EvalScenarioFile.load(path)
    session = EvalSession.from_scenario(scenario, f"ws://127.0.0.1:{port}/ws")
    result = await session.run()
    assert result.passed, result
