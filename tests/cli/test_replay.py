"""Tests of `pipecat-genesys replay` with a capture from `call`: output and exit status."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from click.testing import Result
from pipecat_genesys.cli.app import app
from scripted import ScriptedCall, scripted
from typer.testing import CliRunner


async def run_command(*arguments: str) -> Result:
    """Run the command line in a thread, because the command starts its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def greet(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.event("hello")


async def test_replay_sends_the_recorded_messages_and_exits_with_0(tmp_path: Path) -> None:
    capture = tmp_path / "c.jsonl"
    async with scripted(open=greet) as server:
        await run_command("call", server.url, "wait:0.1", f"--capture={capture}")
        done = await run_command("replay", str(capture), server.url)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "the server acted as recorded"
    assert "->  open" in done.output
    first, second = server.peers
    assert [m["id"] for m in second.received] == [m["id"] for m in first.received]


async def test_replay_prints_the_differences_and_exits_with_1(tmp_path: Path) -> None:
    capture = tmp_path / "c.jsonl"
    async with scripted(open=greet) as server:
        await run_command("call", server.url, "wait:0.1", f"--capture={capture}")
    async with scripted() as server:
        done = await run_command("replay", "-q", str(capture), server.url)
    assert done.exit_code == 1
    assert '-event {"entities": [{"data": {}, "type": "hello"}]}' in done.output
    assert done.output.splitlines()[-1] == "the server acted differently"


async def test_replay_without_a_server_exits_with_3(tmp_path: Path) -> None:
    capture = tmp_path / "c.jsonl"
    async with scripted() as server:
        await run_command("call", server.url, "wait:0.1", f"--capture={capture}")
    done = await run_command("replay", str(capture), "ws://127.0.0.1:9")
    assert done.exit_code == 3
    assert "no connection" in done.output


async def test_replay_of_a_file_that_is_not_a_capture_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "c.jsonl"
    file.write_text("x")
    done = await run_command("replay", str(file), "ws://127.0.0.1:9")
    assert done.exit_code == 2
    assert "line 1: not a capture" in done.output.replace("\n", "")
