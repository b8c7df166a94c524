"""Tests of the audio quality of the 16-bit output.

The limits are in `docs/audio.md`. The speech band is 300 to 3400 Hz. Rounding a sine of -1 dBFS to
16 bits on input limits its SINAD to 97 dB. The rounding of the output, which no 16-bit resampler
can avoid, decreases the SINAD further.
"""

from fractions import Fraction

import numpy as np
import pytest
import soxr
from pipecat_genesys.audio import InboundAudio, OutboundAudio, Resampler, ulaw_decode, ulaw_encode

from .audio_reference import (
    MINUS_1_DBFS,
    OTHERS,
    TELEPHONY,
    decibels,
    delay,
    phasor,
    resample,
    samples,
    sinad,
    steady,
    tone,
    without,
)

PAIRS = TELEPHONY + OTHERS
BAND = [300.0, 437.0, 811.0, 1004.0, 1553.0, 2203.0, 2801.0, 3203.0, 3400.0]
RIPPLE_DB = 0.001
SPURIOUS_DBC = -95.0
NOISE_DBC = -95.0
# This is the power of the error that rounding to 16 bits causes, in squared steps.
ROUNDING = 1 / 12


class _Resampler:
    """Converts PCM with `Resampler`."""

    def __init__(self, in_rate: int, out_rate: int) -> None:
        self.stream = Resampler(in_rate, out_rate)

    def __call__(self, pcm: bytes) -> np.ndarray:
        return samples(self.stream.process(pcm))


class _Inbound:
    """Converts the right channel with `InboundAudio`; the left channel has loud noise."""

    def __init__(self, in_rate: int, out_rate: int) -> None:
        assert in_rate == 8000
        self.stream = InboundAudio("L16", 2, out_rate)

    def __call__(self, pcm: bytes) -> np.ndarray:
        right = np.frombuffer(pcm, "<i2")
        left = np.random.default_rng(1).integers(-32768, 32768, len(right), "<i2")
        return samples(self.stream.process(np.column_stack([left, right]).tobytes())[1])


class _Outbound:
    """Converts PCM to L16 with `OutboundAudio`."""

    def __init__(self, in_rate: int, out_rate: int) -> None:
        assert out_rate == 8000
        self.stream = OutboundAudio("L16", in_rate)

    def __call__(self, pcm: bytes) -> np.ndarray:
        return samples(self.stream.process(pcm))


CASES = [
    pytest.param(kind, *pair, id=f"{kind.__name__[1:]}-{pair[0]}-{pair[1]}")
    for kind in (_Resampler, _Inbound, _Outbound)
    for pair in PAIRS
    if kind is _Resampler or (pair[0] == 8000) == (kind is _Inbound)
]


@pytest.mark.parametrize(("kind", "in_rate", "out_rate"), CASES)
def test_the_band_is_flat(kind, in_rate, out_rate):
    for frequency in BAND:
        out = steady(kind(in_rate, out_rate)(tone(frequency, in_rate, 0.5)), out_rate)
        gain = decibels(abs(phasor(out, frequency, out_rate)) / MINUS_1_DBFS)
        assert abs(gain) <= RIPPLE_DB, frequency


@pytest.mark.parametrize(("kind", "in_rate", "out_rate"), CASES)
def test_images_are_gone(kind, in_rate, out_rate):
    """The images on both sides of each multiple of the input rate are below the limit."""
    for frequency in BAND:
        out = steady(kind(in_rate, out_rate)(tone(frequency, in_rate, 0.5)), out_rate)
        # Subtract the tone, because its spectral leakage would hide the images.
        rest = without(out, frequency, out_rate)
        for centre in range(in_rate, out_rate // 2 + 3400, in_rate):
            for image in (centre - frequency, centre + frequency):
                if image < out_rate / 2:
                    level = decibels(abs(phasor(rest, image, out_rate)) / MINUS_1_DBFS)
                    assert level <= SPURIOUS_DBC, (frequency, image)


@pytest.mark.parametrize(("kind", "in_rate", "out_rate"), CASES)
def test_aliases_are_gone(kind, in_rate, out_rate):
    """For a tone above the band whose alias is in the band, the alias is below the limit."""
    for wanted in BAND:
        for centre in range(out_rate, in_rate // 2 + 3400, out_rate):
            for frequency in (centre - wanted, centre + wanted):
                if frequency < in_rate / 2:
                    pcm = tone(frequency, in_rate, 0.5)
                    out = steady(kind(in_rate, out_rate)(pcm), out_rate)
                    level = decibels(abs(phasor(out, wanted, out_rate)) / MINUS_1_DBFS)
                    assert level <= SPURIOUS_DBC, frequency


@pytest.mark.parametrize(("kind", "in_rate", "out_rate"), CASES)
def test_sinad_of_1_khz(kind, in_rate, out_rate):
    out = steady(kind(in_rate, out_rate)(tone(1000, in_rate, 1)), out_rate)
    assert sinad(out, 1000, out_rate) >= (95 if (in_rate, out_rate) in TELEPHONY else 93)


def noise_dbc(error: np.ndarray) -> float:
    """Return the noise in dB relative to a sine of -1 dBFS, without the rounding of the output."""
    added = np.mean(error**2) - ROUNDING
    return decibels(max(added, 0) / (MINUS_1_DBFS**2 / 2)) / 2


@pytest.mark.parametrize(("kind", "in_rate", "out_rate"), CASES)
@pytest.mark.parametrize("frequency", [317, 997, 2203, 3389])
def test_the_filter_adds_less_noise_than_16_bits_can_show(kind, in_rate, out_rate, frequency):
    pcm = tone(frequency, in_rate, 1)
    out = kind(in_rate, out_rate)(pcm)
    error = steady(out - resample(samples(pcm), in_rate, out_rate), out_rate)
    ratio = Fraction(out_rate, in_rate)
    if ratio.denominator == 1:
        # The samples at phase 0 are input samples without rounding; only the samples at the other
        # phases are measured.
        error = error[np.arange(len(error)) % ratio.numerator != 0]
    assert noise_dbc(error) <= NOISE_DBC


@pytest.mark.parametrize("out_rate", [16000, 24000, 48000, 44100])
def test_inbound_adds_less_noise_to_mu_law_than_16_bits_can_show(out_rate):
    codes = ulaw_encode(tone(997, 8000, 1))
    (out,) = InboundAudio("PCMU", 1, out_rate).process(codes)
    exact = resample(samples(ulaw_decode(codes)), 8000, out_rate)
    assert noise_dbc(steady(samples(out) - exact, out_rate)) <= NOISE_DBC


@pytest.mark.parametrize(("in_rate", "out_rate"), [(8000, 16000), (8000, 24000), (8000, 48000)])
def test_energy_above_4_6_khz_is_not_higher_than_with_soxr(in_rate, out_rate):
    """Compare with soxr's quality VHQ and 16-bit output, for tones of the speech band."""
    for frequency in BAND:
        pcm = tone(frequency, in_rate, 1)
        ours = samples(Resampler(in_rate, out_rate).process(pcm))
        theirs = soxr.resample(np.frombuffer(pcm, "<i2"), in_rate, out_rate, "VHQ")
        levels = []
        for out in (ours, theirs.astype(np.float64)):
            middle = out[out_rate // 10 :][: out_rate // 2]
            spectrum = np.abs(np.fft.rfft(middle * np.blackman(len(middle)))) ** 2
            above = np.fft.rfftfreq(len(middle), 1 / out_rate) > 4600
            levels.append(spectrum[above].sum())
        assert levels[0] <= levels[1], frequency


@pytest.mark.parametrize("in_rate", [16000, 24000, 48000, 44100])
@pytest.mark.parametrize("level", [1, 0.1, 0.01])
def test_outbound_mu_law_equals_the_mu_law_of_the_model(in_rate, level):
    pcm = tone(997, in_rate, 1, MINUS_1_DBFS * level)
    wire = OutboundAudio("PCMU", in_rate).process(pcm)
    exact = np.rint(resample(samples(pcm), in_rate, 8000)).astype("<i2").tobytes()
    expected = ulaw_encode(exact)
    assert len(wire) == len(expected)
    # If the exact result is very near the boundary between two mu-law codes, a rounding error of
    # less than one 16-bit step can select the other code. The conversion from 48 kHz has two
    # filters and rounds twice, so more codes may differ.
    most = 16 if in_rate == 48000 else 2
    assert sum(a != b for a, b in zip(wire, expected, strict=True)) <= most


@pytest.mark.parametrize(("in_rate", "out_rate"), PAIRS)
def test_energy_of_the_speech_band_equals_that_of_soxr(in_rate, out_rate):
    rng = np.random.default_rng(7)
    spectrum = np.fft.rfft(rng.normal(0, 6000, in_rate))
    frequency = np.fft.rfftfreq(in_rate, 1 / in_rate)
    spectrum[(frequency < 300) | (frequency > 3400)] = 0
    voice = np.rint(np.fft.irfft(spectrum)).astype("<i2")
    ours = samples(Resampler(in_rate, out_rate).process(voice.tobytes()))
    theirs = soxr.resample(voice.astype(np.float64), in_rate, out_rate, "VHQ")
    exactly = delay(in_rate, out_rate) * out_rate
    late = round(exactly)
    # soxr's output has no delay. Our output is shifted by its delay, rounded to whole samples.
    count = min(len(ours) - late, len(theirs))
    ours, theirs = ours[late:][:count], theirs[:count]
    assert decibels(np.std(ours) / np.std(theirs)) == pytest.approx(0, abs=0.05)
    if exactly == late:
        middle = slice(out_rate // 20, -out_rate // 20)
        residue = np.std(ours[middle] - theirs[middle]) / np.std(theirs[middle])
        assert decibels(residue) <= -60
