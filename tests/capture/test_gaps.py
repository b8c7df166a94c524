"""Tests that recordings with missing messages are converted to calls that can be replayed."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

from pipecat_genesys.capture import (
    AUDIO,
    CallMode,
    CaptureEntry,
    CaptureSource,
    Choices,
    Direction,
    MarkKind,
    RecordedCall,
    RecordingMark,
    has_gaps,
    make_replayable,
)
from pipecat_genesys.protocol.types import samples_to_duration

TO, FROM = Direction.TO_SERVER, Direction.FROM_SERVER
PACKET = 1600


def text(at: float, direction: Direction, kind: str, seq: int, **more: Any) -> CaptureEntry:
    message = {"type": kind, "seq": seq, **more}
    return CaptureEntry(at, direction, kind, seq, 100, content=json.dumps(message))


def whole_call(media_format: str = "PCMU") -> list[CaptureEntry]:
    """Return a call of 100 s with a ping each second and 5 audio messages per second."""
    medium = {"format": media_format, "channels": ["external"]}
    entries = [
        text(0.0, TO, "open", 1, serverseq=0, position="PT0S"),
        text(0.1, FROM, "opened", 1, parameters={"media": [medium]}),
    ]
    for second in range(100):
        for fifth in range(5):
            entries.append(CaptureEntry(0.2 + second + fifth / 5, TO, AUDIO, None, PACKET))
        position = samples_to_duration((second + 1) * 5 * PACKET)
        at, seq = 1.1 + second, second + 2
        entries.append(text(at, TO, "ping", seq, serverseq=seq - 1, position=position))
        entries.append(text(at + 0.01, FROM, "pong", seq))
    return entries


def without(entries: list[CaptureEntry], first: int, last: int, kind: MarkKind) -> RecordedCall:
    """Return a recording without the messages at the indices from `first` to `last - 1`."""
    mark = RecordingMark(entries[last].at, kind, last - first, first)
    return RecordedCall(
        "wss://x", CallMode.BOT, {}, (*entries[:first], *entries[last:]), ended_at=102.0,
        source=CaptureSource.FLIGHT_RECORDER, choices=Choices(), marks=(mark,),
    )  # fmt: skip


def assert_can_be_made(entries: tuple[CaptureEntry, ...]) -> None:
    """Check the order of times, `seq` without gaps, `serverseq`, and exact positions."""
    client = server = samples = 0
    times = [entry.at for entry in entries]
    assert times == sorted(times)
    assert max(after - before for before, after in pairwise(times)) < 1.2
    for entry in entries:
        if entry.is_audio:
            samples += entry.size
        elif entry.direction is FROM:
            assert entry.seq == server + 1
            server += 1
        else:
            message = json.loads(str(entry.content))
            assert entry.seq == message["seq"] == client + 1
            assert message["serverseq"] <= server
            assert message["position"] == samples_to_duration(samples)
            client += 1


def test_call_without_gaps_is_not_changed() -> None:
    entries = whole_call()
    recorded = RecordedCall("wss://x", CallMode.BOT, {}, tuple(entries))
    assert make_replayable(recorded) == recorded
    assert not has_gaps(recorded)
    assert_can_be_made(recorded.entries)


def test_messages_after_a_gap_follow_without_gaps_in_numbers_positions_and_times() -> None:
    entries = whole_call()
    # The first message after the gap is audio, a client message, or a server message.
    for last in range(200, 210):
        recorded = without(entries, 2, last, MarkKind.SKIPPED)
        assert has_gaps(recorded)
        replayable = make_replayable(recorded)
        assert len(replayable.entries) == len(recorded.entries)
        assert_can_be_made(replayable.entries)
        assert replayable.ended_at is not None
        assert 0 < replayable.ended_at - replayable.entries[-1].at < 2


def test_several_gaps_are_closed() -> None:
    entries = whole_call()
    first = without(entries, 2, 203, MarkKind.SKIPPED)
    second = without(list(first.entries), 100, 150, MarkKind.DROPPED)
    marks = (first.marks[0], second.marks[0])
    assert_can_be_made(make_replayable(replace(second, marks=marks)).entries)


def test_audio_without_content_becomes_silence_of_the_format() -> None:
    for media_format, sample in (("PCMU", b"\xff"), ("L16", b"\0")):
        recorded = without(whole_call(media_format), 2, 203, MarkKind.SKIPPED)
        sounds = [e for e in make_replayable(recorded).entries if e.is_audio]
        assert sounds
        assert {e.content for e in sounds} == {sample * PACKET}
