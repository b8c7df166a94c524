"""Computes the volume that pipecat compares with `VADParams.min_volume`.

pipecat measures the loudness for each window: version 1.8 and newer measure the newest 400 ms with
the package `loudness`, and older versions measure only the window, with `pyloudnorm`.
`SpeechDetector` computes the same energies in a tenth of the time of these packages. This module
defines the filters and the scales of both packages. `volume_scale` returns a scale only if its
volumes agree with the volumes of pipecat's function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from pipecat.audio import utils
from pipecat.audio.vad import vad_analyzer

from pipecat_genesys._native import SpeechDetector

from .model import shared_model

Section: TypeAlias = tuple[float, float, float, float, float]

WINDOW_SECONDS = 0.032
# Size of a step in the histogram of the package `loudness`, in LU, and the histogram's lowest value
# in LUFS.
HISTOGRAM_STEP = 0.1
HISTOGRAM_LOWEST = -70.0
# Maximum difference of two volumes that count as equal: one and a half steps of the histogram.
TOLERANCE = 1.5 * HISTOGRAM_STEP / 100


@dataclass(frozen=True, slots=True)
class VolumeScale:
    """Converts the energy of filtered samples to a volume.

    Attributes:
        sections: The K-weighting filter of BS.1770 at the sample rate.
        half_windows: Length of the audio that one measurement covers, in units of 16 ms (half a
            window).
        reference: The energy that the measurement compares with. The loudness in LUFS is
            ``10 * log10(energy / reference) - 0.691``. The reference is the energy of a constant
            signal at full scale, which is 32768 in the package `loudness` and 1 in `pyloudnorm`.
        quietest: Loudness in LUFS that has volume 0. Volume 1 is 100 LU higher. Audio below -70
            LUFS always has volume 0.
        has_histogram: Whether the loudness is rounded to the steps of a histogram.
    """

    sections: tuple[Section, Section]
    half_windows: int
    reference: float
    quietest: float
    has_histogram: bool

    def volume(self, energy: float) -> float:
        """Return the volume, from 0 to 1; `energy` is the sum of the squared filtered samples."""
        if energy <= 0.0:
            return 0.0
        loudness = 10.0 * math.log10(energy / self.reference) - 0.691
        if loudness < HISTOGRAM_LOWEST:
            # Audio below the absolute gate of BS.1770 counts as silence.
            return 0.0
        if self.has_histogram:
            step = math.floor((loudness - HISTOGRAM_LOWEST) / HISTOGRAM_STEP)
            loudness = HISTOGRAM_LOWEST + (step + 0.5) * HISTOGRAM_STEP
        return max(0.0, min(1.0, (loudness - self.quietest) / 100.0))


@cache
def volume_scale(sample_rate: int) -> VolumeScale | None:
    """Return the scale of the installed pipecat at a sample rate in Hz.

    Returns:
        The scale, or None if its volumes differ from the volumes of pipecat's own function.
    """
    scale = expected_scale(sample_rate)
    try:
        return scale if _agrees_with_pipecat(scale, sample_rate) else None
    except Exception:
        # The installed pipecat version does not have this function, or the function has a different
        # signature.
        return None


def expected_scale(sample_rate: int) -> VolumeScale:
    """Return the scale that the installed pipecat is expected to use at a sample rate in Hz."""
    if hasattr(vad_analyzer, "AudioVolumeTracker"):
        return VolumeScale(
            sections=(_shelf_of_libebur128(sample_rate), _high_pass_of_libebur128(sample_rate)),
            half_windows=25,
            reference=0.4 * sample_rate * 32768.0**2,
            quietest=-110.0,
            has_histogram=True,
        )
    return VolumeScale(
        sections=(_shelf_of_pyloudnorm(sample_rate), _high_pass_of_pyloudnorm(sample_rate)),
        half_windows=2,
        reference=WINDOW_SECONDS * sample_rate,
        quietest=-20.0,
        has_histogram=False,
    )


def _agrees_with_pipecat(scale: VolumeScale, sample_rate: int) -> bool:
    window = round(WINDOW_SECONDS * sample_rate)
    measured = window * scale.half_windows // 2
    for samples in _test_signals(sample_rate):
        detector = SpeechDetector(shared_model(), sample_rate, scale.sections, scale.half_windows)
        detector.process(samples.tobytes())
        end = 0
        while (measured_window := detector.next_window()) is not None:
            end += window
            if end < measured:
                continue
            expected = utils.calculate_audio_volume(
                samples[end - measured : end].tobytes(), sample_rate
            )
            if not abs(scale.volume(measured_window[1]) - expected) <= TOLERANCE:
                return False
    return True


def _test_signals(sample_rate: int) -> Iterator[NDArray[np.int16]]:
    random = np.random.default_rng(sample_rate)
    length = sample_rate // 2
    time = np.arange(length) / sample_rate
    yield (random.standard_normal(length) * 3000).astype(np.int16)
    yield (np.sin(2 * np.pi * 440 * time) * 20000 * time).astype(np.int16)
    yield np.zeros(length, np.int16)


def _shelf_of_libebur128(sample_rate: int) -> Section:
    gain, quality, frequency = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = math.tan(math.pi * frequency / sample_rate)
    high = 10.0 ** (gain / 20.0)
    band = high**0.4996667741545416
    a0 = 1.0 + k / quality + k * k
    return (
        (high + band * k / quality + k * k) / a0,
        2.0 * (k * k - high) / a0,
        (high - band * k / quality + k * k) / a0,
        2.0 * (k * k - 1.0) / a0,
        (1.0 - k / quality + k * k) / a0,
    )


def _high_pass_of_libebur128(sample_rate: int) -> Section:
    quality, frequency = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * frequency / sample_rate)
    a0 = 1.0 + k / quality + k * k
    return 1.0, -2.0, 1.0, 2.0 * (k * k - 1.0) / a0, (1.0 - k / quality + k * k) / a0


def _shelf_of_pyloudnorm(sample_rate: int) -> Section:
    a = 10.0 ** (4.0 / 40.0)
    w = 2.0 * math.pi * 1500.0 / sample_rate
    cosine, alpha = math.cos(w), math.sin(w) / math.sqrt(2.0)
    slope = 2.0 * math.sqrt(a) * alpha
    a0 = (a + 1.0) - (a - 1.0) * cosine + slope
    return (
        a * ((a + 1.0) + (a - 1.0) * cosine + slope) / a0,
        -2.0 * a * ((a - 1.0) + (a + 1.0) * cosine) / a0,
        a * ((a + 1.0) + (a - 1.0) * cosine - slope) / a0,
        2.0 * ((a - 1.0) - (a + 1.0) * cosine) / a0,
        ((a + 1.0) - (a - 1.0) * cosine - slope) / a0,
    )


def _high_pass_of_pyloudnorm(sample_rate: int) -> Section:
    w = 2.0 * math.pi * 38.0 / sample_rate
    cosine, alpha = math.cos(w), math.sin(w)
    a0 = 1.0 + alpha
    half = (1.0 + cosine) / 2.0 / a0
    return half, -2.0 * half, half, -2.0 * cosine / a0, (1.0 - alpha) / a0
