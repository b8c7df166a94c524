"""A bot of Pipecat's processors, with local replacements for services that need an API key."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pipecat.audio.vad.vad_analyzer import VADAnalyzer
from pipecat.frames.frames import (
    Frame,
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
from pipecat.services.tts_service import TextAggregationMode, TTSService
from pipecat.utils import string
from pipecat.utils.time import time_now_iso8601
from pipecat_genesys.vad import TelephoneVADAnalyzer
from vehicles import RATE, ServedPipeline, Tap, Vehicle, tone

AUDIO = Path(__file__).parents[2] / "examples" / "audio"
QUESTION = AUDIO / "caller-question.wav"
"""A question of the caller, 2.4 s long."""
INTERRUPTION = AUDIO / "caller-interrupt.wav"
"""A few words of the caller, 0.9 s long."""


SPLITS_SENTENCES = find_spec("sentencex") is not None
"""Whether Pipecat can split sentences without NLTK's data, which must be downloaded."""
needs_sentences = pytest.mark.skipif(
    not SPLITS_SENTENCES and hasattr(string, "_sent_tokenizer"),
    reason="TTS in this version of pipecat needs a download of NLTK's data",
)


class ScriptedSTT(FrameProcessor):
    """Pushes the same transcription after each turn of the caller."""

    def __init__(self, text: str = "I have a question.") -> None:
        super().__init__()
        self._text = text

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)
        if isinstance(frame, VADUserStoppedSpeakingFrame):
            await self.push_frame(TranscriptionFrame(self._text, "", time_now_iso8601()))


class ScriptedLLM(LLMService):
    """Returns its answers in order, one for each request; the last answer is repeated.

    Attributes:
        requests: The messages of each request.
    """

    def __init__(self, *answers: str) -> None:
        super().__init__()
        self._answers = list(answers)
        self.requests: list[list[Any]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self.requests.append(list(frame.context.get_messages()))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await self.push_frame(LLMFullResponseStartFrame())
        for sentence in re.findall(r"[^.?]+[.?]", answer):
            await self.push_frame(LLMTextFrame(sentence))
        await self.push_frame(LLMFullResponseEndFrame())


class ToneTTS(TTSService):
    """Speaks each sentence as a tone of the same length, faster than real time."""

    def __init__(self, seconds: float) -> None:
        mode = TextAggregationMode.SENTENCE if SPLITS_SENTENCES else TextAggregationMode.TOKEN
        super().__init__(
            sample_rate=RATE,
            push_start_frame=True,
            push_stop_frames=True,
            text_aggregation_mode=mode,
        )
        self._seconds = seconds

    async def run_tts(self, text: str, context_id: str) -> AsyncIterator[Frame]:
        pcm, size = tone(self._seconds), RATE // 10 * 2
        for at in range(0, len(pcm), size):
            yield TTSAudioRawFrame(pcm[at : at + size], RATE, 1, context_id=context_id)


class Bot:
    """A bot with STT, LLM and TTS on `AudioHookTransport`.

    Attributes:
        context: The context of the conversation.
        llm: The replacement for the language model.
        aggregators: Pipecat's context aggregators.
        tap: Recorder of the frames that leave the output.
        served: The server of the bot.
    """

    def __init__(
        self,
        *answers: str,
        sentence_seconds: float = 0.5,
        vad: VADAnalyzer | None = None,
        before: Sequence[FrameProcessor] = (),
        after: Sequence[FrameProcessor] = (),
        user: dict[str, Any] | None = None,
        **served: Any,
    ) -> None:
        """Create the bot.

        Args:
            answers: The answers of the language model.
            sentence_seconds: Length of each sentence that the bot speaks.
            vad: The voice activity analyzer; by default the analyzer of this package.
            before: Processors directly after the input.
            after: Processors between the output and the assistant's aggregator.
            user: More parameters of the user aggregator.
            served: More arguments of `ServedPipeline`.
        """
        self.context = LLMContext([{"role": "system", "content": "Answer briefly."}])
        self.llm = ScriptedLLM(*(answers or ("Of course.",)))
        params = LLMUserAggregatorParams(vad_analyzer=vad or TelephoneVADAnalyzer(), **(user or {}))
        self.aggregators = LLMContextAggregatorPair(self.context, user_params=params)
        self.tap = Tap()
        self.served = ServedPipeline(
            Vehicle.TRANSPORT,
            before=[
                *before,
                ScriptedSTT(),
                self.aggregators.user(),
                self.llm,
                ToneTTS(sentence_seconds),
            ],
            after=[self.tap, *after, self.aggregators.assistant()],
            **served,
        )

    def said(self) -> list[tuple[str, Any]]:
        """Return role and text of each message in the context, without system messages."""
        return [
            (message["role"], message["content"])
            for message in self.context.get_messages()
            if isinstance(message, dict) and message["role"] in ("user", "assistant")
        ]
