"""What a session reports: one dataclass per thing that can happen.

Every event that came of a message holds it as it came (``raw``) and, where the protocol wants an
answer, the draft of it (``reply``): hand that to `AudioHookSession.to_wire` when the socket is
ready for it.
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
    """Base of all events.

    Attributes:
        raw: The message as it came, or None where there was none that could be read.
        reply: What the protocol wants sent.
    """

    raw: dict[str, Any] | None = None
    reply: Draft | None = None


def _duration(event: Event, name: str) -> Fraction | None:
    """A parameter that is a duration; read when asked for, as that takes time."""
    try:
        return parse_duration(fields.parameters(event.raw).get(name))
    except ValueError:
        return None


@dataclass(slots=True, kw_only=True)
class Faulted(Event):
    """The peer broke a rule. Counted; with a ``reply`` it also ends the session."""

    error: RemoteProtocolError


@dataclass(slots=True, kw_only=True)
class OpenReceived(Event):
    """The client asks for a session.

    The answer is the application's: ``opened`` with ``media`` verbatim. Where nothing offered
    can be carried, ``reply`` is the ``disconnect`` that says so.

    Attributes:
        media: The medium chosen, or None where none was offered or none fits.
        is_probe: Whether this only tests the connection; no call stands behind it.
    """

    media: Media | None
    is_probe: bool

    @property
    def parameters(self) -> OpenParameters | None:
        """The offer, typed, or None where it lacks what the protocol requires."""
        return validate(OpenParameters, fields.parameters(self.raw), Rule.PARAMETERS)[0]


@dataclass(slots=True, kw_only=True)
class CloseReceived(Event):
    """The client ends the session; the answer is ``closed``, within 10 s.

    Attributes:
        reason: One of `CloseReason`, or what the client said instead.
    """

    reason: str


@dataclass(slots=True, kw_only=True)
class PingReceived(Event):
    """The client checks that we are alive; unanswered for 5 s, it ends the session."""

    @property
    def rtt(self) -> Fraction | None:
        """Round trip of the ping before, in seconds, where it was said."""
        return _duration(self, "rtt")


@dataclass(slots=True, kw_only=True)
class UpdateReceived(Event):
    """The conversation's language changed.

    Attributes:
        language: The new one, or None for an update of something else.
    """

    language: str | None


@dataclass(slots=True, kw_only=True)
class Paused(Event):
    """No audio comes, until `Resumed`.

    Attributes:
        answers: The message of ours it answers: ``pause``, ``opened`` (with ``startPaused``), or
            ``resume`` where the client stays paused for reasons of its own. None where the
            client speaks of its own accord.
    """

    answers: AudioHookMessageType | None = None


@dataclass(slots=True, kw_only=True)
class PauseRequested(Event):
    """A client said ``pause``, which the protocol does not have and pipecat's serializer knows."""


@dataclass(slots=True, kw_only=True)
class Gap(Event):
    """Audio that was not sent and will not be.

    Attributes:
        start: Where it began, in samples on the stream's timeline; None where it was not said.
        discarded: How long it was, in samples.
    """

    start: int | None
    discarded: int | None


@dataclass(slots=True, kw_only=True)
class Resumed(Gap):
    """Audio flows again, after a gap.

    Attributes:
        answers: ``resume``, or None where the client's own pause has ended.
    """

    answers: AudioHookMessageType | None = None


@dataclass(slots=True, kw_only=True)
class Discarded(Gap):
    """Audio was dropped on the way."""


@dataclass(slots=True, kw_only=True)
class DtmfReceived(Event):
    """The caller pressed a key.

    Attributes:
        digit: The key, as the client wrote it.
    """

    digit: str


@dataclass(slots=True, kw_only=True)
class PlaybackStarted(Event):
    """The caller begins to hear the bot audio we sent."""


@dataclass(slots=True, kw_only=True)
class PlaybackCompleted(Event):
    """The caller has heard all the bot audio we sent."""


@dataclass(slots=True, kw_only=True)
class ErrorReceived(Event):
    """The client reports an error; not the end by itself.

    Attributes:
        code: HTTP-like, often one of `ErrorCode`; 429 means we sent too fast.
        message: Free text.
    """

    code: int | None
    message: str

    @property
    def retry_after(self) -> Fraction | None:
        """With 429, seconds to stay silent, where they were said."""
        return _duration(self, "retryAfter")


@dataclass(slots=True, kw_only=True)
class ConnectionLost(Event):
    """The socket is gone before ``closed``; what ``close`` would have begun begins now.

    Attributes:
        state: Where the session stood.
    """

    state: State
