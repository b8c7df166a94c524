"""Tests of audio frames that are created without pipecat's constructor."""

from dataclasses import fields

import pytest
from pipecat.frames.frames import InputAudioRawFrame
from pipecat_genesys.call.frames import input_audio_frame


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
