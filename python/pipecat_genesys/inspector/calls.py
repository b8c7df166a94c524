"""The calls that the inspector lists, from any source."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pipecat_genesys.capture import (
    CaptureEntry,
    CaptureHead,
    Direction,
    Party,
    end_line,
    entry_line,
    head_line,
)
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator import SimulatedCall, audiohook_headers

from .analysis import NOTE, CallAnalysis, Message
from .audio_tracks import mix, wav_file

_SECRET_HEADERS = frozenset(
    {"x-api-key", "authorization", "cookie", "signature", "signature-input"}
)


class CallSource(StrEnum):
    """Where a call comes from."""

    FILE = "file"
    PROXY = "proxy"
    PHONE = "phone"
    REPLAY = "replay"


@dataclass(slots=True)
class InspectedCall:
    """One call in the inspector's list.

    Attributes:
        id: Id of the call in the inspector.
        name: Name for the list.
        source: Where the call comes from.
        url: URL of the server; empty if it is not known.
        analysis: The messages and the results of their analysis.
        started: Time of day at which the call began, or None.
        headers: Headers of the upgrade request, as returned by `safe_headers`.
        error: Why the call cannot be shown, or why it failed; None for no error.
        origin: Time of `open` on the monotonic clock; None for a call that is not live.
    """

    id: str
    name: str
    source: CallSource
    url: str
    analysis: CallAnalysis = field(default_factory=CallAnalysis)
    started: datetime | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    origin: float | None = None

    @property
    def is_running(self) -> bool:
        """Whether the call is live and has not ended."""
        return self.origin is not None and self.analysis.ending is None and self.error is None

    def tick(self) -> None:
        """Advance the time of the analysis to now, if the call is live."""
        if self.origin is not None and self.is_running and self.analysis.messages:
            self.analysis.tick(time.monotonic() - self.origin)

    def summary(self) -> dict[str, Any]:
        """Return the entry of the call in the page's list, as a JSON object."""
        analysis, ending = self.analysis, self.analysis.ending
        end = None
        if ending is not None:
            end = {
                "by": None if ending.by is None else ending.by.value,
                "code": ending.code,
                "reason": ending.reason,
            }
        worst = analysis.worst_latency
        return {
            "id": self.id,
            "name": self.name,
            "source": self.source.value,
            "url": self.url,
            "mode": analysis.mode.value,
            "started": None if self.started is None else self.started.isoformat(),
            "running": self.is_running,
            "duration": round(analysis.now, 3),
            "end": end,
            "faults": analysis.violations,
            "warnings": analysis.warnings,
            "worst_latency": None if worst is None else round(worst, 4),
            "error": self.error,
        }

    def details(self) -> dict[str, Any]:
        """Return all data about the call except its messages, marks and audio, as a JSON object."""
        return {
            "call": self.summary(),
            "headers": dict(self.headers),
            "numbers": self.analysis.numbers(),
            "parties": list(self.analysis.tracks()),
        }

    def wav(self, party: str, *, ulaw: bool = False) -> bytes:
        """Return the audio of a party, or of all parties for `both`, as a WAV file.

        Raises:
            KeyError: If the call has no such party.
        """
        tracks = self.analysis.tracks()
        length = round(self.analysis.now * WIRE_SAMPLE_RATE)
        if party == "both":
            return wav_file(mix(list(tracks.values()), length), ulaw=ulaw)
        return wav_file(tracks[party].pcm(0, length), ulaw=ulaw)

    def capture(self) -> Iterator[str]:
        """Yield the lines of a capture file of the call."""
        yield head_line(head_of(self))
        for message in list(self.analysis.messages):
            if message.type != NOTE:
                yield message_line(message)
        ending = self.analysis.ending
        if ending is not None:
            yield end_line(ending.at, ending.by or Party.CLIENT, ending.code)


class CallList:
    """All calls, the newest last. The memory for ended calls is limited.

    The audio and the messages of live calls stay in memory. If ended calls take more than
    `max_bytes` when a call is added, the oldest ended calls are removed.

    Args:
        max_bytes: Maximum total size of the messages of ended calls, in bytes.
    """

    def __init__(self, max_bytes: int = 1 << 30) -> None:
        self._calls: dict[str, InspectedCall] = {}
        self._max_bytes = max_bytes
        self._number = 0
        self.removed = 0

    def __iter__(self) -> Iterator[InspectedCall]:
        return iter(list(self._calls.values()))

    def get(self, call_id: str) -> InspectedCall | None:
        """Return a call, or None if no call has this id."""
        return self._calls.get(call_id)

    def add(self, source: CallSource, name: str, url: str) -> InspectedCall:
        """Add a call, and return it."""
        self._number += 1
        call = InspectedCall(f"{source}-{self._number}", name, source, url)
        call.started = datetime.now(UTC)
        self._calls[call.id] = call
        self._shrink()
        return call

    def put(self, call: InspectedCall) -> None:
        """Add a call, or replace the call with the same id."""
        self._calls[call.id] = call

    def remove(self, call_id: str) -> None:
        """Remove a call."""
        self._calls.pop(call_id, None)

    def _shrink(self) -> None:
        over = [c for c in self._calls.values() if not c.is_running and c.origin is not None]
        total = sum(call.analysis.size for call in over)
        for call in over:
            if total <= self._max_bytes:
                return
            total -= call.analysis.size
            self.removed += 1
            del self._calls[call.id]


def safe_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers in which the text `(not shown)` replaces each credential."""
    return {
        name: ("(not shown)" if name.lower() in _SECRET_HEADERS else value)
        for name, value in headers.items()
    }


def call_headers(call: InspectedCall) -> dict[str, str]:
    """Return the headers that identify a call, for a replay."""
    return {
        name.title(): value
        for name, value in call.headers.items()
        if name.lower().startswith("audiohook-")
    }


def head_of(call: InspectedCall) -> CaptureHead:
    """Return the contents of the first line of a capture file of the call."""
    headers = call_headers(call)
    started = None if call.started is None else call.started.isoformat()
    return CaptureHead(call.url, call.analysis.mode, headers, started=started)


def capture_entry(message: Message) -> CaptureEntry:
    """Return the entry of a message in a capture."""
    return CaptureEntry(
        at=message.at,
        direction=message.direction,
        type=message.type,
        seq=message.seq,
        size=message.size,
        latency=message.latency,
        note=message.note,
        content=message.content,
    )


def message_line(message: Message) -> str:
    """Return the line of a message in a capture file."""
    return entry_line(capture_entry(message))


def simulated_call(simulated: SimulatedCall) -> InspectedCall:
    """Convert a call of the simulator, running or finished, to a call of the inspector."""
    parameters = simulated.parameters
    call = InspectedCall("call", parameters.session_id, CallSource.FILE, simulated.url)
    call.analysis = CallAnalysis(parameters.mode, parameters.session_id)
    call.headers = safe_headers(audiohook_headers(parameters, ""))
    for entry in simulated.session.capture.entries:
        # `CallAnalysis` makes the notes of server messages.
        note = entry.note if entry.direction is Direction.TO_SERVER else ""
        call.analysis.receive(entry.at, entry.direction, entry.content, size=entry.size, note=note)
    closed = simulated.session.socket_closed
    if closed is not None:
        call.analysis.end(closed.at, closed.by, closed.code)
    call.started = datetime.now(UTC) - timedelta(seconds=call.analysis.now)
    return call
