"""Accuracy of the analyzers on telephone speech, compared with labels."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pipecat.audio.vad.vad_analyzer import VADState

from . import JUDGED_NAMES, OURS_8, OURS_16, PIPECAT_16
from .analyzers import BY_NAME, Configuration
from .labelled import Recording, Segment
from .telephone import NOISES, SNRS, noisy, through_telephone

_WINDOW_SECONDS = 0.032
_FRAME_SECONDS = 0.01
# Constant delay of the audio that resampling causes before the analyzer and inside it, in seconds.
# Frames are shifted by this delay before they are compared with the labels. The measured delays of
# the start and the end of speech are not corrected.
_DELAYS = {OURS_8: 0.0, OURS_16: 0.006, PIPECAT_16: 0.003}
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
_THRESHOLDS = np.arange(0.02, 1.0, 0.02)


def conditions() -> Iterator[tuple[str, str, int | None]]:
    """Yield coding, noise and signal-to-noise ratio of each measurement."""
    for coding in ("PCMU", "L16"):
        yield coding, "", None
    for noise in NOISES:
        for snr in SNRS:
            yield "PCMU", noise, snr


def measure_accuracy(recordings: Sequence[Recording], quick: bool = False) -> list[dict[str, Any]]:
    """Return a row for each condition and analyzer."""
    rows = []
    for coding, noise, snr in list(conditions())[: 1 if quick else None]:
        mixed = noisy(recordings, noise, snr or 0)
        for name in JUDGED_NAMES:
            row = _judge(recordings, mixed, coding, BY_NAME[name])
            rows.append({"coding": coding, "noise": noise, "snr": snr, "name": name} | row)
    return rows


def _judge(
    recordings: Sequence[Recording],
    mixed: Sequence[NDArray[np.float64]],
    coding: str,
    configuration: Configuration,
) -> dict[str, Any]:
    scores: list[float] = []
    labels: list[bool] = []
    onsets: list[float] = []
    ends: list[float] = []
    sentences = false_starts = stops = 0
    seconds = 0.0
    for recording, samples in zip(recordings, mixed, strict=True):
        length = len(samples) / 16000
        seconds += length
        pcm = through_telephone(samples, coding, configuration.rate)
        confidences, changes = asyncio.run(_analyze(configuration, pcm))
        frames = int(length / _FRAME_SECONDS)
        times = (np.arange(frames) + 0.5) * _FRAME_SECONDS
        delayed = (times + _DELAYS[configuration.name]) / _WINDOW_SECONDS
        windows = np.minimum(delayed.astype(int), len(confidences) - 1)
        scores += [confidences[window] for window in windows]
        labels += [any(a <= time < b for a, b in recording.speech) for time in times]
        joined = _sentences(recording.speech)
        sentences += len(joined)
        starts = [time for time, state in changes if state == VADState.SPEAKING]
        quiets = [time for time, state in changes if state == VADState.QUIET]
        stops += len(quiets)
        for number, (begin, end) in enumerate(joined):
            following = joined[number + 1][0] if number + 1 < len(joined) else length + 10
            onsets += [t - begin for t in starts if begin - _EARLY <= t <= end][:1]
            ends += [t - end for t in quiets if end - _EARLY <= t <= following][:1]
        false_starts += sum(
            not any(begin - _EARLY <= time <= end + _EARLY for begin, end in joined)
            for time in starts
        )
    values = np.array(scores)
    truth = np.array(labels)
    best_f1, threshold = _best_f1(values, truth)
    return {
        "auc": _auc(values, truth),
        "f1": best_f1,
        "threshold": threshold,
        "f1_default": _f1(values >= 0.7, truth),
        "onset_ms": _median_ms(onsets),
        "onset_missed_percent": 100 * (1 - len(onsets) / sentences),
        "end_ms": _median_ms(ends),
        "end_missed_percent": 100 * (1 - len(ends) / sentences),
        "false_starts_per_minute": 60 * false_starts / seconds,
        "stops": stops,
        "seconds": seconds,
    }


async def _analyze(
    configuration: Configuration, pcm: bytes
) -> tuple[list[float], list[tuple[float, VADState]]]:
    """Return the confidence of each window, and the times of starts and stops of speech."""
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


def _median_ms(values: Sequence[float]) -> float | None:
    return 1000 * float(np.median(values)) if values else None
