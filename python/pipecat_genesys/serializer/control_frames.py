"""What Genesys says, as frames for the pipeline.

Where the protocol wants an answer, the frame is that answer on its way to the output transport, and
carries what it answers, typed. All else is a system frame that processors may act on and pass on.

`InputTransportMessageFrame` would be pipecat's, but its RTVI processor warns of every one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from pipecat.frames.frames import Frame, OutputTransportMessageUrgentFrame, SystemFrame

from pipecat_genesys.protocol import WIRE_SAMPLE_RATE, AudioHookMessageType, events


@dataclass
class GenesysOpenFrame(OutputTransportMessageUrgentFrame):
    """Genesys opened the session; the message is ``opened``.

    Parameters:
        opening: Who calls, in what language, with which variables; and the medium chosen.
    """

    opening: events.OpenReceived = field(kw_only=True, repr=False)


@dataclass
class GenesysUpdateFrame(OutputTransportMessageUrgentFrame):
    """The conversation's language changed; the message is ``updated``.

    Or what the application wants instead: ``pause`` or ``disconnect``.

    Parameters:
        language: The new one.
    """

    language: str = field(kw_only=True)


@dataclass
class GenesysPingFrame(OutputTransportMessageUrgentFrame):
    """Genesys checks that we are alive; the message is ``pong``.

    Parameters:
        pinged: What was asked.
    """

    pinged: events.PingReceived = field(kw_only=True, repr=False)

    @property
    def rtt(self) -> Fraction | None:
        """Round trip of the ping before, in seconds, where it was said."""
        return self.pinged.rtt


@dataclass
class GenesysCloseFrame(OutputTransportMessageUrgentFrame):
    """Genesys ends the session; the message is ``closed``.

    Parameters:
        reason: ``end``, ``error``, ``disconnect``, ``reconnect``, or what the client said.
    """

    reason: str = field(kw_only=True)


ANSWERS = (GenesysOpenFrame, GenesysUpdateFrame, GenesysPingFrame, GenesysCloseFrame)
"""The frames that carry an answer to Genesys."""


@dataclass
class GenesysPausedFrame(SystemFrame):
    """No caller audio comes until `GenesysResumedFrame`.

    Parameters:
        answers: The message of ours it answers (``pause``, ``opened``, or ``resume`` where
            Genesys stays paused for reasons of its own), or None: Genesys paused by itself.
    """

    answers: AudioHookMessageType | None = field(default=None, kw_only=True)


@dataclass
class GenesysGapFrame(SystemFrame):
    """Caller audio that was not sent and will not be.

    Parameters:
        start: Where it began on the stream's timeline, in seconds; None where it was not said.
        discarded: How long it was, in seconds.
    """

    start: Fraction | None = field(default=None, kw_only=True)
    discarded: Fraction | None = field(default=None, kw_only=True)


@dataclass
class GenesysResumedFrame(GenesysGapFrame):
    """Caller audio flows again, after a gap.

    Parameters:
        answers: ``resume``, or None where Genesys's own pause has ended.
    """

    answers: AudioHookMessageType | None = field(default=None, kw_only=True)


@dataclass
class GenesysDiscardedFrame(GenesysGapFrame):
    """Caller audio was dropped on the way."""


@dataclass
class GenesysPlaybackStartedFrame(SystemFrame):
    """The caller begins to hear the bot audio that was sent."""


@dataclass
class GenesysPlaybackCompletedFrame(SystemFrame):
    """The caller has heard all the bot audio that was sent."""


def _gap(event: events.Gap) -> dict[str, Any]:
    if event.start is None or event.discarded is None:
        return {}
    return {
        "start": Fraction(event.start, WIRE_SAMPLE_RATE),
        "discarded": Fraction(event.discarded, WIRE_SAMPLE_RATE),
    }


CONTROL: Mapping[type[events.Event], Callable[[Any], Frame]] = {
    events.Paused: lambda event: GenesysPausedFrame(answers=event.answers),
    events.Resumed: lambda event: GenesysResumedFrame(**_gap(event), answers=event.answers),
    events.Discarded: lambda event: GenesysDiscardedFrame(**_gap(event)),
    events.PlaybackStarted: lambda _: GenesysPlaybackStartedFrame(),
    events.PlaybackCompleted: lambda _: GenesysPlaybackCompletedFrame(),
}
"""The frames of what needs no answer, by what the session reports."""
