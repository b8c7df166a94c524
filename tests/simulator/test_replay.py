"""Tests of the replay of recorded calls: what is sent again, and which differences are reported."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.simulator import (
    FAULTS,
    BargedIn,
    CallOptions,
    CaptureEntry,
    CaptureFile,
    ClientTimeouts,
    ConnectFailedError,
    Direction,
    Disconnected,
    Fault,
    Party,
    RecordedCall,
    ReplayReport,
    SimulatedCall,
    new_call,
    read_capture,
    replay_call,
)
from scripted import Handler, ScriptedCall, scripted
from virtual_loop import virtual_time

QUICK = CallOptions(
    timeouts=ClientTimeouts(open=0.5, close=0.5, first_ping=0.1, ping_interval=0.2),
    socket_close_timeout=0.3,
)


async def accept_and_speak(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 2400)


async def disconnect(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.text("disconnect", {"reason": "completed", "outputVariables": {"a": "b"}})


async def no_answer(peer: ScriptedCall, message: dict[str, Any]) -> None:
    """Send no answer to a message."""


async def record(path: Path, fault: Fault | None = None, **on: Handler) -> RecordedCall:
    """Record a call with audio, one DTMF digit and some pings."""
    parameters = new_call()
    async with scripted(**{"open": accept_and_speak, **on}) as server:
        with CaptureFile(path, server.url, parameters) as capture:
            call = SimulatedCall(
                server.url, parameters, options=QUICK, observer=capture, fault=fault
            )

            async def script(call: SimulatedCall) -> None:
                await call.opened()
                await call.say(b"\x11" * 3200)
                await call.press("7")
                if "dtmf" in on:
                    await call.wait_for(Disconnected if on["dtmf"] is disconnect else BargedIn)
                    await call.ended()
                await asyncio.sleep(0.2)

            await call.run(script)
    return read_capture(path)


def without_serverseq(entry: CaptureEntry) -> object:
    """Return the message with `serverseq` set to null; return audio unchanged.

    The value of `serverseq` depends on when server messages arrive.
    """
    if isinstance(entry.content, bytes):
        return entry.content
    return {**json.loads(str(entry.content)), "serverseq": None}


def client_messages(entries: tuple[CaptureEntry, ...]) -> list[CaptureEntry]:
    return [entry for entry in entries if entry.direction is Direction.TO_SERVER]


def times_since_opened(entries: tuple[CaptureEntry, ...]) -> list[float]:
    """Return the times at which the client sent the messages after `opened`."""
    opened = next(entry.at for entry in entries if entry.type == "opened")
    return [entry.at - opened for entry in client_messages(entries) if entry.at >= opened]


def assert_same_times(recorded: RecordedCall, report: ReplayReport) -> None:
    assert times_since_opened(report.entries) == [
        pytest.approx(at, abs=0.01) for at in times_since_opened(recorded.entries)
    ]


@virtual_time
async def test_replay_sends_the_same_messages_at_the_same_times(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    observed: list[CaptureEntry] = []
    async with scripted(open=accept_and_speak) as server:
        report = await replay_call(recorded, server.url, options=QUICK, observer=observed.append)
        await server.done.wait()
    assert report.differences == ()
    assert observed == list(report.entries)
    before, now = client_messages(recorded.entries), client_messages(report.entries)
    assert [without_serverseq(e) for e in now] == [without_serverseq(e) for e in before]
    assert_same_times(recorded, report)
    assert server.peer.close_code == 1005
    headers = server.peer.socket.request.headers  # type: ignore[union-attr]
    assert headers["Audiohook-Session-Id"] == server.peer.received[0]["id"]
    assert headers["X-API-KEY"] == "simulator"


@virtual_time
async def test_replay_reports_other_messages_less_audio_and_missing_pongs(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", dtmf=disconnect)

    async def other_reason(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.text("disconnect", {"reason": "error", "info": "no"})

    async with scripted(dtmf=other_reason, ping=no_answer) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    text = "\n".join(report.differences)
    assert '-disconnect {"outputVariables": {"a": "b"}, "reason": "completed"}' in text
    assert '+disconnect {"info": "no", "reason": "error"}' in text
    assert " opened" in text or "@@" in text
    assert "audio: 0.30 s recorded, 0.00 s now" in text
    assert f"pongs: {report.before.pongs} recorded, 0 now" in text


@virtual_time
async def test_close_after_disconnect_waits_for_the_new_disconnect(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", dtmf=disconnect)

    async def later(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        await disconnect(peer, message)

    async with scripted(open=accept_and_speak, dtmf=later) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert report.differences == ()
    types = [e.type for e in report.entries if e.type in ("disconnect", "close")]
    assert types == ["disconnect", "close"]


@virtual_time
async def test_messages_after_opened_keep_their_distance_to_a_later_opened(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def slow(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        await accept_and_speak(peer, message)

    async with scripted(open=slow) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert report.differences == ()
    first_audio = next(e for e in client_messages(report.entries) if e.is_audio)
    opened = next(e for e in report.entries if e.type == "opened")
    assert opened.at >= 0.3
    assert first_audio.at > opened.at
    assert_same_times(recorded, report)


@virtual_time
async def test_serverseq_counts_the_server_messages_of_the_replay(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def one_more(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await accept_and_speak(peer, message)
        await peer.event("hello")

    async with scripted(open=one_more) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    before = next(e for e in client_messages(recorded.entries) if e.type == "close")
    (close,) = [m for m in server.peer.received if m["type"] == "close"]
    assert close["serverseq"] == json.loads(str(before.content))["serverseq"] + 1
    assert '+event {"entities": [{"data": {}, "type": "hello"}]}' in report.differences


@virtual_time
async def test_serverseq_that_was_too_high_is_too_high_in_the_replay(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", FAULTS["serverseq-ahead"])
    async with scripted(open=accept_and_speak) as server:
        await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    assert 1000 < max(m["serverseq"] for m in server.peer.received) < 1010


@virtual_time
async def test_different_uuids_are_not_a_difference(tmp_path: Path) -> None:
    async def new_id(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await accept_and_speak(peer, message)
        id = new_call().session_id
        await peer.text("event", {"entities": [{"type": "x", "data": {"id": id}}]})

    recorded = await record(tmp_path / "a.jsonl", open=new_id)
    async with scripted(open=new_id) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert report.differences == ()


@virtual_time
async def test_aborted_socket_is_aborted_in_the_replay(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", FAULTS["socket-drop"])
    async with scripted(open=accept_and_speak) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    assert server.peer.close_code == 1006
    assert report.differences == ()


@virtual_time
async def test_server_that_closes_the_socket_is_a_difference(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def leave(peer: ScriptedCall, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.close()

    async with scripted(open=leave) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert "the socket was closed by the server this time" in report.differences


@virtual_time
async def test_server_without_answers_does_not_block_the_replay(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    async with scripted(open=no_answer, close=no_answer) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert any(line.startswith("-opened") for line in report.differences)
    assert any(line.startswith("-closed") for line in report.differences)


@virtual_time
async def test_cancelled_replay_aborts_the_connection(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    async with scripted(open=accept_and_speak) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    assert server.peer.close_code == 1006


@virtual_time
async def test_replay_without_a_server_raises_connect_failed_error(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    with pytest.raises(ConnectFailedError):
        await replay_call(recorded, "ws://127.0.0.1:9", options=QUICK)


@virtual_time
async def test_capture_without_client_messages_or_audio_cannot_be_replayed(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    empty = replace(recorded, entries=(), ended_by=Party.CLIENT)
    with pytest.raises(ValueError, match="no message of the client"):
        await replay_call(empty, "ws://unused")
    silent = replace(recorded, entries=tuple(replace(e, content=None) for e in recorded.entries))
    with pytest.raises(ValueError, match="record_audio=False"):
        await replay_call(silent, "ws://unused")
