"""The events of a simulated call.

`at` is the time in seconds since the client sent `open`. Amounts of audio are counts of samples
of one channel at 8 kHz.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pipecat_genesys.capture.entries import Party
from pipecat_genesys.protocol.types import CloseReason, DisconnectReason, Media

from .rules import ServerRule


@dataclass(frozen=True, slots=True)
class Opened:
    """The server accepted the session with `opened`.

    Attributes:
        at: Seconds since `open`.
        media: The selected medium, or None for a session without audio.
        start_paused: Whether the server asked the client to start paused.
        supported_languages: Language codes listed in `opened`, or None if there was no list.
    """

    at: float
    media: Media | None
    start_paused: bool
    supported_languages: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class PongReceived:
    """The server answered a `ping`.

    Attributes:
        at: Seconds since `open`.
        rtt: Seconds from `ping` to `pong`.
    """

    at: float
    rtt: float


@dataclass(frozen=True, slots=True)
class Updated:
    """The server sent `updated`.

    Attributes:
        at: Seconds since `open`.
        latency: Seconds since the client's `update`, or None if the client had sent none.
    """

    at: float
    latency: float | None


@dataclass(frozen=True, slots=True)
class StreamPaused:
    """The client sent `paused`.

    Attributes:
        at: Seconds since `open`.
        by: The party that paused the stream. If the server sends `resume` while the client has
            paused the stream, the client sends `paused` again, and this party is `client`.
    """

    at: float
    by: Party


@dataclass(frozen=True, slots=True)
class StreamResumed:
    """The client sent `resumed`, and sends caller audio again.

    Attributes:
        at: Seconds since `open`.
        by: The party that resumed the stream.
        start: Stream position at which the pause began, in samples.
        discarded: Number of samples that were not sent during the pause.
    """

    at: float
    by: Party
    start: int
    discarded: int


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """The server sent an entity in an `event` message. Each entity is one `ServerEvent`.

    Attributes:
        at: Seconds since `open`.
        entity: The entity as received, with `type` and `data`.
    """

    at: float
    entity: Mapping[str, Any]

    @property
    def type(self) -> str:
        """Type of the entity, such as `barge_in`."""
        return str(self.entity["type"])


@dataclass(frozen=True, slots=True)
class AudioReceived:
    """Bot audio arrived and was added to the playback queue.

    Attributes:
        at: Seconds since `open`.
        samples: Number of samples received.
    """

    at: float
    samples: int


@dataclass(frozen=True, slots=True)
class BotAudioStarted:
    """The caller begins to hear bot audio; the client sent `playback_started`.

    Attributes:
        at: Seconds since `open`.
    """

    at: float


@dataclass(frozen=True, slots=True)
class BotAudioCompleted:
    """The playback queue became empty; the client sent `playback_completed`.

    Attributes:
        at: End of the last audible sample, in seconds since `open`.
    """

    at: float


@dataclass(frozen=True, slots=True)
class BargedIn:
    """The server sent `barge_in`, and the client cleared the playback queue.

    Attributes:
        at: Seconds since `open`.
        dropped: Number of samples that were cleared before the caller heard them.
    """

    at: float
    dropped: int


@dataclass(frozen=True, slots=True)
class ReconnectRequested:
    """The server sent `reconnect`, so that the client continues in a new session.

    The session takes no action; see `continuation`.

    Attributes:
        at: Seconds since `open`.
        info: Text of the server's request, or None.
    """

    at: float
    info: str | None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The server sent `disconnect`.

    Attributes:
        at: Seconds since `open`.
        reason: Reason given by the server.
        info: Text given by the server, or None.
        output_variables: Variables as received. A value that is not text is also a violation.
    """

    at: float
    reason: DisconnectReason
    info: str | None
    output_variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CloseSent:
    """The client sent `close`.

    Attributes:
        at: Seconds since `open`.
        reason: Reason given by the client.
    """

    at: float
    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Closed:
    """The server sent `closed`; the client closes the WebSocket next.

    Attributes:
        at: Seconds since `open`.
        latency: Seconds since `close`.
        output_variables: Variables in `closed`. The protocol does not define variables in `closed`,
            but some servers send them.
    """

    at: float
    latency: float
    output_variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MessageIgnored:
    """The client received a message that has no effect in the current state.

    Attributes:
        at: Seconds since `open`.
        type: Type of the message, or `audio`.
        why: Why the message has no effect.
    """

    at: float
    type: str
    why: str


@dataclass(frozen=True, slots=True)
class Violation:
    """The server broke a rule.

    Attributes:
        at: Seconds since `open`.
        rule: The broken rule.
        code: Code of the `error` message for this rule, or None if the client sends no `error`.
        message: Text that explains how the server broke the rule.
        ends_call: Whether the client ends the call because of this violation.
    """

    at: float
    rule: ServerRule
    code: int | None
    message: str
    ends_call: bool


@dataclass(frozen=True, slots=True)
class ProtocolWarning:
    """The server broke a rule that the client tolerates.

    Attributes:
        at: Seconds since `open`.
        rule: The broken rule.
        message: Text that explains how the server broke the rule.
    """

    at: float
    rule: ServerRule
    message: str


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The WebSocket connection is closed.

    Attributes:
        at: Seconds since `open`.
        by: The party that closed the connection first.
        code: Close code received from the server, or None if no close frame was received.
    """

    at: float
    by: Party
    code: int | None


Event: TypeAlias = (
    Opened
    | PongReceived
    | Updated
    | StreamPaused
    | StreamResumed
    | ServerEvent
    | AudioReceived
    | BotAudioStarted
    | BotAudioCompleted
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
