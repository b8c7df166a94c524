"""The record of a call: one entry per message, both ways, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Direction(StrEnum):
    """Which way a message went."""

    TO_SERVER = "to_server"
    FROM_SERVER = "from_server"


AUDIO = "audio"
"""The ``type`` under which binary messages are recorded."""


def wire_size(content: str | bytes) -> int:
    """Bytes of a message on the wire, without what WebSocket adds."""
    return len(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class CaptureEntry:
    """One message.

    Attributes:
        at: Seconds since the call's ``open``.
        direction: Which way it went.
        type: The message's type, ``audio`` for a binary message, ``?`` for text without one.
        seq: Its sequence number; audio has none.
        size: Length on the wire in bytes.
        latency: Of a reply, seconds since the message it answers: ``opened``, ``pong``,
            ``updated``, ``closed``.
        note: Anything worth saying: an error's code, a close's reason, the rule broken.
        content: The message as it was on the wire; None for audio that was not to be recorded.
    """

    at: float
    direction: Direction
    type: str
    seq: int | None
    size: int
    latency: float | None = None
    note: str = ""
    content: str | bytes | None = field(default=None, repr=False)

    @property
    def is_audio(self) -> bool:
        """Whether this is a binary message."""
        return self.type == AUDIO and self.seq is None

    def __str__(self) -> str:
        arrow = "->" if self.direction is Direction.TO_SERVER else "<-"
        seq = "" if self.seq is None else f" seq {self.seq}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.at:.3f} s {arrow} {self.type}{seq}, {self.size} bytes{note}"


class Capture:
    """The entries of one call, kept in memory."""

    def __init__(self) -> None:
        self._entries: list[CaptureEntry] = []

    @property
    def entries(self) -> Sequence[CaptureEntry]:
        """All entries so far, oldest first."""
        return self._entries

    def add(self, entry: CaptureEntry) -> int:
        """Append an entry and return its index."""
        self._entries.append(entry)
        return len(self._entries) - 1

    def identify(self, index: int, type: str, seq: int | None, latency: float | None) -> None:
        """Fill in what is known of an entry once its message has been read."""
        entry = self._entries[index]
        self._entries[index] = replace(entry, type=type, seq=seq, latency=latency)

    def annotate(self, index: int, note: str) -> None:
        """Add a remark to an entry that was found wanting after it was recorded."""
        entry = self._entries[index]
        self._entries[index] = replace(entry, note=f"{entry.note}; {note}" if entry.note else note)

    def last(self, count: int) -> Sequence[CaptureEntry]:
        """The newest text messages and audio, at most ``count``, oldest first.

        Runs of audio in one direction count as one, or they would push everything else out.
        """
        picked: list[CaptureEntry] = []
        for entry in reversed(self._entries):
            previous = picked[-1] if picked else None
            if previous and entry.is_audio and previous.is_audio:
                continue
            picked.append(entry)
            if len(picked) == count:
                break
        return picked[::-1]
