"""Accuracy of the analyzers on telephone speech, compared with labels."""

from __future__ import annotations

import asyncio
import itertools
import math
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat.audio.vad.vad_analyzer import VADState
from scipy.stats import binomtest, wilcoxon

from . import FRAME_NAMES, JUDGED_NAMES, OURS_8, OURS_16, OURS_SOONER, PIPECAT_16
from .analyzers import BY_NAME, Configuration
from .labelled import Recording, Segment
from .telephone import NOISES, SNRS, noisy, through_telephone

_WINDOW_SECONDS = 0.032
_FRAME_SECONDS = 0.01
# Constant delay of the audio that resampling causes before the analyzer and inside it, in seconds.
# Frames are shifted by this delay before they are compared with the labels. The measured delays of
# the start and the end of speech are not corrected.
_DELAYS = {OURS_8: 0.0, OURS_SOONER: 0.0, OURS_16: 0.006, PIPECAT_16: 0.003}
# Duration of a packet in ms: as short as in other pipelines, so that packets add little to the
# measured delays.
_PACKET_MS = 20
# Longest pause between two labels of the same sentence, in seconds.
_LONGEST_PAUSE = 0.5
# Maximum time by which the start of speech may be detected before its label, in seconds.
_EARLY = 0.2
# Duration of the silence after each recording, so that the end of the last sentence can be
# detected.
_TAIL_SECONDS = 1.0
# The parameters of `OURS_SOONER` were chosen with every second recording, beginning with the first
# recording. The results of all recordings had been seen before.
_HALVES = ("chosen", "held out")
_THRESHOLDS = np.arange(0.02, 1.0, 0.02)


def conditions() -> Iterator[tuple[str, str, int | None]]:
    """Yield coding, noise and signal-to-noise ratio of each measurement."""
    for coding in ("PCMU", "L16"):
        yield coding, "", None
    for noise in NOISES:
        for snr in SNRS:
            yield "PCMU", noise, snr


@dataclass
class _Outcome:
    """The results of one analyzer for one or several recordings.

    Attributes:
        scores: Probability of speech in each frame of 10 ms.
        labels: Whether each of these frames has speech.
        onsets: For each sentence, the delay of the detected start in seconds, or nan if no start
            was detected.
        ends: For each sentence, the delay of the detected stop in seconds, or nan if no stop was
            detected.
        false_starts: Number of detected starts outside sentences.
        stops: Number of all detected stops.
        seconds: Duration of the recordings.
    """

    scores: list[float] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)
    onsets: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    false_starts: int = 0
    stops: int = 0
    seconds: float = 0.0

    def __add__(self, other: _Outcome) -> _Outcome:
        return _Outcome(
            *(getattr(self, one.name) + getattr(other, one.name) for one in fields(self))
        )


def measure_accuracy(recordings: Sequence[Recording], quick: bool = False) -> dict[str, Any]:
    """Compare the analyzers with the labels, in several processes.

    Returns:
        `rows`: a row for each condition and analyzer. `halves`: for each analyzer and each half of
            the recordings, a row for all conditions together. The parameters of `OURS_SOONER` were
            chosen with the half `chosen`. Results of the half `held out` had been seen before, so
            they are not an independent test.
    """
    cases = list(conditions())[: 1 if quick else None]
    rows = []
    halves = {(half, name): _Outcome() for half in _HALVES for name in JUDGED_NAMES}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(len(cases), os.cpu_count() or 1), context) as processes:
        results = processes.map(_judge_condition, itertools.repeat(recordings), cases)
        for (coding, noise, snr), by_name in zip(cases, results, strict=True):
            for name, outcomes in by_name.items():
                row = {"coding": coding, "noise": noise, "snr": snr, "name": name}
                rows.append(
                    row
                    | _frames(outcomes, name)
                    | _turns(outcomes)
                    | _pairs(outcomes, by_name[PIPECAT_16])
                )
                for number, half in enumerate(_HALVES):
                    for outcome in outcomes[number::2]:
                        halves[half, name] += outcome
    return {
        "rows": rows,
        "halves": [
            {"half": half, "name": name} | _turns([outcome])
            for (half, name), outcome in halves.items()
            if outcome.onsets
        ],
    }


def _judge_condition(
    recordings: Sequence[Recording], condition: tuple[str, str, int | None]
) -> dict[str, list[_Outcome]]:
    """Return the results of each analyzer for each recording."""
    coding, noise, snr = condition
    mixed = noisy(recordings, noise, snr or 0)
    return {
        name: [
            _judge(recording, samples, coding, BY_NAME[name])
            for recording, samples in zip(recordings, mixed, strict=True)
        ]
        for name in JUDGED_NAMES
    }


def _judge(
    recording: Recording,
    samples: NDArray[np.float64],
    coding: str,
    configuration: Configuration,
) -> _Outcome:
    length = len(samples) / 16000
    pcm = through_telephone(samples, coding, configuration.rate)
    confidences, changes = asyncio.run(_analyze(configuration, pcm))
    joined = _sentences(recording.speech)
    outcome = _Outcome(seconds=length)
    times = (np.arange(int(length / _FRAME_SECONDS)) + 0.5) * _FRAME_SECONDS
    delayed = (times + _DELAYS[configuration.name]) / _WINDOW_SECONDS
    windows = np.minimum(delayed.astype(int), len(confidences) - 1)
    outcome.scores = [confidences[window] for window in windows]
    outcome.labels = [any(a <= time < b for a, b in recording.speech) for time in times]
    starts = [time for time, state in changes if state == VADState.SPEAKING]
    quiets = [time for time, state in changes if state == VADState.QUIET]
    outcome.stops = len(quiets)
    for number, (begin, end) in enumerate(joined):
        following = joined[number + 1][0] if number + 1 < len(joined) else length + 10
        outcome.onsets.append(_first(starts, begin - _EARLY, end) - begin)
        outcome.ends.append(_first(quiets, end - _EARLY, following) - end)
    outcome.false_starts = sum(
        not any(begin - _EARLY <= time <= end + _EARLY for begin, end in joined) for time in starts
    )
    return outcome


def _frames(outcomes: Sequence[_Outcome], name: str) -> dict[str, Any]:
    """Return the accuracy in frames of 10 ms; empty if `name` is not in `FRAME_NAMES`."""
    if name not in FRAME_NAMES:
        return {}
    values = np.concatenate([outcome.scores for outcome in outcomes])
    truth = np.concatenate([outcome.labels for outcome in outcomes])
    best_f1, threshold = _best_f1(values, truth)
    return {
        "auc": _auc(values, truth),
        "f1": best_f1,
        "threshold": threshold,
        "f1_default": _f1(values >= 0.7, truth),
    }


def _turns(outcomes: Sequence[_Outcome]) -> dict[str, Any]:
    """Return delays and errors of starts and stops of speech."""
    whole = sum(outcomes, _Outcome())
    result: dict[str, Any] = {}
    for key, delays in (("onset", whole.onsets), ("end", whole.ends)):
        missed = int(np.isnan(delays).sum())
        result[f"{key}_ms"] = None if missed == len(delays) else 1000 * float(np.nanmedian(delays))
        result[f"{key}_missed"] = missed
        result[f"{key}_missed_percent"] = 100 * missed / len(delays)
    return result | {
        "false_starts_per_minute": 60 * whole.false_starts / whole.seconds,
        "stops": whole.stops,
        "sentences": len(whole.onsets),
        "seconds": whole.seconds,
    }


def _pairs(outcomes: Sequence[_Outcome], reference: Sequence[_Outcome]) -> dict[str, Any]:
    """Compare each sentence with the same sentence in the results of another analyzer.

    Returns:
        For starts and stops: the mean difference of the delays in ms with the p value of the
        Wilcoxon test, and the numbers of sentences that only one of the analyzers missed, with the
        p value of the sign test.
    """
    ours, others = sum(outcomes, _Outcome()), sum(reference, _Outcome())
    result: dict[str, Any] = {}
    for key in ("onset", "end"):
        one, other = np.array(getattr(ours, f"{key}s")), np.array(getattr(others, f"{key}s"))
        only_ours = int((np.isnan(one) & ~np.isnan(other)).sum())
        only_other = int((~np.isnan(one) & np.isnan(other)).sum())
        differences = (one - other)[~np.isnan(one) & ~np.isnan(other)]
        # Delays have steps of one packet. Smaller differences are rounding errors.
        differs = bool((np.abs(differences) > 1e-6).any())
        result[f"{key}_pairs"] = {
            "mean_ms": 1000 * float(differences.mean()) if len(differences) else None,
            "p": float(wilcoxon(differences.round(6)).pvalue) if differs else 1.0,
            "only_ours_missed": only_ours,
            "only_other_missed": only_other,
            "p_missed": float(binomtest(only_ours, only_ours + only_other).pvalue)
            if only_ours + only_other
            else 1.0,
        }
    return result


def _first(times: Sequence[float], begin: float, end: float) -> float:
    """Return the first time from `begin` to `end`, or nan."""
    return next((time for time in times if begin <= time <= end), math.nan)


async def _analyze(
    configuration: Configuration, pcm: bytes
) -> tuple[list[float], list[tuple[float, VADState]]]:
    """Return the confidence of each window, and the time and state of each start or stop."""
    analyzer: Any = configuration.ready()
    confidences: list[float] = []
    original = analyzer.voice_confidence

    def noted(buffer: bytes) -> Any:
        confidence = original(buffer)
        confidences.append(float(np.asarray(confidence).item()))
        return confidence

    analyzer.voice_confidence = noted
    size = configuration.rate * _PACKET_MS // 1000 * 2
    pcm += bytes(round(configuration.rate * _TAIL_SECONDS) * 2)
    changes: list[tuple[float, VADState]] = []
    known = VADState.QUIET
    for start in range(0, len(pcm), size):
        state = await analyzer.analyze_audio(pcm[start : start + size])
        if state in (VADState.QUIET, VADState.SPEAKING) and state != known:
            known = state
            changes.append(((start + size) / 2 / configuration.rate, state))
    await analyzer.cleanup()
    return confidences, changes


def _sentences(speech: Sequence[Segment]) -> list[Segment]:
    """Return the sentences: labels with a short pause between them are joined."""
    joined: list[Segment] = []
    for begin, end in speech:
        if joined and begin - joined[-1][1] < _LONGEST_PAUSE:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined


def _auc(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve: the chance that speech scores higher than non-speech."""
    order = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(order[2]) - (order[2] - 1) / 2
    positive = truth.sum()
    total = ranks[order[1]][truth].sum() - positive * (positive + 1) / 2
    return float(total / (positive * (~truth).sum()))


def _best_f1(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> tuple[float, float]:
    return max((_f1(scores >= threshold, truth), float(threshold)) for threshold in _THRESHOLDS)


def _f1(found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (found & truth).sum() / (found.sum() + truth.sum()))
