"""The events that a session reports, one dataclass for each kind.

The attribute ``raw`` of an event is the message that caused the event. If the protocol requires an
answer, ``reply`` is the draft of the answer. Pass the draft to `AudioHookSession.to_wire` when the
socket is ready.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from . import fields
from .client_messages import OpenParameters, validate
from .errors import RemoteProtocolError, Rule
from .server_messages import Draft
from .states import State
from .types import AudioHookMessageType, Media, parse_duration


@dataclass(slots=True, kw_only=True)
class Event:
    """Base class of all events.

    Attributes:
        raw: The message as received, or None if it could not be parsed.
        reply: The answer that the protocol requires, or None.
    """

    raw: dict[str, Any] | None = None
    reply: Draft | None = None


def _duration(event: Event, name: str) -> Fraction | None:
    """Return a parameter that is a duration. It is parsed only now, because parsing is slow."""
    try:
        return parse_duration(fields.parameters(event.raw).get(name))
    except ValueError:
        return None


@dataclass(slots=True, kw_only=True)
class Faulted(Event):
    """The peer broke a rule. If there is a ``reply``, the fault ends the session.

    Attributes:
        error: The fault.
    """

    error: RemoteProtocolError


@dataclass(slots=True, kw_only=True)
class OpenReceived(Event):
    """The client asks for a session; the application answers ``opened`` with ``media`` unchanged.

    Attributes:
        media: The medium chosen, or None if no medium was offered or supported.
        is_probe: Whether the client only tests the connection, without a call.
    """

    media: Media | None
    is_probe: bool

    @property
    def parameters(self) -> OpenParameters | None:
        """The typed parameters; None if a required one is missing or any known one is invalid."""
        return validate(OpenParameters, fields.parameters(self.raw), Rule.PARAMETERS)[0]


@dataclass(slots=True, kw_only=True)
class CloseReceived(Event):
    """The client ends the session; the answer is ``closed``, within 10 s.

    Attributes:
        reason: One of `CloseReason`, or another text that the client gave.
    """

    reason: str


@dataclass(slots=True, kw_only=True)
class PingReceived(Event):
    """The client sent ``ping``. The client ends the session if no answer arrives within 5 s."""

    @property
    def rtt(self) -> Fraction | None:
        """Round-trip time of the previous ping in seconds; None if the client gave none."""
        return _duration(self, "rtt")


@dataclass(slots=True, kw_only=True)
class UpdateReceived(Event):
    """The client sent ``update``, usually for a new language.

    Attributes:
        language: Code of the new language, or None if the update did not change the language.
    """

    language: str | None


@dataclass(slots=True, kw_only=True)
class Paused(Event):
    """The client sends no audio until `Resumed`.

    Attributes:
        answers: The server message that ``paused`` answers: ``pause``, ``opened`` (with
            ``startPaused``), or ``resume`` if the client itself still pauses the audio. None if
            the client paused the audio without a request.
    """

    answers: AudioHookMessageType | None = None


@dataclass(slots=True, kw_only=True)
class PauseRequested(Event):
    """The client sent ``pause``, although only servers may send this type of message.

    The session processes this message, because Pipecat's serializer processes it.
    """


@dataclass(slots=True, kw_only=True)
class Gap(Event):
    """The client skipped a part of the caller audio, and will not send it.

    Attributes:
        start: Stream position of the gap's beginning, in samples; None if the message has no
            valid position.
        discarded: Length of the gap, in samples; None if the message has no valid length.
    """

    start: int | None
    discarded: int | None


@dataclass(slots=True, kw_only=True)
class Resumed(Gap):
    """The client sends audio again, after a gap.

    Attributes:
        answers: The server message that ``resumed`` answers: ``resume``; None if the client ended
            its own pause.
    """

    answers: AudioHookMessageType | None = None


@dataclass(slots=True, kw_only=True)
class Discarded(Gap):
    """The client dropped audio before sending it."""


@dataclass(slots=True, kw_only=True)
class DtmfReceived(Event):
    """The caller pressed a key.

    Attributes:
        digit: The key, as it was in the message.
    """

    digit: str


@dataclass(slots=True, kw_only=True)
class PlaybackStarted(Event):
    """The client began to play the bot audio that was sent."""


@dataclass(slots=True, kw_only=True)
class PlaybackCompleted(Event):
    """The client has played all the bot audio that was sent."""


@dataclass(slots=True, kw_only=True)
class ErrorReceived(Event):
    """The client reports an error, which does not end the session by itself.

    Attributes:
        code: A code as in HTTP, often one of `ErrorCode`; 429 means too many messages.
        message: Text of the client that describes the error.
    """

    code: int | None
    message: str

    @property
    def retry_after(self) -> Fraction | None:
        """Seconds for which nothing may be sent, as given with code 429; None if not given."""
        return _duration(self, "retryAfter")


@dataclass(slots=True, kw_only=True)
class ConnectionLost(Event):
    """The connection was lost before ``closed`` was sent.

    Attributes:
        state: The state of the session before the loss.
    """

    state: State
