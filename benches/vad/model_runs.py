"""Time and results of the speech model without an analyzer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from pipecat_genesys._native import SpeechDetector
from pipecat_genesys.vad import model
from pipecat_genesys.vad.loudness import expected_scale
from timing import clock_ns

from .speech import caller_packets

# Numbers of windows in a packet.
PACKETS = (1, 2, 6, 12)
_SECONDS = 8
_ROUNDS = 9
_WINDOWS_PER_ROUND = 400


def measure_model(quick: bool = False) -> dict[str, Any]:
    """Time pipecat's model in onnxruntime and our native model, and compare the results.

    Returns:
        `rows`: for each model and number of windows in a packet, the time per window, and the
        largest difference of a probability from the model in onnxruntime.
        `problems`: a message for each difference that is too large.
    """
    content = model.read_model_file()
    session, native = model.open_session(content), model.load_model(content)
    rounds = 1 if quick else _ROUNDS
    rows: list[dict[str, Any]] = []
    for rate in (16000, 8000):
        feed = {
            "input": np.zeros((1, rate * 36 // 1000), np.float32),
            "state": np.zeros((2, 1, 128), np.float32),
            "sr": np.array(rate, np.int64),
        }
        rows.append(
            {"model": f"pipecat, {rate // 1000} kHz", "windows": 1, "difference": 0.0}
            | {"us": _time(partial(session.run, ("output", "stateN"), feed), 1, rounds)}
        )
    [pcm] = caller_packets(8000, 1000 * _SECONDS, _SECONDS)
    pcm = pcm[: len(pcm) // 512 * 512]
    expected = model.model_alone(session, np.frombuffer(pcm, "<i2").astype(np.float32) / 32768.0)
    scale = expected_scale(8000)
    for windows in PACKETS:
        detector = SpeechDetector(native, 8000, scale.sections, scale.half_windows)
        found = [
            probability
            for at in range(0, len(pcm), 512 * windows)
            for probability in _detect(detector, pcm[at : at + 512 * windows])
        ]
        packet = pcm[-512 * windows :]
        rows.append(
            {"model": "ours, 8 kHz", "windows": windows}
            | {"difference": float(np.abs(np.subtract(found, expected)).max())}
            | {"us": _time(partial(_detect, detector, packet), windows, rounds)}
        )
    problems = [
        f"{row['model']}: results with {row['windows']} windows in a packet differ by "
        f"{row['difference']:.1e}"
        for row in rows
        if row["difference"] > model.TOLERANCE
    ]
    return {"rows": rows, "problems": problems}


def _detect(detector: SpeechDetector, pcm: bytes) -> list[float]:
    """Return the probability of each window that the audio completes."""
    found = []
    for _ in range(detector.process(pcm)):
        window = detector.next_window()
        if window is not None:
            found.append(window[0])
    return found


def _time(run: Callable[[], object], windows: int, rounds: int) -> float:
    """Return the mean time per window in us, of the fastest round."""
    count = max(1, _WINDOWS_PER_ROUND // windows)
    best = float("inf")
    run()
    for _ in range(rounds):
        begin = clock_ns()
        for _ in range(count):
            run()
        best = min(best, (clock_ns() - begin) / count / windows / 1000)
    return best
