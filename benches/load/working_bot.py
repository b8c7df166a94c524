"""A bot that consists of Pipecat's processors, with local replacements for remote services.

Voice activity detection, the context aggregators, the user's idle timer and the turn strategies
are Pipecat's. The recogniser, the model and the voice are subclasses of Pipecat's services. These
subclasses have the delays of clients of remote services: they wait, and push the frames of the
answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings, TTSSettings
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.utils.time import time_now_iso8601
from pipecat_genesys.vad import TelephoneVADAnalyzer

from .bots import GREETING, RATE_OUT, CallerAudioCounter

VADS: dict[str, type[VADAnalyzer]] = {
    "silero": SileroVADAnalyzer,
    "telephone": TelephoneVADAnalyzer,
}
"""Voice activity analyzers, by name."""

# Times of the transcription, in seconds. The first value is the time from the end of speech to the
# transcription. The second value is the 99th percentile of this time, which Pipecat's turn strategy
# needs.
_TRANSCRIPTION_SECONDS, _TRANSCRIPTION_P99_SECONDS = 0.1, 0.4
# Times from the request to the first word of the model, and between two words.
_FIRST_WORD_SECONDS, _WORD_SECONDS = 0.3, 0.02
# Times from a sentence to its first audio, and between two pieces of audio. A piece has 100 ms of
# audio, so the voice is five times as fast as real time.
_FIRST_AUDIO_SECONDS, _PIECE_INTERVAL_SECONDS = 0.15, 0.02
_PIECE_BYTES = RATE_OUT // 10 * 2
# The bot's answer: two sentences of one second each.
_SENTENCES = ("Of course, I can help you with that.", "What is the number of your order?")
_IDLE_SECONDS = 20.0


class RemoteRecogniser(STTService):
    """Counts the caller's audio, and pushes the same transcription after each utterance."""

    def __init__(self, counter: CallerAudioCounter) -> None:
        super().__init__(
            ttfs_p99_latency=_TRANSCRIPTION_P99_SECONDS,
            settings=STTSettings(model=None, language=None),
        )
        self._counter = counter
        self._has_begun = False

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        """Yield no frame: `process_frame` starts the transcription."""
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, InputAudioRawFrame):
            self._counter.calls += not self._has_begun
            self._has_begun = True
            self._counter.seconds += frame.num_frames / frame.sample_rate
        elif isinstance(frame, VADUserStoppedSpeakingFrame):
            self.create_task(self._transcribe())

    async def _transcribe(self) -> None:
        await asyncio.sleep(_TRANSCRIPTION_SECONDS)
        await self.push_frame(
            TranscriptionFrame("Where is my order?", "", time_now_iso8601(), finalized=True)
        )


class RemoteModel(LLMService):
    """Answers every context with the same sentences, word by word."""

    def __init__(self) -> None:
        super().__init__(
            settings=LLMSettings(
                model=None,
                system_instruction=None,
                temperature=None,
                max_tokens=None,
                top_p=None,
                top_k=None,
                frequency_penalty=None,
                presence_penalty=None,
                seed=None,
                filter_incomplete_user_turns=False,
                user_turn_completion_config=None,
            )
        )

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await asyncio.sleep(_FIRST_WORD_SECONDS)
        await self.push_frame(LLMFullResponseStartFrame())
        for word in " ".join(_SENTENCES).split():
            await self.push_frame(LLMTextFrame(f"{word} "))
            await asyncio.sleep(_WORD_SECONDS)
        await self.push_frame(LLMFullResponseEndFrame())


class RemoteVoice(TTSService):
    """Speaks each sentence as one second of a tone, faster than real time."""

    def __init__(self) -> None:
        super().__init__(
            sample_rate=RATE_OUT,
            push_start_frame=True,
            push_stop_frames=True,
            settings=TTSSettings(model=None, voice=None, language=None),
        )

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Yield the audio of a sentence in pieces, with the delays of a remote service."""
        await asyncio.sleep(_FIRST_AUDIO_SECONDS)
        for begin in range(0, len(GREETING), _PIECE_BYTES):
            piece = GREETING[begin : begin + _PIECE_BYTES]
            yield TTSAudioRawFrame(piece, RATE_OUT, 1, context_id=context_id)
            await asyncio.sleep(_PIECE_INTERVAL_SECONDS)


def working_bot(
    vad: str, counter: CallerAudioCounter
) -> tuple[list[FrameProcessor], list[FrameProcessor]]:
    """Make the processors of one call.

    Args:
        vad: A key of `VADS`.
        counter: Counts the caller audio that the bot receives.

    Returns:
        The processors before the output of the transport, and the processors after the output.
    """
    aggregators = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": "Answer briefly."}]),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=VADS[vad](),
            user_idle_timeout=_IDLE_SECONDS,
            user_turn_strategies=UserTurnStrategies(
                start=[VADUserTurnStartStrategy()],
                stop=[SpeechTimeoutUserTurnStopStrategy()],
            ),
        ),
    )
    before: list[Any] = [
        RemoteRecogniser(counter),
        aggregators.user(),
        RemoteModel(),
        RemoteVoice(),
    ]
    return before, [aggregators.assistant()]
