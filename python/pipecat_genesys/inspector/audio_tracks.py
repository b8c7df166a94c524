"""The audio of each party on the timeline of the call, as waveform peaks and as WAV files.

A track is the audio of one party. Sample 0 is at the time of `open`. All audio is 8 kHz. Tracks
keep the encoding of the wire and are decoded on demand, so a second of audio takes 8000 bytes in
mu-law and 16,000 bytes in L16.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Protocol

import numpy as np
import soundfile

from pipecat_genesys import audio
from pipecat_genesys.protocol.types import WIRE_SAMPLE_RATE, AudioHookMediaFormat

MAX_COLUMNS = 4000
"""Maximum number of columns of one request for peaks."""


class Track(Protocol):
    """The audio of one party."""

    @property
    def end(self) -> int:
        """Number of the sample after the last sample."""

    def pcm(self, first: int, last: int) -> bytes:
        """Return the samples from `first` to `last` as 16-bit PCM, with silence in gaps."""


class ReceivedTrack:
    """Audio of the caller or of an agent. Each message is placed at its stream position.

    Args:
        media_format: Encoding of the samples.
    """

    def __init__(self, media_format: AudioHookMediaFormat = AudioHookMediaFormat.PCMU) -> None:
        self._format = media_format
        self._width = media_format.sample_width
        self._chunks: list[tuple[int, bytes]] = []
        self.end = 0

    def add(self, start: int, payload: bytes) -> None:
        """Append audio. A start before the end of the track is moved to the end.

        Args:
            start: Number of the first sample.
            payload: Whole samples in the encoding of the track.
        """
        start = max(start, self.end)
        self._chunks.append((start, payload))
        self.end = start + len(payload) // self._width

    def pcm(self, first: int, last: int) -> bytes:
        """Return the samples from `first` to `last` as 16-bit PCM, with silence in gaps."""
        track = bytearray(2 * max(0, last - first))
        begin = max(0, bisect_right(self._chunks, first, key=itemgetter(0)) - 1)
        for at, payload in self._chunks[begin:]:
            if at >= last:
                break
            part = payload[max(0, first - at) * self._width : (last - at) * self._width]
            decoded = decode(part, self._format)
            start = max(0, at - first) * 2
            track[start : start + len(decoded)] = decoded
        return bytes(track)


class HeardTrack:
    """Bot audio at the times at which the caller heard it, without audio that was cleared.

    Args:
        excerpt: Called with two sample numbers; returns the encoded audio between them. See
            `Playback.excerpt`.
        media_format: Called without arguments; returns the encoding.
        end: Called without arguments; returns the number of the sample after the last sample.
    """

    def __init__(
        self,
        excerpt: Callable[[int, int], bytes],
        media_format: Callable[[], AudioHookMediaFormat],
        end: Callable[[], int],
    ) -> None:
        self._excerpt = excerpt
        self._format = media_format
        self._end = end

    @property
    def end(self) -> int:
        """Number of the sample after the last sample."""
        return self._end()

    def pcm(self, first: int, last: int) -> bytes:
        """Return the samples from `first` to `last` as 16-bit PCM, with silence in gaps."""
        return decode(self._excerpt(first, last), self._format())


def decode(payload: bytes, media_format: AudioHookMediaFormat) -> bytes:
    """Decode mu-law or L16 samples to 16-bit PCM."""
    return audio.ulaw_decode(payload) if media_format is AudioHookMediaFormat.PCMU else payload


def peaks(track: Track, first: float, last: float, columns: int) -> list[float]:
    """Return the lowest and the highest sample of each column of a waveform.

    Args:
        track: The track.
        first: Start in seconds.
        last: End in seconds.
        columns: Number of columns, from 1 to `MAX_COLUMNS`.

    Returns:
        A flat list with the lowest and the highest sample of the first column, then of the second
        column, and so on. Each number is from -1 to 1.
    """
    begin = max(0, round(first * WIRE_SAMPLE_RATE))
    end = max(begin, round(last * WIRE_SAMPLE_RATE))
    if end == begin:
        return [0.0] * (2 * columns)
    # Audio after the end of the track is silence, so it is not rendered.
    known = min(end, max(begin, track.end))
    samples = np.frombuffer(track.pcm(begin, known), "<i2")
    edges = np.linspace(0, end - begin, columns + 1)[:-1].astype(np.int64)
    filled = int(np.searchsorted(edges, samples.size))
    result = np.zeros(2 * columns)
    if filled:
        result[0 : 2 * filled : 2] = np.minimum.reduceat(samples, edges[:filled])
        result[1 : 2 * filled : 2] = np.maximum.reduceat(samples, edges[:filled])
    values: list[float] = np.round(result / 32768, 4).tolist()
    return values


def mix(tracks: Sequence[Track], last: int) -> bytes:
    """Return the sum of several tracks from the start to a sample, as clipped 16-bit PCM."""
    total = np.zeros(max(0, last), np.int32)
    for track in tracks:
        part = np.frombuffer(track.pcm(0, min(last, track.end)), "<i2")
        total[: part.size] += part
    return np.clip(total, -32768, 32767).astype("<i2").tobytes()


def loudness(pcm: bytes, window: int) -> list[float]:
    """Return the loudness of each complete window of the audio, in dB relative to full scale.

    Args:
        pcm: 16-bit PCM.
        window: Number of samples of a window.
    """
    samples = np.frombuffer(pcm, "<i2").astype(np.float64)
    windows = samples[: samples.size // window * window].reshape(-1, window)
    power = np.mean(np.square(windows / 32768), axis=1)
    values: list[float] = (10 * np.log10(np.maximum(power, 1e-12))).tolist()
    return values


def wav_file(pcm: bytes, *, ulaw: bool = False) -> bytes:
    """Return a mono WAV file at 8 kHz.

    Args:
        pcm: 16-bit PCM.
        ulaw: Whether the file has mu-law samples; otherwise it has 16-bit PCM.
    """
    file = io.BytesIO()
    subtype = "ULAW" if ulaw else "PCM_16"
    samples = np.frombuffer(pcm, "<i2")
    soundfile.write(file, samples, WIRE_SAMPLE_RATE, subtype=subtype, format="WAV")
    return file.getvalue()
