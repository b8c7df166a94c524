"""A recorded call played again: the same client, and what the server did differently."""

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
from scripted import Handler, Peer, scripted

QUICK = CallOptions(
    timeouts=ClientTimeouts(open=0.5, close=0.5, first_ping=0.1, ping_interval=0.2),
    socket_close_timeout=0.3,
)


async def greet(peer: Peer, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 2400)


async def barge(peer: Peer, message: dict[str, Any]) -> None:
    await peer.event("barge_in")


async def goodbye(peer: Peer, message: dict[str, Any]) -> None:
    await peer.text("disconnect", {"reason": "completed", "outputVariables": {"a": "b"}})


async def record(path: Path, fault: Fault | None = None, **on: Handler) -> RecordedCall:
    """A call with audio, a key that the server answers, and some pings."""
    parameters = new_call()
    async with scripted(**{"open": greet, **on}) as server:
        with CaptureFile(path, server.url, parameters) as capture:
            call = SimulatedCall(
                server.url, parameters, options=QUICK, observer=capture, fault=fault
            )

            async def script(call: SimulatedCall) -> None:
                await call.opened()
                await call.say(b"\x11" * 3200)
                await call.press("7")
                if "dtmf" in on:
                    await call.wait_for(Disconnected if on["dtmf"] is goodbye else BargedIn)
                    await call.ended()
                await asyncio.sleep(0.2)

            await call.run(script)
    return read_capture(path)


def as_sent(entry: CaptureEntry) -> object:
    """A message but for what depends on the server's haste: what has been seen of it."""
    if isinstance(entry.content, bytes):
        return entry.content
    return {**json.loads(str(entry.content)), "serverseq": None}


def earliest(recorded: RecordedCall, report: ReplayReport) -> float:
    """How late the client's least late message is; how late others are depends on the machine.

    All of them counted from `opened`, those that followed it.
    """
    sides = (recorded.entries, report.entries)
    opened = [next(e.at for e in entries if e.type == "opened") for entries in sides]
    before, now = ([e for e in side if e.direction is Direction.TO_SERVER] for side in sides)
    return min(
        (n.at - opened[1]) - (b.at - opened[0])
        for b, n in zip(before, now, strict=True)
        if b.at > opened[0]
    )


async def test_the_client_does_the_same_at_the_same_times(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    seen: list[CaptureEntry] = []
    async with scripted(open=greet) as server:
        report = await replay_call(recorded, server.url, options=QUICK, observer=seen.append)
        await server.done.wait()
    assert report.differences == ()
    assert seen == list(report.entries)
    before = [e for e in recorded.entries if e.direction is Direction.TO_SERVER]
    now = [e for e in report.entries if e.direction is Direction.TO_SERVER]
    assert [as_sent(e) for e in now] == [as_sent(e) for e in before]
    assert earliest(recorded, report) > -0.01
    assert server.peer.close_code == 1005
    headers = server.peer.socket.request.headers  # type: ignore[union-attr]
    assert headers["Audiohook-Session-Id"] == server.peer.received[0]["id"]
    assert headers["X-API-KEY"] == "simulator"


async def test_what_the_server_does_differently_is_told(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", dtmf=goodbye)

    async def otherwise(peer: Peer, message: dict[str, Any]) -> None:
        await peer.text("disconnect", {"reason": "error", "info": "no"})

    async def mute(peer: Peer, message: dict[str, Any]) -> None:
        """A pong that does not come."""

    async with scripted(dtmf=otherwise, ping=mute) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    text = "\n".join(report.differences)
    assert '-disconnect {"outputVariables": {"a": "b"}, "reason": "completed"}' in text
    assert '+disconnect {"info": "no", "reason": "error"}' in text
    assert " opened" in text or "@@" in text
    assert "audio: 0.30 s recorded, 0.00 s now" in text
    assert f"pongs: {report.before.pongs} recorded, 0 now" in text


async def test_the_answer_to_a_disconnect_waits_for_it(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", dtmf=goodbye)

    async def later(peer: Peer, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        await goodbye(peer, message)

    async with scripted(open=greet, dtmf=later) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert report.differences == ()
    kinds = [e.type for e in report.entries if e.type in ("disconnect", "close")]
    assert kinds == ["disconnect", "close"]


async def test_what_followed_opened_follows_it_again(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def slow(peer: Peer, message: dict[str, Any]) -> None:
        await asyncio.sleep(0.3)
        await greet(peer, message)

    async with scripted(open=slow) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert report.differences == ()
    first = next(
        i for i, e in enumerate(report.entries) if e.is_audio and e.direction == "to_server"
    )
    assert "opened" in [e.type for e in report.entries[:first]]
    assert earliest(recorded, report) > -0.01


async def test_serverseq_says_what_was_seen_this_time(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def chatty(peer: Peer, message: dict[str, Any]) -> None:
        await greet(peer, message)
        await peer.event("hello")

    async with scripted(open=chatty) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    before = [
        json.loads(str(e.content))
        for e in recorded.entries
        if e.type == "close" and e.direction is Direction.TO_SERVER
    ]
    (close,) = [m for m in server.peer.received if m["type"] == "close"]
    # One more than then; and never more than the server has said.
    assert close["serverseq"] == before[0]["serverseq"] + 1
    assert '+event {"entities": [{"data": {}, "type": "hello"}]}' in report.differences


async def test_a_client_that_was_ahead_still_is(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", FAULTS["serverseq-ahead"])
    async with scripted(open=greet) as server:
        await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    assert 1000 < max(m["serverseq"] for m in server.peer.received) < 1010


async def test_uuids_are_no_difference(tmp_path: Path) -> None:
    async def new_id(peer: Peer, message: dict[str, Any]) -> None:
        await greet(peer, message)
        id = new_call().session_id
        await peer.text("event", {"entities": [{"type": "x", "data": {"id": id}}]})

    recorded = await record(tmp_path / "a.jsonl", open=new_id)
    async with scripted(open=new_id) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert report.differences == ()


async def test_a_socket_that_was_cut_is_cut_again(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl", FAULTS["socket-drop"])
    async with scripted(open=greet) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
        await server.done.wait()
    assert server.peer.close_code == 1006
    assert report.differences == ()


async def test_a_server_that_hangs_up_on_us(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def leave(peer: Peer, message: dict[str, Any]) -> None:
        await peer.accept(message)
        await peer.socket.close()

    async with scripted(open=leave) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert "the socket was closed by the server this time" in report.differences


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")

    async def nothing(peer: Peer, message: dict[str, Any]) -> None:
        """A server that does not answer."""

    async with scripted(open=nothing, close=nothing) as server:
        report = await replay_call(recorded, server.url, options=QUICK)
    assert any(line.startswith("-opened") for line in report.differences)
    assert any(line.startswith("-closed") for line in report.differences)


async def test_nobody_there(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    with pytest.raises(ConnectFailedError):
        await replay_call(recorded, "ws://127.0.0.1:9", options=QUICK)


async def test_what_cannot_be_replayed(tmp_path: Path) -> None:
    recorded = await record(tmp_path / "a.jsonl")
    empty = replace(recorded, entries=(), ended_by=Party.CLIENT)
    with pytest.raises(ValueError, match="no message of the client"):
        await replay_call(empty, "ws://unused")
    mute = replace(recorded, entries=tuple(replace(e, content=None) for e in recorded.entries))
    with pytest.raises(ValueError, match="record_audio=False"):
        await replay_call(mute, "ws://unused")
