"""Tests of capture files as a source: invalid files are listed, and changed files are read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from pipecat_genesys.capture import (
    VERSION,
    Choices,
    mask_client_message,
    mask_server_parameters,
)
from pipecat_genesys.inspector.calls import InspectedCall
from pipecat_genesys.inspector.captures import CaptureFiles, load_capture
from pipecat_genesys.simulator import (
    CallReport,
    CaptureFile,
    SimulatedCall,
    new_call,
    sample_speech,
)
from reference_server import reference_server

HEAD = {"capture": VERSION, "url": "ws://bot/", "mode": "bot", "headers": {}}
OPEN = {
    "at": 0,
    "direction": "to_server",
    "type": "open",
    "seq": 1,
    "size": 10,
    "message": {"type": "open", "seq": 1, "parameters": {}},
}


def write(path: Path, *lines: object, end: bytes = b"\n") -> Path:
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(encoded) + end)
    return path


def read(path: Path) -> InspectedCall:
    call = load_capture(path, "id", path.name)
    # All values that the page can request must be valid JSON.
    json.dumps(call.details(), allow_nan=False)
    messages = [message.as_json(full=True) for message in call.analysis.messages]
    json.dumps([*messages, *(mark.as_json() for mark in call.analysis.marks)], allow_nan=False)
    for track in call.analysis.tracks().values():
        assert len(track.pcm(0, 8000)) == 16_000
    return call


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("captures") / "call.jsonl"


async def simulate(path: Path) -> tuple[SimulatedCall, CallReport]:
    async with reference_server() as url:
        parameters = new_call()
        with CaptureFile(path, url, parameters) as capture:
            async with SimulatedCall(url, parameters, observer=capture) as call:
                await call.opened()
                await call.wait_for_bot_audio()
                await call.press("5")
                await call.say(sample_speech(0.5))
                await call.hang_up()
                report = await call.ended()
    return call, report


async def test_a_capture_of_the_simulator_gives_the_simulator_s_results(recorded: Path) -> None:
    simulated, report = await simulate(recorded)
    call = read(recorded)
    assert call.error is None
    analysis = call.analysis
    entries = simulated.session.capture.entries
    ours = [(m.type, m.seq, m.size) for m in analysis.messages if m.type != "note"]
    assert ours == [(e.type, e.seq, e.size) for e in entries]
    assert analysis.violations == len(report.violations) == 0
    assert analysis.warnings == len(report.warnings)
    assert call.summary()["end"]["by"] == "client"
    assert [mark.value for mark in analysis.marks if mark.kind == "dtmf"] == ["5"]
    cleared = [mark.value for mark in analysis.marks if mark.kind == "barge_in"]
    assert cleared == [pytest.approx(report.dropped_by_barge_in, abs=0.01)]
    assert analysis.numbers()["opened_latency"] == pytest.approx(report.opened_latency, abs=1e-4)


def test_a_newer_version_is_named_with_the_remedy(tmp_path: Path) -> None:
    call = read(write(tmp_path / "new.jsonl", HEAD | {"capture": VERSION + 1}))
    assert call.error is not None
    assert f"version {VERSION + 1}" in call.error
    assert "update" in call.error


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\xff\xfe\x00garbage",
        b"<html><script>alert(1)</script>",
        b"[" * 100_000,
        b'{"capture": "1"}',
        b'{"capture": {"a": [1]}}',
        b"null",
        b"{" + b" " * 3_000_000 + b"}",
    ],
)
def test_a_file_that_is_no_capture_is_an_entry_with_an_error(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(content)
    assert read(path).error


BROKEN_LINES: list[object] = [
    b"{",
    b"\xff\xfe",
    b"[" * 50_000,
    b"null",
    {},
    {"at": "now", "direction": "to_server", "type": "x", "size": 1},
    b'{"at": NaN, "direction": "to_server", "type": "x", "size": 1}',
    b'{"at": 1e999, "direction": "to_server", "type": "x", "size": 1}',
    {"at": 1, "direction": "sideways", "type": "x", "size": 1, "text": "a"},
    {"at": 1, "direction": "to_server", "type": "audio", "size": 1, "audio": "not base64"},
    {"at": 1, "direction": "to_server", "type": "audio", "size": -5},
    {"at": 1, "direction": "to_server", "type": "audio", "size": "many"},
    {"at": 1, "direction": [], "type": "x", "size": 1, "text": "a"},
    {"at": 1, "recording": "unknown"},
    b"9" * 10_000,
]


def test_broken_lines_are_reported_and_the_other_lines_are_shown(tmp_path: Path) -> None:
    ping = {"at": 2, "direction": "to_server", "type": "ping", "size": 5, "text": "hello"}
    call = read(
        write(tmp_path / "torn.jsonl", HEAD, OPEN, *BROKEN_LINES, ping, b'{"at": 3', end=b"")
    )
    assert call.error is None
    types = [message.type for message in call.analysis.messages if message.type != "note"]
    assert types == ["open", "?"]
    notes = [m.note for m in call.analysis.messages if m.type == "note"]
    skipped = [note for note in notes if "is skipped" in note]
    assert len(skipped) == len(BROKEN_LINES) + 1
    assert skipped[0].startswith("line 3 ")


HOSTILE_MESSAGES: list[object] = [
    {"type": ["a"], "seq": {}},
    {"type": "open", "seq": 10**400, "parameters": []},
    {"type": "open", "id": 5, "parameters": {"media": [1, {"type": "audio"}, None]}},
    {"type": "opened", "seq": True, "parameters": {"media": [{}]}},
    {"type": "resumed", "parameters": {"start": "PT1S", "discarded": "PT999999999999999999999S"}},
    {"type": "discarded", "parameters": {"start": "PT" + "9" * 400 + "S", "discarded": "PT1S"}},
    {"type": "dtmf", "parameters": {"digit": {"a": "<b>"}}},
    {"type": "error", "parameters": {"code": [], "message": "\ud800"}},
    {"type": "disconnect", "seq": 1, "parameters": {"reason": 7, "outputVariables": {"a": [1]}}},
    {"type": "event", "parameters": {"entities": [1, {"type": {"x": 1}}]}},
    {"type": "closed", "parameters": {"outputVariables": {"<script>": "\ud83d"}}},
    {"type": "close", "parameters": {"reason": ["end"]}},
    {"deep": json.loads("[" * 400 + "]" * 400)},
    {"type": "event", "text": "</script><!--" * 100_000},
]


@pytest.mark.parametrize("direction", ["to_server", "from_server"])
def test_hostile_messages_do_no_harm(tmp_path: Path, direction: str) -> None:
    lines = [
        {"at": n, "direction": direction, "type": "?", "size": 1, "message": message}
        for n, message in enumerate(HOSTILE_MESSAGES, start=1)
    ]
    call = read(write(tmp_path / "hostile.jsonl", HEAD, OPEN, *lines))
    assert call.error is None
    shown = [m for m in call.analysis.messages if m.type != "note"]
    assert len(shown) == 1 + len(HOSTILE_MESSAGES)


def test_a_large_message_is_listed_short_and_given_whole(tmp_path: Path) -> None:
    text = "x" * 1_000_000
    line = {"at": 1, "direction": "from_server", "type": "?", "size": 1, "text": text}
    message = read(write(tmp_path / "large.jsonl", HEAD, OPEN, line)).analysis.messages[1]
    assert len(message.as_json()["text"]) < 3000
    assert message.as_json(full=True)["text"] == text


def test_audio_at_absurd_times_does_not_grow_the_tracks(tmp_path: Path) -> None:
    skip = {
        "type": "discarded",
        "seq": 2,
        "parameters": {"start": "PT1S", "discarded": "PT9999999S"},
    }
    opened = {"type": "opened", "seq": 1, "id": "a", "version": "2", "clientseq": 1}
    media = [{"type": "audio", "format": "PCMU", "channels": ["external"], "rate": 8000}]
    opening = {**OPEN["message"], "id": "a", "parameters": {"media": media}}  # type: ignore[dict-item]
    call = read(
        write(
            tmp_path / "late.jsonl",
            HEAD,
            OPEN | {"message": opening},
            {
                "at": 0.1,
                "direction": "from_server",
                "type": "opened",
                "size": 9,
                "message": opened | {"parameters": {"media": media}},
            },
            {"at": 1, "direction": "to_server", "type": "discarded", "size": 9, "message": skip},
            {"at": 1.2, "direction": "to_server", "type": "audio", "size": 4, "audio": "////"},
        )
    )
    assert call.analysis.tracks()["caller"].end < 5 * 8000


async def test_a_folder_is_searched_again(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path)
    await files.rescan()
    assert files.summaries() == []
    (tmp_path / "day").mkdir()
    write(tmp_path / "day" / "one.jsonl", HEAD, OPEN)
    write(tmp_path / "two.txt", HEAD, OPEN)
    write(tmp_path / "three.jsonl", b"broken")
    (tmp_path / "notes.txt").write_text("not a capture")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.jsonl")
    await files.rescan()
    names = {summary["name"]: summary["error"] for summary in files.summaries()}
    assert names.keys() == {str(Path("day", "one.jsonl")), "two.txt", "three.jsonl"}
    assert names["three.jsonl"]
    assert not names["two.txt"]
    before = files.versions()
    (tmp_path / "two.txt").unlink()
    await files.rescan()
    assert len(files.versions()) == len(before) - 1


async def test_a_masked_recording_breaks_no_rule(tmp_path: Path) -> None:
    await simulate(tmp_path / "call.jsonl")
    choices = Choices()
    text = (tmp_path / "call.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    entity = {"type": "bot_turn_response", "data": {"disposition": "match", "text": "secret"}}
    said = {"reason": "completed", "outputVariables": {"intent": "secret"}}
    closed = next(line for line in lines if line.get("type") == "closed")
    # The messages are put before the client's `close`.
    closing = next(n for n, line in enumerate(lines) if line.get("type") == "close")
    lines[closing:closing] = [
        server_line(closed, 0, "event", {"entities": [entity]}),
        server_line(closed, 1, "disconnect", said),
    ]
    closed["message"]["seq"] += 2
    masked = [lines[0] | {"source": "recorder", "choices": asdict(choices)}]
    for line in lines[1:]:
        message = line.get("message")
        if message is not None and line["direction"] == "to_server":
            line["message"] = mask_client_message(message, choices)
        elif message is not None:
            parameters = mask_server_parameters(line["type"], message["parameters"], choices)
            line["message"] = message | {"parameters": parameters}
        masked.append(line)
    call = read(write(tmp_path / "masked.jsonl", *masked))
    broken = [rule.rule for message in call.analysis.messages for rule in message.rules]
    assert broken == []
    assert "secret" not in json.dumps([m.as_json() for m in call.analysis.messages])


def server_line(closed: dict[str, Any], more: int, kind: str, parameters: Any) -> dict[str, Any]:
    """Return the line of a server message whose `seq` is `more` above the `seq` of `closed`."""
    seq = closed["seq"] + more
    changed = {"type": kind, "seq": seq, "clientseq": 1, "parameters": parameters}
    message = closed["message"] | changed
    at = closed["at"] - 0.001
    return closed | {"type": kind, "seq": seq, "message": message, "at": at}


def test_missing_messages_of_a_recording_are_named(tmp_path: Path) -> None:
    gap = {"at": 50, "recording": "skipped", "count": 7}
    ping = {"type": "ping", "seq": 90, "parameters": {}}
    line = {"at": 60, "direction": "to_server", "type": "ping", "seq": 90, "size": 9}
    call = read(write(tmp_path / "flight.jsonl", HEAD, OPEN, gap, line | {"message": ping}))
    notes = [m.note for m in call.analysis.messages if m.type == "note"]
    assert "recording skipped (7 messages)" in notes
    rules = [rule.rule for message in call.analysis.messages for rule in message.rules]
    assert "client-seq" not in rules
