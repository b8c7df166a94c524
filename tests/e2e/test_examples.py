"""Tests that run the commands in the examples and in the guide without changes."""

from __future__ import annotations

import array
import asyncio
import importlib.util
import os
import re
import shutil
import socket
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
from loopback import serving
from pipecat_genesys.audio import ulaw_decode
from pipecat_genesys.simulator import CallOptions, SimulatedCall, place_call, read_scenario

pytest.importorskip("pipecat.pipeline.worker", reason="the examples need pipecat 1.3 or newer")
ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMMAND = re.compile(r"pipecat-genesys call (?P<url>ws://\S+)(?P<steps>(?: +\\\n| +[^\s\\]+)+)")
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="


def steps_of(text: str) -> list[str]:
    """Return the arguments of the first `pipecat-genesys call` in a text, without the URL."""
    command = COMMAND.search(text)
    assert command is not None
    return command["steps"].replace("\\\n", " ").split()


def app_of(example: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("GENESYS_API_KEY", "a-key")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", SECRET)
    spec = importlib.util.spec_from_file_location(f"example_{example.stem}", example)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


@pytest.mark.parametrize(
    ("example", "page"),
    [
        ("bot.py", "examples/bot.py"),
        ("bot.py", "docs/simulator.md"),
        ("serializer_bot.py", "examples/serializer_bot.py"),
        ("endpoint_bot.py", "examples/endpoint_bot.py"),
        ("monitor.py", "examples/monitor.py"),
    ],
)
async def test_command_shown_for_an_example_makes_a_clean_call_in_which_it_answers(
    example: str, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    _, _, console = text.partition("```console")
    steps = steps_of(console or text)
    async with serving(app_of(EXAMPLES / example, monkeypatch), lifespan="on") as url:
        program = "from pipecat_genesys.cli import main; main()"
        files = [
            str(tmp_path / step) if step in ("call.jsonl", "call.wav") else step for step in steps
        ]
        call = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, "call", url, *files),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await call.communicate())[0].decode()
    assert call.returncode == 0, output
    answers = "event transcript" if example == "monitor.py" else " <-  audio "
    # The bots greet the caller, and answer speech and digits of the caller.
    assert output.count(answers) >= 2, output


async def test_script_of_the_examples_meets_its_expectations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = read_scenario(EXAMPLES / "conversation.toml")
    async with serving(app_of(EXAMPLES / "bot.py", monkeypatch), lifespan="on") as url:
        verdict = await place_call(url, scenario)
    # Times depend on the load of the machine and may exceed their limits, so the test only checks
    # that each time was measured.
    timed = [judgement for judgement in verdict.judgements if "within" in judgement.expectation]
    assert len(timed) == 3
    assert all(" ms" in judgement.detail for judgement in timed), str(verdict)
    assert all(judgement.is_met for judgement in verdict.judgements if judgement not in timed)
    assert verdict.report.clean, str(verdict)
    # The caller interrupts the prompt.
    assert verdict.report.dropped_by_barge_in > 0
    assert verdict.report.ending.output_variables["keys"] == '["1","9"]'


async def test_pytest_example_of_the_guide_runs(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")
    blocks = dict(
        re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    )
    assert list(blocks) == ["conftest.py", "test_bot.py"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    for name, text in blocks.items():
        (tmp_path / name).write_text(text.replace("8765", port).replace("800 ms", "8 s"))
    shutil.copytree(EXAMPLES / "audio", tmp_path / "audio")
    shutil.copy(EXAMPLES / "bot.py", tmp_path)
    # Use a short conversation here, because another test runs the conversation of the examples.
    (tmp_path / "calls").mkdir()
    (tmp_path / "calls" / "conversation.toml").write_text('steps = ["wait:bot", "hang-up"]')
    run = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null"),
        f"--rootdir={tmp_path}",
        cwd=tmp_path,
        env={**os.environ, "PORT": port},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await run.communicate())[0].decode()
    assert run.returncode == 0, output
    assert "2 passed" in output


def loud_seconds(pcm: bytes, rate: int) -> float:
    """Return for how many seconds 16-bit PCM has amplitudes above 500."""
    samples, size = array.array("h", pcm), rate // 50
    blocks = (samples[at : at + size] for at in range(0, len(samples), size))
    return sum(max(map(abs, block)) > 500 for block in blocks) / 50


async def greeting_heard(url: str, rtt: float, seconds: float) -> float:
    """Call a bot and return for how many seconds its greeting is heard.

    Args:
        url: URL of the bot.
        rtt: Round-trip time between Genesys and the bot, in seconds.
        seconds: Duration of the greeting.
    """
    heard = 0.0

    async def script(caller: SimulatedCall) -> None:
        nonlocal heard
        await caller.opened()
        await caller.wait_for_bot_audio()
        # `endpoint_bot.py` also echoes silence, so the test cannot wait for the end of bot audio.
        await asyncio.sleep(seconds + 1.0)
        track = caller.session.playback.render(asyncio.get_running_loop().time())
        heard = loud_seconds(ulaw_decode(track), 8000)
        await caller.hang_up()
        await caller.ended(10)

    options = CallOptions(rtt=rtt, api_key="a-key", client_secret=SECRET)
    report = await SimulatedCall(url, options=options).run(script)
    assert report.script_error is None, report.script_error
    return heard


@pytest.mark.parametrize("example", ["bot.py", "serializer_bot.py", "endpoint_bot.py"])
async def test_greeting_of_an_example_is_heard_whole_at_any_distance(
    example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three simultaneous callers with different round-trip times hear the complete greeting."""
    with wave.open(str(EXAMPLES / "audio" / "greeting.wav")) as wav:
        rate, length = wav.getframerate(), wav.getnframes()
        greeting = loud_seconds(wav.readframes(length), rate)
    async with serving(app_of(EXAMPLES / example, monkeypatch), lifespan="on") as url:
        heard = await asyncio.gather(
            *(greeting_heard(url, rtt, length / rate) for rtt in (0.0, 0.04, 0.4))
        )
    assert heard == pytest.approx([greeting] * 3, abs=0.2)


def test_every_example_is_called() -> None:
    names = {path.name for path in EXAMPLES.glob("*.py")} - {"demo.py"}
    assert names == {"bot.py", "serializer_bot.py", "endpoint_bot.py", "monitor.py"}
