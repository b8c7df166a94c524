"""Tests of `pipecat-genesys serve`: the log of a server process, and its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.cli.app import app as cli
from pipecat_genesys.simulator import CallOptions, SimulatedCall, new_call
from typer.testing import CliRunner

APPLICATIONS = Path(__file__).parents[1] / "endpoint"
API_KEY = "an-api-key-of-the-tests"
SECRET = "YW4gb3JkaW5hcnkgY2xpZW50IHNlY3JldA=="
COMMAND = "import sys; from pipecat_genesys.cli import main; sys.exit(main())"


@asynccontextmanager
async def serve(*options: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", COMMAND, "serve", "drained_app:app", "--port", "0", *options),
        cwd=APPLICATIONS,
        env={**os.environ, **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def lines_until(process: asyncio.subprocess.Process, words: str) -> list[str]:
    """Return the log lines up to a line that contains `words`."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or words not in lines[-1]:
        line = (await process.stderr.readline()).decode()
        assert line, lines
        lines += without_nltk([line])
    return lines


def without_nltk(lines: list[str]) -> list[str]:
    """Leave out the lines that nltk prints when an older version of pipecat is imported."""
    return [line for line in lines if not line.startswith("[nltk_data]")]


async def rest_of(process: asyncio.subprocess.Process) -> list[str]:
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    lines = (await process.stderr.read()).decode().splitlines()
    assert await process.wait() == 0
    return without_nltk(lines)


async def listening(port: int) -> None:
    """Wait until a server that writes no log lines accepts connections."""
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return


async def short(caller: SimulatedCall) -> None:
    await caller.opened()
    await caller.hang_up()
    await caller.ended(5)


async def call(line: str) -> str:
    """Make a short call to the URL in a line of the log, and return the session's ID."""
    found = re.search(r"wss?://[^\s\"]+", line)
    assert found is not None
    options = CallOptions(api_key=API_KEY, client_secret=SECRET)
    parameters = new_call()
    report = await SimulatedCall(found[0], parameters, options=options).run(short)
    assert report.clean, report
    return parameters.session_id


async def test_every_line_is_a_json_object_and_those_of_a_call_name_it() -> None:
    async with serve("--log-format", "json", "--log-level", "debug") as process:
        lines = await lines_until(process, "calls are accepted at")
        session = await call(lines[-1])
        lines += await rest_of(process)
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    assert all({"time", "level", "logger", "message"} <= entry.keys() for entry in entries)
    of_call = [entry for entry in entries if entry.get("session_id") == session]
    assert of_call
    for entry in of_call:
        assert {"organization_id", "correlation_id"} <= entry.keys()
    # The log lines of the call include pipecat's own lines, which have the conversation id.
    pipecats = [entry for entry in of_call if entry["logger"].startswith("pipecat.")]
    assert any("conversation_id" in entry for entry in pipecats)
    assert {entry["logger"].partition(".")[0] for entry in entries} >= {"pipecat", "uvicorn"}


async def test_a_line_of_text_ends_with_the_ids_of_its_call() -> None:
    async with serve("--log-level", "debug") as process:
        lines = await lines_until(process, "calls are accepted at")
        session = await call(lines[-1])
        lines += await rest_of(process)
    assert any(
        re.search(
            rf"\[session_id={session} conversation_id=\S+ correlation_id=\S+ \S+\]$", line.strip()
        )
        for line in lines
    )


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--ssl-certfile", __file__], "and its key cannot be used"),
        (["--ssl-keyfile", __file__], "--ssl-keyfile needs --ssl-certfile"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_refused(options: list[str], why: str) -> None:
    result = CliRunner().invoke(cli, ["serve", "a:b", *options])
    assert result.exit_code == 2, result.output
    assert why in " ".join(result.output.split())


async def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with serve("--port", str(port)) as process:
            assert process.stderr is not None
            text = (await process.stderr.read()).decode()
            assert await process.wait() == 3
    assert f"cannot listen on 127.0.0.1, port {port}; choose others" in text
    assert "Traceback" not in text


async def test_lines_below_the_level_are_not_written() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with serve("--port", str(port), "--log-level", "ERROR", "--max-calls", "3") as process:
        await listening(port)
        assert await rest_of(process) == []


@pytest.mark.slow
async def test_two_processes_without_a_common_replay_store_do_not_start() -> None:
    async with serve("--workers", "2") as process:
        assert await process.wait() == 3
        assert process.stderr is not None
        assert b"--separate-replay-stores" in await process.stderr.read()


VARIABLES = (
    *("HOST", "PORT", "WORKERS", "LOOP", "DRAIN_SECONDS", "DRAIN_GRACE_SECONDS"),
    *("SEPARATE_REPLAY_STORES", "LOG_LEVEL", "LOG_FORMAT", "SIMD"),
)


async def test_variables_that_are_empty_are_not_set() -> None:
    environ = {f"PIPECAT_GENESYS_{name}": "" for name in VARIABLES}
    others = ("MAX_CALLS", "AUDIOHOOK_AUTHORITY", "REDIS_URL", "LOGURU_LEVEL")
    environ |= dict.fromkeys((*others, "PROMETHEUS_MULTIPROC_DIR"), "")
    before = set(APPLICATIONS.iterdir())
    async with serve(**environ) as process:
        lines = await lines_until(process, "calls are accepted at")
        await call(lines[-1])
        lines += await rest_of(process)
    assert "max_calls=50" in "".join(lines)
    assert "drain_seconds=600" in "".join(lines)
    # An empty PROMETHEUS_MULTIPROC_DIR must not make prometheus-client write files to this folder.
    assert set(APPLICATIONS.iterdir()) == before


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "::"])
async def test_calls_over_ipv6(host: str) -> None:
    async with serve("--host", host) as process:
        lines = await lines_until(process, "calls are accepted at")
        assert "ws://[::1]:" in lines[-1]
        await call(lines[-1])
        await rest_of(process)


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs /proc, in which no folder can be created"
)
async def test_a_folder_that_cannot_be_written_is_reported_at_the_start() -> None:
    async with serve("--record", "/proc/recordings") as process:
        lines = await lines_until(process, "calls are accepted")
        reported = [line for line in lines if "/proc/recordings cannot be written" in line]
        assert len(reported) == 1
        await call(lines[-1])
        rest = await rest_of(process)
    (summary,) = [line for line in rest if "call ended:" in line]
    assert " recording=-" in summary
