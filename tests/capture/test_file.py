"""Tests of the file format: recordings of the endpoint, and files whose writer was killed."""

from __future__ import annotations

import stat
from dataclasses import asdict
from pathlib import Path

import pytest
from pipecat_genesys.capture import (
    AUDIO,
    CallMode,
    CaptureEntry,
    CaptureHead,
    CaptureSource,
    Choice,
    Choices,
    Direction,
    MarkKind,
    Party,
    RecordingMark,
    create_file,
    end_line,
    entry_line,
    head_line,
    mark_line,
    message_line,
    read_capture,
)

HEAD = CaptureHead(
    "wss://bot.example.com/audiohook",
    CallMode.BOT,
    {"Audiohook-Session-Id": "e160e428-53e2-487c-977d-96989bf5c99d"},
    source=CaptureSource.FLIGHT_RECORDER,
    started="2026-11-30T14:05:56.123Z",
    choices=Choices(audio=Choice.OMIT, digits=Choice.RECORD),
    reasons=("lost", "underruns"),
)
ENTRIES = (
    CaptureEntry(0.0, Direction.TO_SERVER, "open", 1, 11, content='{"é":"ü"}'),
    CaptureEntry(0.25, Direction.FROM_SERVER, "opened", 1, 2, 0.25, "x", "{}"),
    CaptureEntry(0.5, Direction.TO_SERVER, AUDIO, None, 3, content=b"\x00\xff\x10"),
    CaptureEntry(0.75, Direction.TO_SERVER, "?", None, 8, content='not "json"\n'),
    CaptureEntry(1.0, Direction.FROM_SERVER, AUDIO, None, 1600),
    CaptureEntry(1.1, Direction.TO_SERVER, AUDIO, None, 4, content=b"\xff" * 4),
    CaptureEntry(1.2, Direction.TO_SERVER, AUDIO, None, 4, content=bytes(4)),
)


def written(path: Path) -> bytes:
    """Write a file with all kinds of lines, and return its bytes."""
    lines = [
        head_line(HEAD),
        *map(entry_line, ENTRIES[:3]),
        mark_line(0.6, MarkKind.PAUSED),
        *map(entry_line, ENTRIES[3:5]),
        message_line(1.1, Direction.TO_SERVER, AUDIO, 4, '"silence":"ff"'),
        message_line(1.2, Direction.TO_SERVER, AUDIO, 4, '"silence":"00"'),
        mark_line(1.5, MarkKind.DROPPED, 12),
        end_line(2.0, Party.CLIENT, 1005),
    ]
    path.write_text("".join(lines), encoding="utf-8")
    return path.read_bytes()


def test_read_capture_returns_what_a_recorder_wrote(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    written(path)
    call = read_capture(path)
    assert {name: getattr(call, name) for name in asdict(HEAD)} == {
        name: getattr(HEAD, name) for name in asdict(HEAD)
    }
    assert [(e.at, e.type, e.seq, e.size, e.latency, e.note) for e in call.entries] == [
        (e.at, e.type, e.seq, e.size, e.latency, e.note) for e in ENTRIES
    ]
    assert call.entries[2].content == ENTRIES[2].content
    assert call.entries[3].content == ENTRIES[3].content
    assert [e.content for e in call.entries[4:]] == [None, b"\xff" * 4, bytes(4)]
    assert call.marks == (
        RecordingMark(0.6, MarkKind.PAUSED, 0, 3),
        RecordingMark(1.5, MarkKind.DROPPED, 12, 7),
    )
    assert (call.ended_at, call.ended_by) == (2.0, Party.CLIENT)


def test_file_that_ends_in_the_middle_of_a_line_is_read_up_to_that_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    whole = written(path)
    head = whole.index(b"\n") + 1
    for size in range(head, len(whole)):
        path.write_bytes(whole[:size])
        complete = whole[:size].count(b'"direction"')
        call = read_capture(path)
        # The last entry is complete if only its line end is missing.
        assert complete - 1 <= len(call.entries) <= complete
        assert call.entries == read_capture(path).entries[: len(call.entries)]


def test_broken_line_before_the_last_one_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = written(path).splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:20] + b"\n", *lines[3:]]))
    with pytest.raises(ValueError, match="line 3: not a capture"):
        read_capture(path)


@pytest.mark.parametrize("size", [-1, 10**12, '"x"'])
def test_silence_of_an_impossible_size_is_an_error(tmp_path: Path, size: object) -> None:
    path = tmp_path / "a.jsonl"
    line = f'{{"at":0,"direction":"to_server","type":"audio","size":{size},"silence":"ff"}}\n'
    path.write_text(head_line(HEAD) + line)
    with pytest.raises(ValueError, match="line 2: not a capture"):
        read_capture(path)


def test_torn_first_line_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(written(path)[:40])
    with pytest.raises(ValueError, match="line 1: not a capture"):
        read_capture(path)


def test_created_file_is_private_and_replaces_no_file_unless_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with open(create_file(path, replace=False), "wb") as file:
        file.write(b"x")
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    with pytest.raises(FileExistsError):
        create_file(path, replace=False)
    with open(create_file(path, replace=True), "wb"):
        assert path.read_bytes() == b""
