"""Captures on disk: JSON, a line for each message, written while the call runs.

The first line says which call it is, without its credentials; the last how it ended. A message is
an object as it was sent, or the text itself where that is no JSON object; audio is base64::

    {"capture": 1, "url": "ws://...", "mode": "bot", "headers": {"Audiohook-Session-Id": ...}}
    {"at": 0.0, "direction": "to_server", "type": "open", "seq": 1, "size": 512, "message": {...}}
    {"at": 0.4, "direction": "to_server", "type": "audio", "size": 1600, "audio": "//7+..."}
    {"at": 9.1, "end": "client", "code": 1005}

It holds what was said and pressed: only the user who made it may read it.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pipecat_genesys.simulator.capture import CaptureEntry, Direction
from pipecat_genesys.simulator.events import Event, Party, SocketClosed
from pipecat_genesys.simulator.options import audiohook_headers
from pipecat_genesys.simulator.parameters import CallMode, CallParameters

VERSION = 1


class CaptureFile:
    """Writes a call to disk as it happens; give it to a call as its observer.

    A context manager: the file is made at its beginning, and complete at its end.

    Args:
        path: Where to; what is there is replaced.
        url: Where the call goes.
        parameters: Who calls.
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
        """Take what the call observed."""
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
    """A capture that was read.

    Attributes:
        url: Where the call went.
        mode: What the server was there for.
        headers: Of the upgrade request, without credentials.
        entries: The messages, in order.
        ended_at: Seconds from ``open`` to the end of the socket, None where it is not recorded.
        ended_by: Who closed it, None where it is not recorded.
    """

    url: str
    mode: CallMode
    headers: Mapping[str, str]
    entries: tuple[CaptureEntry, ...]
    ended_at: float | None = None
    ended_by: Party | None = None


def read_capture(path: str | os.PathLike[str]) -> RecordedCall:
    """Read a capture.

    Raises:
        ValueError: If it is none; names the line.
        OSError: If it cannot be read.
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
        raise ValueError(f"{os.fspath(path)} is empty; a capture is written by call --capture")
    return RecordedCall(**head, entries=tuple(entries), **end)


def _read_head(line: Mapping[str, Any]) -> dict[str, Any]:
    if line["capture"] != VERSION:
        raise ValueError(f"version {line['capture']}; this program reads {VERSION}")
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
