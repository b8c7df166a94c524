"""The audio and the key presses of the callers, and the reply of the bot that is measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE
from pipecat_genesys.simulator.caller_audio import ULAW_SILENCE

# The callers of an echo test send noise in the frequency band of speech without a pause. Any part
# of the noise can be found in the echo, because the noise does not repeat.
_BAND_HZ, _LEVEL = (300, 3400), 5000


class Expect(StrEnum):
    """The reply of the bot that is measured."""

    ANSWER = "answer"
    """The bot speaks after each utterance of the caller."""
    ECHO = "echo"
    """The bot continuously sends the caller's audio back."""


@dataclass(frozen=True, slots=True)
class PlayedUtterance:
    """Speech of a caller that the bot should answer, in seconds from `open`."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """What each caller does during a call.

    Attributes:
        expect: The reply of the bot that is measured.
        utterances: Speech as mu-law, for `Expect.ANSWER`; the callers say the utterances in turn.
        first: Time of the first utterance, in seconds from `open`. The bot may greet before the
            first utterance.
        period: Time from the beginning of one utterance to the next one, in seconds.
        key: A key that each caller presses once, in the middle of the call; None for no key.
    """

    expect: Expect = Expect.ANSWER
    utterances: Sequence[bytes] = ()
    first: float = 3.0
    period: float = 8.0
    key: str | None = None

    def __post_init__(self) -> None:
        if self.expect is Expect.ECHO:
            return
        if not self.utterances or not all(self.utterances):
            raise ValueError("an utterance is missing or empty: give one utterance or more")
        longest = max(len(speech) for speech in self.utterances) / WIRE_SAMPLE_RATE
        if longest >= self.period:
            raise ValueError(
                f"an utterance takes {longest:.1f} s, but the next one begins after "
                f"{self.period:g} s; make the period longer"
            )

    def track(self, seconds: float) -> tuple[bytes, list[PlayedUtterance]]:
        """Return the audio that a caller sends in a call.

        Args:
            seconds: Length of the call.

        Returns:
            The audio as mu-law, and the utterances that the bot should answer.
        """
        samples = math.ceil(seconds * WIRE_SAMPLE_RATE)
        if self.expect is Expect.ECHO:
            return _noise(samples), []
        track = bytearray(ULAW_SILENCE * samples)
        utterances: list[PlayedUtterance] = []
        at = round(self.first * WIRE_SAMPLE_RATE)
        while at < samples:
            speech = self.utterances[len(utterances) % len(self.utterances)]
            end = at + len(speech)
            if end > samples:
                break
            track[at:end] = speech
            utterances.append(PlayedUtterance(at / WIRE_SAMPLE_RATE, end / WIRE_SAMPLE_RATE))
            at += round(self.period * WIRE_SAMPLE_RATE)
        return bytes(track), utterances


def _noise(samples: int) -> bytes:
    """Return mu-law noise in the frequency band of speech, without repetitions."""
    spectrum = np.fft.rfft(np.random.default_rng(1).normal(0, 1, samples))
    frequency = np.fft.rfftfreq(samples, 1 / WIRE_SAMPLE_RATE)
    spectrum[(frequency < _BAND_HZ[0]) | (frequency > _BAND_HZ[1])] = 0
    signal = np.fft.irfft(spectrum, samples)
    pcm = np.clip(np.rint(signal * (_LEVEL / np.std(signal))), -32768, 32767)
    return audio.ulaw_encode(pcm.astype("<i2").tobytes())
