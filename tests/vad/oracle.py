"""Audio for the tests, and the expected scores from a separate onnxruntime session."""

from __future__ import annotations

import wave
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
import soxr
from numpy.typing import NDArray
from pipecat_genesys._native import SpeechDetector, SpeechModel
from pipecat_genesys.vad import model

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
WINDOW = 256
# Probability of speech, and energy.
Window: TypeAlias = tuple[float, float]


@cache
def session() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    path = resources.files("pipecat.audio.vad.data").joinpath("silero_vad.onnx")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def model_alone(samples: NDArray[np.float32]) -> list[float]:
    """Run the model at 8 kHz without resets, and return the probability of each window."""
    state = np.zeros((2, 1, 128), np.float32)
    context = np.zeros(32, np.float32)
    confidences = []
    for start in range(0, len(samples) - WINDOW + 1, WINDOW):
        window = samples[start : start + WINDOW]
        inputs = {
            "input": np.concatenate([context, window])[None],
            "state": state,
            "sr": np.array(8000, np.int64),
        }
        output, state = session().run(None, inputs)
        confidences.append(float(output[0, 0]))
        context = window[-32:]
    return confidences


@cache
def native_model() -> SpeechModel:
    return model.load_model()


def windows(rate: int, sections: Any, pcm: bytes, half_windows: int = 25) -> list[Window]:
    """Return probability and energy of each window from the native detector."""
    detector = SpeechDetector(native_model(), rate, sections, half_windows)
    assert detector.process(pcm) == len(pcm) // (rate * 64 // 1000)
    return take_windows(detector)


def take_windows(detector: SpeechDetector) -> list[Window]:
    found = []
    while (window := detector.next_window()) is not None:
        found.append(window)
    return found


def as_floats(pcm: bytes) -> NDArray[np.float32]:
    return np.frombuffer(pcm, np.int16).astype(np.float32) / 32768.0


@cache
def recording(name: str, rate: int) -> bytes:
    """Return a recording from the examples as 16-bit PCM, resampled by soxr."""
    with wave.open(str(EXAMPLES / f"{name}.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return soxr.resample(samples, file.getframerate(), rate).astype(np.int16).tobytes()


def noise(rate: int, seconds: float, amplitude: float, seed: int = 0) -> bytes:
    random = np.random.default_rng(seed)
    return (random.standard_normal(int(rate * seconds)) * amplitude).astype(np.int16).tobytes()


@cache
def conversation(rate: int, seed: int = 0) -> bytes:
    """Return about 12 s of audio: two sentences of a caller, with noise, silence and hum."""
    time = np.arange(rate // 2) / rate
    hum = (np.sin(2 * np.pi * 120 * time) * 500).astype(np.int16).tobytes()
    parts = [
        noise(rate, 0.5 + seed / 14, 30, seed),
        recording("caller-question", rate),
        noise(rate, 2.5, 100, seed + 1),
        bytes(rate),
        recording("caller-interrupt", rate),
        hum,
        noise(rate, 1.0, 3000, seed + 2),
        noise(rate, 1.0, 10, seed + 3),
    ]
    return b"".join(parts)


def packets(pcm: bytes, size: int) -> list[bytes]:
    return [pcm[start : start + size] for start in range(0, len(pcm), size)]
