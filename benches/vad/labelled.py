"""Labelled speech: a test set from a folder or the network, or speech made by espeak-ng.

The test set is from TEN VAD (Apache 2.0): 30 recordings at 16 kHz, `NAME.wav`, with labels in
`NAME.scv`. A label file has one line: the name, then three numbers for each segment: its begin and
end in seconds, and 1 for speech or 0 for no speech.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

RATE = 16000
_COMMIT = "dddbeb16e6a4b4e9fa3bc4bf87f30fc26a19e963"
_URL = f"https://github.com/TEN-framework/ten-vad/archive/{_COMMIT}.tar.gz"
_DOWNLOAD_SECONDS = 60

_ESPEAK_VOICES = ("en-us", "en-gb", "de", "es", "fr-fr")
_ESPEAK_SENTENCES = (
    "Hello, I am calling about my last invoice. It is much higher than in other months.",
    "My customer number is four seven one one, zero eight one five.",
    "No. I would like to speak to somebody, please.",
    "Yes, that is right. Can you send it by letter to my old address?",
    "Thank you very much. Good bye.",
)
# The amplitude below which synthetic speech counts as a pause, and the duration of the shortest
# pause in seconds.
_ESPEAK_THRESHOLD = 60
_ESPEAK_SHORTEST_PAUSE = 0.15
_ESPEAK_LEVEL = 3000.0

Samples = NDArray[np.float64]
Segment = tuple[float, float]


@dataclass(frozen=True)
class Recording:
    """Speech with labels.

    Attributes:
        samples: Samples at 16 kHz, as 16-bit numbers.
        speech: Begin and end of each segment of speech in seconds, in order.
    """

    samples: Samples
    speech: Sequence[Segment]


def load_folder(folder: Path) -> list[Recording]:
    """Read the recordings of a folder that have labels.

    Raises:
        FileNotFoundError: The folder has no recording with labels.
    """
    recordings = []
    for labels in sorted(folder.rglob("*.scv")):
        with wave.open(str(labels.with_suffix(".wav"))) as file:
            assert (file.getframerate(), file.getnchannels()) == (RATE, 1), labels
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64)
        fields = labels.read_text(encoding="utf-8").strip().split(",")[1:]
        groups = zip(fields[::3], fields[1::3], fields[2::3], strict=True)
        speech = [(float(begin), float(end)) for begin, end, kind in groups if kind == "1"]
        recordings.append(Recording(samples, speech))
    if not recordings:
        raise FileNotFoundError(f"{folder} has no labels (*.scv)")
    return recordings


def download(folder: Path) -> None:
    """Download the test set into a folder, unless the folder exists.

    Raises:
        OSError: The download failed.
        tarfile.TarError: The archive is damaged.
    """
    if folder.exists():
        return
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, "archive.tar.gz")
        with (
            urllib.request.urlopen(_URL, timeout=_DOWNLOAD_SECONDS) as response,
            archive.open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
        with tarfile.open(archive) as files:
            files.extractall(scratch, filter="data")
        shutil.move(str(next(Path(scratch).glob("*/testset"))), folder)


def synthesize() -> list[Recording]:
    """Return sentences spoken by espeak-ng, with pauses. Labels come from the clean signal.

    Raises:
        FileNotFoundError: espeak-ng is not installed.
    """
    recordings = []
    with tempfile.TemporaryDirectory() as scratch:
        for number, voice in enumerate(_ESPEAK_VOICES):
            pause = np.zeros(RATE * 3 // 2)
            parts = [pause]
            for sentence in _ESPEAK_SENTENCES:
                file = Path(scratch, "sentence.wav")
                speed = str(140 + 15 * number)
                subprocess.run(
                    ["espeak-ng", "-v", voice, "-s", speed, "-w", str(file), sentence], check=True
                )
                with wave.open(str(file)) as spoken:
                    data = np.frombuffer(spoken.readframes(spoken.getnframes()), "<i2")
                    rate = spoken.getframerate()
                parts += [resample_poly(data.astype(np.float64), RATE, rate), pause]
            samples = np.concatenate(parts)
            samples *= _ESPEAK_LEVEL / np.std(samples[np.abs(samples) > _ESPEAK_THRESHOLD])
            recordings.append(Recording(samples, _loud_segments(samples)))
    return recordings


def _loud_segments(samples: Samples) -> list[Segment]:
    """Return the loud segments of a clean signal; a short pause does not separate segments."""
    step = RATE // 100
    frames = np.abs(samples[: len(samples) // step * step]).reshape(-1, step).max(axis=1)
    segments: list[Segment] = []
    for frame in np.flatnonzero(frames > _ESPEAK_THRESHOLD):
        begin, end = frame / 100, (frame + 1) / 100
        if segments and begin - segments[-1][1] < _ESPEAK_SHORTEST_PAUSE:
            segments[-1] = (segments[-1][0], end)
        else:
            segments.append((begin, end))
    return segments
