"""Tests that run every command and every code block of the README."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from echo_server import Echo, PipelineParams, PipelineWorker, WorkerRunner
from fastapi import FastAPI, WebSocket
from loopback import serving
from pipecat.pipeline.pipeline import Pipeline
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat_genesys.simulator import SimulatedCall, read_wav

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
# A new block in the README needs a test below.
MAKE, DEMO_OUTPUT, INSTALL, DIFF, ENDPOINT, CALL = (text for _, text in BLOCKS)
RESULTS = ROOT / "benches" / "results"

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="the commands need a POSIX shell")


def commands(block: str) -> list[str]:
    return [line.split("  #")[0].strip() for line in block.splitlines()]


def environ(**extra: str) -> dict[str, str]:
    """Return the environment of a user who has installed the package for this Python."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, **extra}


def test_readme_has_at_most_120_lines_and_only_blocks_that_are_run() -> None:
    assert len(README.splitlines()) <= 120
    assert [kind for kind, _ in BLOCKS] == ["sh", "text", "sh", "diff", "python", "sh"]


@posix_only
def test_make_targets_of_the_readme_run_the_demo_and_the_tests() -> None:
    """The targets are only printed: another test runs the demo, and `make test` runs this test."""
    assert commands(MAKE) == ["make demo", "make test"]
    for command, part in (("make demo", "examples/demo.py"), ("make test", "pytest")):
        done = subprocess.run(
            [*command.split(), "--dry-run"], cwd=ROOT, check=True, capture_output=True, text=True
        )
        assert part in done.stdout


def test_rows_of_the_demo_in_the_readme_are_rows_of_the_demo() -> None:
    demo = (ROOT / "examples" / "demo.py").read_text(encoding="utf-8")
    head, _, *rows = DEMO_OUTPUT.splitlines()
    assert head.split() == ["must", "be", "AudioHookTransport", "serializer"]
    assert rows
    for row in rows:
        what, limit, *values = re.split(r" {2,}", row.strip())
        assert f'Row("{what}", "{limit}", ' in demo
        assert all(value.endswith(" ok") for value in values)


@pytest.mark.parametrize("side", ["-", "+"])
async def test_bot_carries_a_call_before_and_after_the_two_changed_lines(side: str) -> None:
    """The bot in the diff serves a call with the removed lines and with the added lines."""
    kept = [line[1:] for line in DIFF.splitlines() if line.startswith((" ", side))]
    assert sum(line.startswith("+") for line in DIFF.splitlines()) == 2
    code = compile("\n".join(kept), "README.md", "exec")
    echo = Echo()

    async def answer(websocket: WebSocket) -> None:
        await websocket.accept()
        names: dict[str, Any] = {
            "websocket": websocket,
            "FastAPIWebsocketParams": FastAPIWebsocketParams,
            "FastAPIWebsocketTransport": FastAPIWebsocketTransport,
        }
        exec(code, names)
        transport = names["transport"]
        worker = PipelineWorker(
            Pipeline([transport.input(), echo, transport.output()]),
            params=PipelineParams(audio_in_sample_rate=8000, audio_out_sample_rate=8000),
        )

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(transport: Any, client: Any) -> None:
            await worker.cancel()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()

    async def script(call: SimulatedCall) -> None:
        await call.opened()
        await call.wait_for_bot_audio()
        await call.hang_up()
        await call.ended(10)

    app = FastAPI()
    app.websocket("/audiohook")(answer)
    async with serving(app) as url:
        report = await SimulatedCall(url).run(script)
    assert report.script_error is None
    assert echo.heard > 0
    if side == "+":
        assert report.clean, report.violations


WAIT_UNTIL_READY = """
import sys, time, urllib.error, urllib.request
for _ in range(600):
    try:
        urllib.request.urlopen(sys.argv[1], timeout=5)
        break
    except urllib.error.URLError:
        time.sleep(0.1)
else:
    sys.exit("the server is not ready after 60 s")
"""


def run_endpoint_commands(folder: Path, *, last: int) -> str:
    """Save the endpoint's example and run the commands below it.

    Args:
        folder: Folder in which `my_bot.py` is saved and the commands run.
        last: Number of commands to run after the server has started.

    Returns:
        The output of the commands.
    """
    (folder / "my_bot.py").write_text(ENDPOINT, encoding="utf-8")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    export, serve, wait, *rest = commands(CALL.replace("8765", str(port)))
    assert wait == "sleep 10"
    script = [
        "set -eu",
        export,
        f"{serve.removesuffix(' &')} >serve.log 2>&1 &",
        "trap 'kill %1' EXIT",
        f"python -c '{WAIT_UNTIL_READY}' http://127.0.0.1:{port}/readyz",
        *rest[:last],
    ]
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env=environ(),
        check=False,
        capture_output=True,
        text=True,
        timeout=110,
    )
    log = (folder / "serve.log").read_text(encoding="utf-8")
    assert done.returncode == 0, done.stdout + done.stderr + log
    return done.stdout


@posix_only
def test_endpoint_of_the_readme_takes_the_call_of_the_readme(tmp_path: Path) -> None:
    """The server command of the README serves the call command of the README."""
    output = run_endpoint_commands(tmp_path, last=1)
    assert output.splitlines()[-1] == "clean"
    assert " <-  audio " in output
    assert read_wav(tmp_path / "call.wav"), "the recording of the call is empty"


@posix_only
@pytest.mark.slow
def test_endpoint_of_the_readme_passes_the_check_of_the_readme(tmp_path: Path) -> None:
    assert len(commands(CALL)) == 5
    output = run_endpoint_commands(tmp_path, last=2)
    assert re.search(r"^\d+ passed, 0 failed", output.splitlines()[-1])
    (passed,) = re.findall(r"ends with `(\d+) passed, 0 failed`", README)
    assert passed == output.splitlines()[-1].split()[0]


@posix_only
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_install_commands_of_the_readme_work_in_a_fresh_environment(tmp_path: Path) -> None:
    clone, home = tmp_path / "clone", tmp_path / "environment"
    files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(files, cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    path = os.pathsep.join([str(home / "bin"), os.environ["PATH"]])
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    env = {**os.environ, "PATH": path, "CARGO_TARGET_DIR": target}
    use = "python -c 'import pipecat_genesys.endpoint, uvicorn' && pipecat-genesys --version"
    for command in [*commands(INSTALL), use]:
        done = subprocess.run(
            ["bash", "-c", command], cwd=clone, env=env, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, command + done.stdout + done.stderr


def test_numbers_of_the_readme_are_those_of_the_newest_results() -> None:
    newest = max(RESULTS.glob("????-??-??.json"))
    parts = json.loads(newest.read_text(encoding="utf-8"))["parts"]
    assert f"`make bench`, {newest.stem}" in README
    (delivery,) = (row for row in parts["delivery"]["rows"] if row["rate"] == 16000)
    low, high = min(delivery["pipecat"]), max(delivery["pipecat"])
    assert min(delivery["ours"]) == 100
    assert f"| 100 % | {low:.0f} to {high:.0f} % |" in README
    times = {
        (row["direction"], who): row["microseconds"][who]
        for row in parts["times"]
        for who in ("ours", "pipecat")
        if (row["rate"], row["packet_ms"]) == (16000, 200)
    }
    assert (
        f"| {times['in', 'ours']:.1f} µs and {times['out', 'ours']:.1f} µs "
        f"| {times['in', 'pipecat']:.0f} µs and {times['out', 'pipecat']:.0f} µs |"
    ) in README
    memory = parts["memory"]
    assert f"| {memory['ours']['kb']:.1f} KB | {memory['pipecat']['kb']:.0f} KB |" in README
    (delay,) = (row for row in parts["delay"]["rows"] if row["case"] == ["in", 16000, 20])
    ours, pipecat = delay["ours"], delay["pipecat"]
    assert (
        f"| {ours['total_mean']:.1f} ms ({ours['total_max']:.1f} ms) "
        f"| {pipecat['total_mean']:.0f} ms ({pipecat['total_max']:.0f} ms) |"
    ) in README
