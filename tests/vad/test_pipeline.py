"""Tests of the analyzer in many concurrent pipelines."""

from __future__ import annotations

import asyncio

import pytest
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat_genesys.vad import TelephoneVADAnalyzer, resets
from processor_run import run_processor

try:
    from pipecat.pipeline.worker import PipelineParams
except ImportError:
    from pipecat.pipeline.task import PipelineParams

from . import oracle

CALLS = 25


@pytest.fixture(autouse=True)
def no_reset_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets.WallClockReset, "is_due", lambda *_, **__: False)
    monkeypatch.setattr("pipecat.audio.vad.silero._MODEL_RESET_STATES_TIME", 1e12, raising=False)


async def speech_frames(analyzer: VADAnalyzer, pcm: bytes, rate: int) -> list[str]:
    """Return each start and stop of speech, with the number of the packet before it."""
    audio: list[Frame] = [
        InputAudioRawFrame(audio=piece, sample_rate=rate, num_channels=1)
        for piece in oracle.packets(pcm, rate * 2 // 5)
    ]
    down, _ = await run_processor(
        VADProcessor(vad_analyzer=analyzer, audio_idle_timeout=0),
        frames_to_send=audio,
        pipeline_params=PipelineParams(audio_in_sample_rate=rate),
    )
    order, packet = [], 0
    for frame in down:
        if isinstance(frame, InputAudioRawFrame):
            packet += 1
        elif isinstance(frame, VADUserStartedSpeakingFrame | VADUserStoppedSpeakingFrame):
            order.append(f"{type(frame).__name__} after packet {packet}")
    assert packet == len(audio)
    return order


async def test_many_pipelines_at_once_start_and_stop_speech_as_with_pipecats_analyzer() -> None:
    calls = [oracle.conversation(8000, seed) for seed in range(5)]
    expected = [await speech_frames(SileroVADAnalyzer(), pcm, 8000) for pcm in calls]
    assert all(len(frames) >= 4 for frames in expected)
    found = await asyncio.gather(
        *(speech_frames(TelephoneVADAnalyzer(), calls[number % 5], 8000) for number in range(CALLS))
    )
    assert found == [expected[number % 5] for number in range(CALLS)]


async def test_a_pipeline_at_16_khz_has_as_many_starts_and_stops() -> None:
    pcm = oracle.conversation(16000)
    found = await speech_frames(TelephoneVADAnalyzer(), pcm, 16000)
    expected = await speech_frames(SileroVADAnalyzer(), pcm, 16000)
    assert [frame.split()[0] for frame in found] == [frame.split()[0] for frame in expected]
