"""The frame that carries the caller's audio, made several times a second for every call.

Its constructor costs more than decoding and resampling what it carries, most of it for
``__post_init__`` methods that call each other to set the same values every time. What follows sets
them directly. It is used only where it makes what pipecat's constructor makes, which is checked
when this module is imported; with any other pipecat, the constructor it is.
"""

from __future__ import annotations

from collections.abc import Callable

from pipecat.frames.frames import InputAudioRawFrame
from pipecat.utils.utils import obj_count, obj_id

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


def _makes_what_the_constructor_makes() -> bool:
    """Whether both set the same attributes, and every value but those that count up."""
    counted = {"id", "name"}
    theirs = vars(InputAudioRawFrame(audio=bytes(8), sample_rate=8000, num_channels=2))
    ours = vars(_input_audio_frame(bytes(8), 8000, 2))
    same = all(ours[key] == theirs[key] for key in theirs.keys() - counted if key in ours)
    # One frame was made after the other, so its id and its number are the next ones.
    follows = ours["id"] == theirs.get("id", 0) + 1 and ours["name"].startswith(f"{_NAME}#")
    return ours.keys() == theirs.keys() and same and follows


input_audio_frame: Callable[[bytes, int, int], InputAudioRawFrame] = (
    _input_audio_frame if _makes_what_the_constructor_makes() else InputAudioRawFrame
)
"""Make a frame of 16-bit PCM: ``(audio, sample_rate, num_channels)``, interleaved, rate in Hz."""
