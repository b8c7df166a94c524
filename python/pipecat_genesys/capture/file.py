"""Capture files: the messages of a call as JSON lines, written while the call runs.

The first line identifies the call, without credentials. The last line has the time and the cause of
the end of the call. A message is written as an object, or as text if it is not a JSON object. Audio
is written as base64::

    {"capture": 1, "url": "ws://...", "mode": "bot", "headers": {"Audiohook-Session-Id": ...}}
    {"at": 0.0, "direction": "to_server", "type": "open", "seq": 1, "size": 512, "message": {...}}
    {"at": 0.4, "direction": "to_server", "type": "audio", "size": 1600, "audio": "//7+..."}
    {"at": 3.0, "recording": "paused"}
    {"at": 3.1, "direction": "to_server", "type": "audio", "size": 1600, "silence": "ff"}
    {"at": 9.1, "end": "client", "code": 1005}

The first line of a recording of the endpoint also has its source, the time of the first message,
and whether personal data is recorded, masked or left out. Masked audio is written as one byte of
silence. The lines with `recording` show which messages are masked or missing. An unmasked capture
contains everything that was said and every key that was pressed. Therefore only the user who writes
a capture file can read the file.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from .entries import CallMode, CaptureEntry, Direction, Party
from .masking import Choice, Choices

VERSION = 1
"""Version of the file format."""

# All characters above ASCII are escaped, because a text can contain surrogates, which cannot be
# encoded in UTF-8.
_encode = json.JSONEncoder(separators=(",", ":")).encode


# Largest size of a masked audio message, in bytes. Real audio messages are smaller, because servers
# refuse messages of this size.
_MAX_SILENCE = 2**20


class CaptureSource(StrEnum):
    """The program that writes a capture."""

    SIMULATOR = "simulator"
    """The client's side of a simulated call."""
    RECORDER = "recorder"
    """The server's side of a call, from its beginning."""
    FLIGHT_RECORDER = "flight-recorder"
    """The server's side of a call that ended badly: `open`, `opened` and the last seconds."""


class MarkKind(StrEnum):
    """Kind of a mark in a recording."""

    PAUSED = "paused"
    """The recording was paused: the following messages are masked."""
    RESUMED = "resumed"
    """The recording was resumed."""
    DROPPED = "dropped"
    """Messages are missing, because the disk was full or too slow."""
    SKIPPED = "skipped"
    """Messages are missing, because the flight recorder keeps only the newest messages."""


@dataclass(frozen=True, slots=True)
class RecordingMark:
    """A place in a recording where it was paused or resumed, or where messages are missing.

    Attributes:
        at: Seconds since `open`.
        kind: The kind of the mark.
        count: Number of missing messages, if it is known; otherwise 0.
        index: Number of messages in the file before the mark.
    """

    at: float
    kind: MarkKind
    count: int = 0
    index: int = 0


@dataclass(frozen=True, slots=True)
class CaptureHead:
    """The first line of a capture.

    Attributes:
        url: URL of the server.
        mode: Mode of the call.
        headers: Headers of the upgrade request, without credentials.
        source: The program that writes the capture.
        started: Time of the first message as ISO 8601 text, or None.
        choices: How personal data was recorded. None if nothing was masked or left out.
        reasons: Why the flight recorder wrote the capture.
    """

    url: str
    mode: CallMode
    headers: Mapping[str, str]
    source: CaptureSource = CaptureSource.SIMULATOR
    started: str | None = None
    choices: Choices | None = None
    reasons: tuple[str, ...] = ()


def head_line(head: CaptureHead) -> str:
    """Return the first line of a capture."""
    line: dict[str, Any] = {
        "capture": VERSION,
        "url": head.url,
        "mode": head.mode.value,
        "headers": dict(head.headers),
    }
    if head.source is not CaptureSource.SIMULATOR:
        line["source"] = head.source.value
    if head.started is not None:
        line["started"] = head.started
    if head.choices is not None:
        line["choices"] = asdict(head.choices)
    if head.reasons:
        line["reasons"] = list(head.reasons)
    return _encode(line) + "\n"


def message_line(
    at: float,
    direction: Direction,
    type: str,
    size: int,
    content: str = "",
    *,
    seq: int | None = None,
    latency: float | None = None,
    note: str = "",
) -> str:
    """Return the line of a message.

    Args:
        at: Seconds since `open`.
        direction: Direction of the message.
        type: Type of the message.
        size: Size of the message in bytes.
        content: Name and value of the member with the content, as JSON text:
            `"audio":"..."`, `"silence":"ff"`, `"message":{...}` or `"text":"..."`; empty if
            the content is not recorded.
        seq: Sequence number of the message.
        latency: Seconds between a request and this reply.
        note: Text about the message.
    """
    line = f'{{"at":{at:.6f},"direction":"{direction}","type":{_encode(type)}'
    if seq is not None:
        line += f',"seq":{_encode(seq)}'
    line += f',"size":{size}'
    if latency is not None:
        line += f',"latency":{latency:.6f}'
    if note:
        line += f',"note":{_encode(note)}'
    return f"{line},{content}}}\n" if content else f"{line}}}\n"


def entry_line(entry: CaptureEntry) -> str:
    """Return the line of an entry."""
    content = ""
    if isinstance(entry.content, bytes):
        content = f'"audio":"{base64.b64encode(entry.content).decode()}"'
    elif entry.content is not None:
        message = decode_object(entry.content)
        content = (
            f'"text":{_encode(entry.content)}'
            if message is None
            else f'"message":{_encode(message)}'
        )
    return message_line(
        entry.at,
        entry.direction,
        entry.type,
        entry.size,
        content,
        seq=entry.seq,
        latency=entry.latency,
        note=entry.note,
    )


def end_line(at: float, by: Party, code: int | None) -> str:
    """Return the line of the end of a call.

    Args:
        at: Seconds since `open`.
        by: The party that closed the socket.
        code: Code of the WebSocket's close frame, or None.
    """
    return _encode({"at": round(at, 6), "end": by.value, "code": code}) + "\n"


def mark_line(at: float, kind: MarkKind, count: int = 0) -> str:
    """Return the line of a `RecordingMark`."""
    line: dict[str, Any] = {"at": round(at, 6), "recording": kind.value}
    if count:
        line["count"] = count
    return _encode(line) + "\n"


def decode_object(text: str) -> dict[str, Any] | None:
    """Decode a JSON object; return None for any other text."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def create_file(path: str | os.PathLike[str], *, replace: bool) -> int:
    """Create a file that only this user can read.

    Args:
        path: Path of the file.
        replace: Whether to replace an existing file.

    Returns:
        The file descriptor, open for writing.

    Raises:
        FileExistsError: If the file exists and must not be replaced.
        OSError: If the file cannot be created.
    """
    flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
    return os.open(path, flags | (os.O_TRUNC if replace else os.O_EXCL), 0o600)


@dataclass(frozen=True, slots=True)
class RecordedCall:
    """The contents of a capture file.

    Attributes:
        url: URL of the server.
        mode: Mode of the call.
        headers: Headers of the upgrade request, without credentials.
        entries: The messages, oldest first.
        ended_at: Time at which the socket was closed, in seconds since `open`, or None if the
            file does not contain the end.
        ended_by: The party that closed the socket, or None if the file does not contain the end.
        source: The program that wrote the capture.
        started: Time of the first message as ISO 8601 text, or None if the file does not have it.
        choices: How personal data was recorded, or None if nothing was masked or left out.
        reasons: Why the flight recorder wrote the capture.
        marks: Pauses of the recording, and missing messages.
    """

    url: str
    mode: CallMode
    headers: Mapping[str, str]
    entries: tuple[CaptureEntry, ...]
    ended_at: float | None = None
    ended_by: Party | None = None
    source: CaptureSource = CaptureSource.SIMULATOR
    started: str | None = None
    choices: Choices | None = None
    reasons: tuple[str, ...] = ()
    marks: tuple[RecordingMark, ...] = field(default=())


def read_capture(path: str | os.PathLike[str]) -> RecordedCall:
    """Read a capture file.

    A file can end in the middle of a line if it is still being written or if its writer was killed.
    An incomplete last line is ignored.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If the file is not a capture file. The message names the line.
        OSError: If the file cannot be read.
    """
    with open(path, "rb") as file:
        lines = [line for line in file if line.strip()]
    head: Mapping[str, Any] = {}
    end: Mapping[str, Any] = {}
    entries: list[CaptureEntry] = []
    marks: list[RecordingMark] = []
    version: object = VERSION
    for number, text in enumerate(lines, start=1):
        try:
            if 1 < number == len(lines) and _is_torn(text):
                break
            line = json.loads(text)
            if not isinstance(line, dict):
                raise ValueError("the line is not a JSON object")
            if number == 1:
                version = line["capture"]
                if version != VERSION:
                    break
                head = _read_head(line)
            elif "end" in line:
                end = {"ended_at": float(line["at"]), "ended_by": Party(line["end"])}
            elif "recording" in line:
                kind, count = MarkKind(line["recording"]), int(line.get("count", 0))
                marks.append(RecordingMark(float(line["at"]), kind, count, len(entries)))
            else:
                entries.append(_read_entry(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{os.fspath(path)}, line {number}: not a capture: {why}") from None
    if version != VERSION:
        raise ValueError(
            f"{os.fspath(path)} is a capture of version {str(version)[:20]}; this program reads "
            f"version {VERSION}. Use the release of pipecat-genesys that wrote the file"
        )
    if not head:
        raise ValueError(
            f"{os.fspath(path)} is empty; `pipecat-genesys call --capture` and "
            "`pipecat-genesys serve --record` write capture files"
        )
    return RecordedCall(**head, entries=tuple(entries), marks=tuple(marks), **end)


def _is_torn(line: bytes) -> bool:
    """Return whether the last line of a file was not written completely."""
    if line.endswith(b"\n"):
        return False
    try:
        json.loads(line)
    except RecursionError:
        return False
    except ValueError:
        return True
    return False


def _read_head(line: Mapping[str, Any]) -> dict[str, Any]:
    head: dict[str, Any] = {
        "url": str(line["url"]),
        "mode": CallMode(line["mode"]),
        "headers": {str(name): str(value) for name, value in line["headers"].items()},
        "source": CaptureSource(line.get("source", CaptureSource.SIMULATOR)),
        "reasons": tuple(map(str, line.get("reasons", ()))),
    }
    if "started" in line:
        head["started"] = str(line["started"])
    if "choices" in line:
        head["choices"] = Choices(
            **{str(name): Choice(choice) for name, choice in line["choices"].items()}
        )
    return head


def _read_entry(line: Mapping[str, Any]) -> CaptureEntry:
    content: str | bytes | None = None
    if "audio" in line:
        content = base64.b64decode(line["audio"], validate=True)
    elif "silence" in line:
        if not 0 <= line["size"] <= _MAX_SILENCE:
            raise ValueError(
                f"the size of a silence entry is {line['size']} bytes; it must be 0 to "
                f"{_MAX_SILENCE}"
            )
        content = bytes.fromhex(line["silence"])[:1] * int(line["size"])
    elif "message" in line:
        content = json.dumps(line["message"], separators=(",", ":"))
    elif "text" in line:
        content = str(line["text"])
    return CaptureEntry(
        at=float(line["at"]),
        direction=Direction(line["direction"]),
        type=str(line["type"]),
        seq=line.get("seq"),
        size=int(line["size"]),
        latency=line.get("latency"),
        note=line.get("note", ""),
        content=content,
    )
