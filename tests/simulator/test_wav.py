"""WAV files in and out."""

from __future__ import annotations

import io
import math
import struct
import wave
from pathlib import Path

import pytest
from pipecat_genesys import audio
from pipecat_genesys.simulator import read_wav, write_wav


def wav(samples: list[int], *, channels: int = 1, rate: int = 8000, width: int = 2) -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(
            struct.pack(f"<{len(samples)}h", *samples) if width == 2 else bytes(samples)
        )
    file.seek(0)
    return file


def test_eight_kilohertz_are_only_coded() -> None:
    assert read_wav(wav([0, 32124, -32124])) == b"\xff\x80\x00"


def test_stereo_is_mixed_down() -> None:
    assert read_wav(wav([32000, 32248, -100, 100], channels=2)) == b"\x80\xff"


@pytest.mark.parametrize("rate", [16000, 24000, 44100, 48000, 11025])
def test_other_rates_keep_the_length_and_the_moment(rate: int) -> None:
    # A burst of 1 kHz between 0.5 s and 0.6 s is still there, and so is its place.
    samples = [
        round(12000 * math.sin(2000 * math.pi * n / rate)) if 0.5 <= n / rate < 0.6 else 0
        for n in range(rate)
    ]
    ulaw = read_wav(wav(samples, rate=rate))
    assert len(ulaw) == 8000
    pcm = struct.unpack("<8000h", audio.ulaw_decode(ulaw))
    loud = [index for index, sample in enumerate(pcm) if abs(sample) > 3000]
    assert loud[0] == pytest.approx(4000, abs=3)
    assert loud[-1] == pytest.approx(4799, abs=3)
    assert max(pcm) == pytest.approx(12000, rel=0.04)


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b"not a wav"),
        io.BytesIO(b""),
        wav([1, 2, 3], width=1),
        wav([1, 2, 3], channels=3),
    ],
    ids=["noise", "empty", "8-bit", "three channels"],
)
def test_other_files_are_refused(file: io.BytesIO) -> None:
    with pytest.raises(ValueError, match=r"WAV|16-bit"):
        read_wav(file)


def test_a_call_is_written_with_the_caller_on_the_left(tmp_path: Path) -> None:
    target = tmp_path / "call.wav"
    write_wav(target, struct.pack("<3h", 1, 2, -3), struct.pack("<2h", 100, -200))
    with wave.open(str(target), "rb") as reader:
        assert reader.getparams()[:4] == (2, 2, 8000, 3)
        assert struct.unpack("<6h", reader.readframes(3)) == (1, 100, 2, -200, -3, 0)


def test_what_was_written_can_be_read(tmp_path: Path) -> None:
    target = tmp_path / "call.wav"
    write_wav(target, b"\0\0" * 100, b"\0\0" * 80)
    assert read_wav(target) == b"\xff" * 100
