"""Tests that `StereoSplitter` splits a frame of two channels into two mono frames."""

from __future__ import annotations

from pipecat.frames.frames import InputAudioRawFrame, TextFrame
from pipecat_genesys import StereoSplitter
from processor_run import run_processor


async def test_stereo_frame_becomes_two_mono_frames_and_other_frames_pass() -> None:
    stereo = InputAudioRawFrame(b"\x01\x00\x02\x00" * 3, 16000, 2)
    mono = InputAudioRawFrame(b"\x09\x00", 16000, 1)
    down, _ = await run_processor(
        StereoSplitter(),
        frames_to_send=[stereo, mono, TextFrame("x")],
        expected_down_frames=[
            InputAudioRawFrame,
            InputAudioRawFrame,
            InputAudioRawFrame,
            TextFrame,
        ],
    )
    external, internal, passed, _ = down
    assert (external.audio, external.transport_source) == (b"\x01\x00" * 3, "external")
    assert (internal.audio, internal.transport_source) == (b"\x02\x00" * 3, "internal")
    assert (external.num_channels, internal.num_channels) == (1, 1)
    assert passed.audio == mono.audio
