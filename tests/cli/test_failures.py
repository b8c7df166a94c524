"""Tests of errors of the command line: one clear line, the exit status, and no traceback."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pipecat_genesys.cli.app import app
from scripted import ScriptedCall, scripted
from typer.testing import CliRunner
from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response

SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
NOBODY = "ws://127.0.0.1:9/x"


async def run_command(*arguments: str, **env: str) -> Result:
    """Run the command line in a thread, because the command starts its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=env)


async def run_process(
    *arguments: str, stdout: int | None = None, **env: str
) -> tuple[int | None, bytes, bytes]:
    """Run the command line in a new process; return its exit status, its output and its errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from pipecat_genesys.cli import main; main()",
        *arguments,
        stdout=asyncio.subprocess.PIPE if stdout is None else stdout,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": "", **env},
    )
    output, errors = await process.communicate()
    return process.returncode, output or b"", errors


def last_line(result: Result) -> str:
    return result.output.rstrip().splitlines()[-1]


@pytest.mark.parametrize("command", ["call", "check"])
@pytest.mark.parametrize("secret", ["", SECRET], ids=["unsigned", "signed"])
@pytest.mark.parametrize(
    "url", ["ws://127.0.0.1:99999/x", "ws://[::1/x", "ws://a..b/x", "127.0.0.1:9/x", NOBODY]
)
async def test_a_wrong_address_exits_with_3(command: str, url: str, secret: str) -> None:
    result = await run_command(command, url, GENESYS_CLIENT_SECRET=secret)
    assert result.exit_code == 3, result.output
    assert result.output.startswith(f"no connection to {url}: ")
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("command", ["call", "check"])
async def test_a_word_in_place_of_the_url_exits_with_2(command: str) -> None:
    result = await run_command(command, "foo")
    assert result.exit_code == 2
    assert "'foo' is not a URL" in last_line(result)


async def test_a_target_beyond_ascii_can_be_signed() -> None:
    async with scripted() as server:
        url = f"{server.url}&name=Zoë"
        result = await run_command("call", url, "wait:0.1", GENESYS_CLIENT_SECRET=SECRET)
    assert result.exit_code == 0, result.output


async def test_a_proxy_that_cannot_be_used_exits_with_3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    env = {"HTTPS_PROXY": "socks5://127.0.0.1:1", "https_proxy": "socks5://127.0.0.1:1"}
    for command in ("call", "check"):
        result = await run_command(command, NOBODY, **env)
        assert result.exit_code == 3, result.output
        assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--wav=/proc/no/call.wav"], "cannot write /proc/no/call.wav"),
        (["--report=/proc/no/r.json"], "cannot write /proc/no/r.json"),
        (["--capture=/proc/no/c.jsonl"], "cannot write /proc/no/c.jsonl"),
        (["--capture=-"], "--capture needs the name of a file"),
        (["--wav=-"], "--wav needs the name of a file"),
        (["--api-key=schlüssel"], "printable ASCII"),
        (["--ca-file=README.md"], "--ca-file needs a URL that begins with wss://"),
        (["--patience=inf"], "not a number of seconds"),
        (["--hang-up-after=inf"], "not a number of seconds"),
        (["--backlog=nan"], "backlog"),
    ],
)
async def test_wrong_options_of_call_exit_with_2_before_the_call(
    arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    async with scripted() as server:
        result = await run_command("call", server.url, *arguments)
    assert result.exit_code == 2, result.output
    assert reason in result.output
    assert server.peers == []


@pytest.mark.parametrize("option", ["--json", "--junit"])
async def test_a_result_file_that_cannot_be_written_exits_with_2_before_the_checks(
    option: str,
) -> None:
    result = await run_command("check", NOBODY, f"{option}=/proc/no/x")
    assert result.exit_code == 2
    assert "cannot write /proc/no/x" in last_line(result)


async def test_a_file_that_is_not_a_certificate_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("no certificate")
    result = await run_command("call", "wss://127.0.0.1:9/", f"--ca-file={file}")
    assert result.exit_code == 2
    assert "contains no certificates" in result.output


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{}", b"[1]", b'{"capture": 1}'])
async def test_a_wrong_capture_exits_with_2(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.jsonl"
    file.write_bytes(content)
    result = await run_command("replay", str(file), NOBODY)
    assert result.exit_code == 2
    assert "not a capture" in result.output


def test_a_new_output_file_is_not_left_behind_by_a_call_that_failed(tmp_path: Path) -> None:
    file = tmp_path / "call.wav"
    CliRunner().invoke(app, ["call", NOBODY, f"--wav={file}"])
    assert not file.exists()


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("secret", "advice"),
    [("", "the request was not signed"), (SECRET, "check the API key (--api-key) and the client")],
)
async def test_refused_credentials_come_with_advice(
    status: int, secret: str, advice: str, tmp_path: Path
) -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(status, "")

    capture = tmp_path / "c.jsonl"
    async with scripted() as server:
        await run_command("call", server.url, "wait:0.1", f"--capture={capture}")
    async with scripted(process_request=refuse) as server:
        for arguments in (["call", server.url], ["check", server.url]):
            result = await run_command(*arguments, GENESYS_CLIENT_SECRET=secret)
            assert result.exit_code == 3
            assert f"HTTP status {status}: " in result.output
            assert advice in result.output
            # Many servers answer 403 for a path that they do not have.
            assert ("check the path of the URL" in result.output) is (status == 403)
        result = await run_command("replay", str(capture), server.url, GENESYS_CLIENT_SECRET=secret)
        assert result.exit_code == 3
        assert advice in result.output


async def test_another_refusal_comes_without_advice() -> None:
    def refuse(socket: ServerConnection, request: Request) -> Response:
        return socket.respond(503, "")

    async with scripted(process_request=refuse) as server:
        result = await run_command("call", server.url)
    assert result.exit_code == 3
    assert result.output.rstrip().endswith("HTTP status 503")


async def test_wait_for_quiet_names_the_option_for_its_limit(tmp_path: Path) -> None:
    async def talk(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send(b"\x55" * 16000)

    report = tmp_path / "r.json"
    async with scripted(open=talk) as server:
        result = await run_command(
            "call", server.url, "wait:quiet", "--patience=0.2", f"--report={report}"
        )
    assert result.exit_code == 1
    assert "--patience" in json.loads(report.read_text())["report"]["script_error"]


async def goodbye(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.event("begrüßung_再")
    await peer.text(
        "disconnect", {"reason": "completed", "outputVariables": {"name": "Müller 渡辺"}}
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
async def test_output_that_is_not_utf_8_does_not_end_a_call(encoding: str) -> None:
    async with scripted(open=goodbye) as server:
        status, output, errors = await run_process(
            "call", server.url, "wait:end", PYTHONIOENCODING=encoding
        )
    assert status == 0, errors
    assert errors == b""
    assert output.decode(encoding).splitlines()[-1] == "clean"
    assert rb"\u518d" in output


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX pipe")
async def test_a_closed_pipe_does_not_end_a_call() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        async with scripted() as server:
            status, _, errors = await run_process("call", server.url, "wait:0.3", stdout=writer)
    finally:
        os.close(writer)
    assert (status, errors) == (0, b"")
    assert server.peer.received[-1]["type"] == "close"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
async def test_a_full_disk_does_not_end_a_call() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        async with scripted() as server:
            status, _, errors = await run_process("call", server.url, "wait:0.1", stdout=full)
    finally:
        os.close(full)
    assert (status, errors) == (0, b"")
    async with scripted() as server:
        result = await run_command("call", server.url, "say:speech:1", "--capture=/dev/full")
    assert result.exit_code == 2, result.output
    assert "cannot write /dev/full" in last_line(result)
    assert server.peer.received[-1]["type"] == "close"
    async with scripted() as server:  # This capture fits into the file's buffer.
        result = await run_command("call", server.url, "wait:0.1", "--capture=/dev/full")
    assert result.exit_code == 2, result.output
    assert "cannot write /dev/full" in last_line(result)


async def test_results_on_standard_output_are_the_only_text_there() -> None:
    async with scripted() as server:
        status, output, errors = await run_process("call", server.url, "wait:0.1", "--report=-")
    assert status == 0
    assert json.loads(output)["verdict"] == "ok"
    assert errors.splitlines()[-1] == b"clean"
    async with scripted() as server:
        status, output, _ = await run_process(
            "check", server.url, "--only=opened-in-time", "--json=-"
        )
    assert status == 0
    assert json.loads(output)["summary"] == "1 passed, 0 failed, 0 skipped"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to a process")
async def test_interrupted_checks_exit_with_130() -> None:
    async def silence(peer: ScriptedCall, message: dict[str, Any]) -> None:
        process.send_signal(2)

    async with scripted(open=silence) as server:
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from pipecat_genesys.cli import main; main()"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            "check",
            server.url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": ""},
        )
        _, errors = await process.communicate()
    assert process.returncode == 130
    assert b"Traceback" not in errors
