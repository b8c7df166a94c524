"""Capture files as a source of calls. Changed files are read again while the inspector runs.

A file that cannot be read is shown as a call with an error. Broken lines of a file are skipped and
reported in the call, because a process that was killed leaves a broken last line. Files are read in
a separate thread.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pipecat_genesys.capture import VERSION, CallMode, Choice, Direction, MarkKind, Party
from pipecat_genesys.errors import PipecatGenesysError

from .analysis import BrokenRule, CallAnalysis
from .calls import CallSource, InspectedCall, safe_headers

_MAX_LINE = 32 * 1024 * 1024
_MAX_FILES = 10_000
_KEPT = 4
_REPORTED = 20
_SUFFIXES = frozenset({".jsonl", ".capture", ".ndjson"})
_MARK = b'"capture"'


class UnreadableCaptureError(PipecatGenesysError, ValueError):
    """A file is not a capture, or its version is not supported."""


def load_capture(path: Path, call_id: str, name: str) -> InspectedCall:
    """Read a capture file.

    Args:
        path: Path of the file.
        call_id: Id for the list.
        name: Name for the list.

    Returns:
        The call. If the file cannot be read or is not a capture, `error` of the call has the
        reason.
    """
    call = InspectedCall(call_id, name, CallSource.FILE, "")
    try:
        with path.open("rb") as file:
            modified = os.fstat(file.fileno()).st_mtime
            _fill(call, file)
    except UnreadableCaptureError as error:
        call.error = str(error)
    except OSError as error:
        call.error = f"cannot read {name}: {error.strerror or error}"
    except Exception as error:
        # An unexpected error in one file must not remove the other files from the list.
        call.error = f"cannot show {name}: {error!r}"[:500]
    else:
        if call.started is None:
            call.started = datetime.fromtimestamp(modified - call.analysis.now, UTC)
    return call


def _fill(call: InspectedCall, file: BinaryIO) -> None:
    lines = _lines(file)
    number, first = next(lines, (1, b""))
    if not first.strip():
        raise UnreadableCaptureError(
            f"{call.name} is empty; `pipecat-genesys call --capture` writes capture files"
        )
    _read_head(call, first)
    broken: list[str] = []
    count = 0
    for number, line in lines:
        try:
            _read_line(call.analysis, line)
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            count += 1
            why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            if len(broken) < _REPORTED:
                broken.append(f"line {number} cannot be read and is skipped: {why[:200]}")
    for text in broken:
        rule = BrokenRule("broken-line", "warning", text, "the capture format")
        call.analysis.note(call.analysis.now, text, [rule])
    if count > len(broken):
        more = count - len(broken)
        call.analysis.note(call.analysis.now, f"{more} more lines cannot be read")
    if call.analysis.ending is None:
        call.analysis.note(call.analysis.now, "the capture ends before the connection was closed")


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the text of each line that is not blank. Cut lines above the limit."""
    number = 0
    while line := file.readline(_MAX_LINE):
        number += 1
        cut = line
        while not cut.endswith(b"\n") and len(cut) == _MAX_LINE:
            cut = file.readline(_MAX_LINE)
        if line.strip() or number == 1:
            yield number, line


def _read_head(call: InspectedCall, line: bytes) -> None:
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        head = None
    if not isinstance(head, dict) or "capture" not in head:
        raise UnreadableCaptureError(
            f"{call.name} is not a capture: its first line is not a JSON object with 'capture'"
        )
    version = head["capture"]
    if version != VERSION:
        shown = str(version)[:20]
        advice = (
            "; a newer version of pipecat-genesys wrote the file: update pipecat-genesys"
            if isinstance(version, int) and version > VERSION
            else ""
        )
        raise UnreadableCaptureError(
            f"{call.name} has version {shown} of the capture format; this program reads version "
            f"{VERSION}{advice}"
        )
    url, mode, headers = head.get("url"), head.get("mode"), head.get("headers")
    call.url = url[:2000] if isinstance(url, str) else ""
    known = isinstance(mode, str) and mode in tuple(CallMode)
    headers = headers if isinstance(headers, dict) else {}
    call.headers = safe_headers({str(k)[:200]: str(v)[:2000] for k, v in headers.items()})
    session = next((v for k, v in headers.items() if k.lower() == "audiohook-session-id"), "")
    choices = head.get("choices")
    masked = isinstance(choices, dict) and any(c != Choice.RECORD for c in choices.values())
    call.analysis = CallAnalysis(
        CallMode(str(mode)) if known else None, str(session)[:200], is_masked=masked
    )
    try:
        started = datetime.fromisoformat(head["started"])
        call.started = started if started.tzinfo else started.replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        call.started = None


def _read_line(analysis: CallAnalysis, text: bytes) -> None:
    """Pass one line to the analysis.

    Raises:
        ValueError, KeyError, TypeError, RecursionError, OverflowError: If the line is broken.
    """
    line = json.loads(text)
    if not isinstance(line, dict):
        raise ValueError(f"not a JSON object but {type(line).__name__}")
    at = line["at"]
    if not isinstance(at, (int, float)) or not math.isfinite(at) or not -86_400 < at < 31_536_000:
        raise ValueError(f"'at' is {str(at)[:20]}, not a number of seconds")
    if "end" in line:
        by, code = line["end"], line.get("code")
        party = Party(by) if by in tuple(Party) else None
        analysis.end(at, party, code if isinstance(code, int) else None)
        return
    if analysis.ending is not None:
        raise ValueError("the line follows the end of the call")
    if "recording" in line:
        kind = MarkKind(line["recording"])
        count = f" ({line['count']} messages)" if isinstance(line.get("count"), int) else ""
        analysis.note(at, f"recording {kind}{count}")
        if kind in (MarkKind.DROPPED, MarkKind.SKIPPED):
            analysis.skip()
        return
    direction = Direction(line["direction"])
    note = line.get("note")
    note = note[:500] if isinstance(note, str) else ""
    content, size = _content(line)
    message = analysis.receive(at, direction, content, size=size, note=note)
    if message.latency is None and isinstance(line.get("latency"), (int, float)):
        message.latency = float(line["latency"]) if math.isfinite(line["latency"]) else None


def _content(line: Mapping[str, Any]) -> tuple[str | bytes | None, int]:
    if "audio" in line:
        audio = base64.b64decode(line["audio"], validate=True)
        return audio, len(audio)
    if "message" in line:
        return json.dumps(line["message"], separators=(",", ":")), _size(line)
    if "text" in line:
        return str(line["text"]), 0
    size = _size(line)
    if line.get("type") != "audio":
        raise ValueError("a text message has no content")
    return None, size


def _size(line: Mapping[str, Any]) -> int:
    size = line["size"]
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"'size' is {str(size)[:20]}, not a number of bytes")
    return size


@dataclass(slots=True)
class _File:
    path: Path
    name: str
    stamp: tuple[int, int]
    summary: dict[str, Any]
    version: int
    busy_until: float = 0.0


class CaptureFiles:
    """The capture files of a folder, or one capture file.

    Args:
        root: The file or the folder. Folders are searched with their subfolders.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: dict[str, _File] = {}
        self._loaded: OrderedDict[str, tuple[tuple[int, int], InspectedCall]] = OrderedDict()
        self._lock = asyncio.Lock()
        self._version = 0

    def versions(self) -> dict[str, int]:
        """Return a map from the id of each call to its version, which every change increases."""
        return {call_id: file.version for call_id, file in self._files.items()}

    def summary(self, call_id: str) -> dict[str, Any] | None:
        """Return the entry of a call for the list on the page, or None if there is no such file."""
        file = self._files.get(call_id)
        return None if file is None else file.summary

    def summaries(self) -> list[dict[str, Any]]:
        """Return the entries of all files for the list on the page."""
        return [file.summary for file in self._files.values()]

    async def load(self, call_id: str) -> InspectedCall | None:
        """Return a call with its messages, or None if there is no such file."""
        file = self._files.get(call_id)
        if file is None:
            return None
        async with self._lock:
            known = self._loaded.get(call_id)
            if known is not None and known[0] == file.stamp:
                self._loaded.move_to_end(call_id)
                return known[1]
            call = await asyncio.to_thread(load_capture, file.path, call_id, file.name)
            self._keep(call_id, file.stamp, call)
            return call

    async def watch(self, interval: float = 1.0) -> None:
        """Search the folder repeatedly, until cancelled."""
        while True:
            await self.rescan()
            await asyncio.sleep(interval)

    async def rescan(self) -> None:
        """Read new and changed files, and remove the calls of deleted files."""
        found = await asyncio.to_thread(self._find)
        for call_id in self._files.keys() - found.keys():
            del self._files[call_id]
            self._loaded.pop(call_id, None)
        for call_id, (path, name, stamp) in found.items():
            known = self._files.get(call_id)
            begin = time.monotonic()
            if known is not None and (known.stamp == stamp or begin < known.busy_until):
                continue
            async with self._lock:
                call = await asyncio.to_thread(load_capture, path, call_id, name)
                self._keep(call_id, stamp, call)
            # The file is read again only after ten times the duration of this read, so that a large
            # file that is being written uses little CPU time.
            now = time.monotonic()
            self._version += 1
            self._files[call_id] = _File(
                path, name, stamp, call.summary(), self._version, now + 10 * (now - begin)
            )

    def _keep(self, call_id: str, stamp: tuple[int, int], call: InspectedCall) -> None:
        self._loaded[call_id] = (stamp, call)
        self._loaded.move_to_end(call_id)
        while len(self._loaded) > _KEPT:
            self._loaded.popitem(last=False)

    def _find(self) -> dict[str, tuple[Path, str, tuple[int, int]]]:
        found: dict[str, tuple[Path, str, tuple[int, int]]] = {}
        for path in self._candidates():
            try:
                status = path.stat()
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            name = path.name if path == self._root else str(path.relative_to(self._root))
            name = name.encode("utf-8", "replace").decode()
            call_id = "file-" + hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
            found[call_id] = (path, name, (status.st_mtime_ns, status.st_size))
        return found

    def _candidates(self) -> Iterator[Path]:
        if not self._root.is_dir():
            yield self._root
            return
        count = 0
        for folder, _, names in os.walk(self._root):
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix in _SUFFIXES or _is_capture(path):
                    yield path
                    count += 1
                if count == _MAX_FILES:
                    return


def _is_capture(path: Path) -> bool:
    """Return whether a file begins like a capture file."""
    try:
        if not path.is_file():  # Opening a pipe would block.
            return False
        with path.open("rb") as file:
            return _MARK in file.read(200)
    except OSError:
        return False
