"""Resamplers of other Python libraries as streams of 16-bit PCM, with little additional code.

A stream is a function from bytes to bytes that keeps its own state. `measure_quality.py` measures
the quality of each stream.
"""

from __future__ import annotations

import audioop
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly, upfirdn
from signals import ZERO_CROSSINGS, filter_taps

Stream = Callable[[bytes], bytes]
MakeStream = Callable[[int, int], Stream]

# The default filter of `resample_poly`: its zero crossings on each side, and its window.
_RESAMPLE_POLY_ZERO_CROSSINGS = 10
_RESAMPLE_POLY_WINDOW = ("kaiser", 5.0)


def _soxr(quality: str) -> MakeStream:
    def make_stream(in_rate: int, out_rate: int) -> Stream:
        stream = soxr.ResampleStream(in_rate, out_rate, 1, dtype="int16", quality=quality)

        def process(pcm: bytes) -> bytes:
            out: bytes = stream.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes()
            return out

        return process

    return make_stream


def _libsamplerate(converter: str) -> MakeStream:
    import samplerate

    def make_stream(in_rate: int, out_rate: int) -> Stream:
        stream = samplerate.Resampler(converter, 1)
        ratio = out_rate / in_rate

        def process(pcm: bytes) -> bytes:
            # libsamplerate's full scale is 1.0.
            scaled = np.frombuffer(pcm, np.int16) * np.float32(1 / 32768)
            return _to_pcm(stream.process(scaled, ratio) * np.float32(32768))

        return process

    return make_stream


def _upfirdn(in_rate: int, out_rate: int) -> Stream:
    """Use our filter in single precision; each packet continues the previous packet's samples."""
    up, down = max(1, out_rate // in_rate), max(1, in_rate // out_rate)
    taps = filter_taps(up, down, ZERO_CROSSINGS).astype(np.float32)
    history = np.zeros(2 * ZERO_CROSSINGS * down, np.float32)

    def process(pcm: bytes) -> bytes:
        nonlocal history
        samples = np.concatenate([history, np.frombuffer(pcm, np.int16)], dtype=np.float32)
        history = samples[-len(history) :]
        count = (len(samples) - len(history)) * up // down
        return _to_pcm(upfirdn(taps, samples, up, down)[2 * ZERO_CROSSINGS * up :][:count])

    return process


def _resample_poly(in_rate: int, out_rate: int) -> Stream:
    """Use scipy's default filter, designed once; each packet continues the previous packet."""
    up, down = max(1, out_rate // in_rate), max(1, in_rate // out_rate)
    factor = max(up, down)
    taps = firwin(
        2 * _RESAMPLE_POLY_ZERO_CROSSINGS * factor + 1, 1 / factor, window=_RESAMPLE_POLY_WINDOW
    )
    taps = taps.astype(np.float32)
    history = np.zeros(2 * _RESAMPLE_POLY_ZERO_CROSSINGS * down, np.float32)

    def process(pcm: bytes) -> bytes:
        nonlocal history
        samples = np.concatenate([history, np.frombuffer(pcm, np.int16)], dtype=np.float32)
        history = samples[-len(history) :]
        edge = _RESAMPLE_POLY_ZERO_CROSSINGS * up
        return _to_pcm(resample_poly(samples, up, down, window=taps)[edge:-edge])

    return process


def _ratecv(in_rate: int, out_rate: int) -> Stream:
    state = None

    def process(pcm: bytes) -> bytes:
        nonlocal state
        out, state = audioop.ratecv(pcm, 2, 1, in_rate, out_rate, state)
        return out

    return process


def _to_pcm(samples: NDArray[np.floating]) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16).tobytes()


OTHER_RESAMPLERS: dict[str, MakeStream] = {
    **{f"soxr {quality}": _soxr(quality) for quality in ("VHQ", "HQ", "MQ", "QQ")},
    "scipy upfirdn": _upfirdn,
    "scipy resample_poly": _resample_poly,
    "audioop ratecv": _ratecv,
}
"""For each name, a function that makes a stream between two rates; one rate must divide the other.
"""

# samplerate has no wheels for some Pythons and systems.
if find_spec("samplerate"):
    OTHER_RESAMPLERS["libsamplerate medium"] = _libsamplerate("sinc_medium")
