"""CPU time of each stage of the analysis of one call. Packets are analyzed without waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat_genesys._native import SpeechDetector
from pipecat_genesys.vad import TelephoneVADAnalyzer
from pipecat_genesys.vad.loudness import expected_scale
from pipecat_genesys.vad.model import shared_model

from .analyzers import BY_NAME, Configuration, states_of
from .speech import caller_packets

_SECONDS = 12
_ROUNDS = 5


def measure_stages(quick: bool = False) -> list[dict[str, Any]]:
    """Return the CPU time of each stage, in ms per second of audio.

    For pipecat's analyzer, the stages are: a run of the model; the conversion of samples to floats,
    with the model; the volume; the whole analyzer without a thread; and the whole analyzer with its
    thread, for packets of 200 ms and of 20 ms. Our analyzer has one stage of native code, which
    includes the model, the conversion and the volume, and needs no thread.
    """
    rounds = 1 if quick else _ROUNDS
    rows = []
    for rate in (8000, 16000):
        row: dict[str, Any] = {"rate": rate}
        row["pipecat"] = _pipecat_stages(rate, rounds)
        row["ours"] = _our_stages(rate, rounds)
        rows.append(row)
    return rows


def _pipecat_stages(rate: int, rounds: int) -> dict[str, float]:
    windows = caller_packets(rate, 32, _SECONDS)
    analyzer = SileroVADAnalyzer(sample_rate=rate)
    analyzer.set_sample_rate(rate)
    session = analyzer._model.session
    samples = windows[0]
    view = np.zeros((1, len(samples) // 2 * 9 // 8), np.float32)
    feed = {
        "input": view,
        "state": np.zeros((2, 1, 128), np.float32),
        "sr": np.array(rate, np.int64),
    }
    return {
        "model": _cpu_ms(lambda: [session.run(None, feed) for _ in windows], rounds),
        "floats": _cpu_ms(lambda: [analyzer.voice_confidence(one) for one in windows], rounds),
        "volume": _cpu_ms(lambda: [analyzer._get_smoothed_volume(one) for one in windows], rounds),
        "all": _cpu_ms(lambda: [analyzer._run_analyzer(one) for one in windows], rounds),
    } | _in_event_loop(BY_NAME[f"pipecat, {rate // 1000} kHz"], rounds)


def _our_stages(rate: int, rounds: int) -> dict[str, float]:
    packets = caller_packets(rate, 200, _SECONDS)
    analyzer = TelephoneVADAnalyzer(sample_rate=rate)
    analyzer.set_sample_rate(rate)
    scale = expected_scale(rate)
    detector = SpeechDetector(shared_model(), rate, scale.sections, scale.half_windows)
    return {
        "native": _cpu_ms(lambda: [_detect(detector, one) for one in packets], rounds),
        "all": _cpu_ms(lambda: [analyzer._analyze(one) for one in packets], rounds),
    } | _in_event_loop(BY_NAME[f"ours, {rate // 1000} kHz"], rounds)


def _detect(detector: SpeechDetector, buffer: bytes) -> None:
    for _ in range(detector.process(buffer)):
        detector.next_window()


def _in_event_loop(configuration: Configuration, rounds: int) -> dict[str, float]:
    analyzer = configuration.ready()

    def run(packets: list[bytes]) -> None:
        asyncio.run(states_of(analyzer, packets))

    by_packet = {
        milliseconds: caller_packets(configuration.rate, milliseconds, _SECONDS)
        for milliseconds in (200, 20)
    }
    return {
        f"loop_{milliseconds}": _cpu_ms(partial(run, packets), rounds)
        for milliseconds, packets in by_packet.items()
    }


def _cpu_ms(run: Callable[[], object], rounds: int) -> float:
    """Return the smallest CPU time of the process for 12 s of audio, in ms per second of audio."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        run()
        best = min(best, time.process_time() - begin)
    return 1000 * best / _SECONDS
