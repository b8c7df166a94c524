"""Tests that an end-of-turn model runs no more often than with pipecat's analyzer."""

from __future__ import annotations

from typing import Any

import pytest
from pipecat.audio.turn.base_turn_analyzer import BaseTurnAnalyzer, EndOfTurnState
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import InputAudioRawFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.turns.user_stop import TurnAnalyzerUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat_genesys.vad import TelephoneVADAnalyzer, resets
from processor_run import run_processor

try:
    from pipecat.pipeline.worker import PipelineParams
except ImportError:
    from pipecat.pipeline.task import PipelineParams

from . import oracle


class CountingTurnAnalyzer(BaseTurnAnalyzer):
    """A turn analyzer that counts its runs and never predicts the end of a turn."""

    def __init__(self) -> None:
        super().__init__()
        self.runs = 0

    @property
    def speech_triggered(self) -> bool:
        return False

    @property
    def params(self) -> Any:
        return None

    def append_audio(self, buffer: bytes, is_speech: bool) -> EndOfTurnState:
        return EndOfTurnState.INCOMPLETE

    async def analyze_end_of_turn(self) -> tuple[EndOfTurnState, Any]:
        self.runs += 1
        return EndOfTurnState.INCOMPLETE, None

    def clear(self) -> None:
        """Do nothing."""


@pytest.fixture(autouse=True)
def no_reset_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resets.WallClockReset, "is_due", lambda *_, **__: False)
    monkeypatch.setattr("pipecat.audio.vad.silero._MODEL_RESET_STATES_TIME", 1e12, raising=False)


async def runs_of_turn_analyzer(analyzer: VADAnalyzer, rate: int) -> int:
    """Return how often a pipeline runs the turn analyzer during three conversations."""
    turn_analyzer = CountingTurnAnalyzer()
    strategy = TurnAnalyzerUserTurnStopStrategy(turn_analyzer=turn_analyzer)
    params = LLMUserAggregatorParams(
        vad_analyzer=analyzer,
        user_turn_strategies=UserTurnStrategies(stop=[strategy]),
        audio_idle_timeout=0,
    )
    pcm = b"".join(oracle.conversation(rate, seed) for seed in range(3))
    await run_processor(
        LLMContextAggregatorPair(LLMContext(), user_params=params).user(),
        frames_to_send=[
            InputAudioRawFrame(audio=piece, sample_rate=rate, num_channels=1)
            for piece in oracle.packets(pcm, rate * 2 // 5)
        ],
        pipeline_params=PipelineParams(audio_in_sample_rate=rate),
    )
    return turn_analyzer.runs


@pytest.mark.parametrize("rate", [8000, 16000])
async def test_end_of_turn_is_judged_no_more_often_than_with_pipecats_analyzer(rate: int) -> None:
    ours = await runs_of_turn_analyzer(TelephoneVADAnalyzer(), rate)
    pipecats = await runs_of_turn_analyzer(SileroVADAnalyzer(), rate)
    assert 6 <= ours <= pipecats
