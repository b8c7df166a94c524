"""Tests of the recorder in a process of `pipecat-genesys serve`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pipecat_genesys.capture import (
    AUDIO,
    CaptureSource,
    Choice,
    Choices,
    Direction,
    MarkKind,
    read_capture,
)
from pipecat_genesys.cli.app import app
from pipecat_genesys.simulator import FAULTS, CallOptions, PongReceived, SimulatedCall, new_call
from typer.testing import CliRunner

APPLICATIONS = Path(__file__).parents[1] / "endpoint"
API_KEY = "an-api-key-of-the-tests"
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
COMMAND = "import sys; from pipecat_genesys.cli import main; sys.exit(main())"
SIGNED = CallOptions(api_key=API_KEY, client_secret=SECRET)


class Serving:
    """A running `serve` process.

    Attributes:
        process: The process.
        url: The WebSocket URL.
        lines: The log lines that were read so far.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""
        self.lines: list[str] = []

    async def line(self, words: str) -> str:
        """Wait for a log line that contains `words`, and return this line."""
        assert self.process.stderr is not None
        while True:
            line = (await self.process.stderr.readline()).decode()
            assert line, self.lines
            self.lines.append(line)
            if words in line:
                return line

    async def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stderr is not None
        self.lines += (await self.process.stderr.read()).decode().splitlines()
        assert await self.process.wait() == 0


@asynccontextmanager
async def serve(*options: str, **variables: str) -> AsyncIterator[Serving]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "serve", "drained_app:app", "--port", "0", *options),
        cwd=APPLICATIONS,
        env=os.environ | variables,
        stderr=asyncio.subprocess.PIPE,
    )
    serving = Serving(process)
    try:
        async with asyncio.timeout(90):
            found = re.search(r"wss?://\S+", await serving.line("calls are accepted at"))
            assert found is not None
            serving.url = found[0]
            yield serving
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


async def test_all_but_the_last_200_ms_are_in_the_file_after_sigkill(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    killed_at = 0.0

    async def script(caller: SimulatedCall) -> None:
        nonlocal killed_at
        await caller.opened()
        await caller.say(bytes(range(1, 251)) * 128)
        await caller.press("7")
        await caller.wait_for(PongReceived)
        killed_at = caller.elapsed
        server.process.kill()
        await caller.ended(10)

    async with serve("--record", str(folder), "--record-audio", "record") as server:
        call = SimulatedCall(server.url, new_call(), options=SIGNED)
        await call.run(script)
        await server.process.wait()
    (path,) = files_in(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    recorded = read_capture(path)
    assert recorded.ended_by is None
    # The network of the simulator delays each message by 20 ms.
    due = [
        entry
        for entry in call.session.capture.entries
        if entry.direction is Direction.TO_SERVER and entry.at < killed_at - 0.2 - 0.05
    ]
    got = [entry for entry in recorded.entries if entry.direction is Direction.TO_SERVER]
    assert len(due) > 10
    assert [(e.type, e.seq) for e in got][: len(due)] == [(e.type, e.seq) for e in due]
    said = [e.content for e in due if e.is_audio]
    assert [e.content for e in got if e.is_audio][: len(said)] == said


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
async def test_file_size_limit_stops_the_recording_and_not_the_call(tmp_path: Path) -> None:
    """With the limit, a write is incomplete or fails, as on a full disk."""
    import resource

    limit = 3000

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await server.line("recordings stop")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        await caller.press("7")
        await server.line("again")
        await caller.press("8")
        await caller.wait_for(PongReceived)
        await caller.hang_up()
        await caller.ended(10)

    async with serve("--record", str(tmp_path), "--record-digits", "record") as server:
        pid = server.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
        report = await SimulatedCall(server.url, new_call(), options=SIGNED).run(script)
        assert report.clean, report
        await server.stop()
    recorded = read_capture(files_in(tmp_path)[0])
    (mark,) = recorded.marks
    assert (mark.kind, mark.count > 0) == (MarkKind.DROPPED, True)
    assert [e.type for e in recorded.entries[-2:]] == ["close", "closed"]
    assert sum("recordings stop" in line for line in server.lines) == 1


async def test_settings_come_from_options_then_variables_and_are_logged(tmp_path: Path) -> None:
    options = ("--record", str(tmp_path / "option"), "--record-max-bytes", "20M")
    variables = {
        "PIPECAT_GENESYS_RECORD": str(tmp_path / "variable"),
        "PIPECAT_GENESYS_RECORD_AUDIO": "omit",
        "PIPECAT_GENESYS_RECORD_DIGITS": "record",
        "PIPECAT_GENESYS_RECORD_MAX_BYTES": "5M",
        "PIPECAT_GENESYS_RECORD_MAX_AGE": "12h",
        "PIPECAT_GENESYS_FLIGHT_FOLDER": str(tmp_path / "flight"),
    }

    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.press("7")
        await caller.wait_for(PongReceived)
        await caller.hang_up()
        await caller.ended(10)

    async with serve(*options, **variables) as server:
        await SimulatedCall(server.url, new_call(), options=SIGNED).run(script)
        await server.line("call ended:")
        await server.stop()
    [settings] = [line for line in server.lines if "settings:" in line]
    for part in (
        f"record={tmp_path / 'option'} ",
        "record_max_bytes=20000000 ",
        "record_max_age=43200 ",
        "record_audio=omit ",
        "record_digits=record ",
        "record_variables=mask ",
        f"flight_folder={tmp_path / 'flight'} ",
    ):
        assert part in settings, settings
    (path,) = files_in(tmp_path / "option")
    assert read_capture(path).choices == Choices(
        audio=Choice.OMIT, digits=Choice.RECORD, events=Choice.OMIT
    )
    [summary] = [line for line in server.lines if "call ended:" in line]
    assert f"recording={path.name} flight=- " in summary
    assert not (tmp_path / "variable").exists()


async def lose_a_call(server: Serving) -> None:
    async def script(caller: SimulatedCall) -> None:
        await caller.opened()
        await caller.ended(10)

    call = SimulatedCall(server.url, new_call(), options=SIGNED, fault=FAULTS["socket-drop"])
    await call.run(script)
    await server.line("call ended:")


async def test_flight_recorder_is_on_by_default_and_can_be_switched_off(tmp_path: Path) -> None:
    folder = tmp_path / f"pipecat-genesys-flight-{os.getuid()}"
    async with serve(TMPDIR=str(tmp_path)) as server:
        await lose_a_call(server)
        await server.stop()
    (path,) = files_in(folder)
    recorded = read_capture(path)
    assert (recorded.source, recorded.reasons) == (CaptureSource.FLIGHT_RECORDER, ("lost",))
    assert {e.content for e in recorded.entries if e.type == AUDIO} == {None}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert any(str(path) in line for line in server.lines)
    path.unlink()
    async with serve("--flight-folder", "off", TMPDIR=str(tmp_path)) as server:
        await lose_a_call(server)
        await server.stop()
    assert files_in(folder) == []


async def run_command(*arguments: str) -> Result:
    """Run the command line in a thread, because the command starts its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_recording_of_serve_is_replayed_by_the_command(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    connection = ("--api-key", API_KEY, "--secret-file", str(secret))
    folder = tmp_path / "calls"
    async with serve("--record", str(folder)) as server:
        done = await run_command("call", server.url, "press:1", "wait:0.5", "--quiet", *connection)
        assert done.exit_code == 0, done.output
        await server.line("call ended:")
        (path,) = files_in(folder)
        while read_capture(path).ended_by is None:  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.05)
        done = await run_command("replay", str(path), server.url, "-q", *connection)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "the server acted as recorded"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--record-audio", "all"], "record"),
        (["--record-max-bytes", "much"], "500M"),
        (["--record-max-bytes", "0"], "500M"),
        (["--record-max-age", "1w"], "7d"),
        (["--record", __file__], "file"),
        (["--flight-folder", __file__], "file"),
    ],
)
async def test_wrong_option_is_a_usage_error(options: list[str], word: str) -> None:
    done: Any = await run_command("serve", "x:app", *options)
    assert done.exit_code == 2
    assert word in done.output
    assert "Traceback" not in done.output
