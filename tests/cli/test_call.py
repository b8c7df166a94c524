"""Tests of `pipecat-genesys call` with a local server: its output, its files, its exit status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from pipecat_genesys.cli.app import app
from pipecat_genesys.simulator import EXPECTATIONS, FAULTS, VERBS, tone, write_wav
from scripted import ScriptedCall, scripted
from typer.testing import CliRunner

SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="


async def run_command(*arguments: str, **env: str) -> Result:
    """Run the command line in a thread, because the command starts its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=env)


async def run_call(*arguments: str, **env: str) -> Result:
    return await run_command("call", *arguments, **env)


async def greet(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 1600)


async def goodbye(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.text("disconnect", {"reason": "completed", "outputVariables": {"mood": "good"}})


async def test_a_clean_call_prints_and_writes_everything(tmp_path: Path) -> None:
    capture, wav, report = tmp_path / "c.jsonl", tmp_path / "c.wav", tmp_path / "c.json"
    async with scripted(open=greet, dtmf=goodbye) as server:
        done = await run_call(
            server.url,
            "wait:bot",
            "say:tone:440:0.3",
            "wait:quiet",
            "press:1",
            "wait:end",
            "--input=tier=gold",
            f"--capture={capture}",
            f"--wav={wav}",
            f"--report={report}",
        )
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[-1] == "clean"
    for expected in (
        "->  open",
        "<-  opened",
        "->  playback_started",
        "<-  disconnect",
        "mood=good",
    ):
        assert expected in done.output
    opening = server.peer.received[0]["parameters"]
    assert opening["inputVariables"] == {"tier": "gold"}
    assert opening["language"] == "en-US"
    assert "inputVariables" in capture.read_text()
    written = json.loads(report.read_text())
    assert (written["clean"], written["verdict"], written["fault"]) == (True, "ok", None)
    assert written["report"]["ending"]["output_variables"] == {"mood": "good"}
    with wave.open(str(wav), "rb") as reader:
        assert (reader.getnchannels(), reader.getframerate()) == (2, 8000)
        assert reader.getnframes() > 8000 * 0.3
    assert tone(440, 0.3) in b"".join(server.peer.audio)


async def test_the_options_of_the_caller_are_sent_in_open() -> None:
    organization = "d7934305-0972-4844-938e-9060eef73d05"
    conversation = "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
    async with scripted() as server:
        done = await run_call(
            server.url,
            "wait:0.1",
            "--ani=tel:+4930123",
            "--dnis=tel:+4930456",
            f"--organization={organization}",
            f"--conversation={conversation}",
            "--language=de-DE",
            "--input=tier=gold",
            "--input=name=a=b",
        )
    assert done.exit_code == 0, done.output
    opening = server.peer.received[0]["parameters"]
    assert opening["participant"]["ani"] == "tel:+4930123"
    assert opening["participant"]["dnis"] == "tel:+4930456"
    assert opening["organizationId"] == organization
    assert opening["conversationId"] == conversation
    assert opening["language"] == "de-DE"
    assert opening["inputVariables"] == {"tier": "gold", "name": "a=b"}
    headers = server.peer.socket.request.headers  # type: ignore[union-attr]
    assert headers["Audiohook-Organization-Id"] == organization


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [(["--rtt=0.3", "--jitter=0"], 0.3, 60.0), (["--rtt=0"], 0.0, 0.3)],
)
async def test_rtt_delays_every_answer(
    options: list[str], least: float, most: float, tmp_path: Path
) -> None:
    report = tmp_path / "c.json"
    async with scripted() as server:
        done = await run_call(server.url, "wait:0.1", f"--report={report}", *options)
    assert done.exit_code == 0, done.output
    assert least <= json.loads(report.read_text())["report"]["opened_latency"] < most


async def test_a_broken_rule_exits_with_1() -> None:
    async def nonsense(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.send("not [bold]json")

    async with scripted(open=nonsense) as server:
        done = await run_call(server.url, "wait:end")
    assert done.exit_code == 1
    assert "not_json" in done.output
    assert done.output.splitlines()[-1] == "not clean"


async def test_a_wait_that_ends_in_vain_exits_with_1() -> None:
    async with scripted() as server:
        done = await run_call(server.url, "wait:bot", "--patience=0.2", "-q")
    assert done.exit_code == 1
    assert "waited 0.2 s for BotAudioStarted" in done.output
    # With `--quiet`, the command prints no messages.
    assert "->" not in done.output


async def test_without_steps_the_caller_talks_and_hangs_up() -> None:
    async with scripted() as server:
        done = await run_call(server.url, "--hang-up-after=0.5")
    assert done.exit_code == 0, done.output
    assert b"".join(server.peer.audio).strip(b"\xff")
    assert server.peer.received[-1]["parameters"] == {"reason": "end"}


async def test_without_steps_the_server_may_end_the_call() -> None:
    async def answer(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await goodbye(peer, message)

    async with scripted(open=answer) as server:
        done = await run_call(server.url)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("options", "offer"),
    [
        ([], ["PCMU external+internal", "PCMU external", "PCMU internal"]),
        (["--channels=inverted"], ["PCMU internal+external"]),
        (["--channels=internal", "--format=l16"], ["L16 internal"]),
        (
            ["--channels=both", "--format=L16", "--format=PCMU"],
            ["L16 external+internal", "PCMU external+internal"],
        ),
    ],
)
async def test_a_monitor_is_offered_the_chosen_channels_and_formats(
    options: list[str], offer: list[str]
) -> None:
    async with scripted() as server:
        done = await run_call(
            server.url,
            "wait:0.3",
            "--mode=monitor",
            "--ask-languages",
            "--language=",
            *options,
        )
    # If a server was asked for languages and sends no languages, the command prints a warning.
    assert done.exit_code == 0, done.output
    assert "languages_missing" in done.output
    opening = server.peer.received[0]["parameters"]
    assert [f"{m['format']} {'+'.join(m['channels'])}" for m in opening["media"]] == offer
    assert opening["supportedLanguages"] is True
    assert "language" not in opening
    assert "inputVariables" not in opening


async def test_credentials_come_from_the_environment_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    for arguments, env in (
        ([], {"GENESYS_API_KEY": "k1", "GENESYS_CLIENT_SECRET": SECRET}),
        (["--api-key=k1", f"--secret-file={file}"], {}),
    ):
        async with scripted() as server:
            done = await run_call(server.url, "wait:0.1", *arguments, **env)
        assert done.exit_code == 0, done.output
        headers = server.peer.socket.request.headers  # type: ignore[union-attr]
        assert headers["X-API-KEY"] == "k1"
        assert 'keyid="k1"' in headers["Signature-Input"]
        assert SECRET not in done.output
    async with scripted() as server:
        await run_call(server.url, "wait:0.1")
        assert "Signature" not in server.peer.socket.request.headers  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["sing:song.wav"], "unknown verb 'sing'"),
        (["--fault=seqgap"], "unknown fault 'seqgap'; the faults are:"),
        (["--input=tier"], "NAME=VALUE"),
        (["--mode=spy"], "spy"),
        (["--hang-up-after=0"], "0"),
        (["--secret-file=/no/such/file"], "/no/such/file"),
    ],
)
async def test_wrong_arguments_exit_with_2(arguments: list[str], why: str) -> None:
    done = await run_call("ws://127.0.0.1:9", *arguments)
    assert done.exit_code == 2
    assert why in done.output


async def test_a_wrong_secret_is_not_printed() -> None:
    done = await run_call("ws://x", GENESYS_CLIENT_SECRET="hush hush")
    assert done.exit_code == 2
    assert "not base64" in done.output
    assert "hush" not in done.output


@pytest.mark.parametrize("url", ["ws://127.0.0.1:9/", "http://127.0.0.1:9/", "127.0.0.1:9"])
async def test_no_connection_exits_with_3(url: str) -> None:
    done = await run_call(url)
    assert done.exit_code == 3
    assert "no connection" in done.output


async def test_a_fault_that_the_server_handles_exits_with_0() -> None:
    async def strict(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("disconnect", {"reason": "error", "info": "gap"})

    async with scripted(discarded=strict) as server:
        done = await run_call(server.url, "--fault=seq-gap", "-q")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "seq-gap: handled"


async def test_a_fault_that_the_server_does_not_handle_exits_with_1() -> None:
    async def hang_up(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.socket.close()

    async with scripted(discarded=hang_up) as server:
        done = await run_call(server.url, "--fault=seq-gap", "-q")
    assert done.exit_code == 1
    assert "seq-gap: not handled" in done.output


async def test_a_fault_that_did_not_happen_exits_with_1() -> None:
    async with scripted() as server:
        done = await run_call(server.url, "--fault=overlapping-pauses", "--hang-up-after=0.3")
    assert done.exit_code == 1
    assert "did not happen; the fault needs a server that pauses" in done.output


async def test_a_probe_sends_open_and_close_only() -> None:
    async with scripted() as server:
        done = await run_call(server.url, "--fault=probe")
    assert done.exit_code == 0, done.output
    assert [m["type"] for m in server.peer.received] == ["open", "close"]


async def test_faults_and_steps_are_listed() -> None:
    done = await run_call("--list-faults")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines() if line[0] != " "] == list(FAULTS)
    done = await run_call("--list-steps")
    assert done.exit_code == 0
    assert all(verb in done.output for verb in VERBS)
    done = await run_call("--list-expectations")
    assert done.exit_code == 0
    assert all(kind.example in done.output for kind in EXPECTATIONS)


SCRIPT = """
language = "de-DE"
ani = "tel:+4930123"
input = { tier = "gold", name = "file" }
steps = ["wait:bot", "say:tone:440:0.3", "press:1", "wait:end"]
expect = ["output variable mood is good"]
"""


async def test_script_of_a_file_is_run_and_options_replace_its_values(tmp_path: Path) -> None:
    script, report = tmp_path / "s.toml", tmp_path / "r.json"
    script.write_text(SCRIPT)
    async with scripted(open=greet, dtmf=goodbye) as server:
        done = await run_call(
            server.url,
            f"--script={script}",
            "--ani=tel:+4930999",
            "--input=name=option",
            "--expect=bot ends the call",
            f"--report={report}",
            "-q",
        )
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-3:] == [
        "met: output variable mood is good (it is 'good')",
        "met: bot ends the call (the reason of 'close' is disconnect)",
        "clean",
    ]
    opening = server.peer.received[0]["parameters"]
    assert opening["language"] == "de-DE"
    assert opening["participant"]["ani"] == "tel:+4930999"
    assert opening["inputVariables"] == {"tier": "gold", "name": "option"}
    assert tone(440, 0.3) in b"".join(server.peer.audio)
    assert json.loads(report.read_text())["expectations"] == [
        {"expectation": "output variable mood is good", "met": True, "detail": "it is 'good'"},
        {
            "expectation": "bot ends the call",
            "met": True,
            "detail": "the reason of 'close' is disconnect",
        },
    ]


async def test_expectation_that_is_not_met_exits_with_1(tmp_path: Path) -> None:
    report = tmp_path / "r.json"
    async with scripted(open=greet) as server:
        done = await run_call(
            server.url,
            "wait:bot",
            "wait:quiet",
            "--expect=hears at least 1 s",
            "--expect=caller ends the call",
            f"--report={report}",
            "-q",
        )
    assert done.exit_code == 1, done.output
    assert done.output.splitlines()[-3:] == [
        "not met: hears at least 1 s (0.20 s)",
        "met: caller ends the call (the reason of 'close' is end)",
        "1 of 2 expectations not met",
    ]
    written = json.loads(report.read_text())
    assert (written["clean"], written["verdict"]) == (True, "1 of 2 expectations not met")
    assert [item["met"] for item in written["expectations"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["wait:1"], "--script and steps cannot be given together"),
        (["--expect=is nice"], "unknown expectation 'is nice'"),
        (["--input=x"], "an input variable has the form NAME=VALUE, got 'x'"),
        (["--script=missing.toml"], "does not exist"),
    ],
)
async def test_wrong_script_or_expectation_exits_with_2_before_the_call(
    arguments: list[str], reason: str, tmp_path: Path
) -> None:
    script = tmp_path / "s.toml"
    script.write_text(SCRIPT)
    async with scripted() as server:
        done = await run_call(server.url, f"--script={script}", *arguments, COLUMNS="200")
    assert done.exit_code == 2, done.output
    assert reason in " ".join(done.output.replace("│", " ").split())
    assert server.peers == []


async def test_wrong_file_exits_with_2_and_names_the_key(tmp_path: Path) -> None:
    script = tmp_path / "s.toml"
    script.write_text("anni = 'tel:+1'")
    done = await run_call("ws://127.0.0.1:9/", f"--script={script}", COLUMNS="300")
    assert done.exit_code == 2
    assert "unknown key 'anni'" in done.output
    assert "Traceback" not in done.output


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to a process")
async def test_ctrl_c_hangs_up() -> None:
    async with scripted() as server:
        # A process that a shell starts in the background ignores SIGINT, and so do its child
        # processes. The code therefore restores the default handler.
        code = (
            "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from pipecat_genesys.cli import main; main()"
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code,
            "call",
            server.url,
            "wait:60",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": ""},
        )
        assert process.stdout is not None
        async for line in process.stdout:
            if b"opened" in line:
                break
        process.send_signal(signal.SIGINT)
        output, errors = await process.communicate()
        await server.done.wait()
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    assert b"closed after" in output
    assert server.peer.received[-1]["type"] == "close"
    assert server.peer.close_code == 1005


async def test_a_file_that_cannot_be_written_is_reported_before_the_call(tmp_path: Path) -> None:
    async with scripted() as server:
        done = await run_call(server.url, f"--capture={tmp_path}/no/such/c.jsonl")
    assert done.exit_code == 2
    assert "no/such" in done.output.replace("\n", "")
    assert server.peers == []


async def test_without_steps_caller_and_agent_of_a_monitored_call_talk() -> None:
    async with scripted() as server:
        done = await run_call(server.url, "--mode=monitor", "--hang-up-after=2.3")
    assert done.exit_code == 0, done.output
    heard = b"".join(server.peer.audio)
    assert heard[::2].strip(b"\xff")
    assert heard[1::2].strip(b"\xff")


async def test_a_monitored_call_plays_and_records_both_parties(tmp_path: Path) -> None:
    both, wav = tmp_path / "both.wav", tmp_path / "out.wav"
    write_wav(both, b"\x10\x20" * 1600, b"\x20\x10" * 1600)
    async with scripted() as server:
        done = await run_call(server.url, f"converse:{both}", "--mode=monitor", f"--wav={wav}")
    assert done.exit_code == 0, done.output
    assert wav.stat().st_size > 44
    assert "bot audio" not in done.output
