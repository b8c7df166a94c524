"""The contents of a capture: one entry for each message of a call."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

AUDIO = "audio"
"""The `type` of binary messages in a capture."""


class Direction(StrEnum):
    """Direction of a message."""

    TO_SERVER = "to_server"
    FROM_SERVER = "from_server"


class Party(StrEnum):
    """One of the two ends of the WebSocket."""

    CLIENT = "client"
    SERVER = "server"


class CallMode(StrEnum):
    """Whether the server talks to the caller or only listens."""

    BOT = "bot"
    """The server talks to the caller (Audio Connector)."""
    MONITOR = "monitor"
    """The server only listens (AudioHook Monitor, Transcription Connector, Bot Transcription
    Connector)."""


def content_size(content: str | bytes) -> int:
    """Return the size of a message in bytes, without the WebSocket frame header."""
    if isinstance(content, bytes) or content.isascii():
        return len(content)
    return len(content.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class CaptureEntry:
    """One message of a call.

    Attributes:
        at: Seconds since `open`.
        direction: Direction of the message.
        type: Type of the message; `audio` for a binary message, `?` for text without a type.
        seq: Sequence number of the message, or None for audio.
        size: Size of the message in bytes.
        latency: Seconds between a request and this reply. Set for `opened`, `pong`, `updated`
            and `closed`; None for all other messages.
        note: Text about the message, such as the code of an error or the rule that it breaks.
        content: The message as sent or received, or None if it is not recorded.
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
        """Whether the message is binary."""
        return self.type == AUDIO and self.seq is None

    def __str__(self) -> str:
        arrow = "->" if self.direction is Direction.TO_SERVER else "<-"
        seq = "" if self.seq is None else f" seq {self.seq}"
        note = f" ({self.note})" if self.note else ""
        return f"{self.at:.3f} s {arrow} {self.type}{seq}, {self.size} bytes{note}"
