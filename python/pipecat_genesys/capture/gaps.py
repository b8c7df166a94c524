"""Converts a recording with masked or missing messages to a call that can be replayed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipecat_genesys.protocol.types import (
    AudioHookMediaFormat,
    AudioHookMessageType,
    duration_to_samples,
    samples_to_duration,
)

from .entries import CaptureEntry, Direction
from .file import CaptureSource, RecordedCall, decode_object
from .masking import silence

# When a gap is removed from a call: time between the last message before the gap and the first
# message after the gap, in seconds.
_GAP_SECONDS = 0.1
_POSITIONS = ("position", "start")


def make_replayable(recorded: RecordedCall) -> RecordedCall:
    """Return a call that a client can replay.

    Audio that the endpoint did not record becomes silence of the same length. Messages after
    missing messages get new sequence numbers, stream positions and times, as if the missing
    messages had never been sent.

    Args:
        recorded: The call. It is returned unchanged if no message is missing and its audio was
            recorded.
    """
    entries = recorded.entries
    if recorded.source is not CaptureSource.SIMULATOR:
        entries = _filled(entries)
    for index in sorted((mark.index for mark in recorded.marks if mark.count), reverse=True):
        if 0 < index < len(entries):
            entries = (*entries[:index], *_moved(entries[:index], entries[index:]))
    ended_at = recorded.ended_at
    if ended_at is not None and entries and recorded.entries:
        ended_at += entries[-1].at - recorded.entries[-1].at
    return replace(recorded, entries=entries, ended_at=ended_at)


def has_gaps(recorded: RecordedCall) -> bool:
    """Return whether messages are missing in a recording."""
    return any(mark.count for mark in recorded.marks)


def _filled(entries: tuple[CaptureEntry, ...]) -> tuple[CaptureEntry, ...]:
    media_format = AudioHookMediaFormat.L16 if _is_linear(entries) else None
    return tuple(
        replace(entry, content=silence(entry.size, media_format))
        if entry.is_audio and entry.content is None
        else entry
        for entry in entries
    )


def _is_linear(entries: Sequence[CaptureEntry]) -> bool:
    opened = next((e for e in entries if e.type == AudioHookMessageType.OPENED), None)
    return opened is not None and f'"{AudioHookMediaFormat.L16}"' in str(opened.content)


def _frame_bytes(entries: Sequence[CaptureEntry]) -> int:
    """Return the size of one sample of all channels, from the medium in `opened`."""
    opened = next((e for e in entries if e.type == AudioHookMessageType.OPENED), None)
    parameters = (_object(opened) if opened else {}).get("parameters", {})
    media = parameters.get("media") if isinstance(parameters, dict) else None
    first = media[0] if isinstance(media, list) and media else {}
    channels = first.get("channels") if isinstance(first, dict) else None
    width = 2 if _is_linear(entries) else 1
    return width * (len(channels) if isinstance(channels, list) and channels else 1)


def _moved(
    before: Sequence[CaptureEntry], after: Sequence[CaptureEntry]
) -> tuple[CaptureEntry, ...]:
    """Return the messages after a gap, with times and numbers that continue without the gap."""
    frame = _frame_bytes(before)
    client = _missing_numbers(before, after, Direction.TO_SERVER)
    server = _missing_numbers(before, after, Direction.FROM_SERVER)
    samples = max(0, _first_position(after, frame) - _last_position(before, frame))
    seconds = max(0.0, after[0].at - before[-1].at - _GAP_SECONDS)
    moved: list[CaptureEntry] = []
    for entry in after:
        missing = client if entry.direction is Direction.TO_SERVER else server
        seq = None if entry.seq is None else entry.seq - missing
        content = entry.content
        if not entry.is_audio and entry.direction is Direction.TO_SERVER:
            content = _renumbered(entry, client, server, samples)
        moved.append(replace(entry, at=entry.at - seconds, seq=seq, content=content))
    return tuple(moved)


def _missing_numbers(
    before: Sequence[CaptureEntry], after: Sequence[CaptureEntry], direction: Direction
) -> int:
    last = max((e.seq for e in before if e.seq is not None and e.direction is direction), default=0)
    first = next((e.seq for e in after if e.seq is not None and e.direction is direction), last + 1)
    return max(0, first - last - 1)


def _last_position(before: Sequence[CaptureEntry], frame: int) -> int:
    """Return the stream position at the end of some messages, in samples."""
    samples = 0
    for entry in reversed(before):
        if entry.direction is Direction.TO_SERVER:
            position = None if entry.is_audio else _position(_object(entry), "position")
            if position is not None:
                return position + samples
            samples += entry.size // frame if entry.is_audio else 0
    return samples


def _first_position(after: Sequence[CaptureEntry], frame: int) -> int:
    """Return the stream position at the beginning of some messages, in samples."""
    samples = 0
    for entry in after:
        if entry.direction is Direction.TO_SERVER:
            position = None if entry.is_audio else _position(_object(entry), "position")
            if position is not None:
                return position - samples
            samples += entry.size // frame if entry.is_audio else 0
    return 0


def _renumbered(entry: CaptureEntry, client: int, server: int, samples: int) -> Any:
    message = _object(entry)
    if not message:
        return entry.content
    for name, missing in (("seq", client), ("serverseq", server)):
        if isinstance(message.get(name), int):
            message[name] = max(0, message[name] - missing)
    for part in (message, message.get("parameters")):
        for name in _POSITIONS:
            if isinstance(part, dict) and (position := _position(part, name)) is not None:
                part[name] = samples_to_duration(max(0, position - samples))
    return json.dumps(message, separators=(",", ":"))


def _object(entry: CaptureEntry) -> dict[str, Any]:
    return (decode_object(entry.content) if isinstance(entry.content, str) else None) or {}


def _position(fields: dict[str, Any], name: str) -> int | None:
    try:
        return duration_to_samples(fields.get(name))
    except ValueError:
        return None
