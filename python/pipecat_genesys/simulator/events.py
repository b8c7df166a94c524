"""What a simulated call tells its user: typed, frozen, in the order things happened.

``at`` is always in seconds since the call's ``open`` was sent. Counts of audio are in samples of
one channel at 8 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from pipecat_genesys.protocol.types import CloseReason, DisconnectReason, Media
from pipecat_genesys.simulator.rules import Rule


class Party(StrEnum):
    """One of the two ends."""

    CLIENT = "client"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Opened:
    """The server accepted the session.

    Attributes:
        at: Seconds since ``open``.
        media: The medium selected, None for a session without audio.
        start_paused: Whether the server asked for a paused start.
        supported_languages: What ``opened`` listed, None where it listed nothing.
    """

    at: float
    media: Media | None
    start_paused: bool
    supported_languages: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Ponged:
    """A ping was answered, ``rtt`` seconds after it was sent."""

    at: float
    rtt: float


@dataclass(frozen=True, slots=True)
class Updated:
    """The server acknowledged an ``update``, ``latency`` seconds after it (None: unasked)."""

    at: float
    latency: float | None


@dataclass(frozen=True, slots=True)
class Paused:
    """The client reported ``paused``; ``by`` says whose pause or resume brought it about."""

    at: float
    by: Party


@dataclass(frozen=True, slots=True)
class Resumed:
    """The client reported ``resumed``: audio flows again.

    Attributes:
        at: Seconds since ``open``.
        by: Whose resume brought it about.
        start: Stream position where the pause began, in samples.
        discarded: Samples that were not sent.
    """

    at: float
    by: Party
    start: int
    discarded: int


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One entity of an ``event`` message.

    Attributes:
        at: Seconds since ``open``.
        entity: The entity as it came, with ``type`` and ``data``.
    """

    at: float
    entity: Mapping[str, Any]

    @property
    def type(self) -> str:
        """The entity's type, such as ``barge_in``."""
        return str(self.entity["type"])


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """Bot audio arrived and was queued for the caller's ear."""

    at: float
    samples: int


@dataclass(frozen=True, slots=True)
class PlaybackStarted:
    """The caller begins to hear bot audio."""

    at: float


@dataclass(frozen=True, slots=True)
class PlaybackCompleted:
    """The queue of bot audio is empty; ``at`` is the end of the last sample heard."""

    at: float


@dataclass(frozen=True, slots=True)
class BargedIn:
    """The server's ``barge_in`` cleared the queue, ``dropped`` samples of it unheard."""

    at: float
    dropped: int


@dataclass(frozen=True, slots=True)
class ReconnectRequested:
    """The server asked to move the session; the client only takes note."""

    at: float
    info: str | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The server sent ``disconnect``.

    Attributes:
        at: Seconds since ``open``.
        reason: Why.
        info: The server's words.
        output_variables: As they came; a value that is not text is also a violation.
    """

    at: float
    reason: DisconnectReason
    info: str | None
    output_variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CloseSent:
    """The client began to close the session."""

    at: float
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Closed:
    """The server answered ``closed``; the client closes the socket next.

    Attributes:
        at: Seconds since ``open``.
        latency: Seconds since ``close``.
        output_variables: Those ``closed`` carried. The protocol puts none there; some servers do.
    """

    at: float
    latency: float
    output_variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MessageIgnored:
    """A message came that the client does not act on in this state."""

    at: float
    type: str
    why: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The server broke a rule.

    Attributes:
        at: Seconds since ``open``.
        rule: Which one.
        code: The code of the error that the table prescribes, None where it is only recorded.
        message: What happened, in words.
        ends_call: Whether the client ends a running call over it.
    """

    at: float
    rule: Rule
    code: int | None
    message: str
    ends_call: bool


@dataclass(frozen=True, slots=True)
class ProtocolWarning:
    """The server did something the client tolerates and a careful server does not do."""

    at: float
    rule: Rule
    message: str


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The connection is gone.

    Attributes:
        at: Seconds since ``open``.
        by: Who closed it.
        code: The WebSocket close code received, None without a close frame.
    """

    at: float
    by: Party
    code: int | None


Event: TypeAlias = (
    Opened
    | Ponged
    | Updated
    | Paused
    | Resumed
    | ServerEvent
    | AudioReceived
    | PlaybackStarted
    | PlaybackCompleted
    | BargedIn
    | ReconnectRequested
    | Disconnected
    | CloseSent
    | Closed
    | MessageIgnored
    | Violation
    | ProtocolWarning
    | SocketClosed
)
