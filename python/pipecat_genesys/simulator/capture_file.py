"""Capture files: the messages of a call as JSON lines, written while the call runs.

The first line identifies the call, without credentials. The last line has the end of the call. A
message is written as an object, or as text if it is not a JSON object; audio is written as
base64::

    {"capture": 1, "url": "ws://...", "mode": "bot", "headers": {"Audiohook-Session-Id": ...}}
    {"at": 0.0, "direction": "to_server", "type": "open", "seq": 1, "size": 512, "message": {...}}
    {"at": 0.4, "direction": "to_server", "type": "audio", "size": 1600, "audio": "//7+..."}
    {"at": 9.1, "end": "client", "code": 1005}

A capture file contains everything that was said and every key that was pressed. Therefore only the
user who writes a capture file can read it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from .connection import audiohook_headers
from .session.events import Event, Party, SocketClosed
from .session.messages import CaptureEntry, Direction
from .session.parameters import CallMode, CallParameters

VERSION = 1
"""Version of the file format."""


class CaptureFile:
    """Writes a call to a capture file. Pass it to a `SimulatedCall` as the observer.

    The capture file is a context manager. Entering it creates the file, and leaving it closes the
    file.

    Args:
        path: Path of the file. An existing file is replaced.
        url: URL of the server.
        parameters: Parameters of the call.
    """

    def __init__(self, path: str | os.PathLike[str], url: str, parameters: CallParameters) -> None:
        self._path = path
        headers = audiohook_headers(parameters, "")
        del headers["X-API-KEY"]
        self._head = {
            "capture": VERSION,
            "url": url,
            "mode": parameters.mode.value,
            "headers": headers,
        }

    def __enter__(self) -> Self:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._file = open(descriptor, "w", encoding="utf-8")
        self._write(self._head)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __call__(self, item: CaptureEntry | Event) -> None:
        """Write a message or the end of the call. Other events are not written."""
        if isinstance(item, CaptureEntry):
            self._write(_line(item))
        elif isinstance(item, SocketClosed):
            self._write({"at": round(item.at, 6), "end": item.by.value, "code": item.code})

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")


def _line(entry: CaptureEntry) -> dict[str, Any]:
    line: dict[str, Any] = {
        "at": round(entry.at, 6),
        "direction": entry.direction.value,
        "type": entry.type,
        "seq": entry.seq,
        "size": entry.size,
        "latency": None if entry.latency is None else round(entry.latency, 6),
        "note": entry.note or None,
    }
    if isinstance(entry.content, bytes):
        line["audio"] = base64.b64encode(entry.content).decode()
    elif entry.content is not None:
        message = _object(entry.content)
        line["text" if message is None else "message"] = (
            entry.content if message is None else message
        )
    return {name: value for name, value in line.items() if value is not None}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


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
    """

    url: str
    mode: CallMode
    headers: Mapping[str, str]
    entries: tuple[CaptureEntry, ...]
    ended_at: float | None = None
    ended_by: Party | None = None


def read_capture(path: str | os.PathLike[str]) -> RecordedCall:
    """Read a capture file.

    Args:
        path: Path of the file.

    Raises:
        ValueError: If the file is not a capture file. The message names the line.
        OSError: If the file cannot be read.
    """
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.strip()]
    head: Mapping[str, Any] = {}
    end: Mapping[str, Any] = {}
    entries: list[CaptureEntry] = []
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            if number == 1:
                head = _read_head(line)
            elif "end" in line:
                end = {"ended_at": float(line["at"]), "ended_by": Party(line["end"])}
            else:
                entries.append(_read_entry(line))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"{os.fspath(path)}, line {number}: not a capture: {why}") from None
    if not head:
        raise ValueError(
            f"{os.fspath(path)} is empty; `pipecat-genesys call --capture` writes capture files"
        )
    return RecordedCall(**head, entries=tuple(entries), **end)


def _read_head(line: Mapping[str, Any]) -> dict[str, Any]:
    if line["capture"] != VERSION:
        raise ValueError(f"unknown version {line['capture']}; supported is version {VERSION}")
    headers = {str(name): str(value) for name, value in line["headers"].items()}
    return {"url": str(line["url"]), "mode": CallMode(line["mode"]), "headers": headers}


def _read_entry(line: Mapping[str, Any]) -> CaptureEntry:
    content: str | bytes | None = None
    if "audio" in line:
        content = base64.b64decode(line["audio"], validate=True)
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
