"""Other libraries' resamplers as streams of 16-bit PCM, the least Python around each.

A stream is a function from bytes to bytes that remembers what it needs. Whether it is any good is
not said here: `measure_quality.py` measures it.
"""

from __future__ import annotations

import audioop
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import firwin, resample_poly, upfirdn
from signals import ZEROS, taps

Stream = Callable[[bytes], bytes]

# Of the filter that resample_poly designs if it is given none: zeros to either side, and window.
_POLY_ZEROS = 10
_POLY_WINDOW = ("kaiser", 5.0)


def _soxr(quality: str) -> Callable[[int, int], Stream]:
    def make(in_rate: int, out_rate: int) -> Stream:
        stream = soxr.ResampleStream(in_rate, out_rate, 1, dtype="int16", quality=quality)

        def run(pcm: bytes) -> bytes:
            out: bytes = stream.resample_chunk(np.frombuffer(pcm, np.int16)).tobytes()
            return out

        return run

    return make


def _libsamplerate(converter: str) -> Callable[[int, int], Stream]:
    import samplerate

    def make(in_rate: int, out_rate: int) -> Stream:
        stream = samplerate.Resampler(converter, 1)
        ratio = out_rate / in_rate

        def run(pcm: bytes) -> bytes:
            # Its numbers are 1 at full scale; rounding does not care, clipping does.
            scaled = np.frombuffer(pcm, np.int16) * np.float32(1 / 32768)
            return _rounded(stream.process(scaled, ratio) * np.float32(32768))

        return run

    return make


def _upfirdn(in_rate: int, out_rate: int) -> Stream:
    """Our filter in single precision: what went in before goes before the packet."""
    up, down = max(1, out_rate // in_rate), max(1, in_rate // out_rate)
    filter_taps = taps(up, down, ZEROS).astype(np.float32)
    before = np.zeros(2 * ZEROS * down, np.float32)

    def run(pcm: bytes) -> bytes:
        nonlocal before
        joined = np.concatenate([before, np.frombuffer(pcm, np.int16)], dtype=np.float32)
        before = joined[-len(before) :]
        due = (len(joined) - len(before)) * up // down
        return _rounded(upfirdn(filter_taps, joined, up, down)[2 * ZEROS * up :][:due])

    return run


def _resample_poly(in_rate: int, out_rate: int) -> Stream:
    """The filter scipy designs by itself, designed once; its delay is that of the next packet."""
    up, down = max(1, out_rate // in_rate), max(1, in_rate // out_rate)
    larger = max(up, down)
    designed = firwin(2 * _POLY_ZEROS * larger + 1, 1 / larger, window=_POLY_WINDOW)
    designed = designed.astype(np.float32)
    before = np.zeros(2 * _POLY_ZEROS * down, np.float32)

    def run(pcm: bytes) -> bytes:
        nonlocal before
        joined = np.concatenate([before, np.frombuffer(pcm, np.int16)], dtype=np.float32)
        before = joined[-len(before) :]
        edge = _POLY_ZEROS * up
        return _rounded(resample_poly(joined, up, down, window=designed)[edge:-edge])

    return run


def _ratecv(in_rate: int, out_rate: int) -> Stream:
    state = None

    def run(pcm: bytes) -> bytes:
        nonlocal state
        out, state = audioop.ratecv(pcm, 2, 1, in_rate, out_rate, state)
        return out

    return run


def _rounded(samples: NDArray[np.floating]) -> bytes:
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16).tobytes()


PEERS: dict[str, Callable[[int, int], Stream]] = {
    **{f"soxr {quality}": _soxr(quality) for quality in ("VHQ", "HQ", "MQ", "QQ")},
    "scipy upfirdn": _upfirdn,
    "scipy resample_poly": _resample_poly,
    "audioop ratecv": _ratecv,
}
# No wheel for every Python and every system.
if find_spec("samplerate"):
    PEERS["libsamplerate medium"] = _libsamplerate("sinc_medium")
"""By name, for a pair of rates of which one divides the other: a stream at its beginning."""
