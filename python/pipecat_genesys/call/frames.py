"""Pipeline frames for the messages from Genesys.

A frame for a message that needs an answer is an ``OutputTransportMessageUrgentFrame``. With the
serializer, the frame carries the answer through the pipeline to the output transport. With
`AudioHookTransport`, the answer was sent before the frame is pushed. Frames for all other messages
are system frames.

Pipecat's ``InputTransportMessageFrame`` is not used, because Pipecat's RTVI processor logs a
warning for each such frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputTransportMessageUrgentFrame,
    SystemFrame,
)
from pipecat.utils.utils import obj_count, obj_id

from pipecat_genesys.protocol import WIRE_SAMPLE_RATE, AudioHookMessageType, events


@dataclass
class GenesysOpenFrame(OutputTransportMessageUrgentFrame):
    """Genesys opened the session. The frame's message is the answer ``opened``.

    Parameters:
        opening: The event for ``open``. It has the caller, the language, the input variables and
            the chosen medium.
    """

    opening: events.OpenReceived = field(kw_only=True, repr=False)


@dataclass
class GenesysUpdateFrame(OutputTransportMessageUrgentFrame):
    """The conversation's language changed.

    The frame's message is the answer ``updated``, or the ``pause`` or ``disconnect`` that the
    application chose.

    Parameters:
        language: Code of the new language.
    """

    language: str = field(kw_only=True)


@dataclass
class GenesysPingFrame(OutputTransportMessageUrgentFrame):
    """Genesys sent ``ping``. The frame's message is the answer ``pong``.

    Parameters:
        pinged: The event for ``ping``.
    """

    pinged: events.PingReceived = field(kw_only=True, repr=False)

    @property
    def rtt(self) -> Fraction | None:
        """Round-trip time of the previous ping in seconds, or None if Genesys did not send it."""
        return self.pinged.rtt


@dataclass
class GenesysCloseFrame(OutputTransportMessageUrgentFrame):
    """Genesys ends the session. The frame's message is the answer ``closed``.

    Parameters:
        reason: The reason in ``close``: ``end``, ``error``, ``disconnect``, ``reconnect``, or
            another text.
    """

    reason: str = field(kw_only=True)


@dataclass
class GenesysPausedFrame(SystemFrame):
    """Genesys sends no caller audio until `GenesysResumedFrame`.

    Parameters:
        answers: The server message that ``paused`` answers: ``pause``, ``opened``, or ``resume``
            if Genesys itself still pauses the audio. None if Genesys paused the audio without a
            request.
    """

    answers: AudioHookMessageType | None = field(default=None, kw_only=True)


@dataclass
class GenesysGapFrame(SystemFrame):
    """A part of the caller audio is missing, because Genesys did not send it.

    Parameters:
        start: Stream position where the gap began, in seconds; None if it is not known.
        discarded: Length of the gap, in seconds; None if it is not known.
    """

    start: Fraction | None = field(default=None, kw_only=True)
    discarded: Fraction | None = field(default=None, kw_only=True)


@dataclass
class GenesysResumedFrame(GenesysGapFrame):
    """Genesys sends caller audio again after a pause.

    Parameters:
        answers: The server message that ``resumed`` answers: ``resume``; None if Genesys ended
            its own pause.
    """

    answers: AudioHookMessageType | None = field(default=None, kw_only=True)


@dataclass
class GenesysDiscardedFrame(GenesysGapFrame):
    """Genesys dropped caller audio before sending it."""


@dataclass
class GenesysPlaybackStartedFrame(SystemFrame):
    """Genesys began to play the bot audio that was sent."""


@dataclass
class GenesysPlaybackCompletedFrame(SystemFrame):
    """Genesys has played all the bot audio that was sent."""


REPLY_FRAMES: Mapping[type[events.Event], Callable[[Any, Any], Frame]] = {
    events.OpenReceived: lambda event, message: GenesysOpenFrame(message, opening=event),
    events.CloseReceived: lambda event, message: GenesysCloseFrame(message, reason=event.reason),
    events.PingReceived: lambda event, message: GenesysPingFrame(message, pinged=event),
    events.UpdateReceived: lambda event, message: GenesysUpdateFrame(
        message, language=event.language
    ),
}
"""For each event that needs an answer, a function that makes its frame from event and answer."""

REPLY_FRAME_TYPES = (GenesysOpenFrame, GenesysUpdateFrame, GenesysPingFrame, GenesysCloseFrame)
"""The frames that carry an answer to Genesys."""


def _gap(event: events.Gap) -> dict[str, Fraction]:
    if event.start is None or event.discarded is None:
        return {}
    return {
        "start": Fraction(event.start, WIRE_SAMPLE_RATE),
        "discarded": Fraction(event.discarded, WIRE_SAMPLE_RATE),
    }


KEYPAD: Mapping[str, KeypadEntry] = {entry.value: entry for entry in KeypadEntry}
"""The keys that Pipecat supports, by the character in the message ``dtmf``."""


def _dtmf(event: events.DtmfReceived) -> Frame | None:
    button = KEYPAD.get(event.digit)
    return None if button is None else InputDTMFFrame(button)


NOTICE_FRAMES: Mapping[type[events.Event], Callable[[Any], Frame | None]] = {
    events.DtmfReceived: _dtmf,
    events.Paused: lambda event: GenesysPausedFrame(answers=event.answers),
    events.Resumed: lambda event: GenesysResumedFrame(**_gap(event), answers=event.answers),
    events.Discarded: lambda event: GenesysDiscardedFrame(**_gap(event)),
    events.PlaybackStarted: lambda _: GenesysPlaybackStartedFrame(),
    events.PlaybackCompleted: lambda _: GenesysPlaybackCompletedFrame(),
}
"""For each event that needs no answer, a function that makes its frame or returns None."""


# -- caller audio ----------------------------------------------------------------------------
#
# The constructor of the audio frame takes more time than decoding and resampling the audio, mostly
# because its `__post_init__` methods set the same values several times. The function below sets
# each value once. When this module is imported, the result of the function is compared with the
# result of the constructor. If the results differ, the constructor is used.

_NAME = InputAudioRawFrame.__name__
_new = InputAudioRawFrame.__new__


def _input_audio_frame(audio: bytes, sample_rate: int, num_channels: int) -> InputAudioRawFrame:
    frame = _new(InputAudioRawFrame)
    frame.audio = audio
    frame.sample_rate = sample_rate
    frame.num_channels = num_channels
    frame.id = obj_id()
    frame.name = f"{_NAME}#{obj_count(frame)}"
    frame.pts = None
    frame.broadcast_sibling_id = None
    frame.metadata = {}
    frame.transport_source = None
    frame.transport_destination = None
    frame.num_frames = len(audio) // (2 * num_channels)
    return frame


def _equals_constructor() -> bool:
    """Return whether `_input_audio_frame` sets the same attributes as the constructor."""
    counted = {"id", "name"}
    theirs = vars(InputAudioRawFrame(audio=bytes(8), sample_rate=8000, num_channels=2))
    ours = vars(_input_audio_frame(bytes(8), 8000, 2))
    same = all(ours[key] == theirs[key] for key in theirs.keys() - counted if key in ours)
    # `ours` was made after `theirs`, so the id of `ours` is larger by one.
    follows = ours["id"] == theirs.get("id", 0) + 1 and ours["name"].startswith(f"{_NAME}#")
    return ours.keys() == theirs.keys() and same and follows


input_audio_frame: Callable[[bytes, int, int], InputAudioRawFrame] = (
    _input_audio_frame if _equals_constructor() else InputAudioRawFrame
)
"""Make a frame of 16-bit PCM: ``(audio, sample_rate, num_channels)``, interleaved, rate in Hz."""
