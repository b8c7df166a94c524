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
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from typing import Any

from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputDTMFFrame,
    OutputAudioRawFrame,
    OutputTransportMessageUrgentFrame,
    SystemFrame,
    TTSAudioRawFrame,
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
        """Round-trip time of the previous ping in seconds; None if Genesys sent no valid value."""
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


# -- audio -----------------------------------------------------------------------------------
#
# The constructor of an audio frame takes more time than decoding and resampling the audio, mostly
# because its `__post_init__` methods set the same values several times. The functions below set
# each value once. When this module is imported, their results are compared with the results of the
# constructor. If the results differ, the constructor is used.

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


def _copy_audio_frame(frame: OutputAudioRawFrame, audio: bytes) -> OutputAudioRawFrame:
    kind = type(frame)
    copy: OutputAudioRawFrame = kind.__new__(kind)
    copy.audio = audio
    copy.sample_rate = frame.sample_rate
    copy.num_channels = channels = frame.num_channels
    copy.id = obj_id()
    copy.name = f"{kind.__name__}#{obj_count(copy)}"
    copy.pts = None
    copy.broadcast_sibling_id = None
    copy.metadata = {}
    copy.transport_source = None
    copy.transport_destination = frame.transport_destination
    if _HAS_INTERRUPTIBLE:
        copy.interruptible = frame.interruptible
    copy.num_frames = len(audio) // (2 * channels)
    for name in _OWN_FIELDS[kind]:
        setattr(copy, name, getattr(frame, name))
    return copy


def _replace_audio(frame: OutputAudioRawFrame, audio: bytes) -> OutputAudioRawFrame:
    copy = replace(frame, audio=audio)
    copy.transport_destination = frame.transport_destination
    if _HAS_INTERRUPTIBLE:
        copy.interruptible = frame.interruptible
    return copy


def _equals_replace(kind: type[OutputAudioRawFrame]) -> bool:
    """Return whether `_copy_audio_frame` sets the same attributes as `_replace_audio`."""
    counted = {"id", "name"}
    frame = kind(audio=bytes(8), sample_rate=8000, num_channels=2)
    theirs, ours = vars(_replace_audio(frame, b"\1\2")), vars(_copy_audio_frame(frame, b"\1\2"))
    same = all(ours[key] == theirs[key] for key in theirs.keys() - counted if key in ours)
    follows = ours["id"] == theirs.get("id", 0) + 1 and ours["name"].startswith(f"{kind.__name__}#")
    return ours.keys() == theirs.keys() and same and follows


_HAS_INTERRUPTIBLE = "interruptible" in {
    one.name for one in fields(Frame)
}  # pipecat 1.11 and newer
# For each class of frames that are copied without the constructor, the fields that it has in
# addition to those of `OutputAudioRawFrame`.
_OWN_FIELDS: dict[type[OutputAudioRawFrame], tuple[str, ...]] = {
    kind: tuple(
        {one.name for one in fields(kind)} - {one.name for one in fields(OutputAudioRawFrame)}
    )
    for kind in (OutputAudioRawFrame, TTSAudioRawFrame)
}
_OWN_FIELDS = {kind: names for kind, names in _OWN_FIELDS.items() if _equals_replace(kind)}


def copy_audio_frame(frame: OutputAudioRawFrame, audio: bytes) -> OutputAudioRawFrame:
    """Return a copy of a frame with other audio, and a new id and name.

    Args:
        frame: The frame, which is not changed.
        audio: The audio of the copy, at the rate and with the channels of the frame.
    """
    if type(frame) in _OWN_FIELDS:
        return _copy_audio_frame(frame, audio)
    return _replace_audio(frame, audio)
