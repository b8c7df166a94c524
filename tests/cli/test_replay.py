"""`pipecat-genesys replay`: from a capture of `call` to a list of differences."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pipecat_genesys.cli.app import app
from scripted import Peer, scripted
from typer.testing import CliRunner


async def pipecat_genesys(*arguments: str) -> Any:
    """Run the command line beside this loop, which has the server."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def greet(peer: Peer, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.event("hello")


async def test_the_same_and_not_the_same(tmp_path: Path) -> None:
    capture = tmp_path / "c.jsonl"
    async with scripted(open=greet) as server:
        await pipecat_genesys("call", server.url, "wait:0.5", f"--capture={capture}")
        done = await pipecat_genesys("replay", str(capture), server.url)
        assert done.exit_code == 0, done.output
        assert done.output.splitlines()[-1] == "the server did the same"
        assert "->  open" in done.output
        assert [m["id"] for m in server.peers[1].received] == [
            m["id"] for m in server.peers[0].received
        ]
    async with scripted() as server:
        done = await pipecat_genesys("replay", "-q", str(capture), server.url)
    assert done.exit_code == 1
    assert '-event {"entities": [{"data": {}, "type": "hello"}]}' in done.output
    assert done.output.splitlines()[-1] == "the server did something else"


async def test_no_connection_and_no_capture(tmp_path: Path) -> None:
    capture = tmp_path / "c.jsonl"
    async with scripted() as server:
        await pipecat_genesys("call", server.url, "wait:0.1", f"--capture={capture}")
    done = await pipecat_genesys("replay", str(capture), "ws://127.0.0.1:9")
    assert done.exit_code == 3
    assert "no connection" in done.output
    capture.write_text("x")
    done = await pipecat_genesys("replay", str(capture), "ws://127.0.0.1:9")
    assert done.exit_code == 2
    assert "line 1: not a capture" in done.output.replace("\n", "")
