"""Tests of capture files: their contents, their permissions, and the reading of the files."""

from __future__ import annotations

import base64
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.simulator import (
    CallMode,
    CallOptions,
    CaptureFile,
    Direction,
    Party,
    SimulatedCall,
    new_call,
    read_capture,
)
from scripted import ScriptedCall, scripted
from virtual_loop import virtual_time

SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="


async def send_audio_and_garbage(peer: ScriptedCall, message: dict[str, Any]) -> None:
    await peer.accept(message)
    await peer.socket.send(b"\x55" * 800)
    await peer.socket.send("not json")


async def captured(path: Path) -> SimulatedCall:
    """Return a call that was written to a capture file."""
    parameters = new_call()
    async with scripted(open=send_audio_and_garbage) as server:
        options = CallOptions(api_key="the-key", client_secret=SECRET)
        with CaptureFile(path, server.url, parameters) as capture:
            call = SimulatedCall(server.url, parameters, options=options, observer=capture)
            async with call:
                await call.ended()
    return call


@virtual_time
async def test_capture_file_has_every_message_with_its_time_and_the_end(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    call = await captured(path)
    head, *lines, end = [json.loads(line) for line in path.read_text().splitlines()]
    assert head["mode"] == "bot"
    assert head["headers"]["Audiohook-Session-Id"] == call.parameters.session_id
    entries = call.session.capture.entries
    assert [(x["direction"], x["type"], x["size"]) for x in lines] == [
        (e.direction, e.type, e.size) for e in entries
    ]
    assert [x["at"] for x in lines] == [pytest.approx(e.at, abs=1e-6) for e in entries]
    opening = lines[0]["message"]
    assert (opening["type"], opening["seq"], opening["id"]) == (
        "open",
        1,
        call.parameters.session_id,
    )
    (sound,) = [x for x in lines if x["type"] == "audio" and x["direction"] == "from_server"]
    assert base64.b64decode(sound["audio"]) == b"\x55" * 800
    assert [x["text"] for x in lines if "text" in x] == ["not json"]
    assert end == {
        "at": pytest.approx(call.session.socket_closed.at, abs=1e-6),
        "end": "client",
        "code": 1005,
    }  # type: ignore[union-attr]


@virtual_time
async def test_capture_file_has_no_credentials_and_is_readable_by_its_owner_only(
    tmp_path: Path,
) -> None:
    path = tmp_path / "call.jsonl"
    path.touch(0o644)
    path.unlink()
    await captured(path)
    text = path.read_text().lower()
    assert not [word for word in ("the-key", "signature", SECRET.lower()) if word in text]
    if sys.platform != "win32":
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@virtual_time
async def test_read_capture_returns_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "call.jsonl"
    call = await captured(path)
    recorded = read_capture(path)
    assert recorded.mode is CallMode.BOT
    assert recorded.url.startswith("ws://127.0.0.1")
    assert recorded.ended_by is Party.CLIENT
    assert [e.content for e in recorded.entries if e.direction is Direction.TO_SERVER] == [
        e.content for e in call.session.capture.entries if e.direction is Direction.TO_SERVER
    ]
    assert [(e.type, e.seq, e.size, e.note) for e in recorded.entries] == [
        (e.type, e.seq, e.size, e.note) for e in call.session.capture.entries
    ]


HEAD = '{"capture": 1, "url": "ws://x", "mode": "bot", "headers": {}}\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("RIFF", "line 1: not a capture"),
        ("5", "line 1: not a capture"),
        ('{"url": "ws://x"}', "line 1: not a capture: 'capture' is missing"),
        (HEAD.replace("1", "2", 1), "is a capture of version 2; this program reads version 1"),
        (HEAD + "null\n{}", "line 2: not a capture: the line is not a JSON object"),
        (HEAD + '{"at": 1}', "line 2: not a capture: 'direction' is missing"),
        (HEAD + '{"at": 1, "end": "nobody"}', "line 2: not a capture"),
        (
            HEAD + '{"at": 0, "direction": "to_server", "type": "audio", "size": 1, "audio": "?"}',
            "line 2: not a capture",
        ),
        (HEAD + "[" * 100_000, "line 2: not a capture"),
    ],
)
def test_error_for_an_invalid_capture_file_names_the_line(
    tmp_path: Path, text: str, why: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_capture(path)


@virtual_time
async def test_capture_file_of_a_call_without_recording_has_no_audio(tmp_path: Path) -> None:
    path, parameters = tmp_path / "call.jsonl", new_call()
    async with scripted() as server:
        with CaptureFile(path, server.url, parameters) as capture:
            options = CallOptions(record_audio=False)
            async with SimulatedCall(
                server.url, parameters, options=options, observer=capture
            ) as call:
                await call.opened()
                await call.say(b"\x11" * 160)
    assert '"type":"audio"' in path.read_text()
    assert '"audio":' not in path.read_text()
