"""Tests of `inspect`, and of the HTML pages of `call` and `check`."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import Result
from pipecat_genesys.cli.app import app
from pipecat_genesys.inspector import report_page
from pipecat_genesys.simulator import PongReceived, SimulatedCall, sample_speech
from reference_server import ReferenceCall, reference_server
from typer.testing import CliRunner


async def run_command(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "give one source"),
        (["--to", "ws://x/", "--phone", "ws://x/"], "give one source"),
        (["--to", "http://x/"], "not the URL of a server"),
        (["--to", "nonsense"], "not the URL of a server"),
        (["--phone", "ws:///path"], "not the URL of a server"),
        (["--to", "ws://x:99999/"], "not the URL of a server: Port out of range"),
        (["no-such-file"], "does not exist"),
        (["--phone", "ws://x/", "--save", "."], "--save needs --to"),
        (["--phone", "ws://x/", "--api-key", "ä"], "ASCII"),
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(app, ["inspect", *arguments])
    assert result.exit_code == 2, result.output
    assert why in " ".join(re.sub(r"[│╭╮╰╯─]", "", result.output).split())


@pytest.mark.parametrize("option", ["--port", "--listen"])
def test_a_taken_port_exits_with_2_and_names_the_option(option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        others = ["--listen", "0"] if option == "--port" else []
        result = CliRunner().invoke(
            app, ["inspect", "--to", "ws://127.0.0.1:1/", *others, option, port]
        )
    assert result.exit_code == 2, result.output
    assert port in result.output
    assert option in result.output
    assert "Traceback" not in result.output


@asynccontextmanager
async def inspecting(
    *arguments: str,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """Run `inspect` as a proxy in a process; yield the process and its first two output lines."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from pipecat_genesys.cli import main; main()",
        "inspect",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONWARNINGS": ""},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        yield process, [(await process.stdout.readline()).decode() for _ in range(2)]
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for a process")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
async def test_the_proxy_runs_until_a_signal_and_exits_with_0(number: str) -> None:
    async with (
        reference_server() as url,
        inspecting("--to", url, "--listen", "0") as (process, (first, second)),
    ):
        match = re.fullmatch(rf"calls to (ws://127\.0\.0\.1:\d+/audiohook) go to {url}\n", first)
        assert match is not None, first
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=\S+\n", second), second
        report = await SimulatedCall(match[1]).run(lambda call: call.opened())
        assert report.clean
        # Send the signal to all processes of the group, as a terminal does.
        os.killpg(process.pid, getattr(signal, number))
        _, errors = await process.communicate()
    assert process.returncode == 0
    assert errors == b""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
async def test_a_stopped_inspector_does_not_stop_a_call() -> None:
    async with (
        reference_server() as url,
        inspecting("--to", url, "--listen", "0") as (process, (first, _)),
    ):
        async with SimulatedCall(first.split()[2]) as call:
            await call.opened()
            process.send_signal(signal.SIGSTOP)
            await call.wait_for(PongReceived)
            await call.say(sample_speech(1.0))
            await call.hang_up()
            report = await call.ended()
        process.send_signal(signal.SIGCONT)
    assert report.clean, report.violations


def test_a_missing_library_is_named_with_the_extra() -> None:
    code = (
        "import sys; sys.modules['starlette'] = None; sys.argv = ['x', 'inspect', '.'];"
        "from pipecat_genesys.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pipecat-genesys[inspector]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the web page of the inspector with a small page."""
    web = tmp_path / "web"
    web.mkdir()
    (web / "index.html").write_text(
        '<!doctype html>\n<html>\n<head>\n<link rel="stylesheet" href="./style.css">\n</head>\n'
        '<body>\n<script type="module" src="./app.js"></script>\n</body>\n</html>\n'
    )
    (web / "style.css").write_text("p { color: red }\n")
    (web / "app.js").write_text('import { one } from "./source.js";\nconsole.log(one);\n')
    (web / "source.js").write_text("export const one = 1;\n")
    monkeypatch.setattr(report_page, "WEB", web)


@pytest.mark.usefixtures("page")
async def test_call_writes_a_page_with_the_whole_call(tmp_path: Path) -> None:
    file = tmp_path / "call.html"
    async with reference_server() as url:
        result = await run_command("call", url, "wait:bot", "press:5", "--html", str(file), "-q")
    assert result.exit_code == 0, result.output
    text = file.read_text(encoding="utf-8")
    assert '"type":"opened"' in text
    assert "p { color: red }" in text
    assert "const one = 1;\n\nconsole.log(one);" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "<link" not in text
    assert os.name != "posix" or stat.S_IMODE(file.stat().st_mode) == 0o600


class _Hostile(ReferenceCall):
    """A server whose message contains HTML markup."""

    async def on_dtmf(self, event: object) -> None:
        text = '</script><script>alert(1)</script><!--<img src="x">'
        await self.socket.send(f'{{"type": "{text.replace(chr(34), "")}"}}')


@pytest.mark.usefixtures("page")
async def test_markup_of_a_server_is_not_markup_of_the_page(tmp_path: Path) -> None:
    file = tmp_path / "call.html"
    async with reference_server(_Hostile) as url:
        await run_command("call", url, "wait:bot", "press:5", "wait:1", "--html", str(file), "-q")
    text = file.read_text(encoding="utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "<!--" not in text
    assert text.count("</script>") == 2


async def test_check_writes_a_page_with_every_result(tmp_path: Path) -> None:
    file = tmp_path / "checks.html"
    async with reference_server() as url:
        result = await run_command(
            "check", url, "--only", "opened-in-time", "--only", "opened-comes-first",
            "--html", str(file),
        )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = file.read_text(encoding="utf-8")
    assert "2 passed" in text
    assert "opened-in-time" in text
    assert "default-src 'none'" in text
