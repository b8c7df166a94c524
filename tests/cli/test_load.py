"""Tests of `pipecat-genesys load`: its output, its JSON, its exit status."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from pathlib import Path

import pytest
from click.testing import Result
from echo_peer import echo_peer, silent
from pipecat_genesys.cli.app import app
from pipecat_genesys.load import Criteria
from typer.testing import CliRunner

QUICK = ("--calls=2", "--ramp=0.2", "--duration=4.5")
# In calls of this length, no echo can be measured.
SHORTEST = ("--calls=2", "--ramp=0.2", "--duration=1.5")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat every result as valid, because a busy machine would make it invalid."""
    monkeypatch.setattr(Criteria, "is_valid", lambda self, result: True)


async def run_command(*arguments: str) -> Result:
    """Run the command line in a thread, because the command starts its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["load", *arguments])


async def test_a_server_that_keeps_the_limits_passes(tmp_path: Path) -> None:
    file = tmp_path / "load.json"
    async with echo_peer() as peer:
        done = await run_command(peer.url, *QUICK, "--expect=echo", f"--json={file}")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "passed"
    assert re.search(r"calls completed +2 of 2", done.output)
    assert "echo after, ms" in done.output
    written = json.loads(file.read_text())
    assert (written["passed"], written["valid"], written["failures"]) == (True, True, [])
    assert written["plan"] == {"calls": 2, "ramp": 0.2, "duration": 4.5, "ramp_down": None}
    assert written["result"]["delay_ms"]["p99"] >= 200


async def test_json_to_standard_output_is_not_mixed_with_text() -> None:
    async with echo_peer() as peer:
        done = await run_command(peer.url, *SHORTEST, "--expect=echo", "--json=-")
    assert json.loads(done.stdout)["passed"]
    assert "passed" in done.stderr


async def test_a_server_that_exceeds_a_limit_fails() -> None:
    async with echo_peer(silent) as peer:
        done = await run_command(peer.url, *QUICK, "--expect=echo")
    assert done.exit_code == 1, done.output
    assert "replies missing" in done.output
    assert "passed" not in done.output


async def test_a_delay_above_the_limit_fails() -> None:
    async with echo_peer() as peer:
        done = await run_command(peer.url, *QUICK, "--expect=echo", "--max-delay=0.1")
    assert done.exit_code == 1, done.output
    assert "above 100 ms" in done.output


async def test_the_callers_of_a_script_play_it(tmp_path: Path) -> None:
    script = tmp_path / "call.toml"
    script.write_text('steps = ["say:tone:440:0.3", "wait:bot"]\n')
    async with echo_peer() as peer:
        done = await run_command(
            peer.url, "--calls=2", "--ramp=0", "--duration=2", f"--script={script}"
        )
    assert done.exit_code == 0, done.output
    assert peer.connections >= 2


async def test_calls_that_are_too_short_for_an_answer_are_pointed_out() -> None:
    async with echo_peer() as peer:
        done = await run_command(peer.url, "--calls=1", "--duration=1")
    assert done.exit_code == 0, done.output
    assert "no answer could be measured in this short time: use a longer --duration" in done.output


async def test_a_result_of_callers_that_are_too_slow_is_not_valid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Criteria, "is_valid", lambda self, result: False)
    async with echo_peer() as peer:
        done = await run_command(peer.url, *SHORTEST, "--expect=echo")
    assert done.exit_code == 4, done.output
    assert "not valid: the timers of this process" in done.output


async def test_a_server_that_is_down_is_reported_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    done = await run_command(f"ws://127.0.0.1:{port}/x", *QUICK)
    assert done.exit_code == 3, done.output
    (line,) = done.output.splitlines()
    assert line.startswith(f"no connection to ws://127.0.0.1:{port}/x")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--calls=0"], "--calls"),
        (["--calls=many"], "--calls"),
        (["--ramp=-1"], "--ramp"),
        (["--duration=nan"], "--duration"),
        (["--expect=silence"], "--expect"),
        (["--press=12"], "give one of the keys"),
        (["--period=1.5"], "make the period longer"),
        (["--say=nothing.wav"], "nothing.wav"),
        (["--say=pyproject.toml"], "WAV"),
        (["--script=pyproject.toml"], "unknown key"),
        (["--json=/nowhere/x.json"], "cannot write"),
        (["--ca-file=pyproject.toml"], "wss://"),
    ],
)
async def test_a_wrong_option_is_explained_before_a_call(
    options: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    done = await run_command("ws://127.0.0.1:9/x", *options)
    assert done.exit_code == 2, done.output
    assert reason in " ".join(done.output.replace("│", " ").split())
    assert "Traceback" not in done.output
