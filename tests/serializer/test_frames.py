"""Tests of audio frames that are created without pipecat's constructor."""

from dataclasses import dataclass, fields, replace

import pytest
from pipecat.frames.frames import InputAudioRawFrame, OutputAudioRawFrame, TTSAudioRawFrame
from pipecat_genesys.call.frames import copy_audio_frame, input_audio_frame


@pytest.mark.parametrize(("audio", "rate", "channels"), [(bytes(640), 16000, 1), (b"", 8000, 2)])
def test_audio_frame_equals_one_made_by_the_constructor(audio, rate, channels):
    theirs = InputAudioRawFrame(audio=audio, sample_rate=rate, num_channels=channels)
    ours = input_audio_frame(audio, rate, channels)
    assert type(ours) is InputAudioRawFrame
    expected = vars(theirs) | {"id": theirs.id + 1, "name": ours.name}
    assert vars(ours) == expected
    assert ours.name.rpartition("#")[0] == theirs.name.rpartition("#")[0]
    assert int(ours.name.rpartition("#")[2]) == int(theirs.name.rpartition("#")[2]) + 1
    for field in fields(theirs):
        if field.name not in ("id", "name"):
            assert getattr(ours, field.name) == getattr(theirs, field.name)
    assert repr(ours) == repr(theirs).replace(f"id={theirs.id}", f"id={ours.id}").replace(
        theirs.name, ours.name
    )


def test_audio_frames_share_no_mutable_value():
    first, second = (input_audio_frame(bytes(2), 8000, 1) for _ in range(2))
    first.metadata["mark"] = True
    first.transport_source = "external"
    assert second.metadata == {}
    assert second.transport_source is None


@dataclass
class NoisyFrame(TTSAudioRawFrame):
    """A frame class of an application, with one more field."""

    noise: float = 0.0


@pytest.mark.parametrize("kind", [OutputAudioRawFrame, TTSAudioRawFrame, NoisyFrame])
def test_copy_of_an_audio_frame_has_other_audio_and_equals_one_made_by_the_constructor(kind):
    frame = kind(audio=bytes(640), sample_rate=24000, num_channels=1)
    frame.metadata["mark"] = True
    for field, value in {"context_id": "turn 1", "noise": 0.5}.items():
        if hasattr(frame, field):
            setattr(frame, field, value)
    theirs = replace(frame, audio=bytes(320))
    kept = {"transport_destination": "music"}
    if hasattr(frame, "interruptible"):  # pipecat 1.11 and newer
        kept["interruptible"] = False
    for field, value in kept.items():
        setattr(frame, field, value)
        setattr(theirs, field, value)
    before = repr(frame)
    ours = copy_audio_frame(frame, bytes(320))
    assert type(ours) is kind
    assert vars(ours) == vars(theirs) | {"id": theirs.id + 1, "name": ours.name}
    assert int(ours.name.rpartition("#")[2]) == int(theirs.name.rpartition("#")[2]) + 1
    assert repr(frame) == before
